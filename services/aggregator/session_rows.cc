#include "services/aggregator/session_rows.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"
#include "services/aggregator/metric_state.h"

namespace naru::aggregator {

struct SessionRowSource::RunningRow {
  explicit RunningRow(const CellLayout* layout) : cell(layout) {}
  Cell cell;
  Revisions revisions;
  int64_t offset = 0;
};

struct SessionRowSource::RunningPane {
  std::map<std::string, RunningRow, std::less<>> rows;
  int64_t offset = 0;
  int64_t open_until_us = kNever;
};

RunningSessionsFn RunningSessionsOf(ServingView& view, const MetricId& metric) {
  return [&view, metric](int32_t partition, const std::function<bool(absl::string_view, int64_t)>& fn) {
    bool damaged = false;
    NARU_RETURN_IF_ERROR(view.VisitEntitiesWithOffsets(metric, partition, EntityId{},
                                                       [&](const EntityId&, absl::string_view value, int64_t offset) {
                                                         EntityRecord record;
                                                         damaged = !DecodeEntity(value, &record);
                                                         return !damaged && fn(record.state, offset);
                                                       }));
    if (!damaged) return absl::OkStatus();
    return MakeError(absl::StatusCode::kDataLoss, "STATE_DAMAGED", "a stored entity cannot be read");
  };
}

SessionRowSource::SessionRowSource(RowSource& counted, std::shared_ptr<const MetricPlan> plan,
                                   RunningSessionsFn running, bool with_empty)
    : counted_(counted),
      plan_(std::move(plan)),
      running_(std::move(running)),
      with_empty_(with_empty),
      event_(plan_->session.get()),
      route_(plan_->RouteOfSession()) {}

SessionRowSource::~SessionRowSource() = default;

absl::Status SessionRowSource::Load(int64_t from_us, int64_t to_us) {
  panes_.clear();
  rows_ = 0;
  EntitySessions sessions;
  for (int p = 0; p < partitions(); ++p) {
    absl::Status status;
    NARU_RETURN_IF_ERROR(running_(p, [&](absl::string_view state, int64_t offset) {
      if (DecodeEntitySessions(state, &sessions)) {
        status = AddEntity(p, sessions, offset, from_us, to_us);
      } else {
        status = MakeError(absl::StatusCode::kDataLoss, "STATE_DAMAGED", "stored sessions cannot be read");
      }
      return status.ok();
    }));
    NARU_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

absl::Status SessionRowSource::AddEntity(int32_t partition, const EntitySessions& sessions, int64_t offset,
                                         int64_t from_us, int64_t to_us) {
  std::string group;
  for (const Session& session : sessions.running) {
    const int64_t start_us = plan_->grid.PaneOf(session.start_us).start_us;
    if (start_us < from_us || start_us >= to_us) continue;
    RunningPane& pane = panes_[{partition, start_us}];
    pane.offset = std::max(pane.offset, offset);
    pane.open_until_us = std::max(pane.open_until_us, session.end_us + plan_->session->gap_us);
    const cel::Activation& activation = event_.Load(sessions.entity, session);
    group.clear();
    AppendGroup(*plan_, activation, &group);
    auto found = pane.rows.find(group);
    if (found == pane.rows.end()) {
      if (++rows_ > kMaxMergedGroups) {
        return MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_GROUPS",
                         absl::StrCat("running sessions are in more than ", kMaxMergedGroups, " rows"));
      }
      found = pane.rows.emplace(group, RunningRow(&plan_->layout)).first;
    }
    RunningRow& row = found->second;
    UpdateMeasures(*plan_, plan_->layout, route_, activation, IdentityOf(sessions.entity, session), row.cell.data());
    row.offset = std::max(row.offset, offset);
    for (const auto& [end_us, count] : session.revisions) AddRevisions(end_us, count, &row.revisions);
  }
  return absl::OkStatus();
}

std::vector<ViewPane> SessionRowSource::ListPanes(int32_t partition, int64_t from_us, int64_t to_us) const {
  std::vector<ViewPane> panes = counted_.ListPanes(partition, from_us, to_us);
  const size_t counted = panes.size();
  for (auto it = panes_.lower_bound({partition, from_us}); it != panes_.end(); ++it) {
    const auto& [place, running] = *it;
    if (place.first != partition || place.second >= to_us) break;
    const auto found = std::lower_bound(panes.begin(), panes.begin() + static_cast<std::ptrdiff_t>(counted),
                                        place.second, [](const ViewPane& a, int64_t b) { return a.start_us < b; });
    if (found != panes.begin() + static_cast<std::ptrdiff_t>(counted) && found->start_us == place.second) {
      found->offset = std::max(found->offset, running.offset);
    } else {
      panes.push_back({place.second, PaneRecord(), running.offset});
    }
  }
  std::sort(panes.begin(), panes.end(), [](const ViewPane& a, const ViewPane& b) { return a.start_us < b.start_us; });
  return panes;
}

namespace {

// The last state of a row is the count of its sessions, whose last byte is zero only where it is zero (see PutVarint).
bool IsEmpty(absl::string_view row) { return !row.empty() && row.back() == '\0'; }

}  // namespace

absl::Status SessionRowSource::VisitRows(int32_t partition, int64_t pane_start_us, absl::string_view from_group,
                                         const std::function<bool(const ViewRow&)>& fn) {
  const auto pane = panes_.find({partition, pane_start_us});
  const auto visit_counted = [&](const ViewRow& row) { return (!with_empty_ && IsEmpty(row.value)) || fn(row); };
  if (pane == panes_.end()) return counted_.VisitRows(partition, pane_start_us, from_group, visit_counted);
  auto next = pane->second.rows.lower_bound(from_group);
  const auto end = pane->second.rows.end();
  bool go_on = true, damaged = false;
  std::string value;
  // Gives the running rows before `group`, and says whether there is one of `group` itself.
  const auto take_running = [&](const absl::string_view* group) {
    for (; go_on && next != end && (group == nullptr || next->first < *group); ++next) {
      value.clear();
      EncodeRow(next->second.revisions, plan_->layout, next->second.cell.data(), &value);
      go_on = fn({next->first, value, next->second.offset, /*running=*/true});
    }
    return next != end && group != nullptr && next->first == *group;
  };
  NARU_RETURN_IF_ERROR(counted_.VisitRows(partition, pane_start_us, from_group, [&](const ViewRow& row) {
    const bool both = take_running(&row.group);
    if (!go_on || !both) return go_on && visit_counted(row);
    const RunningRow& running = next->second;
    Cell cell(&plan_->layout);
    Revisions revisions = running.revisions, stored;
    if (!MergeRow(row.value, plan_->layout, cell.data(), &stored)) {
      damaged = true;
      return false;
    }
    for (const auto& [end_us, count] : stored) AddRevisions(end_us, count, &revisions);
    plan_->layout.Merge(running.cell.data(), cell.data());
    value.clear();
    EncodeRow(revisions, plan_->layout, cell.data(), &value);
    ++next;
    go_on = fn({row.group, value, std::max(row.offset, running.offset), /*running=*/true});
    return go_on;
  }));
  if (damaged) return MakeError(absl::StatusCode::kDataLoss, "STATE_DAMAGED", "a stored row cannot be read");
  take_running(nullptr);
  return absl::OkStatus();
}

int64_t SessionRowSource::OpenUntil(const TimeSpan& window) const {
  int64_t open_until_us = kNever;
  for (int p = 0; p < partitions(); ++p) {
    for (auto it = panes_.lower_bound({p, window.start_us}); it != panes_.end(); ++it) {
      if (it->first.first != p || it->first.second >= window.end_us) break;
      open_until_us = std::max(open_until_us, it->second.open_until_us);
    }
  }
  return open_until_us;
}

bool ShownRunningRows::Take(const WindowQuery& query, const TimeSpan& window, bool is_final, bool whole,
                            std::vector<ResultRow> all, std::vector<ResultRow>* told) {
  const std::pair<int64_t, int64_t> ends{window.start_us, window.end_us};
  Running before, after;
  if (const auto found = running_.find(ends); found != running_.end()) {
    before = std::move(found->second);
    running_.erase(found);
  }
  whole = whole || (!before.keys.empty() && before.final != is_final);
  after.final = is_final;
  bool any = false;
  for (ResultRow& row : all) {
    any = any || !row.empty;
    if (row.running) after.keys.insert(row.key);
    const bool left = before.keys.erase(row.key) > 0 && !row.running;
    if ((whole && !row.empty) || row.changed || left) told->push_back(std::move(row));
  }
  for (const std::string& key : before.keys) told->push_back(query.EmptyRow(window, key, is_final));
  if (!after.keys.empty()) running_[ends] = std::move(after);
  return any;
}

void ShownRunningRows::AppendWindows(std::vector<TimeSpan>* windows) const {
  if (running_.empty()) return;
  std::set<std::pair<int64_t, int64_t>> have;
  for (const TimeSpan& window : *windows) have.emplace(window.start_us, window.end_us);
  for (const auto& [ends, running] : running_) {
    if (have.count(ends) == 0) windows->push_back({ends.first, ends.second});
  }
}

}  // namespace naru::aggregator
