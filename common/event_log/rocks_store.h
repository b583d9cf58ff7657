// What all parts of the embedded log share: the database, its topics, its counters. Only for .cc files of this folder.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/event_log/event_log.h"
#include "common/event_log/rocks_event_log.h"
#include "common/event_log/rocks_keys.h"
#include "common/rocks/data_directory.h"
#include "common/rocks/database.h"
#include "common/sync/mutex.h"

namespace naru::event_log {

struct Topic;

/// Limits. A topic's partitions each cost a column family; a log's offsets in one block bound what damage of its last
/// block can hide.
inline constexpr int kMaxPartitions = 128;
inline constexpr uint32_t kMaxBlockRecords = 1 << 16;

/// One sequence of records.
struct Partition {
  Topic* topic = nullptr;
  int index = 0;
  rocksdb::ColumnFamilyHandle* family = nullptr;

  /// Where the next block goes. Only the commit thread (and opening) touches it.
  struct Tail {
    int64_t next_offset = 0;
    int64_t previous_end = 0;
    int64_t max_timestamp_us = INT64_MIN;
    uint64_t bytes = 0;
    uint64_t bytes_at_mark = 0;  ///< `bytes` when the end was last noted
  } tail;

  /// What readers see; set after the write that made it true.
  std::atomic<int64_t> start_offset{0};
  std::atomic<int64_t> end_offset{0};
  std::atomic<uint64_t> start_bytes{0};  ///< bytes of all blocks that retention has removed
  std::atomic<uint64_t> end_bytes{0};    ///< bytes of all blocks there ever were

  std::atomic<int64_t> last_compaction_us{0};  ///< by the monotonic clock

  /// Held while the stored PartitionState is read, changed and written.
  Mutex state_mu;
  PartitionState state ABSL_GUARDED_BY(state_mu);
};

struct Topic {
  std::string name;         ///< as callers say it
  std::string stored_name;  ///< with the prefix
  bool compacted = false;
  std::vector<std::unique_ptr<Partition>> partitions;

  mutable Mutex mu;
  CondVar changed;  ///< records came, or a consumer has something to do
  TopicConfig config ABSL_GUARDED_BY(mu);

  TopicConfig Config() const {
    MutexLock lock(&mu);
    return config;
  }
  /// Wakes whoever waits in a Poll.
  void Wake() {
    MutexLock lock(&mu);
    changed.SignalAll();
  }
};

struct AtomicStats {
  std::atomic<int64_t> appended_records{0}, appended_bytes{0}, commits{0}, refused_appends{0}, damaged_ranges{0},
      damaged_offsets{0}, dropped_unread_records{0}, dropped_records{0}, compacted_records{0}, in_flight_bytes{0};
};

/// Thread-safe.
class RocksStore {
 public:
  static absl::StatusOr<std::unique_ptr<RocksStore>> Open(const RocksEventLogOptions& options);

  const RocksEventLogOptions& options() const { return options_; }
  rocksdb::DB* db() { return database_->db(); }
  rocks::Database* database() { return database_.get(); }
  rocksdb::ColumnFamilyHandle* meta() { return meta_; }
  AtomicStats* stats() { return &stats_; }
  /// Long work should stop.
  bool closing() const { return closing_.load(); }
  void SetClosing() { closing_ = true; }

  /// As EventLog::CreateTopic.
  absl::Status CreateTopic(const TopicConfig& config);
  /// NOT_FOUND; topics live as long as the store.
  absl::StatusOr<Topic*> FindTopic(const std::string& name);
  /// Also INVALID_ARGUMENT for a partition that is not there.
  absl::StatusOr<Partition*> FindPartition(const std::string& topic, int partition);
  std::vector<Topic*> Topics();

  /// Writes a batch; every write of the log goes through here. After an error of the disk RocksDB refuses all writes:
  /// this resumes it as soon as there is room, and tries again. Callers have checked the disk if they are to be refused
  /// early.
  absl::Status Write(rocksdb::WriteBatch* batch, bool sync, absl::string_view what);
  /// OK, or why the last write failed.
  absl::Status WriteHealth() const;

  /// Writes keys of the family `meta`, all or nothing, synced.
  absl::Status WriteMeta(const std::vector<std::pair<std::string, std::string>>& puts,
                         const std::vector<std::string>& deletes = {});
  /// Calls fn for each key of a kind.
  absl::Status ScanMeta(MetaKind kind, const std::function<absl::Status(absl::string_view, absl::string_view)>& fn);
  /// Changes the stored state of a partition by `change`, which sees and edits the current one.
  absl::Status UpdatePartitionState(Partition* partition, const std::function<void(PartitionState*)>& change);

  /// OK, or RESOURCE_EXHAUSTED (reason DISK_NEARLY_FULL) while free space is below the reserve.
  absl::Status CheckDisk() const;
  int64_t FreeBytes() const;

  void AddNote(std::string note);
  RecoveryReport Report() const;

 private:
  explicit RocksStore(const RocksEventLogOptions& options) : options_(options) {}
  void NoteLostPut(const std::string& family, absl::string_view key, absl::string_view value);
  absl::Status LoadTopics();
  absl::StatusOr<std::unique_ptr<Topic>> MakeTopic(const TopicConfig& config);
  absl::Status LoadPartition(Partition* partition);
  absl::StatusOr<int64_t> LoadTail(Partition* partition, int64_t end_floor);
  absl::Status SkipLostTail(Partition* partition);
  absl::Status LoadStartBytes(Partition* partition);

  const RocksEventLogOptions options_;
  int64_t disk_reserve_bytes_ = 0;
  std::unique_ptr<rocks::DataDirectory> directory_;
  std::unique_ptr<rocks::Database> database_;
  rocksdb::ColumnFamilyHandle* meta_ = nullptr;
  AtomicStats stats_;
  std::atomic<bool> closing_{false};

  struct LostRange {
    int64_t from = INT64_MAX;
    int64_t to = 0;
  };
  std::map<std::string, LostRange> lost_;  // by family; only while opening

  rocksdb::Status Resume();

  Mutex resume_mu_;  // one attempt at a time
  int64_t next_resume_us_ ABSL_GUARDED_BY(resume_mu_) = 0;
  std::atomic<bool> write_failed_{false};
  Mutex create_mu_;  // one CreateTopic at a time
  mutable Mutex mu_;
  std::map<std::string, std::unique_ptr<Topic>> topics_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> notes_ ABSL_GUARDED_BY(mu_);
  absl::Status write_health_ ABSL_GUARDED_BY(mu_);
};

inline rocksdb::Slice ToSlice(absl::string_view s) { return {s.data(), s.size()}; }
inline absl::string_view ToView(const rocksdb::Slice& s) { return {s.data(), s.size()}; }

}  // namespace naru::event_log
