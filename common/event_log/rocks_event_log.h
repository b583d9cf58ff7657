// The event log inside the process: one RocksDB under a directory.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/clock/clock.h"
#include "common/event_log/event_log.h"

namespace rocksdb {
class Env;
}  // namespace rocksdb

namespace naru::event_log {

/// How blocks of records are compressed.
enum class BlockCodec : uint8_t {
  kNone = 0,
  kLz4 = 1,   ///< about 700 MB/s a core, 4 times smaller (events)
  kZstd = 2,  ///< level 1: about 550 MB/s, 8 times smaller
};

struct RocksEventLogOptions {
  /// The log's own directory; made if it is not there. One process at a time.
  std::string path;
  /// Decides retention and tombstones. Borrowed; must outlive the log.
  const Clock* clock = Clock::System();
  /// File system to use; null: the machine's. Borrowed; must outlive the log.
  rocksdb::Env* env = nullptr;
  /// Bounds what the log keeps in memory: half for what is not yet in tables, a quarter for the block cache, a quarter
  /// for appends in flight. At least 16 MiB.
  size_t memory_budget = size_t{64} << 20;
  /// Put before the topic names given by callers.
  std::string topic_prefix;
  BlockCodec codec = BlockCodec::kLz4;
  /// Appends fail with RESOURCE_EXHAUSTED while the disk has less free space than this, so that what is already taken
  /// can still be written out. -1: the larger of 192 MiB (the write-ahead log and 64 MiB) and 1 % of the disk.
  int64_t disk_reserve_bytes = -1;
  /// How often retention and compaction run by themselves; 0: only by RunMaintenance.
  std::chrono::milliseconds maintenance_interval = std::chrono::seconds(30);
  /// A consumer that does not poll for this long loses its partitions to others of its group.
  std::chrono::milliseconds member_timeout = std::chrono::seconds(45);
};

/// Counts since opening; for metrics and tests.
struct RocksEventLogStats {
  int64_t appended_records = 0;
  int64_t appended_bytes = 0;          ///< of blocks, compressed
  int64_t commits = 0;                 ///< synced writes
  int64_t refused_appends = 0;         ///< RESOURCE_EXHAUSTED
  int64_t damaged_ranges = 0;          ///< ranges that a reader had to skip
  int64_t damaged_offsets = 0;         ///< offsets in them
  int64_t dropped_unread_records = 0;  ///< removed by retention before a registered group had read them
  int64_t dropped_records = 0;         ///< removed by retention
  int64_t compacted_records = 0;       ///< removed by compaction
  int64_t in_flight_bytes = 0;
};

/// An EventLog in this process. Thread-safe. Destroy producers, readers and consumers before it.
class RocksEventLog : public EventLog {
 public:
  /// Opens the log, making it if the directory is empty, and mends what it can: damage never stops it, it is told in
  /// recovery_report().
  /// Errors: FAILED_PRECONDITION when the data was written by a newer version (both are named); UNAVAILABLE when
  /// another process has it open (its pid is named where known); INVALID_ARGUMENT for impossible options;
  /// PERMISSION_DENIED.
  static absl::StatusOr<std::unique_ptr<RocksEventLog>> Open(const RocksEventLogOptions& options);

  /// Thread-safe, never blocks on the disk.
  virtual RocksEventLogStats stats() const = 0;
};

}  // namespace naru::event_log
