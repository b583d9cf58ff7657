#include "common/rocks/options.h"

#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>

#include <cstdarg>
#include <cstdio>
#include <limits>

#include "common/log/log.h"

namespace naru::rocks {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

// RocksDB's warnings and errors, in our log. Its own LOG file is not written: nobody reads it, and it costs syncs.
class ForwardingLogger : public rocksdb::Logger {
 public:
  ForwardingLogger() : Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}
  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list args) override { Logv(rocksdb::InfoLogLevel::WARN_LEVEL, format, args); }
  void Logv(const rocksdb::InfoLogLevel level, const char* format, va_list args) override {
    if (level < rocksdb::InfoLogLevel::WARN_LEVEL || level >= rocksdb::InfoLogLevel::HEADER_LEVEL) return;
    char text[512];  // longer ones are cut
    std::vsnprintf(text, sizeof(text), format, args);
    if (level >= rocksdb::InfoLogLevel::ERROR_LEVEL) {
      NARU_LOG_EVERY_SECONDS(1, ERROR, "rocksdb", {{"message", text}});
    } else {
      NARU_LOG_EVERY_SECONDS(1, WARNING, "rocksdb", {{"message", text}});
    }
  }
};

// Decides what errors of background work mean.
class ErrorPolicy : public rocksdb::EventListener {
 public:
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override {
    // A damaged table costs those who read it. Without this its compaction would stop all writing for ever.
    if (reason == rocksdb::BackgroundErrorReason::kCompaction && error->IsCorruption()) *error = rocksdb::Status::OK();
  }
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* auto_recovery) override {
    // Whoever writes resumes the database, at the first write that can succeed, not up to five seconds later.
    *auto_recovery = false;
  }
};

rocksdb::BlockBasedTableOptions TableOptions(const SharedMemory& memory) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = memory.cache;
  table.format_version = 5;
  table.checksum = rocksdb::kXXH3;
  // Index and filter blocks count against the cache: otherwise memory grows with the number of tables.
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  return table;
}

}  // namespace

SharedMemory MakeSharedMemory(size_t memtable_bytes, size_t cache_bytes) {
  SharedMemory memory;
  memory.memtables = std::make_shared<rocksdb::WriteBufferManager>(memtable_bytes);
  memory.cache = rocksdb::NewLRUCache(cache_bytes, /*num_shard_bits=*/2);
  return memory;
}

rocksdb::DBOptions MakeDatabaseOptions(rocksdb::Env* env, const SharedMemory& memory) {
  rocksdb::DBOptions options;
  options.env = env;
  options.info_log = std::make_shared<ForwardingLogger>();
  options.listeners.push_back(std::make_shared<ErrorPolicy>());
  options.create_missing_column_families = true;
  options.write_buffer_manager = memory.memtables;
  options.max_total_wal_size = kMaxWalBytes;
  // All families are written out together, so that whatever is lost of the write-ahead log, what stays is one moment in
  // time: no family is ahead of another (offsets ahead of records, ids ahead of events).
  options.atomic_flush = true;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.max_background_jobs = 2;  // one flush, one compaction: the machine belongs to the services
  options.max_open_files = 512;     // bounds the memory of open tables, about 10 KiB each
  options.bytes_per_sync = kMiB;    // no burst of dirty pages when a table is finished
  options.keep_log_file_num = 1;
  options.max_manifest_file_size = 4 * kMiB;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.skip_stats_update_on_db_open = true;
  // A table of the wrong size is found when it is read, and then costs only itself.
  options.skip_checking_sst_file_sizes_on_db_open = true;
  options.avoid_unnecessary_blocking_io = true;
  options.enable_write_thread_adaptive_yield = false;  // few writers, and they sync: spinning would only burn the core
  return options;
}

rocksdb::ColumnFamilyOptions MakeFamilyOptions(FamilyUse use, const SharedMemory& memory) {
  rocksdb::ColumnFamilyOptions options;
  rocksdb::BlockBasedTableOptions table = TableOptions(memory);
  options.write_buffer_size = 64 * kMiB;  // the shared budget flushes long before
  options.arena_block_size = 256 << 10;   // small: dozens of families hold one each
  options.max_write_buffer_number = 3;    // a disk slower than the writers then stops these, before memory doubles
  options.ttl = 0;                        // never rewrite a table because of its age
  options.periodic_compaction_seconds = 0;
  // Tables waiting to be moved down never stop writers: whoever reads keyed families would rather read a few more
  // tables.
  options.level0_slowdown_writes_trigger = 1 << 20;
  options.level0_stop_writes_trigger = 1 << 20;
  options.soft_pending_compaction_bytes_limit = 0;
  options.hard_pending_compaction_bytes_limit = 0;
  if (use == FamilyUse::kGrowing) {
    options.compression = rocksdb::kNoCompression;
    // Two levels: a flushed table does not overlap those below it, so it is moved down by name, and level 1 has no
    // limit.
    options.num_levels = 2;
    options.level0_file_num_compaction_trigger = 2;
    options.level_compaction_dynamic_level_bytes = false;
    // Merges are ours to decide (event_log): without this RocksDB would cut them at 64 MiB anyway.
    options.target_file_size_base = 64 * kMiB;
    table.block_size = 4096;
  } else {
    options.compression = rocksdb::kLZ4Compression;
    options.level0_file_num_compaction_trigger = 4;
    options.target_file_size_base = 16 * kMiB;
    options.max_bytes_for_level_base = 64 * kMiB;
    table.block_size = 16 << 10;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10, false));
  }
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

}  // namespace naru::rocks
