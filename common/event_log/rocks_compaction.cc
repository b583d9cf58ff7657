#include <rocksdb/write_batch.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/event_log/block.h"
#include "common/event_log/rocks_cursor.h"
#include "common/event_log/rocks_maintenance.h"
#include "common/rocks/status.h"
#include "common/status/status.h"

namespace naru::event_log {
namespace {

// In the background a pass begins when as much was appended as there was before, and at least this much, or after this
// long: a pass reads all that there is.
constexpr uint64_t kMinDirtyBytes = uint64_t{1} << 20;
constexpr int64_t kLongestPauseUs = int64_t{3600} * 1'000'000;
// Blocks are joined when at least this many small ones become one, or when records fall out anyway.
constexpr size_t kMinJoined = 4;

// Where each key was last seen. Bounded: when it is full, the rest of the log waits for the next round of the pass.
// Keys are 128-bit hashes under a seed of this pass's own: nobody can make two keys that delete each other.
class LastOffsets {
 public:
  explicit LastOffsets(size_t memory_budget)
      : limit_(std::clamp<size_t>(memory_budget / 16 / 32, 4096, 256 << 10)), seed_(Random::System()->Next()) {}

  bool full() const { return offsets_.size() >= limit_; }
  bool empty() const { return offsets_.empty(); }
  void clear() { offsets_.clear(); }
  void Put(absl::string_view key, int64_t offset) { offsets_[Hash(key)] = offset; }
  std::optional<int64_t> Get(absl::string_view key) const {
    const auto it = offsets_.find(Hash(key));
    return it == offsets_.end() ? std::nullopt : std::optional<int64_t>(it->second);
  }

 private:
  using Key = std::pair<uint64_t, uint64_t>;
  Key Hash(absl::string_view key) const {
    const XXH128_hash_t hash = XXH3_128bits_withSeed(key.data(), key.size(), seed_);
    return {hash.low64, hash.high64};
  }
  const size_t limit_;
  const uint64_t seed_;
  absl::flat_hash_map<Key, int64_t> offsets_;
};

// Neighbouring blocks that become one.
struct JoinedBlock {
  std::vector<int64_t> bases;
  std::vector<FetchedBatch> batches;  // keep the bytes of the records
  std::vector<FetchedRecord> records;
  BlockHeader first;
  BlockHeader last;
  int64_t end_offset = 0;
  size_t bytes = 0;
  int64_t removed = 0;
};

class Compactor {
 public:
  Compactor(RocksStore* store, Partition* partition, int64_t tombstones_before_us)
      : store_(store),
        partition_(partition),
        tombstones_before_us_(tombstones_before_us),
        table_(store->options().memory_budget) {}

  /// Cleans all blocks below `boundary`; keys below `clean_until` are known to occur once. Returns the records removed.
  absl::StatusOr<int64_t> Run(int64_t clean_until, int64_t boundary) {
    int64_t from = clean_until;
    do {
      table_.clear();
      NARU_ASSIGN_OR_RETURN(from, FillTable(from));
      NARU_RETURN_IF_ERROR(Rewrite(std::min(from, boundary)));
    } while (from < boundary && !store_->closing());
    if (store_->closing()) return absl::CancelledError("the log is closing");
    return removed_;
  }

 private:
  std::unique_ptr<rocksdb::Iterator> NewIterator() const {
    rocksdb::ReadOptions read;
    read.fill_cache = false;
    return std::unique_ptr<rocksdb::Iterator>(store_->db()->NewIterator(read, partition_->family));
  }

  // Calls fn for each readable block from the one that holds `from` on, until it returns false.
  absl::Status ForEachBlock(int64_t from,
                            const std::function<absl::StatusOr<bool>(const BlockPlace&, FetchedBatch)>& fn,
                            const std::function<absl::Status()>& damaged) {
    const std::unique_ptr<rocksdb::Iterator> it = NewIterator();
    const int64_t end = partition_->end_offset.load();
    SeekToBlock(it.get(), from);
    int64_t at = from;
    while (at < end && !store_->closing()) {
      if (!it->Valid()) {
        if (it->status().ok()) return absl::OkStatus();
        if (!it->status().IsCorruption()) return rocks::FromRocks(it->status(), "compacting");
        NARU_RETURN_IF_ERROR(damaged());
        at = NextReadable(it.get(), at, end);
        continue;
      }
      const int64_t base = ParseLogKey(ToView(it->key())).value_or(0);
      const absl::StatusOr<BlockHeader> header = ParseBlockHeader(ToView(it->value()));
      absl::StatusOr<FetchedBatch> batch = DecodeBlock(ToView(it->value()), base, base);
      if (absl::IsFailedPrecondition(batch.status())) return batch.status();
      if (batch.ok()) {
        at = base + header->span;
        NARU_ASSIGN_OR_RETURN(const bool go_on, fn(BlockPlace{base, at, *header}, *std::move(batch)));
        if (!go_on) return absl::OkStatus();
      } else {
        NARU_RETURN_IF_ERROR(damaged());
        at = base + 1;
      }
      it->Next();
    }
    return absl::OkStatus();
  }

  // Takes the keys of the blocks from `from` on until the table is full; returns the end of what it covers.
  absl::StatusOr<int64_t> FillTable(int64_t from) {
    int64_t covered = partition_->end_offset.load();
    NARU_RETURN_IF_ERROR(ForEachBlock(
        from,
        [&](const BlockPlace& place, FetchedBatch batch) -> absl::StatusOr<bool> {
          if (table_.full()) {
            covered = place.base_offset;
            return false;
          }
          for (const FetchedRecord& record : batch.records) table_.Put(record.key, record.offset);
          return true;
        },
        [] { return absl::OkStatus(); }));
    return covered;
  }

  bool Keeps(const FetchedRecord& record) const {
    const std::optional<int64_t> last = table_.Get(record.key);
    if (last.has_value() && *last > record.offset) return false;
    return !record.tombstone || record.timestamp_us >= tombstones_before_us_;
  }

  absl::Status Rewrite(int64_t limit) {
    JoinedBlock joined;
    NARU_RETURN_IF_ERROR(ForEachBlock(
        0,
        [&](const BlockPlace& place, FetchedBatch batch) -> absl::StatusOr<bool> {
          if (place.base_offset >= limit) return false;
          NARU_RETURN_IF_ERROR(Add(place, std::move(batch), &joined));
          return true;
        },
        // Nothing is joined across damage: the joined block would claim to cover it.
        [&] { return Flush(&joined); }));
    return Flush(&joined);
  }

  absl::Status Add(const BlockPlace& place, FetchedBatch batch, JoinedBlock* joined) {
    const bool fits = joined->bases.empty() || (joined->batches.front().headers.schema == batch.headers.schema &&
                                                joined->bytes + place.header.raw_bytes <= kBlockTargetBytes &&
                                                place.end_offset - joined->bases.front() <= kMaxBlockRecords);
    if (!fits) NARU_RETURN_IF_ERROR(Flush(joined));
    if (joined->bases.empty()) joined->first = place.header;
    joined->bases.push_back(place.base_offset);
    joined->last = place.header;
    joined->end_offset = place.end_offset;
    for (const FetchedRecord& record : batch.records) {
      if (Keeps(record)) {
        joined->records.push_back(record);
        joined->bytes += record.key.size() + record.value.size() + 16;
      } else {
        ++joined->removed;
      }
    }
    joined->batches.push_back(std::move(batch));
    return absl::OkStatus();
  }

  // Writes the joined block over its parts, at once.
  absl::Status Flush(JoinedBlock* joined) {
    const JoinedBlock block = std::exchange(*joined, JoinedBlock());
    if (block.removed == 0 && block.bases.size() < kMinJoined) return absl::OkStatus();
    NARU_RETURN_IF_ERROR(store_->CheckDisk());
    rocksdb::WriteBatch batch;
    for (const int64_t base : block.bases) batch.Delete(partition_->family, LogKey(base));
    if (!block.records.empty()) {
      std::vector<Record> records;
      std::vector<uint32_t> offsets;
      for (const FetchedRecord& record : block.records) {
        records.push_back({record.key, record.value, record.timestamp_us, record.tombstone});
        offsets.push_back(static_cast<uint32_t>(record.offset - block.bases.front()));
      }
      // One trace context cannot stand for many appends; whoever follows a compacted topic wants the values.
      Headers headers{block.batches.front().headers.schema, ""};
      const auto span = static_cast<uint32_t>(block.end_offset - block.bases.front());
      EncodedBlock encoded = EncodeBlock(headers, records, offsets, span, store_->options().codec);
      StampBlock({block.last.partition_max_timestamp_us, block.first.bytes_before, block.first.previous_end},
                 &encoded.value);
      batch.Put(partition_->family, LogKey(block.bases.front()), encoded.value);
    }
    // Not synced: the write-ahead log keeps the order, so a crash undoes the newest steps only.
    NARU_RETURN_IF_ERROR(store_->Write(&batch, /*sync=*/false, "compacting"));
    removed_ += block.removed;
    store_->stats()->compacted_records += block.removed;
    return absl::OkStatus();
  }

  RocksStore* const store_;
  Partition* const partition_;
  const int64_t tombstones_before_us_;
  LastOffsets table_;
  int64_t removed_ = 0;
};

bool WorthIt(RocksStore* store, Partition* partition, int64_t clean_until, int64_t now_us) {
  if (now_us - partition->last_compaction_us.load() >= kLongestPauseUs) return true;
  uint64_t dirty_from = 0;
  const absl::StatusOr<std::optional<BlockPlace>> first =
      FindFirstBlock(store, partition, [&](const BlockPlace& block) { return block.end_offset > clean_until; });
  if (!first.ok() || !first->has_value()) return false;
  dirty_from = (*first)->header.bytes_before;
  const uint64_t dirty = partition->end_bytes.load() - dirty_from;
  uint64_t tables = 0, memory = 0;
  store->db()->GetIntProperty(partition->family, rocksdb::DB::Properties::kLiveSstFilesSize, &tables);
  store->db()->GetIntProperty(partition->family, rocksdb::DB::Properties::kCurSizeAllMemTables, &memory);
  return dirty >= kMinDirtyBytes && 2 * dirty >= tables + memory;
}

}  // namespace

absl::StatusOr<int64_t> CompactPartition(RocksStore* store, Partition* partition, bool force) {
  const int64_t now_us = store->options().clock->MonotonicMicros();
  int64_t clean_until = 0;
  {
    MutexLock lock(&partition->state_mu);
    clean_until = partition->state.compacted_until;
  }
  if (!force && !WorthIt(store, partition, clean_until, now_us)) return 0;
  int64_t boundary = 0;
  {
    rocksdb::ReadOptions read;
    read.fill_cache = false;
    const std::unique_ptr<rocksdb::Iterator> it(store->db()->NewIterator(read, partition->family));
    it->SeekToLast();
    // The last block stays as it is: it carries the partition's end.
    if (!it->Valid()) return 0;
    boundary = ParseLogKey(ToView(it->key())).value_or(0);
  }
  partition->last_compaction_us = now_us;
  if (boundary == 0) return 0;
  NARU_RETURN_IF_ERROR(store->CheckDisk());
  const int64_t tombstones_before_us =
      store->options().clock->NowMicros() - partition->topic->Config().tombstone_retention.count();
  Compactor compactor(store, partition, tombstones_before_us);
  NARU_ASSIGN_OR_RETURN(const int64_t removed, compactor.Run(clean_until, boundary));
  NARU_RETURN_IF_ERROR(
      store->UpdatePartitionState(partition, [&](PartitionState* state) { state->compacted_until = boundary; }));
  return removed;
}

}  // namespace naru::event_log
