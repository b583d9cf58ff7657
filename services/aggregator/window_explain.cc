#include "services/aggregator/window_explain.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock/rfc3339.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/row_proto.h"
#include "services/aggregator/session_rows.h"
#include "services/aggregator/window_query.h"

namespace naru::aggregator {
namespace {

const char* NameOf(TimelineStanding standing) {
  switch (standing) {
    case TimelineStanding::kOpen:
      return "OPEN";
    case TimelineStanding::kIdle:
      return "IDLE";
    case TimelineStanding::kEnded:
      return "ENDED";
    case TimelineStanding::kSilent:
      return "SILENT";
  }
  return "OPEN";
}

v1::QueryWindowsRequest QueryOf(const v1::ExplainWindowRequest& request) {
  v1::QueryWindowsRequest query;
  query.set_metric(request.metric());
  query.set_filter(request.filter());
  if (request.has_window_start_time()) {
    *query.mutable_from_time() = request.window_start_time();
    TimeToProto(TimeFromProto(request.window_start_time()) + 1, query.mutable_to_time());
  }
  return query;
}

// The window and its one row.
absl::StatusOr<ResultRow> FindRow(const v1::ExplainWindowRequest& request, WindowQuery* query, RowSource& source,
                                  int64_t frontier_us) {
  std::vector<TimeSpan> windows = query->Windows(source, frontier_us);
  for (auto window = windows.rbegin(); window != windows.rend(); ++window) {
    if (request.has_window_end_time() && window->end_us != TimeFromProto(request.window_end_time())) continue;
    NARU_ASSIGN_OR_RETURN(std::vector<ResultRow> rows, query->WindowRows(source, *window, frontier_us, {}));
    if (!rows.empty()) return std::move(rows[0]);
  }
  const std::string which =
      request.has_window_start_time()
          ? absl::StrCat(" that starts at ", FormatRfc3339(TimeFromProto(request.window_start_time())))
          : "";
  return MakeError(absl::StatusCode::kNotFound, "WINDOW_NOT_FOUND",
                   absl::StrCat("metric ", request.metric(), " has no window", which, " with such groups"));
}

void ExplainTimeline(const Timeline& timeline, const MetricPlan& plan, TimelineStanding standing,
                     v1::TimelineExplanation* proto) {
  proto->set_timeline(timeline.id);
  if (timeline.max_time_us != kNever)
    TimeToProto(timeline.max_time_us - plan.out_of_orderness_us, proto->mutable_watermark_time());
  if (timeline.last_received_us != kNever) TimeToProto(timeline.last_received_us, proto->mutable_last_received_time());
  proto->set_state(NameOf(standing));
}

void ExplainPartition(int32_t partition, const PartitionStanding& standing, const MetricPlan& plan, int64_t now_us,
                      v1::PartitionExplanation* proto) {
  proto->set_partition(partition);
  proto->set_end_offset(standing.end_offset);
  if (standing.frontier_us != kNever && standing.frontier_us != kForever)
    TimeToProto(standing.frontier_us, proto->mutable_frontier_time());
  if (!standing.progress.has_value()) return;
  proto->set_next_offset(standing.progress->next_offset);
  proto->set_joined(standing.progress->joined);
  const EventCounts& counts = standing.progress->counts;
  proto->set_matched_count(counts.matched);
  proto->set_not_matched_count(counts.not_matched);
  proto->set_late_count(counts.late);
  proto->set_failed_expression_count(counts.failed_expressions);
  for (const Timeline& timeline : standing.progress->timelines) {
    ExplainTimeline(timeline, plan, StandingOf(timeline, plan.idle_timeout_us, now_us, standing.caught_up),
                    proto->add_timelines());
  }
}

void ExplainPartial(const PartialRow& partial, const WindowQuery& query, v1::PanePartial* proto) {
  proto->set_partition(partial.partition);
  TimeToProto(partial.pane.start_us, proto->mutable_pane_start_time());
  TimeToProto(partial.pane.end_us, proto->mutable_pane_end_time());
  proto->set_group_count(partial.group_count);
  proto->set_pane_group_count(partial.record.group_count);
  proto->set_truncated(partial.record.truncated);
  // Of a pane in which sessions only run nothing is stored yet.
  if (partial.record.last_change_us != 0) {
    TimeToProto(partial.record.last_change_us, proto->mutable_last_change_time());
  }
  proto->set_offset(partial.offset);
  for (size_t i = 0; i < partial.measures.size(); ++i) {
    const MeasurePlan& measure = query.plan().measures[query.measures()[i]];
    MeasureToProto(partial.measures[i], measure.shape, &(*proto->mutable_measures())[measure.name]);
  }
}

// What the window's numbers are, all read at one moment.
struct Explained {
  ResultRow row;
  size_t groups = 0;
  std::vector<PartialRow> partials;
  int64_t omitted = 0;
};

absl::StatusOr<Explained> Read(const v1::ExplainWindowRequest& request, WindowQuery* by_group, WindowQuery* query,
                               RowSource& source, int64_t frontier_us) {
  Explained explained;
  NARU_ASSIGN_OR_RETURN(explained.row, FindRow(request, query, source, frontier_us));
  const TimeSpan window = explained.row.window;
  NARU_ASSIGN_OR_RETURN(const std::vector<ResultRow> groups, by_group->WindowRows(source, window, frontier_us, {}));
  explained.groups = groups.size();
  NARU_ASSIGN_OR_RETURN(explained.partials, query->Partials(source, window, kMaxPartials, &explained.omitted));
  return explained;
}

// With session windows the running sessions are in it, too.
absl::StatusOr<Explained> ReadView(const v1::ExplainWindowRequest& request,
                                   const std::shared_ptr<const MetricPlan>& plan, ServingView& view,
                                   WindowQuery* by_group, WindowQuery* query, int64_t frontier_us) {
  const MetricId id{plan->name, plan->version};
  ViewRowSource counted(view, id);
  if (plan->session == nullptr) return Read(request, by_group, query, counted, frontier_us);
  SessionRowSource source(counted, plan, RunningSessionsOf(view, id), /*with_empty=*/false);
  Explained explained;
  NARU_RETURN_IF_ERROR(view.ReadConsistently([&]() -> absl::Status {
    by_group->Refresh();
    query->Refresh();
    NARU_RETURN_IF_ERROR(source.Load(query->pane_from_us(), query->pane_to_us()));
    NARU_ASSIGN_OR_RETURN(explained, Read(request, by_group, query, source, frontier_us));
    return absl::OkStatus();
  }));
  return explained;
}

}  // namespace

absl::Status ExplainWindow(const v1::ExplainWindowRequest& request, const std::shared_ptr<const MetricPlan>& plan,
                           ServingView& view, Finality& finality, const Clock& clock,
                           v1::ExplainWindowResponse* response) {
  v1::QueryWindowsRequest asked = QueryOf(request);
  NARU_ASSIGN_OR_RETURN(WindowQuery by_group, WindowQuery::Compile(asked, plan));
  asked.set_group_by_none(true);
  NARU_ASSIGN_OR_RETURN(WindowQuery query, WindowQuery::Compile(asked, plan));
  const std::vector<PartitionStanding> partitions = finality.Partitions(*plan);
  int64_t frontier_us = kForever;
  for (const PartitionStanding& standing : partitions) frontier_us = std::min(frontier_us, standing.frontier_us);
  NARU_ASSIGN_OR_RETURN(const Explained explained, ReadView(request, plan, view, &by_group, &query, frontier_us));
  response->set_metric(plan->name);
  response->set_metric_version(plan->version);
  RowToProto(query, explained.row, response->mutable_row());
  response->set_group_count(static_cast<int64_t>(explained.groups));
  if (frontier_us != kNever && frontier_us != kForever) TimeToProto(frontier_us, response->mutable_frontier_time());
  catalog::v1::Metric spec;
  if (spec.ParseFromString(plan->spec)) response->set_filter(spec.filter());
  for (size_t p = 0; p < partitions.size(); ++p) {
    ExplainPartition(static_cast<int32_t>(p), partitions[p], *plan, clock.NowMicros(), response->add_partitions());
  }
  for (const PartialRow& partial : explained.partials) ExplainPartial(partial, query, response->add_partials());
  response->set_omitted_partial_count(explained.omitted);
  return absl::OkStatus();
}

}  // namespace naru::aggregator
