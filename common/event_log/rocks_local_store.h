// LocalStore over the log's database. Only for .cc files of this folder.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/event_log/event_log.h"
#include "common/event_log/rocks_committer.h"
#include "common/event_log/rocks_store.h"
#include "common/sync/mutex.h"

namespace naru::event_log {

class RocksLocalStore : public LocalStore {
 public:
  explicit RocksLocalStore(RocksStore* store) : store_(store) {}
  absl::Status EnsureFamily(const std::string& family) override;
  absl::StatusOr<std::optional<std::string>> Get(const std::string& family, absl::string_view key) override;
  absl::StatusOr<std::vector<std::optional<std::string>>> MultiGet(const std::string& family,
                                                                   absl::Span<const std::string> keys) override;
  absl::Status Scan(const std::string& family, absl::string_view from, absl::string_view to,
                    const std::function<bool(absl::string_view, absl::string_view)>& fn) override;
  absl::Status Write(absl::Span<const LocalWrite> writes, bool sync) override;
  absl::Status DeleteRange(const std::string& family, absl::string_view from, absl::string_view to) override;
  int64_t ApproximateBytes(const std::string& family) override;

  /// Adds the writes to a request. NOT_FOUND for a family that is not there.
  absl::Status Stage(std::vector<LocalWrite> writes, CommitRequest* request);

 private:
  absl::StatusOr<rocksdb::ColumnFamilyHandle*> Find(const std::string& family);

  RocksStore* const store_;
};

}  // namespace naru::event_log
