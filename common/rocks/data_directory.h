// A directory that one process owns at a time and whose format is known before anything in it is touched.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace naru::rocks {

/// What a directory holds and the newest version of it that this program writes.
struct DirectoryFormat {
  std::string name;  ///< one word: `event_log`
  int version = 1;
};

/// Holds the directory while it lives: LOCK (flock, with the pid in it) and FORMAT (`naru <name> <version>`).
/// Not thread-safe.
class DataDirectory {
 public:
  /// Makes the directory and its parents if need be. An older version in FORMAT is left for the owner to raise.
  /// Errors: FAILED_PRECONDITION (reason NEWER_FORMAT) when FORMAT is newer than `format`, or of something else;
  /// UNAVAILABLE (reason DIRECTORY_IN_USE) when another process, or another opener in this one, has it;
  /// PERMISSION_DENIED; DATA_LOSS when FORMAT cannot be understood although it is not empty.
  static absl::StatusOr<std::unique_ptr<DataDirectory>> Open(const std::string& path, const DirectoryFormat& format);
  ~DataDirectory();
  DataDirectory(const DataDirectory&) = delete;
  DataDirectory& operator=(const DataDirectory&) = delete;

  const std::string& path() const { return path_; }
  /// The version that FORMAT had when opened.
  int version() const { return version_; }
  /// Whether FORMAT was missing: the directory is new, or lost it.
  bool format_was_missing() const { return format_was_missing_; }

 private:
  DataDirectory(std::string path, int lock_fd) : path_(std::move(path)), lock_fd_(lock_fd) {}

  std::string path_;
  int lock_fd_;
  int version_ = 0;
  bool format_was_missing_ = false;
};

/// Replaces the file by `contents` so that a crash leaves the old or the new one whole; synced, its directory too.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents);

/// The whole file. Errors: NOT_FOUND; INTERNAL.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path);

/// Makes the names in the directory durable.
absl::Status SyncDirectory(const std::string& path);

}  // namespace naru::rocks
