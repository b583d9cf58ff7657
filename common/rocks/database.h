// A RocksDB that always opens: mends what a crash or the disk broke, and says what it did.
// Only for .cc files of code that keeps data in RocksDB.
#pragma once

#include <rocksdb/db.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/rocks/options.h"
#include "common/sync/mutex.h"

namespace naru::rocks {

struct DatabaseOptions {
  /// RocksDB's directory. Beside it: `<path>.families` (names of the column families by number), `<path>.damaged/`
  /// (what was cut off or thrown away, at most kMaxDamagedBytes, oldest first out), `<path>.replay/` (while mending).
  std::string path;
  rocksdb::Env* env = nullptr;  ///< borrowed; null: the machine's
  size_t memtable_bytes = size_t{32} << 20;
  size_t cache_bytes = size_t{16} << 20;
  /// What a family of this name is for; null: all are kKeyed.
  FamilyUse (*use_of)(absl::string_view family) = nullptr;
  /// Called during Open for each acknowledged put that damage of the write-ahead log took away.
  std::function<void(const std::string& family, absl::string_view key, absl::string_view value)> lost_put;
};

/// What is kept of damaged files for people to look at.
inline constexpr int64_t kMaxDamagedBytes = int64_t{256} << 20;
/// Column families of a database: each costs a few tens of KiB.
inline constexpr int kMaxFamilies = 2048;

/// Thread-safe.
class Database {
 public:
  /// Opens or makes the database. Damage is mended: a torn tail of the write-ahead log is cut; damage inside it ends
  /// the log there; a missing or damaged CURRENT or MANIFEST is rebuilt from the tables and the log; an unreadable
  /// table is put aside. What was done is in notes(). Errors: as the disk gives them (PERMISSION_DENIED,
  /// RESOURCE_EXHAUSTED, UNAVAILABLE), never DATA_LOSS.
  static absl::StatusOr<std::unique_ptr<Database>> Open(DatabaseOptions options);

  /// Closes without writing the memory out (the write-ahead log has it); call Flush first for a quick next start.
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  rocksdb::DB* db() { return db_.get(); }
  /// Null when there is no such family. Handles live as long as the database.
  rocksdb::ColumnFamilyHandle* Find(const std::string& family) const;
  std::vector<std::string> Families() const;
  /// Makes those that are missing; one durable step each, so make many in one call.
  absl::Status EnsureFamilies(const std::vector<std::string>& families);
  /// Writes the memory of all families into tables.
  absl::Status Flush();

  /// In words, what opening found and mended.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  explicit Database(DatabaseOptions options);
  /// Whether a failure to open means that files are broken or missing, rather than that the machine is in trouble.
  static bool IsDamage(const rocksdb::Status& status);
  absl::Status OpenOrMend();
  rocksdb::Status OpenRocks();
  enum class Books { kNone, kThere, kLost };
  absl::StatusOr<Books> FindBooks();
  absl::Status CutWals(const std::string& directory);
  absl::Status Rebuild(const std::string& why);
  absl::Status ReplayWals();
  absl::Status WriteFamiliesFile();
  std::map<uint32_t, std::string> ReadFamiliesFile() const;
  void ReportLost(const std::map<uint32_t, std::string>& families, absl::string_view batch);
  void KeepDamaged(const std::string& file, uint64_t from, const std::string& name);
  std::string Sibling(absl::string_view suffix) const;

  const DatabaseOptions options_;
  SharedMemory memory_;
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<std::string> notes_;
  mutable Mutex mu_;
  std::map<std::string, rocksdb::ColumnFamilyHandle*> families_ ABSL_GUARDED_BY(mu_);
};

}  // namespace naru::rocks
