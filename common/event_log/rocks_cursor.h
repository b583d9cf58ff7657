// Walks the blocks of one partition. Only for .cc files of this folder.
#pragma once

#include <rocksdb/iterator.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/event_log/block.h"
#include "common/event_log/event_log.h"
#include "common/event_log/rocks_store.h"

namespace naru::event_log {

/// A position in a partition. Not thread-safe.
class PartitionCursor {
 public:
  PartitionCursor(RocksStore* store, Partition* partition, int64_t position)
      : store_(store), partition_(partition), position_(position), told_(position) {}

  Partition* partition() const { return partition_; }
  int64_t position() const { return position_; }
  void SeekTo(int64_t position) { position_ = told_ = position; }
  /// Whether a Read would return something other than nothing.
  bool HasMore() const { return position_ < partition_->end_offset.load() || position_ != told_; }

  /// Appends batches to `out` until they hold about `max_bytes` (at least one batch) or there is no more; returns their
  /// bytes. Where the position moved without records, past what was lost or compacted, an empty batch tells where it
  /// is. When it fails, the position is after what is lost or removed, and the next call goes on there. Errors:
  /// OUT_OF_RANGE (removed by retention), DATA_LOSS (damaged); both name topic, partition and offsets.
  absl::StatusOr<size_t> Read(size_t max_bytes, std::vector<FetchedBatch>* out);

 private:
  absl::Status SkipRemoved();
  absl::Status Lost(int64_t to, absl::string_view why);
  absl::Status SkipUnreadable(rocksdb::Iterator* it, absl::string_view why);

  RocksStore* store_;
  Partition* partition_;
  int64_t position_;
  int64_t told_;  // next_offset of the last batch handed out: readers know positions from batches alone
};

/// Puts `it` on the block that holds `offset`, or on the first one after it; invalid when there is none or it cannot be
/// read (`it->status()` tells).
void SeekToBlock(rocksdb::Iterator* it, int64_t offset);

/// The first offset after the unreadable `bad` from which something can be read: a block's base, where `it` then is, or
/// `end`.
int64_t NextReadable(rocksdb::Iterator* it, int64_t bad, int64_t end);

/// Where a block lies.
struct BlockPlace {
  int64_t base_offset = 0;
  int64_t end_offset = 0;
  BlockHeader header;
};

/// The first block in [start, end) for which `passes` is true, where all blocks after a passing one pass as well; none:
/// nullopt. Looks at about log2(offsets) headers; damaged blocks are stepped over. Thread-safe.
/// Errors: UNAVAILABLE and others of the disk.
absl::StatusOr<std::optional<BlockPlace>> FindFirstBlock(RocksStore* store, Partition* partition,
                                                         const std::function<bool(const BlockPlace&)>& passes);

/// The first record at or after `timestamp_us`; the end when there is none.
absl::StatusOr<int64_t> FindTime(RocksStore* store, Partition* partition, int64_t timestamp_us);

}  // namespace naru::event_log
