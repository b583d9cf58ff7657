// A metric in one source partition: how far it is, and its states.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/cel/cel.h"
#include "services/aggregator/aggregate_record.h"
#include "services/aggregator/late_events.h"
#include "services/aggregator/metric_plan.h"
#include "services/aggregator/pane_store.h"
#include "services/aggregator/timelines.h"

namespace naru::aggregator {

/// Not thread-safe: belongs to the thread that counts events.
class MetricState {
  // First, so that they outlive the panes, which refer to the layout.
  std::shared_ptr<const MetricPlan> plan_;
  const CellLayout layout_;  // of its own: panes refer to it while plans come and go

 public:
  /// `source` is borrowed; null: nothing is stored.
  MetricState(std::shared_ptr<const MetricPlan> plan, int32_t partition, PaneSource* source);

  /// The same version compiled again, when the set of metrics changed.
  void SetPlan(std::shared_ptr<const MetricPlan> plan);
  const MetricPlan& plan() const { return *plan_; }
  MetricId id() const { return {plan_->name, plan_->version}; }
  int32_t partition() const { return partition_; }

  /// What a stored progress record says.
  void Restore(Progress progress);
  /// What to store.
  Progress ToProgress() const;

  /// An event that passed the filter: where it is to be counted.
  struct Match {
    Pane* pane = nullptr;
    const MetricPlan::TypeRoute* route = nullptr;
    uint64_t hash = 0;
    int64_t timeline_time_us = kNever;  ///< kLate: the greatest time of its timeline
  };
  enum class Outcome : uint8_t { kMatch, kNoMatch, kLate };

  /// First half: decides whether the event counts (timelines, filter, lateness), finds its pane, and appends its
  /// group's key to `*key`. `type_id` is the event's type in the generation given to UseTypeIds. Must be called for
  /// every event of the partition, in the order of offsets.
  absl::StatusOr<Outcome> Route(const event::EventView& event, uint32_t type_id, int64_t event_time_us,
                                int64_t received_us, const cel::Activation& activation, std::string* key, Match* match);
  /// The first half for a late event that is counted after all, as often as there are replays of it. It is no part of a
  /// timeline. What this version of the metric did not find late it has counted already: kNoMatch.
  absl::StatusOr<Outcome> RouteReplay(const event::EventView& event, uint32_t type_id, int64_t event_time_us,
                                      const LateReplay& replay, const cel::Activation& activation, std::string* key,
                                      Match* match);
  /// Numbers of types are of this generation from now on; matches made before must have been counted.
  void UseTypeIds(uint32_t generation) {
    if (generation == type_generation_) return;
    type_generation_ = generation;
    routes_.clear();
  }
  /// Second half: counts it. The activation must still hold the event.
  void Count(const Match& match, absl::string_view key, int64_t received_us, const cel::Activation& activation,
             const EventIdentity& event);
  /// The end marker of a timeline.
  void EndTimeline(absl::string_view timeline, int64_t received_us) {
    timelines_.End(timeline, received_us);
    changed = true;
  }

  int64_t next_offset = 0;
  bool joined = false;
  std::optional<int64_t> valid_from_us;
  bool starts_late = false;  ///< the log has lost its beginning: the first event says from when on this is valid
  bool changed = false;      ///< anything that a commit must store
  bool spec_stored = false;  ///< the kSpec record is in `aggregates`
  EventCounts counts;
  PaneStore panes;
  /// About what the changed rows will take in `aggregates`; for the pace of commits.
  size_t dirty_bytes = 0;
  /// Average size of a row in `aggregates`, learnt from commits.
  size_t row_bytes_estimate = 128;

  const Timelines& timelines() const { return timelines_; }

 private:
  const MetricPlan::TypeRoute* RouteFor(absl::string_view type, uint32_t type_id) {
    if (type_id < routes_.size() && routes_[type_id] != nullptr) return routes_[type_id].get();
    return AddRoute(type, type_id);
  }
  const MetricPlan::TypeRoute* AddRoute(absl::string_view type, uint32_t type_id);
  bool AppendGroup(const cel::Activation& activation, std::string* key);
  bool IsAfterStart(int64_t received_us) const {
    return plan_->start.kind == StartRule::Kind::kEarliest || received_us >= plan_->start.time_us;
  }
  bool IsLate(int64_t event_time_us, int64_t timeline_time_us) const {
    return plan_->allowed_lateness_us.has_value() &&
           timeline_time_us - plan_->out_of_orderness_us - event_time_us > *plan_->allowed_lateness_us;
  }
  absl::Status Place(int64_t event_time_us, const MetricPlan::TypeRoute* route, const cel::Activation& activation,
                     std::string* key, Match* match);
  Row* FindRow(Pane* pane, uint64_t hash, absl::string_view key);

  const int32_t partition_;
  PaneFinder finder_;
  Timelines timelines_;
  std::vector<std::unique_ptr<MetricPlan::TypeRoute>> routes_;  // by number of the type
  uint32_t type_generation_ = 0;
};

}  // namespace naru::aggregator
