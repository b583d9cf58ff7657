#include "services/aggregator/rocks_state_store.h"

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/rocks/data_directory.h"
#include "common/rocks/database.h"
#include "common/rocks/status.h"
#include "common/status/status.h"

namespace naru::aggregator {
namespace {

rocksdb::Slice ToSlice(absl::string_view view) { return {view.data(), view.size()}; }
absl::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

class RocksStateStore : public event_log::LocalStore {
 public:
  RocksStateStore(std::unique_ptr<rocks::DataDirectory> directory, std::unique_ptr<rocks::Database> database)
      : directory_(std::move(directory)), database_(std::move(database)) {}

  absl::Status EnsureFamily(const std::string& family) override { return database_->EnsureFamilies({family}); }

  absl::StatusOr<std::optional<std::string>> Get(const std::string& family, absl::string_view key) override {
    NARU_ASSIGN_OR_RETURN(rocksdb::ColumnFamilyHandle * handle, Find(family));
    std::string value;
    const rocksdb::Status status = database_->db()->Get(rocksdb::ReadOptions(), handle, ToSlice(key), &value);
    if (status.IsNotFound()) return std::optional<std::string>();
    if (!status.ok()) return rocks::FromRocks(status, "reading state");
    return std::optional<std::string>(std::move(value));
  }

  absl::StatusOr<std::vector<std::optional<std::string>>> MultiGet(const std::string& family,
                                                                   absl::Span<const std::string> keys) override {
    std::vector<std::optional<std::string>> values;
    for (const std::string& key : keys) {
      NARU_ASSIGN_OR_RETURN(std::optional<std::string> value, Get(family, key));
      values.push_back(std::move(value));
    }
    return values;
  }

  absl::Status Scan(const std::string& family, absl::string_view from, absl::string_view to,
                    const std::function<bool(absl::string_view, absl::string_view)>& fn) override {
    NARU_ASSIGN_OR_RETURN(rocksdb::ColumnFamilyHandle * handle, Find(family));
    rocksdb::ReadOptions read;
    const rocksdb::Slice upper = ToSlice(to);
    if (!to.empty()) read.iterate_upper_bound = &upper;
    const std::unique_ptr<rocksdb::Iterator> it(database_->db()->NewIterator(read, handle));
    for (it->Seek(ToSlice(from)); it->Valid(); it->Next()) {
      if (!fn(ToView(it->key()), ToView(it->value()))) return absl::OkStatus();
    }
    return rocks::FromRocks(it->status(), "scanning state");
  }

  absl::Status Write(absl::Span<const event_log::LocalWrite> writes, bool sync) override {
    rocksdb::WriteBatch batch;
    for (const event_log::LocalWrite& write : writes) {
      NARU_ASSIGN_OR_RETURN(rocksdb::ColumnFamilyHandle * handle, Find(write.family));
      if (write.value.has_value()) {
        batch.Put(handle, write.key, *write.value);
      } else {
        batch.Delete(handle, write.key);
      }
    }
    rocksdb::WriteOptions options;
    options.sync = sync;
    return rocks::FromRocks(database_->db()->Write(options, &batch), "writing state");
  }

  absl::Status DeleteRange(const std::string& family, absl::string_view from, absl::string_view to) override {
    NARU_ASSIGN_OR_RETURN(rocksdb::ColumnFamilyHandle * handle, Find(family));
    return rocks::FromRocks(database_->db()->DeleteRange(rocksdb::WriteOptions(), handle, ToSlice(from), ToSlice(to)),
                            "deleting state");
  }

  int64_t ApproximateBytes(const std::string& family) override {
    const absl::StatusOr<rocksdb::ColumnFamilyHandle*> handle = Find(family);
    uint64_t bytes = 0;
    if (handle.ok()) database_->db()->GetIntProperty(*handle, rocksdb::DB::Properties::kLiveSstFilesSize, &bytes);
    return static_cast<int64_t>(bytes);
  }

 private:
  absl::StatusOr<rocksdb::ColumnFamilyHandle*> Find(const std::string& family) {
    rocksdb::ColumnFamilyHandle* handle = database_->Find(family);
    if (handle == nullptr) return absl::NotFoundError(absl::StrCat("there is no family ", family));
    return handle;
  }

  const std::unique_ptr<rocks::DataDirectory> directory_;
  const std::unique_ptr<rocks::Database> database_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<event_log::LocalStore>> OpenRocksStateStore(const std::string& directory,
                                                                           size_t memory_budget_bytes) {
  NARU_ASSIGN_OR_RETURN(auto held, rocks::DataDirectory::Open(directory, {"aggregator_state", 1}));
  rocks::DatabaseOptions options;
  options.path = absl::StrCat(directory, "/state");
  options.memtable_bytes = memory_budget_bytes / 2;
  options.cache_bytes = memory_budget_bytes / 2;
  NARU_ASSIGN_OR_RETURN(auto database, rocks::Database::Open(std::move(options)));
  return std::unique_ptr<event_log::LocalStore>(new RocksStateStore(std::move(held), std::move(database)));
}

}  // namespace naru::aggregator
