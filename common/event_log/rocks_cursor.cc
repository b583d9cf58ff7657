#include "common/event_log/rocks_cursor.h"

#include <rocksdb/metadata.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log/log.h"
#include "common/rocks/status.h"
#include "common/status/status.h"

namespace naru::event_log {
namespace {

// Read from the disk without pushing other things out of the cache: a log is read once, front to back.
rocksdb::ReadOptions LogReadOptions() {
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  return read;
}

int64_t BaseOffset(rocksdb::Iterator* it) { return ParseLogKey(ToView(it->key())).value_or(0); }

// How many offsets are tried one by one before larger steps are taken over an unreadable stretch. One step finds the
// next readable block exactly; larger ones may skip a readable block between two damaged ones.
constexpr int64_t kSingleSteps = 2048;
// How many blocks a search by time looks at one after the other; only clocks that jump make it more than one.
constexpr int kMaxBlocksAfterSearch = 4096;

}  // namespace

int64_t NextReadable(rocksdb::Iterator* it, int64_t bad, int64_t end) {
  const auto readable = [&](int64_t offset) {
    it->Seek(LogKey(offset));
    return it->Valid() || it->status().ok();
  };
  int64_t good = end;
  int64_t step = 1;
  for (int64_t tries = 0, at = bad + 1; at < end; at += step) {
    if (readable(at)) {
      good = at;
      break;
    }
    bad = at;
    if (++tries > kSingleSteps) step *= 2;
  }
  // Between the last bad try and the first good one lies the edge.
  while (good - bad > 1) {
    const int64_t middle = bad + (good - bad) / 2;
    (readable(middle) ? good : bad) = middle;
  }
  if (good >= end || !readable(good)) return end;
  return it->Valid() ? std::min(end, BaseOffset(it)) : end;
}

void SeekToBlock(rocksdb::Iterator* it, int64_t offset) {
  const std::string key = LogKey(offset);
  it->Seek(key);
  if (it->Valid() && ToView(it->key()) == key) return;
  if (!it->Valid() && !it->status().ok()) return;
  const bool had_next = it->Valid();
  it->SeekForPrev(key);
  if (it->Valid()) {
    // A block whose header is damaged may hold the offset: whoever reads it will say so.
    const absl::StatusOr<BlockHeader> header = ParseBlockHeader(ToView(it->value()));
    if (!header.ok() || BaseOffset(it) + header->span > offset) return;
    it->Next();
    return;
  }
  if (had_next && it->status().ok()) it->Seek(key);
}

absl::Status PartitionCursor::SkipRemoved() {
  const int64_t start = partition_->start_offset.load();
  if (position_ >= start) return absl::OkStatus();
  const int64_t from = std::exchange(position_, start);
  return absl::OutOfRangeError(absl::StrCat("topic ", partition_->topic->name, " partition ", partition_->index,
                                            ": offsets [", from, ", ", start, ") were removed by retention"));
}

absl::Status PartitionCursor::Lost(int64_t to, absl::string_view why) {
  const int64_t from = std::exchange(position_, to);
  AtomicStats* stats = store_->stats();
  ++stats->damaged_ranges;
  stats->damaged_offsets += to - from;
  const std::string message = absl::StrCat("topic ", partition_->topic->name, " partition ", partition_->index,
                                           ": offsets [", from, ", ", to, ") are lost: ", why);
  NARU_LOG_EVERY_SECONDS(1, ERROR, "damaged log", {{"message", message}});
  return absl::DataLossError(message);
}

absl::Status PartitionCursor::SkipUnreadable(rocksdb::Iterator* it, absl::string_view why) {
  const int64_t next = NextReadable(it, position_, partition_->end_offset.load());
  return Lost(std::max(next, position_ + 1), why);
}

absl::StatusOr<size_t> PartitionCursor::Read(size_t max_bytes, std::vector<FetchedBatch>* out) {
  // The end is read before the iterator is made: all blocks below it are in the iterator's view.
  const int64_t end = partition_->end_offset.load();
  const std::unique_ptr<rocksdb::Iterator> it(store_->db()->NewIterator(LogReadOptions(), partition_->family));
  NARU_RETURN_IF_ERROR(SkipRemoved());
  size_t bytes = 0;
  size_t batches = 0;
  // A failure waits for the next call while there are records to hand out before it.
  const auto fail = [&](auto failure) -> absl::StatusOr<size_t> {
    if (batches > 0) return bytes;
    return failure();
  };
  SeekToBlock(it.get(), position_);
  while (position_ < end && (batches == 0 || bytes < max_bytes)) {
    if (!it->Valid()) {
      if (!it->status().ok()) {
        return fail([&] { return SkipUnreadable(it.get(), it->status().ToString()); });
      }
      if (partition_->topic->compacted) {
        position_ = end;  // compaction removed the rest
        break;
      }
      return fail([&] { return Lost(end, "they are missing at the end"); });
    }
    const int64_t base = BaseOffset(it.get());
    const absl::string_view value = ToView(it->value());
    const absl::StatusOr<BlockHeader> header = ParseBlockHeader(value);
    // A block knows where its predecessor ended: what lies between here and there was once written.
    if (header.ok() && !partition_->topic->compacted && header->previous_end > position_ && base > position_) {
      return fail([&] { return Lost(std::min(header->previous_end, base), "their blocks are missing"); });
    }
    absl::StatusOr<FetchedBatch> batch =
        header.ok() ? DecodeBlock(value, base, position_) : absl::StatusOr<FetchedBatch>(header.status());
    if (!batch.ok()) {
      return fail([&] {
        it->Next();
        const int64_t next = header.ok() ? base + header->span : it->Valid() ? BaseOffset(it.get()) : end;
        return Lost(std::max(next, position_ + 1), batch.status().message());
      });
    }
    position_ = batch->next_offset;
    it->Next();
    if (batch->records.empty()) continue;
    batch->topic = partition_->topic->name;
    batch->partition = partition_->index;
    bytes += header->raw_bytes + batch->records.size() * sizeof(FetchedRecord);
    ++batches;
    told_ = position_;
    out->push_back(*std::move(batch));
  }
  if (position_ != told_) {
    FetchedBatch moved;
    moved.topic = partition_->topic->name;
    moved.partition = partition_->index;
    moved.next_offset = told_ = position_;
    out->push_back(std::move(moved));
  }
  return bytes;
}

absl::StatusOr<std::optional<BlockPlace>> FindFirstBlock(RocksStore* store, Partition* partition,
                                                         const std::function<bool(const BlockPlace&)>& passes) {
  int64_t low = partition->start_offset.load();
  int64_t high = partition->end_offset.load();
  std::optional<BlockPlace> found;
  const std::unique_ptr<rocksdb::Iterator> it(store->db()->NewIterator(LogReadOptions(), partition->family));
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    SeekToBlock(it.get(), middle);
    absl::StatusOr<BlockHeader> header = absl::DataLossError("no block");
    // Over damage, the next readable block decides.
    for (int64_t at = middle; !header.ok() && at < high;) {
      if (!it->Valid() && it->status().ok()) break;
      if (it->Valid()) {
        header = ParseBlockHeader(ToView(it->value()));
        if (!header.ok()) it->Next();
      } else if (it->status().IsCorruption()) {
        at = NextReadable(it.get(), at, high);
      } else {
        return rocks::FromRocks(it->status(), "searching the log");
      }
    }
    if (!header.ok()) {
      high = middle;  // nothing readable from here on
      continue;
    }
    const int64_t base = BaseOffset(it.get());
    const BlockPlace place{base, base + header->span, *header};
    if (passes(place)) {
      found = place;
      high = std::min(middle, base);
    } else {
      low = std::max(middle + 1, place.end_offset);
    }
  }
  return found;
}

absl::StatusOr<int64_t> FindTime(RocksStore* store, Partition* partition, int64_t timestamp_us) {
  NARU_ASSIGN_OR_RETURN(const std::optional<BlockPlace> place,
                        FindFirstBlock(store, partition, [&](const BlockPlace& block) {
                          return block.header.partition_max_timestamp_us >= timestamp_us;
                        }));
  if (!place.has_value()) return partition->end_offset.load();
  // The greatest timestamp so far may be that of a record which is gone by now: then the first match lies further on.
  const int64_t start = partition->start_offset.load();
  const std::unique_ptr<rocksdb::Iterator> it(store->db()->NewIterator(LogReadOptions(), partition->family));
  int64_t position = place->base_offset;
  it->Seek(LogKey(position));
  for (int blocks = 0; it->Valid() && blocks < kMaxBlocksAfterSearch; ++blocks, it->Next()) {
    const int64_t base = BaseOffset(it.get());
    const absl::StatusOr<BlockHeader> header = ParseBlockHeader(ToView(it->value()));
    if (!header.ok()) return position;  // damage is for the reader to report
    position = base + header->span;
    if (header->max_timestamp_us < timestamp_us) continue;
    const absl::StatusOr<FetchedBatch> batch = DecodeBlock(ToView(it->value()), base, start);
    if (!batch.ok()) return base;
    for (const FetchedRecord& record : batch->records) {
      if (record.timestamp_us >= timestamp_us) return record.offset;
    }
  }
  return position;
}

}  // namespace naru::event_log
