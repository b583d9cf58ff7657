// Files that are followed: what tells one generation of a log from the next, and how far each was taken.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace naru::cli {

/// How far a file was taken, as the server said.
struct FollowPosition {
  std::string line_id;  ///< empty: nothing was taken yet
  int64_t end_byte = 0;
  int64_t next_line_number = 1;
  std::string header;
};

/// A file on a disk: device and inode.
struct FileId {
  uint64_t device = 0;
  uint64_t inode = 0;
  bool operator==(const FileId&) const = default;
  /// No file is known to hold it any more.
  bool none() const { return inode == 0; }
};
FileId IdOf(const struct stat& info);

/// One content under a name, from its first line to its rotation. Its lines' ids begin at (source, seed), so they are
/// the same however often, and from whichever copy, it is read.
struct Generation {
  enum class State {
    kGrowing,  ///< under its own name
    kClosing,  ///< renamed, replaced or removed: taken to its end
    kDone,
  };
  FileId id;
  std::string name;  ///< under which it was found
  std::string path;  ///< where it was seen last
  std::string seed;
  uint64_t first_line = 0;  ///< hash
  uint64_t head = 0;        ///< hash of the first head_size bytes: what it held when it was found, at most kTailBytes
  int64_t head_size = 0;
  FollowPosition position;
  uint64_t tail = 0;  ///< hash of what is before position.end_byte, at most kTailBytes
  State state = State::kGrowing;

  // Not stored.
  int fd = -1;
  int64_t seen_size = -1;
  int64_t changed_us = 0;  ///< when its size changed last, or it was lost; monotonic
  int64_t seen_in = -1;    ///< number of the look that saw it
  bool grew = false;       ///< lines of it were taken
};

inline constexpr int64_t kTailBytes = 1024;

/// What a follower remembers between its runs.
struct FollowState {
  int64_t last_look_us = 0;  ///< wall clock; 0: this is the first run
  std::vector<std::unique_ptr<Generation>> generations;
};

/// Errors: INVALID_ARGUMENT for a file that is something else. A file that is not there gives an empty state.
absl::StatusOr<FollowState> LoadFollowState(const std::string& path);
/// Replaces the file in one step; it is on disk when this returns. Errors: UNAVAILABLE naming the path.
absl::Status SaveFollowState(const std::string& path, const FollowState& state);

/// Reads a file from its start, decompressed where it is gzip or Zstandard. Not thread-safe.
class ContentReader {
 public:
  /// `fd` is borrowed; its offset is neither used nor moved.
  explicit ContentReader(int fd);
  ~ContentReader();
  bool compressed() const;
  /// Bytes read; 0 at the end, -1 where the stream is damaged or cut off.
  int64_t Read(char* out, size_t size);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Hash of the first line; 0 where there is no whole one. A compressed file is whole: its last line needs no end.
uint64_t FirstLineHash(int fd, bool* compressed);
/// Hash of the first `*size` bytes, decompressed; `*size` becomes less where there are fewer.
uint64_t HeadHash(int fd, int64_t* size);
/// Hash of the bytes before `end` of an uncompressed file, at most kTailBytes; 0 where it is shorter.
uint64_t TailHash(int fd, int64_t end);
/// The same of what a file holds, decompressed; `*length` is all that it holds, -1 where it is damaged.
uint64_t ContentTailHash(int fd, int64_t end, int64_t* length);
/// Whether all that `copy` holds, decompressed, is what the uncompressed `original` begins with.
bool IsBeginningOf(int copy, int original);
/// Where the last line feed before `size` is, plus one; `from` where there is none after it.
int64_t EndOfLastLine(int fd, int64_t from, int64_t size);

}  // namespace naru::cli
