// Follows the users of a funnel or a retention in one source partition: each event that fulfils a condition is added to
// its user's record. See user_plan.h and user_state.h.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "common/cel/cel.h"
#include "common/event/event_view.h"
#include "services/aggregator/metric_plan.h"
#include "services/aggregator/user_plan.h"
#include "services/aggregator/user_state.h"

namespace naru::aggregator {

class MetricState;

/// Part of a MetricState, which it borrows. Not thread-safe.
class UserTracker {
 public:
  explicit UserTracker(MetricState* state) : state_(state) {}

  /// Takes an event that passed the plan's filter; `route` is its type's. Returns whether it counts: it has the entity
  /// and fulfils a condition (or, in strict_order, interrupts). Errors: of reading the user's record.
  absl::StatusOr<bool> Add(const event::EventView& event, const MetricPlan::TypeRoute& route, int64_t event_time_us,
                           int64_t received_us, const cel::Activation& activation);

 private:
  uint32_t ConditionsOf(const MetricPlan::TypeRoute& route, const cel::Activation& activation);
  absl::Status AddStep(const event::EventView& event, uint32_t steps, int64_t event_time_us, int64_t received_us,
                       const cel::Activation& activation);
  absl::Status AddUnit(const event::EventView& event, uint32_t conditions, int64_t event_time_us, int64_t received_us);
  int64_t UnitOf(int64_t time_us);

  MetricState* const state_;
  TimeSpan last_span_;  // events come nearly in order of time: the unit that was found last
  int64_t last_unit_ = 0;
  // Re-used for each event.
  FunnelUser funnel_user_;
  RetentionUser retention_user_;
  std::string group_;
};

}  // namespace naru::aggregator
