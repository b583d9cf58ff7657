// Funnels and retentions as plans: what follows single users through the log. They are metrics to all that consumes,
// commits, rebuilds and removes (a MetricPlan of its own name space), but keep a record for each user instead of
// windows; answers are made of the records when somebody asks.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/event/event_view.h"
#include "services/aggregator/aggregate_record.h"
#include "services/aggregator/cohort.h"
#include "services/aggregator/funnel_matcher.h"
#include "services/aggregator/metric_plan.h"

namespace naru::catalog::v1 {
class Funnel;
class Resource;
class Retention;
}  // namespace naru::catalog::v1

namespace naru::aggregator {

/// What a plan's users are followed for. Its conditions are the filters of the plan's measures, in the order of steps;
/// of a retention `first`, then `returned`. Immutable; thread-safe.
struct UserPlan {
  enum class Kind : uint8_t { kFunnel, kRetention } kind = Kind::kFunnel;
  bool by_session = false;  ///< the entity is the event's session; else its subject
  absl::TimeZone zone;

  // kFunnel.
  int64_t within_us = 0;
  FunnelModes modes;
  std::vector<std::string> steps;  ///< their names

  // kRetention.
  std::optional<CohortCalendar> calendar;
  int count = 0;  ///< units after the cohort's own

  absl::string_view EntityOf(const event::EventView& event) const { return by_session ? event.session : event.subject; }
};

/// Kinds of resources that have plans.
inline constexpr absl::string_view kMetricKind = "Metric";
inline constexpr absl::string_view kFunnelKind = "Funnel";
inline constexpr absl::string_view kRetentionKind = "Retention";
inline constexpr absl::string_view kPlanKinds[] = {kMetricKind, kFunnelKind, kRetentionKind};

/// Name of the plan (and of its records in `aggregates`) of a resource: of a metric its own name, of others
/// `Funnel/NAME`; no resource has a `/` in its name.
std::string PlanNameOf(absl::string_view kind, absl::string_view name);
/// Kind and name of the resource of a plan.
std::pair<absl::string_view, absl::string_view> SplitPlanName(absl::string_view plan_name);

/// Compiles a resource of one of kPlanKinds. Errors: as MetricPlan::Compile; INVALID_ARGUMENT for other kinds.
absl::StatusOr<std::shared_ptr<const MetricPlan>> CompilePlan(const catalog::v1::Resource& resource,
                                                              cel::Environment* environment);
/// Compiles what is stored of a version: the bytes of MetricPlan::spec. Errors: the same.
absl::StatusOr<std::shared_ptr<const MetricPlan>> CompileStoredPlan(const MetricId& id, const std::string& spec,
                                                                    cel::Environment* environment);

}  // namespace naru::aggregator
