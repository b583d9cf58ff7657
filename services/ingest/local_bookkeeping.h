// Bookkeeping beside an embedded log.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock/clock.h"
#include "common/sync/mutex.h"
#include "services/ingest/bookkeeping.h"

namespace naru::ingest {

struct LocalBookkeepingOptions {
  std::string directory;  ///< for sealed generations of ids
  const Clock* clock = Clock::System();
  Random* random = Random::System();
  int id_table_bits = 19;  ///< see dedup::IdWindowOptions::slot_bits
  int64_t seal_after_batches = 20'000;
};

/// Each batch leaves one key in the family `ids`: its new ids and its counts. When a generation of ids is sealed, the
/// counts of its batches are added to one total in the family `state`, and their keys go.
///
/// Keys begin with a format version and a project id (0); numbers in keys are big-endian.
class LocalBookkeeping : public Bookkeeping {
 public:
  /// Restores ids and counts. `store` is borrowed. What was damaged is told in `*notes`.
  static absl::StatusOr<std::unique_ptr<LocalBookkeeping>> Open(event_log::LocalStore* store,
                                                                const LocalBookkeepingOptions& options,
                                                                std::vector<std::string>* notes);
  ~LocalBookkeeping() override;

  dedup::IdWindow& window() override { return *window_; }
  std::vector<event_log::LocalWrite> Begin(uint64_t sequence, uint32_t time_s, absl::Span<const dedup::IdHash> ids,
                                           const Counts& counts) override;
  void End(uint64_t sequence, bool durable) override;
  Counts Totals() const override;
  absl::Status CatchUp() override { return absl::OkStatus(); }
  absl::StatusOr<bool> WasReplayed(int32_t partition, int64_t offset) override;
  void MarkReplayed(int32_t partition, int64_t offset, absl::string_view type,
                    std::vector<event_log::LocalWrite>* local, std::vector<LedgerRecord>* ledger) override;
  absl::Status Ready() const override { return absl::OkStatus(); }

 private:
  explicit LocalBookkeeping(event_log::LocalStore* store) : store_(store) {}
  absl::Status Restore(const LocalBookkeepingOptions& options, std::vector<std::string>* notes);
  absl::Status ReplayBatches(uint32_t now_s, std::vector<std::string>* notes);
  void FoldSealed(uint64_t sequence);

  event_log::LocalStore* const store_;
  mutable Mutex mu_;
  Counts totals_ ABSL_GUARDED_BY(mu_);  // everything durable
  Counts folded_ ABSL_GUARDED_BY(mu_);  // of batches up to folded_sequence_
  uint64_t folded_sequence_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<std::pair<uint64_t, std::string>> unfolded_ ABSL_GUARDED_BY(mu_);  // encoded counts of batches after it
  std::vector<std::pair<uint64_t, Counts>> under_way_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<dedup::IdWindow> window_;  // last: its threads call FoldSealed
};

}  // namespace naru::ingest
