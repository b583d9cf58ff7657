// A sealed generation of ids: a sorted file, with a filter and a sparse index in memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/dedup/id_filter.h"
#include "common/dedup/id_hash.h"
#include "common/dedup/id_table.h"

namespace naru::dedup {

/// Which batches a run covers, and what its owner noted.
struct RunInfo {
  uint64_t first_sequence = 0;
  uint64_t last_sequence = 0;
  uint64_t key_fingerprint = 0;
  uint64_t count = 0;
  uint32_t min_time_s = 0;
  uint32_t max_time_s = 0;
  std::string note;  ///< at most 3 KiB
};

/// Immutable, so thread-safe. The file is removed when the last user of a run that was marked obsolete is gone.
///
/// File: a header page; pages of 255 entries with a checksum each; the filter; the first key of each page. A page is
/// read with one pread and checked; a damaged one counts as holding nothing.
class IdRun {
 public:
  /// Loads header, filter and index. Errors: DATA_LOSS for a file that is not whole; FAILED_PRECONDITION for a newer
  /// format; NOT_FOUND.
  static absl::StatusOr<std::shared_ptr<IdRun>> Open(const std::string& path);
  ~IdRun();
  IdRun(const IdRun&) = delete;
  IdRun& operator=(const IdRun&) = delete;

  const RunInfo& info() const { return info_; }
  const IdFilter& filter() const { return *filter_; }
  const std::string& path() const { return path_; }
  size_t memory_bytes() const { return filter_->size_bytes() + first_keys_.size() * sizeof(uint64_t); }

  /// When the id was received; nothing if it is not in this run. One read of 4 KiB.
  std::optional<uint32_t> Find(const IdHash& id) const;
  /// Pages that Find could not read; grows.
  int64_t damaged_pages() const;

  /// Reads the entries of page `page` of `pages()`; false if it is damaged.
  bool ReadPage(size_t page, std::vector<IdEntry>* entries) const;
  size_t pages() const { return first_keys_.size(); }

  void MarkObsolete() { obsolete_ = true; }

 private:
  IdRun() = default;

  std::string path_;
  int fd_ = -1;
  RunInfo info_;
  std::unique_ptr<IdFilter> filter_;
  std::vector<uint64_t> first_keys_;
  mutable std::atomic<int64_t> damaged_pages_{0};
  std::atomic<bool> obsolete_{false};
};

/// Writes a run: entries in ascending order, then Finish. The file has its name only when all of it is on disk.
class IdRunWriter {
 public:
  /// `expected` ids at most. Errors: those of the file system.
  static absl::StatusOr<std::unique_ptr<IdRunWriter>> Create(const std::string& path, size_t expected);
  ~IdRunWriter();
  absl::Status Add(const IdEntry& entry);
  /// `info.count` and the times are filled in here.
  absl::Status Finish(RunInfo info);

 private:
  IdRunWriter(std::string path, size_t expected) : path_(std::move(path)), filter_(expected) {}
  absl::Status FlushPage();
  absl::Status Write(const void* data, size_t size);

  std::string path_;
  int fd_ = -1;
  bool finished_ = false;
  IdFilter filter_;
  std::vector<IdEntry> page_;
  std::vector<uint64_t> first_keys_;
  std::string buffer_;
  uint64_t count_ = 0;
  uint32_t min_time_s_ = 0xffffffff;
  uint32_t max_time_s_ = 0;
};

/// Merges runs (oldest first) into a new file: of an id that several hold the newest time stays, entries received
/// before `keep_from_s` are left out. Damaged pages are left out too.
absl::Status MergeRuns(const std::vector<std::shared_ptr<IdRun>>& runs, uint32_t keep_from_s, const std::string& path);

}  // namespace naru::dedup
