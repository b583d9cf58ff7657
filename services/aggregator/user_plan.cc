#include "services/aggregator/user_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/clock/duration.h"
#include "common/status/status.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::aggregator {
namespace {

constexpr int64_t kDayUs = int64_t{86'400} * 1'000'000;
constexpr int64_t kDefaultRetentionUs = 90 * kDayUs;

int64_t UpdatedMicros(const catalog::v1::Resource& resource) {
  const auto& time = resource.metadata().update_time();
  return time.seconds() * 1'000'000 + time.nanos() / 1000;
}

// The settings that metrics have, too.
template <typename Spec>
catalog::v1::Metric SharedSettings(const Spec& spec) {
  catalog::v1::Metric metric;
  metric.set_topic(spec.topic());
  metric.set_time_zone(spec.time_zone());
  metric.set_out_of_orderness(spec.out_of_orderness());
  metric.set_idle_timeout(spec.idle_timeout());
  metric.set_retention(spec.retention());
  metric.set_start(spec.start());
  metric.mutable_window()->set_type("tumbling");
  metric.mutable_window()->set_size("1d");
  return metric;
}

// Names that no dimension has.
void AddCondition(const std::string& filter, catalog::v1::Metric* metric) {
  catalog::v1::Measure* measure = metric->add_measures();
  measure->set_name(absl::StrCat("__", metric->measures_size()));
  measure->set_agg("count");
  measure->set_filter(filter);
}

// What is wrong in the words of the resource.
absl::Status Rename(const absl::Status& status, const std::vector<std::string>& fields) {
  ErrorDetails details = GetErrorDetails(status);
  for (FieldViolation& violation : details.violations) {
    for (size_t i = 0; i < fields.size(); ++i) {
      absl::string_view rest = violation.field;
      if (!absl::ConsumePrefix(&rest, absl::StrCat("spec.measures[", i, "].filter"))) continue;
      violation.field = absl::StrCat(fields[i], rest);
      break;
    }
  }
  if (details.violations.empty()) return status;
  return MakeError(status.code(), absl::StrCat(details.violations[0].field, ": ", details.violations[0].description),
                   details);
}

absl::StatusOr<std::shared_ptr<MetricPlan>> CompileUsers(const MetricId& id, int64_t updated_us,
                                                         const catalog::v1::Metric& metric,
                                                         const std::vector<std::string>& fields,
                                                         cel::Environment* environment) {
  auto plan = MetricPlan::Compile(id.name, id.version, updated_us, metric, environment);
  if (!plan.ok()) return Rename(plan.status(), fields);
  return std::const_pointer_cast<MetricPlan>(*plan);  // nobody else has it yet
}

absl::Status Invalid(const std::string& field, absl::string_view description) {
  ErrorDetails details;
  details.reason = "METRIC_INVALID";
  details.violations.push_back({field, std::string(description)});
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(field, ": ", description), details);
}

absl::StatusOr<absl::TimeZone> LoadZone(const std::string& name) {
  absl::TimeZone zone = absl::UTCTimeZone();
  if (!name.empty() && !absl::LoadTimeZone(name, &zone)) {
    return Invalid("spec.time_zone", absl::StrCat("`", name, "` is not a time zone of the IANA database"));
  }
  return zone;
}

absl::StatusOr<FunnelModes> ModesOf(const catalog::v1::Funnel& funnel) {
  FunnelModes modes;
  for (int i = 0; i < funnel.modes_size(); ++i) {
    const std::string& mode = funnel.modes(i);
    if (mode == "strict_order") {
      modes.strict_order = true;
    } else if (mode == "strict_deduplication") {
      modes.strict_deduplication = true;
    } else if (mode == "strict_increase") {
      modes.strict_increase = true;
    } else {
      return Invalid(absl::StrCat("spec.modes[", i, "]"),
                     absl::StrCat("`", mode, "` must be strict_order, strict_deduplication or strict_increase"));
    }
  }
  return modes;
}

absl::StatusOr<std::shared_ptr<const MetricPlan>> CompileFunnel(const MetricId& id, int64_t updated_us,
                                                                const catalog::v1::Funnel& funnel,
                                                                cel::Environment* environment) {
  catalog::v1::Metric metric = SharedSettings(funnel);
  metric.set_filter(funnel.filter());
  *metric.mutable_dimensions() = funnel.dimensions();
  std::vector<std::string> fields;
  auto users = std::make_shared<UserPlan>();
  users->kind = UserPlan::Kind::kFunnel;
  users->by_session = funnel.entity() == "session";
  if (funnel.steps_size() < 1 || funnel.steps_size() > kMaxFunnelSteps) {
    return Invalid("spec.steps", absl::StrCat(funnel.steps_size(), " steps; 1 to ", kMaxFunnelSteps, " are allowed"));
  }
  for (const catalog::v1::FunnelStep& step : funnel.steps()) {
    fields.push_back(absl::StrCat("spec.steps[", fields.size(), "].filter"));
    AddCondition(step.filter(), &metric);
    users->steps.push_back(step.name());
  }
  NARU_ASSIGN_OR_RETURN(users->zone, LoadZone(funnel.time_zone()));
  NARU_ASSIGN_OR_RETURN(users->modes, ModesOf(funnel));
  const auto within = ParseDuration(funnel.within());
  if (!within.ok() || within->count() < 0) return Invalid("spec.within", "must be a duration such as 7d");
  users->within_us = within->count();
  NARU_ASSIGN_OR_RETURN(const auto plan, CompileUsers(id, updated_us, metric, fields, environment));
  plan->spec = funnel.SerializeAsString();
  if (funnel.retention().empty()) plan->retention_us = std::max(kDefaultRetentionUs, 2 * users->within_us);
  plan->users = std::move(users);
  return std::shared_ptr<const MetricPlan>(plan);
}

absl::StatusOr<std::shared_ptr<const MetricPlan>> CompileRetention(const MetricId& id, int64_t updated_us,
                                                                   const catalog::v1::Retention& retention,
                                                                   cel::Environment* environment) {
  catalog::v1::Metric metric = SharedSettings(retention);
  AddCondition(retention.first(), &metric);
  AddCondition(retention.returned(), &metric);
  auto users = std::make_shared<UserPlan>();
  users->kind = UserPlan::Kind::kRetention;
  users->by_session = retention.entity() == "session";
  users->count = retention.count();
  if (users->count < 1 || users->count > kMaxCohortCount) {
    return Invalid("spec.count", absl::StrCat(users->count, " is outside 1 to ", kMaxCohortCount));
  }
  NARU_ASSIGN_OR_RETURN(users->zone, LoadZone(retention.time_zone()));
  auto calendar = CohortCalendar::Create(retention.unit(), users->zone);
  if (!calendar.ok()) return Invalid("spec.unit", calendar.status().message());
  users->calendar = *calendar;
  NARU_ASSIGN_OR_RETURN(const auto plan,
                        CompileUsers(id, updated_us, metric, {"spec.first", "spec.returned"}, environment));
  plan->spec = retention.SerializeAsString();
  if (retention.retention().empty()) {
    const int64_t units = users->calendar->StartOf(users->count + 1) - users->calendar->StartOf(0);
    plan->retention_us = std::max(kDefaultRetentionUs, 2 * units);
  }
  plan->users = std::move(users);
  return std::shared_ptr<const MetricPlan>(plan);
}

}  // namespace

std::string PlanNameOf(absl::string_view kind, absl::string_view name) {
  return kind == kMetricKind ? std::string(name) : absl::StrCat(kind, "/", name);
}

std::pair<absl::string_view, absl::string_view> SplitPlanName(absl::string_view plan_name) {
  const size_t slash = plan_name.find('/');
  if (slash == absl::string_view::npos) return {kMetricKind, plan_name};
  return {plan_name.substr(0, slash), plan_name.substr(slash + 1)};
}

absl::StatusOr<std::shared_ptr<const MetricPlan>> CompilePlan(const catalog::v1::Resource& resource,
                                                              cel::Environment* environment) {
  const MetricId id{PlanNameOf(resource.kind(), resource.metadata().name()), resource.metadata().version()};
  const int64_t updated_us = UpdatedMicros(resource);
  if (resource.has_metric()) {
    return MetricPlan::Compile(id.name, id.version, updated_us, resource.metric(), environment);
  }
  if (resource.has_funnel()) return CompileFunnel(id, updated_us, resource.funnel(), environment);
  if (resource.has_retention()) return CompileRetention(id, updated_us, resource.retention(), environment);
  return MakeError(absl::StatusCode::kInvalidArgument, "METRIC_INVALID",
                   absl::StrCat("a ", resource.kind(), " is nothing that is counted"));
}

absl::StatusOr<std::shared_ptr<const MetricPlan>> CompileStoredPlan(const MetricId& id, const std::string& spec,
                                                                    cel::Environment* environment) {
  const absl::string_view kind = SplitPlanName(id.name).first;
  catalog::v1::Metric metric;
  catalog::v1::Funnel funnel;
  catalog::v1::Retention retention;
  if (kind == kMetricKind && metric.ParseFromString(spec)) {
    return MetricPlan::Compile(id.name, id.version, 0, metric, environment);
  }
  if (kind == kFunnelKind && funnel.ParseFromString(spec)) return CompileFunnel(id, 0, funnel, environment);
  if (kind == kRetentionKind && retention.ParseFromString(spec)) return CompileRetention(id, 0, retention, environment);
  return MakeError(absl::StatusCode::kDataLoss, "STATE_DAMAGED",
                   absl::StrCat("the stored definition of ", id.name, " cannot be read"));
}

}  // namespace naru::aggregator
