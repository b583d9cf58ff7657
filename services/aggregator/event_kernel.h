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

  /// Counts the records of a batch with offsets below `end_offset` in each of `metrics` (all of one partition and of
  /// this plan set); a metric skips what is below its `next_offset`, which moves on to the batch's end. Records that
  /// are not events are skipped and counted. `replays` may be null; `late` takes what is too late. Errors: of reading
  /// stored panes; the states are then of no use any more.
  absl::Status Process(const event_log::FetchedBatch& batch, int64_t end_offset, absl::Span<MetricState* const> metrics,
                       ReplayFilter* replays, std::vector<LateEvent>* late);

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
