#include "services/aggregator/metric_state.h"

#include <algorithm>
#include <utility>

#include "common/status/status.h"

namespace naru::aggregator {
namespace {

bool IsFailure(const cel::Value& value) { return value.is_error(); }

}  // namespace

int AppendGroup(const MetricPlan& plan, const cel::Activation& activation, std::string* key) {
  int failed = 0;
  for (const DimensionPlan& dimension : plan.dimensions) {
    const cel::Value value = dimension.program.Eval(activation);
    if (AppendGroupValue(value, key)) continue;
    const bool missing = value.is_error() && value.error_code() == cel::ErrorCode::kNoSuchField;
    if (!missing) ++failed;
    AppendGroupValue(cel::Value::Null(), key);
  }
  return failed;
}

int UpdateMeasures(const MetricPlan& plan, const CellLayout& layout, const MetricPlan::TypeRoute& route,
                   const cel::Activation& activation, const EventIdentity& event, char* cell) {
  int failed = 0;
  const auto count = [&](uint16_t i) {
    const MeasurePlan& measure = plan.measures[i];
    if (measure.shape.kind == MeasureKind::kCount) {
      layout.Increment(i, cell);
    } else if (!layout.Update(i, cell, measure.expr.Eval(activation), event)) {
      ++failed;
    }
  };
  for (const uint16_t i : route.unconditional) count(i);
  for (const uint16_t i : route.conditional) {
    const cel::Value matches = plan.measures[i].filter.program.Eval(activation);
    if (matches.IsTrue()) {
      count(i);
    } else if (IsFailure(matches)) {
      ++failed;
    }
  }
  if (plan.session != nullptr) layout.Increment(plan.measures.size(), cell);
  return failed;
}

MetricState::MetricState(std::shared_ptr<const MetricPlan> plan, int32_t partition, PaneSource* pane_source,
                         EntitySource* entity_source)
    : plan_(std::move(plan)),
      layout_(plan_->layout),
      panes({plan_->name, plan_->version}, partition, &layout_, pane_source),
      entities({plan_->name, plan_->version}, partition, entity_source),
      entity_index({plan_->name, plan_->version}, partition, entity_source),
      partition_(partition),
      finder_(&plan_->grid) {
  entities.set_retention_us(plan_->retention_us);
  if (plan_->session != nullptr) sessions_ = std::make_unique<SessionTracker>(this);
  if (plan_->users != nullptr) users_ = std::make_unique<UserTracker>(this);
}

void MetricState::SetPlan(std::shared_ptr<const MetricPlan> plan) {
  plan_ = std::move(plan);
  finder_ = PaneFinder(&plan_->grid);
  routes_.clear();
  type_generation_ = 0;
  if (sessions_ != nullptr) sessions_->SetPlan();
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
  if (sessions_ != nullptr) {
    NARU_RETURN_IF_ERROR(sessions_->Advance(event.timeline, max_time_us - plan_->out_of_orderness_us));
  }
  if (!IsAfterStart(received_us)) return Outcome::kDone;
  const MetricPlan::TypeRoute* route = RouteFor(event.type, type_id);
  if (route->filter_fails) {
    ++counts.not_matched;
    return Outcome::kDone;
  }
  if (!route->filter_matches) {
    const cel::Value matches = plan_->filter.program.Eval(activation);
    if (!matches.IsTrue()) {
      if (IsFailure(matches)) ++counts.failed_expressions;
      ++counts.not_matched;
      return Outcome::kDone;
    }
  }
  if (IsLate(event_time_us, max_time_us)) {
    ++counts.late;
    match->timeline_time_us = max_time_us;
    return Outcome::kLate;
  }
  if (users_ != nullptr) {
    NARU_ASSIGN_OR_RETURN(const bool counts_it, users_->Add(event, *route, event_time_us, received_us, activation));
    ++(counts_it ? counts.matched : counts.not_matched);
    return Outcome::kDone;
  }
  if (sessions_ != nullptr) {
    NARU_ASSIGN_OR_RETURN(const bool on_time, sessions_->Add(event, event_time_us, received_us));
    match->timeline_time_us = max_time_us;
    return on_time ? Outcome::kDone : Outcome::kLate;
  }
  NARU_RETURN_IF_ERROR(Place(event_time_us, route, activation, key, match));
  return Outcome::kMatch;
}

absl::StatusOr<MetricState::Outcome> MetricState::RouteReplay(const event::EventView& event, uint32_t type_id,
                                                              int64_t event_time_us, const LateReplay& replay,
                                                              const cel::Activation& activation, std::string* key,
                                                              Match* match) {
  changed = true;
  if (!IsAfterStart(replay.received_us) || !IsLate(event_time_us, replay.timeline_time_us)) return Outcome::kDone;
  const MetricPlan::TypeRoute* route = RouteFor(event.type, type_id);
  if (route->filter_fails) return Outcome::kDone;
  if (!route->filter_matches && !plan_->filter.program.Eval(activation).IsTrue()) return Outcome::kDone;
  counts.late = std::max<int64_t>(0, counts.late - 1);
  if (sessions_ != nullptr) {
    // Between two counted sessions it is late for good.
    const int64_t now_us = std::max(replay.received_us, timelines_.LastReceived());
    NARU_RETURN_IF_ERROR(sessions_->Add(event, event_time_us, now_us).status());
    return Outcome::kDone;
  }
  NARU_RETURN_IF_ERROR(Place(event_time_us, route, activation, key, match));
  return Outcome::kMatch;
}

absl::Status MetricState::Place(int64_t event_time_us, const MetricPlan::TypeRoute* route,
                                const cel::Activation& activation, std::string* key, Match* match) {
  NARU_ASSIGN_OR_RETURN(match->pane, panes.Get(finder_.Find(event_time_us)));
  match->route = route;
  counts.failed_expressions += AppendGroup(*plan_, activation, key);
  match->hash = HashGroup(*key);
  match->pane->Prefetch(match->hash);
  return absl::OkStatus();
}

absl::Status MetricState::EndTimeline(absl::string_view timeline, int64_t received_us) {
  timelines_.End(timeline, received_us);
  changed = true;
  return sessions_ != nullptr ? sessions_->CountDue() : absl::OkStatus();
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
  TouchRow(pane, row, received_us);
  counts.failed_expressions += UpdateMeasures(*plan_, layout_, *match.route, activation, event, row->cell());
}

}  // namespace naru::aggregator
