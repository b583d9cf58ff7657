#include <rocksdb/convenience.h>
#include <rocksdb/metadata.h>

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/event_log/rocks_cursor.h"
#include "common/event_log/rocks_maintenance.h"
#include "common/log/log.h"
#include "common/rocks/status.h"
#include "common/status/status.h"

namespace naru::event_log {
namespace {

// The base of the first passing block; without one, the end: all may go.
absl::StatusOr<int64_t> FirstKept(RocksStore* store, Partition* partition,
                                  const std::function<bool(const BlockPlace&)>& passes) {
  const int64_t end = partition->end_offset.load();
  NARU_ASSIGN_OR_RETURN(const std::optional<BlockPlace> first, FindFirstBlock(store, partition, passes));
  return first.has_value() ? first->base_offset : end;
}

// Where a partition would begin if it kept at most `limit` bytes.
absl::StatusOr<int64_t> StartForSize(RocksStore* store, Partition* partition, uint64_t limit) {
  const uint64_t end_bytes = partition->end_bytes.load();
  if (end_bytes - partition->start_bytes.load() <= limit) return partition->start_offset.load();
  return FirstKept(store, partition,
                   [&](const BlockPlace& block) { return end_bytes - block.header.bytes_before <= limit; });
}

// How many blocks one run looks at where a clock has been wrong; the next run goes on from there.
constexpr int kMaxBlocksAfterClockJump = 4096;

// Where a partition would begin without what was received before `oldest_us`.
absl::StatusOr<int64_t> StartForTime(RocksStore* store, Partition* partition, int64_t oldest_us, int64_t now_us) {
  NARU_ASSIGN_OR_RETURN(const std::optional<BlockPlace> first,
                        FindFirstBlock(store, partition, [&](const BlockPlace& block) {
                          return block.header.partition_max_timestamp_us >= oldest_us;
                        }));
  if (!first.has_value()) return partition->end_offset.load();
  if (first->header.partition_max_timestamp_us <= now_us) return first->base_offset;
  // A clock was ahead for a while, and the greatest time so far never falls: from here on the blocks' own times decide,
  // up to the first that is neither expired nor of the future.
  int64_t start = first->base_offset;
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> it(store->db()->NewIterator(read, partition->family));
  it->Seek(LogKey(start));
  for (int blocks = 0; it->Valid() && blocks < kMaxBlocksAfterClockJump; ++blocks, it->Next()) {
    const absl::string_view value(it->value().data(), it->value().size());
    const absl::StatusOr<BlockHeader> header = ParseBlockHeader(value);
    if (!header.ok()) continue;
    if (header->max_timestamp_us > now_us) continue;
    if (header->max_timestamp_us >= oldest_us) break;
    start = ParseLogKey(absl::string_view(it->key().data(), it->key().size())).value_or(0) + header->span;
  }
  return start;
}

struct Unread {
  int64_t from = std::numeric_limits<int64_t>::max();  ///< the first offset that some group has not read
  std::vector<std::string> groups;                     ///< those that have not read all below `candidate`
};

Unread FindUnread(GroupTable* groups, Partition* partition, int64_t candidate) {
  Unread unread;
  for (const auto& [name, committed] : groups->Registered(partition->topic->name)) {
    const auto it = committed.find(partition->index);
    const int64_t next = it == committed.end() ? 0 : it->second;
    if (next < candidate) unread.groups.push_back(name);
    unread.from = std::min(unread.from, next);
  }
  return unread;
}

// The hard limit of a topic in bytes; 0: none.
uint64_t HardLimit(const TopicConfig& config) {
  if (config.unread_hard_limit_bytes > 0) return static_cast<uint64_t>(config.unread_hard_limit_bytes);
  return static_cast<uint64_t>(config.retention_bytes) * 4;
}

absl::Status MoveStart(RocksStore* store, Partition* partition, int64_t new_start) {
  // The new start is durable before a file goes: a crash between leaves files that nobody looks at.
  const int64_t end_floor = partition->end_offset.load();
  NARU_RETURN_IF_ERROR(store->UpdatePartitionState(partition, [&](PartitionState* state) {
    state->start_offset = new_start;
    state->end_floor = std::max(state->end_floor, end_floor);
  }));
  NARU_ASSIGN_OR_RETURN(
      const std::optional<BlockPlace> first,
      FindFirstBlock(store, partition, [&](const BlockPlace& block) { return block.end_offset > new_start; }));
  partition->start_offset = new_start;
  partition->start_bytes = first.has_value() ? first->header.bytes_before : partition->end_bytes.load();
  const std::string begin = LogKey(0);
  // Not the new start itself: it may lie inside a block, whose key is below it.
  const std::string end = LogKey(first.has_value() ? first->base_offset : new_start);
  const rocksdb::Slice begin_slice(begin), end_slice(end);
  return rocks::FromRocks(rocksdb::DeleteFilesInRange(store->db(), partition->family, &begin_slice, &end_slice,
                                                      /*include_end=*/false),
                          "dropping old tables");
}

}  // namespace

absl::StatusOr<int64_t> ApplyRetention(RocksStore* store, GroupTable* groups, Partition* partition) {
  const TopicConfig config = partition->topic->Config();
  const int64_t start = partition->start_offset.load();
  int64_t candidate = start;
  if (config.retention_bytes > 0) {
    NARU_ASSIGN_OR_RETURN(const int64_t by_size,
                          StartForSize(store, partition, static_cast<uint64_t>(config.retention_bytes)));
    candidate = std::max(candidate, by_size);
  }
  if (config.retention_time.count() > 0) {
    const int64_t now_us = store->options().clock->NowMicros();
    NARU_ASSIGN_OR_RETURN(const int64_t by_time,
                          StartForTime(store, partition, now_us - config.retention_time.count(), now_us));
    candidate = std::max(candidate, by_time);
  }
  if (candidate <= start) return 0;
  const Unread unread = FindUnread(groups, partition, candidate);
  int64_t new_start = std::max(start, std::min(candidate, unread.from));
  if (new_start < candidate && HardLimit(config) > 0) {
    NARU_ASSIGN_OR_RETURN(const int64_t by_hard_limit, StartForSize(store, partition, HardLimit(config)));
    new_start = std::max(new_start, std::min(candidate, by_hard_limit));
  }
  if (new_start <= start) return 0;
  NARU_RETURN_IF_ERROR(MoveStart(store, partition, new_start));
  const int64_t removed = new_start - start;
  store->stats()->dropped_records += removed;
  const int64_t dropped_unread = new_start - std::max(start, std::min(unread.from, new_start));
  if (dropped_unread > 0) {
    store->stats()->dropped_unread_records += dropped_unread;
    NARU_LOG(WARNING, "retention dropped records that a consumer group had not read",
             {{"topic", partition->topic->name},
              {"partition", partition->index},
              {"records", dropped_unread},
              {"next_offset", new_start},
              {"groups", absl::StrJoin(unread.groups, ",")},
              {"hard_limit_bytes", HardLimit(config)}});
  }
  return removed;
}

absl::Status MergeSmallTables(RocksStore* store, Partition* partition) {
  // Large enough to be left alone: what a busy topic's share of a full memory makes is larger, and never rewritten.
  constexpr uint64_t kLargeTable = uint64_t{2} << 20;
  constexpr size_t kFanIn = 8;
  rocksdb::ColumnFamilyMetaData metadata;
  store->db()->GetColumnFamilyMetaData(partition->family, &metadata);
  if (metadata.levels.size() < 2) return absl::OkStatus();
  std::vector<rocksdb::SstFileMetaData> files = metadata.levels[1].files;
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.smallestkey < b.smallestkey; });
  const auto size_class = [](uint64_t size) {
    int c = 0;
    for (; size > 4096; size /= kFanIn) ++c;
    return c;
  };
  // A run: neighbours of one class.
  for (size_t i = 0; i < files.size();) {
    size_t end = i + 1;
    while (end < files.size() && end - i < kFanIn && size_class(files[end].size) == size_class(files[i].size)) ++end;
    if (end - i < kFanIn || files[i].size >= kLargeTable) {
      i = end;
      continue;
    }
    std::vector<std::string> inputs;
    for (; i < end; ++i) inputs.push_back(files[i].name);
    const rocksdb::Status status =
        store->db()->CompactFiles(rocksdb::CompactionOptions(), partition->family, inputs, /*output_level=*/1);
    // A damaged table stays as it is (readers say what it cost), and one that is busy is tried again next time.
    if (status.IsCorruption() || status.IsAborted() || status.IsInvalidArgument()) return absl::OkStatus();
    if (!status.ok()) return rocks::FromRocks(status, "merging tables");
  }
  return absl::OkStatus();
}

Maintenance::Maintenance(RocksStore* store, GroupTable* groups) : store_(store), groups_(groups) {
  if (store_->options().maintenance_interval.count() > 0) thread_ = std::thread([this] { Loop(); });
}

Maintenance::~Maintenance() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    store_->SetClosing();
    wake_.Signal();
  }
  if (thread_.joinable()) thread_.join();
}

void Maintenance::Loop() {
  while (true) {
    {
      MutexLock lock(&mu_);
      const auto deadline = std::chrono::steady_clock::now() + store_->options().maintenance_interval;
      while (!stopping_) {
        const auto left =
            std::chrono::duration_cast<std::chrono::microseconds>(deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) break;
        wake_.WaitFor(&mu_, left);
      }
      if (stopping_) return;
    }
    const absl::Status status = RunOnce(/*force=*/false);
    if (!status.ok()) NARU_LOG_EVERY_SECONDS(60, WARNING, "log maintenance failed", {{"status", status}});
  }
}

absl::Status Maintenance::RunOnce(bool force) {
  MutexLock run_lock(&run_mu_);
  absl::Status first;
  const auto note = [&](const absl::Status& status) {
    if (first.ok()) first = status;
  };
  for (Topic* topic : store_->Topics()) {
    for (const auto& partition : topic->partitions) {
      if (store_->closing()) return first;
      if (topic->compacted) {
        note(CompactPartition(store_, partition.get(), force).status());
      } else {
        note(ApplyRetention(store_, groups_, partition.get()).status());
        note(MergeSmallTables(store_, partition.get()));
      }
    }
  }
  return first;
}

}  // namespace naru::event_log
