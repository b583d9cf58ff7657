#include "services/aggregator/metric_state.h"

#include <algorithm>
#include <utility>

#include "common/status/status.h"

namespace naru::aggregator {
namespace {

bool IsFailure(const cel::Value& value) { return value.is_error(); }

}  // namespace

MetricState::MetricState(std::shared_ptr<const MetricPlan> plan, int32_t partition, PaneSource* source)
    : plan_(std::move(plan)),
      layout_(plan_->layout),
      panes({plan_->name, plan_->version}, partition, &layout_, source),
      partition_(partition),
      finder_(&plan_->grid) {}

void MetricState::SetPlan(std::shared_ptr<const MetricPlan> plan) {
  plan_ = std::move(plan);
  finder_ = PaneFinder(&plan_->grid);
  routes_.clear();
  type_generation_ = 0;
}

void MetricState::Restore(Progress progress) {
  next_offset = progress.next_offset;
  joined = progress.joined;
  valid_from_us = progress.valid_from_us;
  counts = progress.counts;
  timelines_.Restore(std::move(progress.timelines));
}

Progress MetricState::ToProgress() const {
  Progress progress;
  progress.next_offset = next_offset;
  progress.joined = joined;
  progress.valid_from_us = valid_from_us;
  progress.counts = counts;
  progress.timelines = timelines_.all();
  return progress;
}

const MetricPlan::TypeRoute* MetricState::AddRoute(absl::string_view type, uint32_t type_id) {
  if (type_id >= routes_.size()) routes_.resize(type_id + 1);
  routes_[type_id] = std::make_unique<MetricPlan::TypeRoute>(plan_->RouteOf(type));
  return routes_[type_id].get();
}

bool MetricState::AppendGroup(const cel::Activation& activation, std::string* key) {
  for (const DimensionPlan& dimension : plan_->dimensions) {
    const cel::Value value = dimension.program.Eval(activation);
    if (AppendGroupValue(value, key)) continue;
    const bool missing = value.is_error() && value.error_code() == cel::ErrorCode::kNoSuchField;
    if (!missing) ++counts.failed_expressions;
    AppendGroupValue(cel::Value::Null(), key);
  }
  return true;
}

absl::StatusOr<MetricState::Outcome> MetricState::Route(const event::EventView& event, uint32_t type_id,
                                                        int64_t event_time_us, int64_t received_us,
                                                        const cel::Activation& activation, std::string* key,
                                                        Match* match) {
  changed = true;
  if (starts_late) {
    valid_from_us = received_us;
    starts_late = false;
  }
  const int64_t max_time_us = timelines_.Observe(event.timeline, event_time_us, received_us);
  if (!IsAfterStart(received_us)) return Outcome::kNoMatch;
  const MetricPlan::TypeRoute* route = RouteFor(event.type, type_id);
  if (route->filter_fails) {
    ++counts.not_matched;
    return Outcome::kNoMatch;
  }
  if (!route->filter_matches) {
    const cel::Value matches = plan_->filter.program.Eval(activation);
    if (!matches.IsTrue()) {
      if (IsFailure(matches)) ++counts.failed_expressions;
      ++counts.not_matched;
      return Outcome::kNoMatch;
    }
  }
  if (IsLate(event_time_us, max_time_us)) {
    ++counts.late;
    match->timeline_time_us = max_time_us;
    return Outcome::kLate;
  }
  NARU_RETURN_IF_ERROR(Place(event_time_us, route, activation, key, match));
  return Outcome::kMatch;
}

absl::StatusOr<MetricState::Outcome> MetricState::RouteReplay(const event::EventView& event, uint32_t type_id,
                                                              int64_t event_time_us, const LateReplay& replay,
                                                              const cel::Activation& activation, std::string* key,
                                                              Match* match) {
  changed = true;
  if (!IsAfterStart(replay.received_us) || !IsLate(event_time_us, replay.timeline_time_us)) return Outcome::kNoMatch;
  const MetricPlan::TypeRoute* route = RouteFor(event.type, type_id);
  if (route->filter_fails) return Outcome::kNoMatch;
  if (!route->filter_matches && !plan_->filter.program.Eval(activation).IsTrue()) return Outcome::kNoMatch;
  counts.late = std::max<int64_t>(0, counts.late - 1);
  NARU_RETURN_IF_ERROR(Place(event_time_us, route, activation, key, match));
  return Outcome::kMatch;
}

absl::Status MetricState::Place(int64_t event_time_us, const MetricPlan::TypeRoute* route,
                                const cel::Activation& activation, std::string* key, Match* match) {
  NARU_ASSIGN_OR_RETURN(match->pane, panes.Get(finder_.Find(event_time_us)));
  match->route = route;
  AppendGroup(activation, key);
  match->hash = HashGroup(*key);
  match->pane->Prefetch(match->hash);
  return absl::OkStatus();
}

Row* MetricState::FindRow(Pane* pane, uint64_t hash, absl::string_view key) {
  Row* row = pane->Find(hash, key);
  if (row != nullptr) return row;
  if (pane->record.group_count >= plan_->max_groups) {
    pane->record.truncated = true;
    hash = HashGroup(kOtherGroup);
    row = pane->Find(hash, kOtherGroup);
    return row != nullptr ? row : pane->Insert(hash, kOtherGroup);
  }
  ++pane->record.group_count;
  return pane->Insert(hash, key);
}

void MetricState::Count(const Match& match, absl::string_view key, int64_t received_us,
                        const cel::Activation& activation, const EventIdentity& event) {
  ++counts.matched;
  Pane* pane = match.pane;
  Row* row = FindRow(pane, match.hash, key);
  panes.MarkDirty(pane);
  if (!row->dirty) dirty_bytes += row_bytes_estimate;
  pane->MarkDirty(row);
  pane->record.last_change_us = std::max(pane->record.last_change_us, received_us);
  char* cell = row->cell();
  const auto count = [&](uint16_t i) {
    const MeasurePlan& measure = plan_->measures[i];
    if (measure.shape.kind == MeasureKind::kCount) {
      layout_.Increment(i, cell);
    } else if (!layout_.Update(i, cell, measure.expr.Eval(activation), event)) {
      ++counts.failed_expressions;
    }
  };
  for (const uint16_t i : match.route->unconditional) count(i);
  for (const uint16_t i : match.route->conditional) {
    const cel::Value matches = plan_->measures[i].filter.program.Eval(activation);
    if (matches.IsTrue()) {
      count(i);
    } else if (IsFailure(matches)) {
      ++counts.failed_expressions;
    }
  }
}

}  // namespace naru::aggregator
