// Follows files as they grow and are rotated: which files there are, which content is new, and what to send next.
//
// A generation is recognised by device, inode, its first line and the bytes before the position. A name that holds
// another one has been rotated: what a new generation repeats counts again (it gets a seed of its own), what a copy, a
// renamed or a compressed file repeats counts once (it has the seed of what it was). Positions are kept in a file; a
// seed is on disk before its first line is sent, and the server's ledger knows every line, so a kill at any time
// neither loses nor doubles.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock/clock.h"
#include "services/naru/followed_file.h"

namespace naru::cli {

/// Lines to be taken: the bytes of one file from `position` on.
struct FollowPiece {
  std::string path;
  std::string seed;
  FollowPosition position;
  bool growing = true;      ///< more will come: a last line without its end stays for later
  bool compressed = false;  ///< as the bytes are; then from the file's start
  bool pause = false;       ///< nobody looks at the file from now on: its timeline ends until more of it comes
  int64_t bytes = 0;        ///< how many `read` will give
  /// Gives the next bytes (0 at the end, -1 when they must not be taken: the file changed under the reader).
  std::function<int64_t(std::string*)> read;
};

/// Where the lines go; in the program an ImportEvents call.
class LineTaker {
 public:
  virtual ~LineTaker() = default;
  /// Takes all or tells why not; then some may have been taken. Blocks.
  /// Errors: FAILED_PRECONDITION when the position is not known (send from the start); UNAVAILABLE, RESOURCE_EXHAUSTED,
  /// ABORTED, DEADLINE_EXCEEDED: again later; OUT_OF_RANGE: `read` gave -1; DATA_LOSS: a damaged compressed file.
  virtual absl::StatusOr<FollowPosition> Take(const FollowPiece& piece) = 0;
};

struct FollowOptions {
  /// Files that may not be there yet, directories, patterns.
  std::vector<std::string> arguments;
  std::string positions_path;
  /// A file that was rotated is complete when it has been silent for so long.
  std::chrono::milliseconds rotate_wait{5'000};
  /// A file that begins like one that is known may still be being copied until it has been silent for so long.
  std::chrono::milliseconds settle{2'000};
};

/// Not thread-safe.
class Follower {
 public:
  /// `taker`, `clock` and `say` are borrowed. `say` tells people what was found. Errors: as LoadFollowState.
  static absl::StatusOr<std::unique_ptr<Follower>> Open(FollowOptions options, LineTaker* taker, const Clock* clock,
                                                        std::function<void(const std::string&)> say);
  ~Follower();
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;

  /// Looks at all files once and has taken what is new. `stop` is asked between files.
  /// Errors: those of the taker that are not "again later" for one file alone; what was not taken comes at the next
  /// look.
  absl::Status Look(const std::function<bool()>& stop);
  /// Says of the files that grew since this was made that nobody looks at them from now on. What fails is left: a
  /// timeline that is silent for long enough ends by itself.
  void Pause();
  /// Files that are open now.
  int open_files() const;

 private:
  struct State;
  explicit Follower(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Whether `path` is what rotation makes of `name`: access.log.1, access.log-20261128.gz.
bool IsRotatedName(absl::string_view path, absl::string_view name);

}  // namespace naru::cli
