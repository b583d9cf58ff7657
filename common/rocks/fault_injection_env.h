// A file system that can lose power, fill up and fail: for tests of what is kept in RocksDB.
// Only for .cc files.
#pragma once

#include <rocksdb/env.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <shared_mutex>
#include <string>

#include "common/clock/clock.h"
#include "common/sync/mutex.h"

namespace naru::rocks {

/// Passes everything on to the real file system and remembers what has been synced. Thread-safe.
class FaultInjectionEnv : public rocksdb::EnvWrapper {
 public:
  FaultInjectionEnv();
  ~FaultInjectionEnv() override;

  /// Cuts the power: when it returns, nothing is being written, and every later change and sync fails.
  void CutPower();
  /// What the disk has after the cut, for the files that were written through this object: each file keeps what was
  /// synced and a random part of the rest, some of which may read as zeros; files whose directory was not synced may be
  /// gone. Call when the database is closed. The power is on again afterwards.
  void LoseUnsynced(Random* random);

  /// Writes fail with "no space" and free space reads as 0 while set.
  void SetDiskFull(bool full) { disk_full_ = full; }
  /// What GetFreeSpace answers; -1: the truth.
  void SetFreeBytes(int64_t bytes) { free_bytes_ = bytes; }
  /// Total bytes given to Append.
  int64_t appended_bytes() const { return appended_bytes_.load(); }

  rocksdb::Status NewWritableFile(const std::string& name, std::unique_ptr<rocksdb::WritableFile>* file,
                                  const rocksdb::EnvOptions& options) override;
  rocksdb::Status ReopenWritableFile(const std::string& name, std::unique_ptr<rocksdb::WritableFile>* file,
                                     const rocksdb::EnvOptions& options) override;
  rocksdb::Status ReuseWritableFile(const std::string& name, const std::string& old_name,
                                    std::unique_ptr<rocksdb::WritableFile>* file,
                                    const rocksdb::EnvOptions& options) override;
  rocksdb::Status NewDirectory(const std::string& name, std::unique_ptr<rocksdb::Directory>* directory) override;
  rocksdb::Status DeleteFile(const std::string& name) override;
  rocksdb::Status RenameFile(const std::string& from, const std::string& to) override;
  rocksdb::Status LinkFile(const std::string& from, const std::string& to) override;
  rocksdb::Status GetFreeSpace(const std::string& path, uint64_t* free) override;

 private:
  friend class TrackedFile;
  friend class TrackedDirectory;
  struct FileState {
    uint64_t size = 0;
    uint64_t synced = 0;
    bool name_synced = false;
  };

  // Runs `change` unless the power is off.
  template <typename Change>
  rocksdb::Status IfPowered(Change change);
  rocksdb::Status CheckSpace() const;
  void Track(const std::string& name);
  void Grow(const std::string& name, uint64_t bytes);
  void MarkSynced(const std::string& name);
  void MarkNamesSynced(const std::string& directory);

  std::shared_mutex power_mu_;  // held shared by each change, alone by CutPower
  bool powered_ = true;
  std::atomic<bool> disk_full_{false};
  std::atomic<int64_t> free_bytes_{-1};
  std::atomic<int64_t> appended_bytes_{0};
  Mutex mu_;
  std::map<std::string, FileState> files_ ABSL_GUARDED_BY(mu_);
};

}  // namespace naru::rocks
