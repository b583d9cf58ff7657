#include "services/aggregator/aggregator_service.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/catalog/catalog.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "services/aggregator/error_domain.h"
#include "services/aggregator/query_pool.h"
#include "services/aggregator/row_proto.h"
#include "services/aggregator/session_query.h"
#include "services/aggregator/session_rows.h"
#include "services/aggregator/user_answers.h"
#include "services/aggregator/user_plan.h"
#include "services/aggregator/watch_hub.h"
#include "services/aggregator/window_explain.h"
#include "services/aggregator/window_query.h"
#include "services/aggregator/window_watch.h"

namespace naru::aggregator {
namespace {

constexpr std::chrono::seconds kMaxWait{10};
constexpr std::chrono::seconds kCatalogWait{2};
// Clients take messages of 4 MiB unless told otherwise: a page is cut before.
constexpr size_t kMaxResponseBytes = size_t{3} << 20;

// How far the view must be before a query is answered: for each partition, offsets below this must be counted.
using Targets = std::vector<int64_t>;

absl::StatusOr<Targets> TargetsOf(const google::protobuf::RepeatedPtrField<v1::Position>& after, int partitions,
                                  Finality& finality) {
  if (after.empty()) return finality.ReadLogEnds();
  Targets targets(partitions, 0);
  for (const v1::Position& position : after) {
    if (position.partition() < 0 || position.partition() >= partitions || position.offset() < 0) {
      return MakeError(absl::StatusCode::kInvalidArgument, "QUERY_INVALID",
                       absl::StrCat("after: partition ", position.partition(), " with offset ", position.offset(),
                                    " must be one of ", partitions, " partitions and an offset of 0 or more"));
    }
    targets[position.partition()] = std::max(targets[position.partition()], position.offset() + 1);
  }
  return targets;
}

bool Reached(const ServingView& view, const MetricPlan& plan, const Targets& targets) {
  for (size_t p = 0; p < targets.size(); ++p) {
    // A partition without records, too, must have said that the metric is being counted there.
    const std::optional<Progress> progress = view.GetProgress({plan.name, plan.version}, static_cast<int32_t>(p));
    if (!progress.has_value() || progress->next_offset < targets[p]) return false;
  }
  return true;
}

absl::StatusOr<ResultPage> RunQuery(ServingView& view, const std::shared_ptr<const MetricPlan>& plan,
                                    int64_t frontier_us, WindowQuery* query) {
  const MetricId id{plan->name, plan->version};
  ViewRowSource counted(view, id);
  if (plan->session == nullptr) return query->Run(counted, frontier_us);
  SessionRowSource source(counted, plan, RunningSessionsOf(view, id), /*with_empty=*/false);
  ResultPage page;
  // A session that is counted between two reads would be there twice, or not at all.
  NARU_RETURN_IF_ERROR(view.ReadConsistently([&]() -> absl::Status {
    NARU_RETURN_IF_ERROR(source.Load(query->pane_from_us(), query->pane_to_us()));
    NARU_ASSIGN_OR_RETURN(page, query->Run(source, frontier_us));
    return absl::OkStatus();
  }));
  return page;
}

}  // namespace

struct AggregatorService::State : public v1::AggregatorService::CallbackService {
  explicit State(ServiceDependencies d) : deps(std::move(d)), pool(deps.view, {}, deps.hurry), hub(pool) {}

  grpc::ServerUnaryReactor* QueryWindows(grpc::CallbackServerContext* context, const v1::QueryWindowsRequest* request,
                                         v1::QueryWindowsResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const std::chrono::system_clock::time_point deadline = context->deadline();
    const absl::Status posted = pool.Post([=, this] {
      AnswerWhenReached(kMetricKind, request->metric(), request->fast(), request->after(), deadline, reactor,
                        [=, this] { return Answer(*request, response); });
    });
    if (!posted.ok()) reactor->Finish(ToGrpcStatus(posted, kErrorDomain));
    return reactor;
  }

  grpc::ServerUnaryReactor* QuerySessions(grpc::CallbackServerContext* context, const v1::QuerySessionsRequest* request,
                                          v1::QuerySessionsResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const std::chrono::system_clock::time_point deadline = context->deadline();
    const absl::Status posted = pool.Post([=, this] {
      AnswerWhenReached(kMetricKind, request->metric(), request->fast(), request->after(), deadline, reactor,
                        [=, this] { return AnswerSessions(*request, response); });
    });
    if (!posted.ok()) reactor->Finish(ToGrpcStatus(posted, kErrorDomain));
    return reactor;
  }

  grpc::ServerUnaryReactor* ExplainWindow(grpc::CallbackServerContext* context, const v1::ExplainWindowRequest* request,
                                          v1::ExplainWindowResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const std::chrono::system_clock::time_point deadline = context->deadline();
    const absl::Status posted = pool.Post([=, this] {
      AnswerWhenReached(kMetricKind, request->metric(), request->fast(), {}, deadline, reactor,
                        [=, this] { return Explain(*request, response); });
    });
    if (!posted.ok()) reactor->Finish(ToGrpcStatus(posted, kErrorDomain));
    return reactor;
  }

  grpc::ServerUnaryReactor* QueryFunnel(grpc::CallbackServerContext* context, const v1::QueryFunnelRequest* request,
                                        v1::QueryFunnelResponse* response) override {
    return QueryUsers(context, kFunnelKind, request->funnel(), request, response);
  }

  grpc::ServerUnaryReactor* QueryRetention(grpc::CallbackServerContext* context,
                                           const v1::QueryRetentionRequest* request,
                                           v1::QueryRetentionResponse* response) override {
    return QueryUsers(context, kRetentionKind, request->retention(), request, response);
  }

  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* QueryUsers(grpc::CallbackServerContext* context, absl::string_view kind,
                                       const std::string& name, const Request* request, Response* response) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const std::chrono::system_clock::time_point deadline = context->deadline();
    const absl::Status posted = pool.Post([=, this] {
      AnswerWhenReached(kind, name, request->fast(), request->after(), deadline, reactor, [=, this] {
        return AnswerUsers({deps.view, deps.plans, deps.finality}, PlanNameOf(kind, name), *request, response);
      });
    });
    if (!posted.ok()) reactor->Finish(ToGrpcStatus(posted, kErrorDomain));
    return reactor;
  }

  grpc::ServerWriteReactor<v1::WatchWindowsResponse>* WatchWindows(grpc::CallbackServerContext* /*context*/,
                                                                   const v1::WatchWindowsRequest* request) override {
    absl::Status status = CheckMetric(request->query().metric(), /*may_wait=*/false);
    if (!status.ok()) return hub.Add(status);
    return hub.Add(WindowWatch::Start(*request, deps.view, deps.plans, deps.finality));
  }

  grpc::ServerUnaryReactor* ListMetricStatus(grpc::CallbackServerContext* context, const v1::ListMetricStatusRequest*,
                                             v1::ListMetricStatusResponse* response) override {
    return Run(context, [this, response] {
      FillStatus(response);
      return absl::OkStatus();
    });
  }

  grpc::ServerUnaryReactor* ListSinks(grpc::CallbackServerContext* context, const v1::ListSinksRequest*,
                                      v1::ListSinksResponse* response) override {
    return Run(context, [this, response] {
      for (v1::SinkStatus& sink : deps.sinks.Statuses()) *response->add_sinks() = std::move(sink);
      return absl::OkStatus();
    });
  }

  grpc::ServerUnaryReactor* PauseSink(grpc::CallbackServerContext* context, const v1::PauseSinkRequest* request,
                                      v1::SinkStatus* response) override {
    return ChangeSink(context, request->name(), response,
                      [this](const std::string& name) { return deps.sinks.SetPaused(name, true); });
  }

  grpc::ServerUnaryReactor* ResumeSink(grpc::CallbackServerContext* context, const v1::ResumeSinkRequest* request,
                                       v1::SinkStatus* response) override {
    return ChangeSink(context, request->name(), response,
                      [this](const std::string& name) { return deps.sinks.SetPaused(name, false); });
  }

  grpc::ServerUnaryReactor* ResyncSink(grpc::CallbackServerContext* context, const v1::ResyncSinkRequest* request,
                                       v1::SinkStatus* response) override {
    return ChangeSink(context, request->name(), response,
                      [this](const std::string& name) { return deps.sinks.Resync(name); });
  }

  // Answers from a thread of the pool.
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context, std::function<absl::Status()> work) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const absl::Status posted =
        pool.Post([work = std::move(work), reactor] { reactor->Finish(ToGrpcStatus(work(), kErrorDomain)); });
    if (!posted.ok()) reactor->Finish(ToGrpcStatus(posted, kErrorDomain));
    return reactor;
  }

  grpc::ServerUnaryReactor* ListLateEvents(grpc::CallbackServerContext* context,
                                           const v1::ListLateEventsRequest* request,
                                           v1::ListLateEventsResponse* response) override {
    return Run(context, request->metric(), [=, this] { return deps.late_events.List(*request, response); });
  }

  grpc::ServerUnaryReactor* ReplayLateEvents(grpc::CallbackServerContext* context,
                                             const v1::ReplayLateEventsRequest* request,
                                             v1::ReplayLateEventsResponse* response) override {
    return Run(context, request->metric(), [=, this] { return deps.late_events.Replay(*request, response); });
  }

  /// Does `work` on the pool if there is such a metric.
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context, const std::string& metric,
                                std::function<absl::Status()> work) {
    return Run(context, [this, metric, work = std::move(work)] {
      const absl::Status status = CheckMetric(metric, /*may_wait=*/true);
      return status.ok() ? work() : status;
    });
  }

  grpc::ServerUnaryReactor* ChangeSink(grpc::CallbackServerContext* context, const std::string& name,
                                       v1::SinkStatus* response,
                                       std::function<absl::StatusOr<v1::SinkStatus>(const std::string&)> change) {
    return Run(context, [this, name, response, change = std::move(change)]() -> absl::Status {
      NARU_RETURN_IF_ERROR(deps.ready());
      // It may have been applied a moment ago. An error only means that what is known must do.
      deps.catalog.CatchUp(kCatalogWait).IgnoreError();
      NARU_ASSIGN_OR_RETURN(*response, change(name));
      return absl::OkStatus();
    });
  }

  /// Whether there is such a resource, and it can be computed.
  absl::Status CheckPlan(absl::string_view kind, const std::string& name, bool may_wait);
  absl::Status CheckMetric(const std::string& name, bool may_wait) { return CheckPlan(kMetricKind, name, may_wait); }
  /// Answers when everything that was in the log by now, or `after`, is counted; at once with `fast`.
  void AnswerWhenReached(absl::string_view kind, const std::string& name, bool fast,
                         const google::protobuf::RepeatedPtrField<v1::Position>& after,
                         std::chrono::system_clock::time_point deadline, grpc::ServerUnaryReactor* reactor,
                         std::function<absl::Status()> answer);
  absl::Status AnswerSessions(const v1::QuerySessionsRequest& request, v1::QuerySessionsResponse* response);
  absl::Status Answer(const v1::QueryWindowsRequest& request, v1::QueryWindowsResponse* response);
  absl::Status Explain(const v1::ExplainWindowRequest& request, v1::ExplainWindowResponse* response);
  absl::Status Behind(const std::string& metric, const Targets& targets) const;
  void FillStatus(v1::ListMetricStatusResponse* response);
  void FillMetric(const MetricPlan& plan, v1::MetricStatus* status);

  ServiceDependencies deps;
  QueryPool pool;
  WatchHub hub;
};

absl::Status AggregatorService::State::CheckPlan(absl::string_view kind, const std::string& name, bool may_wait) {
  NARU_RETURN_IF_ERROR(deps.ready());
  const std::string plan_name = PlanNameOf(kind, name);
  const bool possible = !absl::StrContains(name, '/');  // plan names of other kinds are not for callers
  if (possible && deps.plans.NewestVersion(plan_name) == 0 && may_wait) {
    // It may have been applied a moment ago. An error only means that what is known must do.
    deps.catalog.CatchUp(kCatalogWait).IgnoreError();
  }
  if (!possible || deps.plans.NewestVersion(plan_name) == 0) {
    const std::string nearest = deps.plans.NearestName(plan_name);
    std::string hint = nearest.empty() ? "" : absl::StrCat("; did you mean `", nearest, "`?");
    for (const absl::string_view other : kPlanKinds) {
      if (possible && other != kind && deps.plans.NewestVersion(PlanNameOf(other, name)) > 0) {
        hint = absl::StrCat("; it is a ", other);
      }
    }
    return MakeError(absl::StatusCode::kNotFound, absl::StrCat(absl::AsciiStrToUpper(kind), "_NOT_FOUND"),
                     absl::StrCat("there is no ", absl::AsciiStrToLower(kind), " `", name, "`", hint));
  }
  const absl::Status failure = deps.plans.Failure(plan_name);
  if (failure.ok() || deps.plans.Answering(plan_name) != nullptr) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, "METRIC_FAILED", failure.message());
}

void AggregatorService::State::AnswerWhenReached(absl::string_view kind, const std::string& name, bool fast,
                                                 const google::protobuf::RepeatedPtrField<v1::Position>& after,
                                                 std::chrono::system_clock::time_point deadline,
                                                 grpc::ServerUnaryReactor* reactor,
                                                 std::function<absl::Status()> answer) {
  const auto finish = [reactor](const absl::Status& status) { reactor->Finish(ToGrpcStatus(status, kErrorDomain)); };
  absl::Status status = CheckPlan(kind, name, /*may_wait=*/true);
  if (!status.ok()) return finish(status);
  const std::string metric = PlanNameOf(kind, name);
  if (fast) return finish(answer());
  absl::StatusOr<Targets> targets = TargetsOf(after, deps.view.partitions(), deps.finality);
  if (!targets.ok()) return finish(targets.status());
  const auto reached = [this, metric, targets = *targets] {
    const std::shared_ptr<const MetricPlan> plan = deps.plans.Answering(metric);
    if (plan == nullptr) return !deps.plans.Failure(metric).ok();
    return Reached(deps.view, *plan, targets);
  };
  auto wait = std::chrono::duration_cast<std::chrono::microseconds>(kMaxWait);
  const auto now = std::chrono::system_clock::now();
  // A little before the caller gives up, so that it hears why.
  if (deadline - now < wait) {
    wait = std::chrono::duration_cast<std::chrono::microseconds>(deadline - now) - std::chrono::milliseconds(50);
  }
  deps.hurry();
  status = pool.WaitThen(reached, std::max(wait, std::chrono::microseconds(0)),
                         [this, finish, answer = std::move(answer), metric, targets = *targets](bool reached_them) {
                           finish(reached_them ? answer() : Behind(metric, targets));
                         });
  if (!status.ok()) finish(status);
}

absl::Status AggregatorService::State::Behind(const std::string& metric, const Targets& targets) const {
  const std::shared_ptr<const MetricPlan> plan = deps.plans.Answering(metric);
  int64_t behind = 0;
  for (size_t p = 0; p < targets.size(); ++p) {
    int64_t next = 0;
    if (plan != nullptr) {
      const auto progress = deps.view.GetProgress({plan->name, plan->version}, static_cast<int32_t>(p));
      if (progress.has_value()) next = progress->next_offset;
    }
    behind += std::max<int64_t>(0, targets[p] - next);
  }
  return MakeError(absl::StatusCode::kDeadlineExceeded, "NOT_CAUGHT_UP",
                   absl::StrCat("metric ", metric, " has ", behind,
                                " records still to count; ask again, or with `fast` for what is there"));
}

absl::Status AggregatorService::State::AnswerSessions(const v1::QuerySessionsRequest& request,
                                                      v1::QuerySessionsResponse* response) {
  const std::shared_ptr<const MetricPlan> plan = deps.plans.Answering(request.metric());
  if (plan == nullptr) return deps.plans.Failure(request.metric());  // `fast`, and it is about to be compiled
  NARU_ASSIGN_OR_RETURN(const SessionQuery query, SessionQuery::Compile(request, plan));
  return query.Run(deps.view, deps.finality.Frontier(*plan), kMaxResponseBytes, response);
}

absl::Status AggregatorService::State::Answer(const v1::QueryWindowsRequest& request,
                                              v1::QueryWindowsResponse* response) {
  const std::shared_ptr<const MetricPlan> plan = deps.plans.Answering(request.metric());
  if (plan == nullptr) {
    NARU_RETURN_IF_ERROR(deps.plans.Failure(request.metric()));
    return absl::OkStatus();  // `fast`, and it is about to be compiled: nothing is there
  }
  NARU_ASSIGN_OR_RETURN(WindowQuery query, WindowQuery::Compile(request, plan));
  NARU_ASSIGN_OR_RETURN(const ResultPage page, RunQuery(deps.view, plan, deps.finality.Frontier(*plan), &query));
  size_t bytes = 0;
  for (size_t i = 0; i < page.rows.size(); ++i) {
    v1::WindowRow* row = response->add_rows();
    RowToProto(query, page.rows[i], row);
    bytes += row->ByteSizeLong() + 4;
    if (bytes > kMaxResponseBytes && i > 0 && i + 1 < page.rows.size()) {
      response->set_next_page_token(query.TokenAfter(page, i + 1));
      break;
    }
  }
  if (response->next_page_token().empty()) response->set_next_page_token(page.next_token);
  response->set_metric_version(plan->version);
  const std::optional<int64_t> valid_from = ViewRowSource(deps.view, {plan->name, plan->version}).ValidFrom();
  if (valid_from.has_value()) TimeToProto(*valid_from, response->mutable_valid_from_time());
  return absl::OkStatus();
}

absl::Status AggregatorService::State::Explain(const v1::ExplainWindowRequest& request,
                                               v1::ExplainWindowResponse* response) {
  const std::shared_ptr<const MetricPlan> plan = deps.plans.Answering(request.metric());
  if (plan == nullptr) {
    NARU_RETURN_IF_ERROR(deps.plans.Failure(request.metric()));
    return MakeError(absl::StatusCode::kUnavailable, "METRIC_STARTING",
                     absl::StrCat("metric ", request.metric(), " is about to be counted; ask again"));
  }
  NARU_RETURN_IF_ERROR(aggregator::ExplainWindow(request, plan, deps.view, deps.finality, deps.clock, response));
  const bool failed = !deps.plans.Failure(request.metric()).ok();
  const MetricId newest{plan->name, deps.plans.NewestVersion(request.metric())};
  response->set_state(failed ? "FAILED" : deps.view.Joined(newest) ? "RUNNING" : "REBUILDING");
  return absl::OkStatus();
}

void AggregatorService::State::FillStatus(v1::ListMetricStatusResponse* response) {
  std::map<std::string, v1::MetricStatus> by_name;
  const std::shared_ptr<const PlanSet> plans = deps.plans.current();
  for (const auto& plan : plans->plans) {
    v1::MetricStatus& status = by_name[plan->name];
    if (status.version() < plan->version) FillMetric(*plan, &status);
  }
  for (const auto& [name, failure] : deps.plans.Failures()) {
    v1::MetricStatus& status = by_name[name];
    const auto [kind, resource] = SplitPlanName(name);
    status.set_metric(std::string(resource));
    status.set_kind(std::string(kind));
    status.set_version(deps.plans.NewestVersion(name));
    status.set_state("FAILED");
    status.set_message(std::string(failure.message()));
  }
  for (auto& [name, status] : by_name) *response->add_metrics() = std::move(status);
}

void AggregatorService::State::FillMetric(const MetricPlan& plan, v1::MetricStatus* status) {
  const MetricId id{plan.name, plan.version};
  status->Clear();
  const auto [kind, name] = SplitPlanName(plan.name);
  status->set_metric(std::string(name));
  status->set_kind(std::string(kind));
  status->set_version(plan.version);
  status->set_state(deps.view.Joined(id) ? "RUNNING" : "REBUILDING");
  const std::shared_ptr<const MetricPlan> answering = deps.plans.Answering(plan.name);
  if (answering != nullptr && deps.view.Joined({answering->name, answering->version}))
    status->set_answering_version(answering->version);
  int64_t watermark_us = kForever, lag = 0, all = 0;
  EventCounts counts;
  for (const PartitionStanding& partition : deps.finality.Partitions(plan)) {
    const int64_t next =
        std::max(partition.start_offset, partition.progress.has_value() ? partition.progress->next_offset : 0);
    lag += std::max<int64_t>(0, partition.end_offset - next);
    all += partition.end_offset - partition.start_offset;
    if (!partition.progress.has_value()) continue;
    const Progress& progress = *partition.progress;
    const int64_t watermark = LiveWatermark(progress.timelines, plan.out_of_orderness_us);
    if (watermark != kNever) watermark_us = std::min(watermark_us, watermark);
    counts.matched += progress.counts.matched;
    counts.not_matched += progress.counts.not_matched;
    counts.failed_expressions += progress.counts.failed_expressions;
    counts.late += progress.counts.late;
  }
  status->set_progress_percent(all == 0 ? 100 : 100 * static_cast<double>(all - lag) / static_cast<double>(all));
  const std::optional<int64_t> valid_from_us = ViewRowSource(deps.view, id).ValidFrom();
  if (valid_from_us.has_value()) TimeToProto(*valid_from_us, status->mutable_valid_from_time());
  status->set_lag(lag);
  if (watermark_us != kForever) TimeToProto(watermark_us, status->mutable_watermark_time());
  int64_t groups, bytes;
  deps.view.Measure(id, &groups, &bytes);
  status->set_group_count(groups);
  status->set_state_bytes(bytes);
  status->set_matched_count(counts.matched);
  status->set_not_matched_count(counts.not_matched);
  status->set_failed_expression_count(counts.failed_expressions);
  status->set_late_count(counts.late);
}

AggregatorService::AggregatorService(ServiceDependencies dependencies)
    : state_(std::make_unique<State>(std::move(dependencies))) {}
AggregatorService::~AggregatorService() { Stop(); }
grpc::Service* AggregatorService::service() { return state_.get(); }

void AggregatorService::Stop() {
  state_->hub.Stop();
  state_->pool.Stop();
}

}  // namespace naru::aggregator
