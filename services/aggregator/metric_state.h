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
#include "services/aggregator/entity_store.h"
#include "services/aggregator/late_events.h"
#include "services/aggregator/metric_plan.h"
#include "services/aggregator/pane_store.h"
#include "services/aggregator/session_tracker.h"
#include "services/aggregator/timelines.h"
#include "services/aggregator/user_tracker.h"

namespace naru::aggregator {

/// Appends the key of the group that `activation` belongs to. Missing, null and failed dimensions are null; returns how
/// many failed otherwise than by a missing field.
int AppendGroup(const MetricPlan& plan, const cel::Activation& activation, std::string* key);
/// Adds what `activation` holds (an event, or with session windows a session) to the measures of `route`. Returns how
/// many expressions failed.
int UpdateMeasures(const MetricPlan& plan, const CellLayout& layout, const MetricPlan::TypeRoute& route,
                   const cel::Activation& activation, const EventIdentity& event, char* cell);

/// Not thread-safe: belongs to the thread that counts events.
class MetricState {
  // First, so that they outlive the panes, which refer to the layout.
  std::shared_ptr<const MetricPlan> plan_;
  const CellLayout layout_;  // of its own: panes refer to it while plans come and go

 public:
  /// The sources are borrowed; null: nothing is stored.
  MetricState(std::shared_ptr<const MetricPlan> plan, int32_t partition, PaneSource* pane_source,
              EntitySource* entity_source);

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
  /// kDone: nothing is left to do with it; it did not match, or was counted by other means.
  enum class Outcome : uint8_t { kMatch, kDone, kLate };

  /// First half: decides whether the event counts (timelines, filter, lateness), finds its pane, and appends its
  /// group's key to `*key`. `type_id` is the event's type in the generation given to UseTypeIds. Must be called for
  /// every event of the partition, in the order of offsets.
  absl::StatusOr<Outcome> Route(const event::EventView& event, uint32_t type_id, int64_t event_time_us,
                                int64_t received_us, const cel::Activation& activation, std::string* key, Match* match);
  /// The first half for a late event that is counted after all, as often as there are replays of it. It is no part of a
  /// timeline. What this version of the metric did not find late it has counted already: kDone.
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
  /// The state of `entity` has changed because of an event received then.
  void TouchEntity(Entity* entity, int64_t received_us) { AddDirtyBytes(entities.MarkDirty(entity, received_us)); }
  void AddDirtyBytes(size_t bytes) {
    dirty_bytes += bytes;
    changed = true;
  }
  /// The end marker of a timeline. Errors: as Route.
  absl::Status EndTimeline(absl::string_view timeline, int64_t received_us);
  /// Null: the metric has no session windows.
  SessionTracker* sessions() { return sessions_.get(); }
  const SessionTracker* sessions() const { return sessions_.get(); }
  /// More than one commit should hold is due: commit, then Continue, before any further record.
  bool behind() const { return sessions_ != nullptr && sessions_->behind(); }
  absl::Status Continue() { return behind() ? sessions_->CountDue() : absl::OkStatus(); }

  // For those who count by other means than Route and Count.

  /// The row of a group, or of kOtherGroup where the pane is full.
  Row* FindRow(Pane* pane, uint64_t hash, absl::string_view key);
  /// Its states have changed because of an event received then.
  void TouchRow(Pane* pane, Row* row, int64_t received_us) {
    panes.MarkDirty(pane);
    if (!row->dirty) dirty_bytes += row_bytes_estimate;
    pane->MarkDirty(row);
    if (received_us > pane->record.last_change_us) pane->record.last_change_us = received_us;
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
  /// What the metric keeps of single entities; see entity_store.h. Changed through TouchEntity and the index's own
  /// calls, whose answers go to AddDirtyBytes.
  EntityStore entities;
  EntityIndex entity_index;
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
  bool IsAfterStart(int64_t received_us) const {
    return plan_->start.kind == StartRule::Kind::kEarliest || received_us >= plan_->start.time_us;
  }
  bool IsLate(int64_t event_time_us, int64_t timeline_time_us) const {
    return plan_->allowed_lateness_us.has_value() &&
           timeline_time_us - plan_->out_of_orderness_us - event_time_us > *plan_->allowed_lateness_us;
  }
  absl::Status Place(int64_t event_time_us, const MetricPlan::TypeRoute* route, const cel::Activation& activation,
                     std::string* key, Match* match);

  const int32_t partition_;
  PaneFinder finder_;
  Timelines timelines_;
  std::vector<std::unique_ptr<MetricPlan::TypeRoute>> routes_;  // by number of the type
  uint32_t type_generation_ = 0;
  std::unique_ptr<SessionTracker> sessions_;
  std::unique_ptr<UserTracker> users_;  // of a funnel or retention
};

}  // namespace naru::aggregator
