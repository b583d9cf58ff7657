// Retention, compaction by key, and merging of small tables. Only for .cc files of this folder.
#pragma once

#include <cstdint>
#include <thread>

#include "absl/status/status.h"
#include "common/event_log/rocks_groups.h"
#include "common/event_log/rocks_store.h"
#include "common/sync/mutex.h"

namespace naru::event_log {

/// Drops what a partition need not keep any more. Returns the records removed.
///
/// Time: blocks all of whose records, and all before them, are older than retention_time. Size: the oldest blocks until
/// the rest is at most retention_bytes. What a registered group has not read stays, until the partition would be larger
/// than the hard limit; what is dropped unread then is counted and logged.
absl::StatusOr<int64_t> ApplyRetention(RocksStore* store, GroupTable* groups, Partition* partition);

/// Removes records of a compacted topic that a later record of the same key has overtaken, and tombstones older than
/// tombstone_retention, in all blocks but the last. Returns the records removed.
///
/// Passes over the log with a bounded table of keys. Blocks are rewritten front to back, each step one atomic write, so
/// a crash at any moment leaves the last value of each key. `force`: also when little is to be gained.
absl::StatusOr<int64_t> CompactPartition(RocksStore* store, Partition* partition, bool force);

/// Merges neighbouring small tables of a partition that is never rewritten otherwise, in powers of eight, so that a
/// slow topic does not leave a table for each time that the busy ones filled the memory.
absl::Status MergeSmallTables(RocksStore* store, Partition* partition);

/// Runs all of these, now and then. Thread-safe.
class Maintenance {
 public:
  Maintenance(RocksStore* store, GroupTable* groups);
  ~Maintenance();
  Maintenance(const Maintenance&) = delete;
  Maintenance& operator=(const Maintenance&) = delete;

  /// The first error, after all partitions have been tried.
  absl::Status RunOnce(bool force);

 private:
  void Loop();

  RocksStore* const store_;
  GroupTable* const groups_;
  Mutex run_mu_;  // one round at a time
  Mutex mu_;
  CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace naru::event_log
