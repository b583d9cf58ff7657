// Which ids were seen within a window of time: exact, in bounded memory, for tens of millions of them.
//
// The newest ids are in a table that never grows; when it is full (or an hour old) the next one takes over and the full
// one is sealed: written as a sorted file with a filter in memory, and merged with others like it in the background. An
// id is looked up in the tables, then in the filters (one cache line each), and on disk only where a filter says yes.
//
// An id counts as seen from the moment it is checked. Until its batch is durable a duplicate of it must not be
// acknowledged: Check says which batches it depends on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/clock/clock.h"
#include "common/dedup/id_hash.h"

namespace naru::dedup {

struct IdWindowOptions {
  /// Where sealed generations are kept; made if it is not there. One IdWindow a directory.
  std::string directory;
  HashKey key{};
  /// The newest ids: 2^slot_bits slots of 20 bytes, three quarters used, twice (one fills while one is sealed).
  int slot_bits = 19;
  /// Ids older than this are forgotten. Windows given to Check should not be longer.
  std::chrono::seconds longest_window{7 * 24 * 3600};
  /// A table is sealed after this time or so many batches although it is not full, so that little is replayed at start.
  std::chrono::seconds seal_after{3600};
  int64_t seal_after_batches = 50'000;
  /// What to remember with the ids so far; asked under a lock when a table is full, must not block. May be empty.
  std::function<std::string()> note;
  /// Called from a background thread once all batches up to `sequence` are in files on disk. May be empty.
  std::function<void(uint64_t sequence)> sealed;
  const Clock* clock = Clock::System();
};

/// An id to check.
struct Candidate {
  IdHash id;
  uint32_t window_s = 0;  ///< how long the same id counts as a duplicate, by received time
};

enum class Answer : uint8_t { kNew, kDuplicate };

/// A batch that was checked and is not yet known to be durable. Opaque; see IdWindow.
class PendingBatch;

struct CheckedBatch {
  uint64_t sequence = 0;                                 ///< of this batch: grows by one with each Check
  std::shared_ptr<PendingBatch> batch;                   ///< give it to Commit or Rollback
  std::vector<std::shared_ptr<PendingBatch>> waits_for;  ///< earlier batches that its duplicates are in
};

struct IdWindowStats {
  int64_t ids = 0;           ///< held, of all ages
  int64_t memory_bytes = 0;  ///< tables, filters and indexes
  int64_t disk_bytes = 0;
  int64_t runs = 0;          ///< sealed generations
  int64_t disk_lookups = 0;  ///< since opening
  int64_t false_positives = 0;
  int64_t damaged_pages = 0;
};

/// Thread-safe.
class IdWindow {
 public:
  /// Opens the directory and loads the sealed generations (30 MB for 20 million ids). Damaged files are set aside as
  /// `*.damaged` and told in `*notes` (may be null).
  /// Errors: those of the file system; FAILED_PRECONDITION for files of a newer release.
  static absl::StatusOr<std::unique_ptr<IdWindow>> Open(IdWindowOptions options, std::vector<std::string>* notes);
  /// Waits for the background work at hand; what is not sealed is forgotten.
  ~IdWindow();
  IdWindow(const IdWindow&) = delete;
  IdWindow& operator=(const IdWindow&) = delete;

  const IdHasher& hasher() const { return hasher_; }
  /// All batches up to this sequence were in the files when it was opened.
  uint64_t sealed_sequence() const;
  /// The newest note that a sealed generation carries.
  std::string sealed_note() const;

  /// Puts in the ids of a batch that is durable; at start, by growing sequence from sealed_sequence() + 1.
  void Restore(uint64_t sequence, absl::Span<const IdHash> ids, uint32_t time_s);
  /// Puts in ids that somebody else stored.
  void Remember(absl::Span<const IdHash> ids, uint32_t time_s);

  /// Checks ids received at `time_s` and puts the new ones in; answers[i] is for candidates[i]. Of an id that is twice
  /// in the batch the second is the duplicate. Each Check needs one Commit or Rollback, by and by. Errors:
  /// RESOURCE_EXHAUSTED when the disk does not take sealed generations (then nothing was put in).
  absl::StatusOr<CheckedBatch> Check(absl::Span<const Candidate> candidates, uint32_t time_s,
                                     absl::Span<Answer> answers);

  /// The batch is durable.
  void Commit(const std::shared_ptr<PendingBatch>& batch);
  /// It is not: its new ids are forgotten again.
  void Rollback(const std::shared_ptr<PendingBatch>& batch);

  /// Calls `done(all durable)` once every one of `batches` was committed or rolled back; at once if they are. `done`
  /// runs on the thread that calls Commit or Rollback and must not block.
  static void WhenResolved(const std::vector<std::shared_ptr<PendingBatch>>& batches, std::function<void(bool)> done);

  IdWindowStats stats() const;
  /// Waits until everything full is sealed and merged; for tests and orderly stops.
  void WaitForBackgroundWork();

 private:
  struct State;
  IdWindow(const HashKey& key, std::unique_ptr<State> state);
  const IdHasher hasher_;
  std::unique_ptr<State> state_;
};

}  // namespace naru::dedup
