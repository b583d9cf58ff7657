#include "services/aggregator/metric_evaluator.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock/rfc3339.h"
#include "common/event/event_writer.h"
#include "common/status/status.h"
#include "google/protobuf/util/json_util.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/event_kernel.h"
#include "services/aggregator/row_check.h"
#include "services/aggregator/row_proto.h"
#include "services/aggregator/session_rows.h"
#include "services/aggregator/user_plan.h"

namespace naru::aggregator {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

// The rows of a state that was never stored.
class MemoryRowSource : public RowSource {
 public:
  explicit MemoryRowSource(const MetricState& state) : state_(state) {}
  int partitions() const override { return 1; }
  std::vector<ViewPane> ListPanes(int32_t, int64_t from_us, int64_t to_us) const override {
    std::vector<ViewPane> panes;
    state_.panes.ForEachLoaded([&](const Pane* pane) {
      if (pane->span.start_us >= from_us && pane->span.start_us < to_us)
        panes.push_back({pane->span.start_us, pane->record, 0});
    });
    return panes;
  }
  absl::Status VisitRows(int32_t, int64_t pane_start_us, absl::string_view from_group,
                         const std::function<bool(const ViewRow&)>& fn) override {
    const Pane* pane = state_.panes.FindLoaded(pane_start_us);
    if (pane == nullptr) return absl::OkStatus();
    std::map<std::string, std::string> rows;
    pane->ForEach([&](const Row* row) {
      const absl::string_view group = row->key(pane->layout());
      if (group < from_group) return;
      std::string& value = rows[std::string(group)];
      EncodeRow(row->revisions == nullptr ? Revisions() : *row->revisions, pane->layout(), row->cell(), &value);
    });
    for (const auto& [group, value] : rows) {
      if (!fn({group, value, 0})) break;
    }
    return absl::OkStatus();
  }

 private:
  const MetricState& state_;
};

std::string TextOf(const Struct& event, const char* name) {
  const auto found = event.fields().find(name);
  return found == event.fields().end() ? "" : found->second.string_value();
}

absl::StatusOr<std::optional<int64_t>> TimeOf(const Struct& event, const char* name) {
  if (event.fields().count(name) == 0) return std::optional<int64_t>();
  const auto time = ParseRfc3339(TextOf(event, name));
  if (!time.ok()) return Annotate(time.status(), name);
  return std::optional<int64_t>(*time);
}

}  // namespace

struct MetricEvaluator::State {
  std::shared_ptr<const PlanSet> plans;
  std::unique_ptr<EventKernel> kernel;
  std::unique_ptr<MetricState> metric;
  std::vector<LateEvent> late;
  int64_t offset = 0;
  int64_t last_received_us = kNever;
};

MetricEvaluator::MetricEvaluator(std::unique_ptr<State> state) : state_(std::move(state)) {}
MetricEvaluator::~MetricEvaluator() = default;

absl::StatusOr<std::unique_ptr<MetricEvaluator>> MetricEvaluator::Create(const std::string& name,
                                                                         const catalog::v1::Metric& metric,
                                                                         const std::vector<DeclaredType>& types) {
  catalog::v1::Resource resource;
  resource.set_kind(std::string(kMetricKind));
  resource.mutable_metadata()->set_name(name);
  *resource.mutable_metric() = metric;
  return CreateFor(resource, types);
}

absl::StatusOr<std::unique_ptr<MetricEvaluator>> MetricEvaluator::CreateFor(const catalog::v1::Resource& resource,
                                                                            const std::vector<DeclaredType>& types) {
  auto plans = std::make_shared<PlanSet>();
  for (const DeclaredType& type : types) plans->environment.DeclareType(type.type, type.fields);
  catalog::v1::Resource first = resource;
  first.mutable_metadata()->set_version(1);
  NARU_ASSIGN_OR_RETURN(std::shared_ptr<const MetricPlan> plan, CompilePlan(first, &plans->environment));
  plans->plans.push_back(plan);
  auto state = std::make_unique<State>();
  state->plans = plans;
  state->kernel = std::make_unique<EventKernel>(plans);
  state->metric =
      std::make_unique<MetricState>(std::shared_ptr<const MetricPlan>(plans, plan.get()), 0, nullptr, nullptr);
  return std::unique_ptr<MetricEvaluator>(new MetricEvaluator(std::move(state)));
}

absl::Status MetricEvaluator::Add(absl::string_view event, int64_t received_us) {
  event_log::FetchedBatch batch;
  batch.records.push_back({state_->offset, received_us, {}, event, false});
  batch.next_offset = ++state_->offset;
  state_->last_received_us = std::max(state_->last_received_us, received_us);
  MetricState* metric = state_->metric.get();
  const auto done =
      state_->kernel->Process(batch, 0, INT64_MAX, absl::MakeConstSpan(&metric, 1), nullptr, &state_->late);
  NARU_RETURN_IF_ERROR(done.status());
  // Nothing is committed here, so nothing has to be worked off in slices.
  do {
    metric->dirty_bytes = 0;
    NARU_RETURN_IF_ERROR(metric->Continue());
  } while (metric->behind());
  return absl::OkStatus();
}

absl::Status MetricEvaluator::AddJson(const Struct& event) {
  NARU_ASSIGN_OR_RETURN(const std::optional<int64_t> time, TimeOf(event, "time"));
  NARU_ASSIGN_OR_RETURN(const std::optional<int64_t> received, TimeOf(event, "received_time"));
  if (!time.has_value() && !received.has_value()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TEST_EVENT",
                     "`time` must be given, such as 2024-05-01T09:00:00Z");
  }
  if (TextOf(event, "type").empty())
    return MakeError(absl::StatusCode::kInvalidArgument, "TEST_EVENT", "`type` must be given");
  const std::string id = TextOf(event, "id").empty() ? absl::StrCat(state_->offset) : TextOf(event, "id");
  const std::string source = TextOf(event, "source").empty() ? "test" : TextOf(event, "source");
  const std::string type = TextOf(event, "type"), subject = TextOf(event, "subject"),
                    session = TextOf(event, "session");
  std::string data;
  if (const auto found = event.fields().find("data"); found != event.fields().end()) {
    data = found->second.struct_value().SerializeAsString();
  }
  event::EventFields fields;
  fields.id = id;
  fields.source = source;
  fields.type = type;
  fields.subject = subject;
  fields.session = session;
  fields.has_time = time.has_value();
  fields.time_us = time.value_or(0);
  fields.data = data;
  std::string bytes;
  event::AppendEvent(fields, &bytes);
  return Add(bytes, received.has_value() ? *received : std::max(*time, state_->last_received_us));
}

absl::StatusOr<ResultPage> MetricEvaluator::Query(const v1::QueryWindowsRequest& request) {
  const std::shared_ptr<const MetricPlan> plan(state_->plans, &state_->metric->plan());
  NARU_ASSIGN_OR_RETURN(WindowQuery query, WindowQuery::Compile(request, plan));
  MetricState& metric = *state_->metric;
  const int64_t frontier_us =
      PartitionFrontier(metric.timelines().all(), plan->out_of_orderness_us, kForever, 0, /*caught_up=*/false);
  MemoryRowSource counted(metric);
  if (plan->session == nullptr) return query.Run(counted, frontier_us);
  NARU_RETURN_IF_ERROR(
      metric.sessions()->PrepareCommit(kNever, [](const TimeSpan&, absl::string_view) { return false; }));
  SessionRowSource source(
      counted, plan,
      [&metric](int32_t, const std::function<bool(absl::string_view, int64_t)>& fn) {
        metric.entities.ForEachLoaded([&fn](const Entity& entity) { fn(entity.state, 0); });
        return absl::OkStatus();
      },
      /*with_empty=*/false);
  NARU_RETURN_IF_ERROR(source.Load(query.pane_from_us(), query.pane_to_us()));
  return query.Run(source, frontier_us);
}

absl::StatusOr<std::vector<Struct>> MetricEvaluator::Rows() {
  v1::QueryWindowsRequest request;
  request.set_page_size(kMaxPageSize);
  const std::shared_ptr<const MetricPlan> plan(state_->plans, &state_->metric->plan());
  NARU_ASSIGN_OR_RETURN(const WindowQuery query, WindowQuery::Compile(request, plan));
  NARU_ASSIGN_OR_RETURN(const ResultPage page, Query(request));
  std::vector<Struct> rows;
  for (const ResultRow& row : page.rows) {
    rows.emplace_back();
    RowToStruct(query, row, &rows.back());
  }
  return rows;
}

const MetricState& MetricEvaluator::state() const { return *state_->metric; }

int64_t MetricEvaluator::frontier_us() const {
  return PartitionFrontier(state().timelines().all(), state().plan().out_of_orderness_us, kForever, 0,
                           /*caught_up=*/false);
}

std::unique_ptr<MetricEvaluator> MetricEvaluator::RunEvents(const catalog::v1::Resource& resource,
                                                            const catalog::v1::ResourceTest& test,
                                                            const catalog::ResourceLookup& lookup,
                                                            const std::string& field,
                                                            std::vector<FieldViolation>* failures) {
  std::vector<DeclaredType> types;
  std::set<std::string> seen;
  for (const Struct& event : test.events()) {
    const std::string type = TextOf(event, "type");
    const catalog::v1::Resource* declared =
        lookup != nullptr && seen.insert(type).second ? lookup("EventType", type) : nullptr;
    if (declared == nullptr) continue;
    types.push_back({type, {}});
    for (const auto& [name, property] : declared->event_type().schema().properties())
      types.back().fields.push_back(name);
  }
  auto evaluator = CreateFor(resource, types);
  if (!evaluator.ok()) {
    failures->push_back({field, std::string(evaluator.status().message())});
    return nullptr;
  }
  for (int e = 0; e < test.events_size(); ++e) {
    const absl::Status status = (*evaluator)->AddJson(test.events(e));
    if (!status.ok()) failures->push_back({absl::StrCat(field, ".events[", e, "]"), std::string(status.message())});
  }
  return *std::move(evaluator);
}

int64_t MetricEvaluator::late_count() const { return state_->metric->counts.late; }

std::vector<FieldViolation> RunMetricTests(const catalog::v1::Resource& resource,
                                           const catalog::ResourceLookup& lookup) {
  static const RowShape kShape = {{"window_start", "window_end", "group", "measures", "final", "revision", "truncated"},
                                  {"window_start", "window_end", "group"}};
  std::vector<FieldViolation> failures;
  for (int i = 0; i < resource.tests_size(); ++i) {
    const catalog::v1::ResourceTest& test = resource.tests(i);
    const std::string field = absl::StrCat("tests[", i, "]");
    const auto evaluator = MetricEvaluator::RunEvents(resource, test, lookup, field, &failures);
    if (evaluator == nullptr) continue;
    const absl::StatusOr<std::vector<Struct>> rows = evaluator->Rows();
    if (!rows.ok()) {
      failures.push_back({field, std::string(rows.status().message())});
      continue;
    }
    for (int r = 0; r < test.rows_size(); ++r)
      CheckRow(kShape, absl::StrCat(field, ".rows[", r, "]"), test.rows(r), *rows, &failures);
  }
  return failures;
}

std::vector<FieldViolation> CheckMetric(const catalog::v1::Resource& resource) {
  cel::Environment environment = cel::Environment::ForEvents();
  const auto plan = MetricPlan::Compile(resource.metadata().name(), 1, 0, resource.metric(), &environment);
  if (plan.ok()) return {};
  std::vector<FieldViolation> violations = GetErrorDetails(plan.status()).violations;
  if (violations.empty()) violations.push_back({"spec", std::string(plan.status().message())});
  return violations;
}

std::vector<FieldViolation> CheckSessionEntity(const catalog::v1::Resource& resource,
                                               const catalog::ResourceLookup& lookup) {
  if (resource.metric().window().type() != "session" || lookup == nullptr) return {};
  cel::Environment environment = cel::Environment::ForEvents();
  const auto plan = MetricPlan::Compile(resource.metadata().name(), 1, 0, resource.metric(), &environment);
  std::vector<FieldViolation> problems;
  if (!plan.ok()) return problems;
  const std::optional<std::vector<std::string>> types = (*plan)->EventTypes();
  if (!types.has_value()) return problems;
  for (const std::string& type : *types) {
    const catalog::v1::Resource* declared = lookup("EventType", type);
    if (declared == nullptr) continue;
    std::string problem = EntityProblem(*(*plan)->session, type, declared->event_type());
    if (!problem.empty()) problems.push_back({"spec.window.entity", std::move(problem)});
  }
  return problems;
}

void RegisterMetricTests(catalog::TestRunners* runners) {
  runners->RegisterCheck("Metric", [](const catalog::v1::Resource& resource, const catalog::ResourceLookup& lookup) {
    std::vector<FieldViolation> problems = CheckMetric(resource);
    return problems.empty() ? CheckSessionEntity(resource, lookup) : problems;
  });
  runners->Register("Metric", RunMetricTests);
}

}  // namespace naru::aggregator
