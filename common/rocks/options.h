// How Naru sets RocksDB up. Only for .cc files of code that keeps data in RocksDB.
#pragma once

#include <rocksdb/options.h>
#include <rocksdb/write_buffer_manager.h>

#include <cstddef>
#include <memory>

namespace naru::rocks {

/// What a column family is for.
enum class FamilyUse {
  /// Keys only grow and values are large and compressed already: tables are moved down, never rewritten (write-ahead
  /// log
  /// and table: each byte is written twice), and old ones are dropped as files.
  kGrowing,
  /// Keys are written again, deleted and looked up: compressed, with a filter.
  kKeyed,
};

/// Memory that the families of a database share.
struct SharedMemory {
  std::shared_ptr<rocksdb::WriteBufferManager> memtables;
  std::shared_ptr<rocksdb::Cache> cache;
};
SharedMemory MakeSharedMemory(size_t memtable_bytes, size_t cache_bytes);

/// Write-ahead log: at most this much is replayed when opening.
inline constexpr size_t kMaxWalBytes = size_t{128} << 20;

rocksdb::DBOptions MakeDatabaseOptions(rocksdb::Env* env, const SharedMemory& memory);
rocksdb::ColumnFamilyOptions MakeFamilyOptions(FamilyUse use, const SharedMemory& memory);

}  // namespace naru::rocks
