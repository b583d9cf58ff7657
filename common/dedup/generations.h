// The sealed generations of a directory: loading them, merging them, dropping what is too old.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/dedup/id_run.h"
#include "common/sync/mutex.h"

namespace naru::dedup {

using RunList = std::vector<std::shared_ptr<IdRun>>;

/// The runs of one moment, with what is looked at for every id kept together.
struct RunSet {
  explicit RunSet(RunList runs_in) : runs(std::move(runs_in)) {
    for (const auto& run : runs) filters.push_back(run->filter().view());
  }
  const RunList runs;                   ///< oldest first
  std::vector<IdFilter::View> filters;  ///< of each run
};

/// Runs by ascending sequence; their ranges never overlap. Thread-safe; Merge and Expire from one thread.
class Generations {
 public:
  /// `small_run` is about how many ids a freshly sealed run has.
  Generations(std::string directory, uint64_t key_fingerprint, size_t small_run);

  /// Loads the directory. Damaged files are renamed to `*.damaged` and told in `*notes`.
  absl::Status Load(std::vector<std::string>* notes);

  /// The runs as they are now; immutable, cheap.
  std::shared_ptr<const RunSet> runs() const;

  /// Writes sorted entries as a new, newest run.
  absl::Status Add(const std::vector<IdEntry>& entries, RunInfo info);
  /// Merges neighbours of about one size where there are eight of them; false if there was nothing to do.
  absl::StatusOr<bool> MergeOnce(uint32_t keep_from_s);
  /// Drops runs that hold nothing received at or after `keep_from_s`.
  void Expire(uint32_t keep_from_s);

  int64_t damaged_pages() const;

 private:
  std::string PathOf(uint64_t first, uint64_t last) const;
  int TierOf(const IdRun& run) const;

  const std::string directory_;
  const uint64_t key_fingerprint_;
  const size_t small_run_;
  mutable Mutex mu_;
  std::shared_ptr<const RunSet> runs_ ABSL_GUARDED_BY(mu_);
  int64_t damaged_before_ ABSL_GUARDED_BY(mu_) = 0;  // pages of runs that are gone
};

}  // namespace naru::dedup
