// A metric compiled: what is asked of each event, and where the answers go.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/cel/cel.h"
#include "common/status/status.h"
#include "services/aggregator/measure.h"
#include "services/aggregator/session_plan.h"
#include "services/aggregator/window_grid.h"

namespace naru::catalog::v1 {
class Metric;
}

namespace naru::aggregator {

struct UserPlan;

/// Most dimensions and measures of a metric.
inline constexpr int kMaxDimensions = 16;
inline constexpr int kMaxMeasures = 64;
/// Most bounds of a histogram.
inline constexpr size_t kMaxBounds = 200;

/// A condition on an event, and what of it can be told from the event's type alone: `type == "X" && ...` and
/// `type in ["X", "Y"] && ...` are decided by one look-up of the type for all conditions of a metric.
struct Condition {
  cel::Program program;                           ///< not valid: always true
  std::optional<std::vector<std::string>> types;  ///< only events of these types can match
  bool types_decide = false;                      ///< and all of them do: the program need not run
};

/// One value that rows are grouped by.
struct DimensionPlan {
  std::string name;
  cel::Program program;
};

/// One measure.
struct MeasurePlan {
  std::string name;
  MeasureShape shape;
  cel::Program expr;  ///< not valid for count and ratio
  Condition filter;
};

/// From which record on events count.
struct StartRule {
  enum class Kind : uint8_t { kEarliest, kTime } kind = Kind::kEarliest;
  int64_t time_us = 0;  ///< kTime: records received before this do not count
};

/// Immutable after Compile; thread-safe. Must not outlive the Environment that it was compiled in.
class MetricPlan {
 public:
  /// Compiles version `version` of the metric `name`, made at `updated_us` (what `start: latest` counts from), into
  /// `environment`, which several metrics share.
  /// Errors: INVALID_ARGUMENT with a field violation (`spec.measures[2].expr`) for every mistake, and for what this
  /// release does not do, naming what it does.
  static absl::StatusOr<std::shared_ptr<const MetricPlan>> Compile(const std::string& name, int32_t version,
                                                                   int64_t updated_us,
                                                                   const catalog::v1::Metric& metric,
                                                                   cel::Environment* environment);

  std::string name;
  int32_t version = 0;
  std::string spec;  ///< the encoded naru.catalog.v1.Metric; of a funnel or retention that message
  Condition filter;
  std::unique_ptr<SessionPlan> session;  ///< session windows: whose, and what of them; null: other windows
  WindowGrid grid;                       ///< session windows: those that sessions are reported in
  std::vector<DimensionPlan> dimensions;
  std::vector<MeasurePlan> measures;
  /// Of the measures; with session windows one count more: of how many sessions a row is made.
  CellLayout layout{{}};
  int64_t out_of_orderness_us = 10'000'000;
  std::optional<int64_t> allowed_lateness_us;  ///< absent: unlimited
  int64_t idle_timeout_us = 30'000'000;
  int64_t retention_us = int64_t{30} * 86'400 * 1'000'000;
  StartRule start;
  int max_groups = 100'000;
  /// Of a funnel or a retention, which has no windows; see user_plan.h. Null: a metric.
  std::shared_ptr<const UserPlan> users;

  /// What an event of one type can do.
  struct TypeRoute {
    bool filter_matches = false;          ///< without running the filter
    bool filter_fails = false;            ///< cannot match
    std::vector<uint16_t> unconditional;  ///< measures that take the event
    std::vector<uint16_t> conditional;    ///< measures whose filter must be run
  };
  TypeRoute RouteOf(absl::string_view type) const;
  /// Which measures take a session (the filter was for its events).
  TypeRoute RouteOfSession() const;

  /// Types of the events that may pass the filter, as far as comparisons of `type` tell; absent: any.
  std::optional<std::vector<std::string>> EventTypes() const;

  /// Index by name; -1: there is none.
  int FindDimension(absl::string_view name) const;
  int FindMeasure(absl::string_view name) const;

 private:
  void AddMeasures(absl::string_view type, TypeRoute* route) const;
};

/// Metrics that share one environment, so that one walk over an event serves all. Immutable; thread-safe.
struct PlanSet {
  cel::Environment environment = cel::Environment::ForEvents();
  std::vector<std::shared_ptr<const MetricPlan>> plans;

  const MetricPlan* Find(absl::string_view name, int32_t version) const;
};

/// What of `source` an event's type alone decides; see Condition. Exposed for tests.
void FindTypeCondition(absl::string_view source, Condition* condition);

}  // namespace naru::aggregator
