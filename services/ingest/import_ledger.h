// What earlier imports took, read from the topic `naru.ledger`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "common/event_log/event_log.h"
#include "services/ingest/line_chain.h"
#include "services/ingest/pipeline.h"

namespace naru::ingest {

/// Lines that were taken in one atomic write.
struct LedgerRange {
  ChainId end;
  int64_t line_count = 0;
  int64_t event_count = 0;
  int64_t rejected_count = 0;
  int64_t end_byte = 0;
  std::string timeline;
};

/// Not thread-safe after it was loaded, except for reading.
class ImportLedger {
 public:
  /// Reads the whole topic. Blocks. Errors: those of the log.
  static absl::StatusOr<ImportLedger> Load(event_log::EventLog& log);

  /// The range that begins after this line; null: there is none.
  const LedgerRange* Find(const ChainId& start) const;
  /// The range whose last line this is, with its start; null: there is none. Looks at all of them.
  const LedgerRange* FindEnd(const ChainId& end, ChainId* start) const;
  bool IsEnded(const std::string& timeline) const { return ended_.contains(timeline); }
  bool empty() const { return ranges_.empty(); }
  size_t size() const { return ranges_.size(); }

  void Add(const ChainId& start, LedgerRange range);
  void AddEnd(const std::string& timeline) { ended_.insert(timeline); }

  /// The records that Load reads back.
  static ExtraRecord RangeRecord(const ChainId& start, const LedgerRange& range);
  static ExtraRecord EndRecord(const std::string& timeline, const ChainId& end, int64_t end_byte);

 private:
  struct Hash {
    size_t operator()(const ChainId& id) const { return id.low; }
  };
  void Apply(absl::string_view key, const event_log::FetchedRecord& record);

  absl::flat_hash_map<ChainId, LedgerRange, Hash> ranges_;
  absl::flat_hash_set<std::string> ended_;
};

/// Calls fn(record) for each record of the ledger in order, up to the end that it has now.
absl::Status ReadLedger(event_log::EventLog& log, const std::function<void(const event_log::FetchedRecord&)>& fn);

}  // namespace naru::ingest
