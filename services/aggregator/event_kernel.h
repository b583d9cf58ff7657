// Counts events: parses each once, evaluates it for every metric, and updates the states in small groups, so that
// memory is fetched ahead.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/cel/cel.h"
#include "common/event/event_view.h"
#include "common/event_log/event_log.h"
#include "services/aggregator/late_events.h"
#include "services/aggregator/metric_state.h"
#include "services/aggregator/replay_filter.h"
#include "services/aggregator/type_ids.h"

namespace naru::aggregator {

/// An event that came later than a metric allows.
struct LateEvent {
  std::string metric;
  std::string bytes;  ///< as EncodeLateEvent made them
  int64_t received_us = 0;
};

/// Not thread-safe. Borrows the plan set whose environment it evaluates in.
class EventKernel {
 public:
  explicit EventKernel(std::shared_ptr<const PlanSet> plans);
  ~EventKernel();

  /// Counts the records of a batch with offsets in [begin_offset, end_offset) in each of `metrics` (all of one
  /// partition and of this plan set); a metric skips what is below its `next_offset`, which moves on to where this
  /// ends. Records that are not events are skipped and counted. `replays` may be null; `late` takes what is too late.
  /// Returns where to go on: the end of the batch (or `end_offset`), or an offset before it where a commit must come
  /// first (MetricState::behind). Errors: of reading stored states; the states are then of no use any more.
  absl::StatusOr<int64_t> Process(const event_log::FetchedBatch& batch, int64_t begin_offset, int64_t end_offset,
                                  absl::Span<MetricState* const> metrics, ReplayFilter* replays,
                                  std::vector<LateEvent>* late);

  int64_t processed_events() const { return processed_; }
  int64_t skipped_records() const { return skipped_; }
  const std::shared_ptr<const PlanSet>& plans() const { return plans_; }

 private:
  static constexpr size_t kRing = 16;
  struct Pending {
    MetricState* state;
    MetricState::Match match;
    const cel::Activation* activation;
    const EventIdentity* event;
    int64_t received_us;
    uint32_t key_begin;
    uint32_t key_size;
  };
  absl::Status Take(const event_log::FetchedRecord& record, absl::Span<MetricState* const> metrics,
                    ReplayFilter* replays, std::vector<LateEvent>* late);
  absl::Status TakeReplay(const event_log::FetchedRecord& record, absl::Span<MetricState* const> metrics);
  uint32_t TypeIdOf(absl::string_view type, absl::Span<MetricState* const> metrics);
  void AddPending(MetricState* state, const MetricState::Match& match, size_t slot, int64_t received_us);
  void Flush();

  std::shared_ptr<const PlanSet> plans_;
  std::vector<std::unique_ptr<cel::Activation>> ring_;
  std::array<EventIdentity, kRing> events_;  // those that the ring holds
  std::array<LateReplay, kRing> replayed_;   // their bytes, of those that are counted after all
  size_t in_ring_ = 0;
  TypeIds types_;
  std::vector<Pending> pending_;
  std::string keys_;
  std::string key_;
  int64_t processed_ = 0;
  int64_t skipped_ = 0;
};

}  // namespace naru::aggregator
