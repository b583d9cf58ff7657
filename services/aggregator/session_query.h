// Single sessions: the running and the counted ones of a time or an entity, by start, a page at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/aggregator/metric_plan.h"
#include "services/aggregator/serving_view.h"

namespace naru::aggregator::v1 {
class QuerySessionsRequest;
class QuerySessionsResponse;
}  // namespace naru::aggregator::v1

namespace naru::aggregator {

/// A request checked against a metric. Thread-safe.
class SessionQuery {
 public:
  /// Errors: INVALID_ARGUMENT with a field violation: the metric has no session windows, bad times, sizes and tokens.
  static absl::StatusOr<SessionQuery> Compile(const v1::QuerySessionsRequest& request,
                                              std::shared_ptr<const MetricPlan> plan);
  SessionQuery(SessionQuery&&) noexcept;
  SessionQuery& operator=(SessionQuery&&) noexcept;
  ~SessionQuery();

  /// The page that was asked for; cut where a message becomes larger than `max_bytes`. A session that ended a gap or
  /// more before `frontier_us` runs no longer, counted or not. Reads every session of a window, so that its cost grows
  /// with the sessions in the windows that a page comes from. Errors: those of the view.
  absl::Status Run(ServingView& view, int64_t frontier_us, size_t max_bytes, v1::QuerySessionsResponse* response) const;

 private:
  struct State;
  explicit SessionQuery(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace naru::aggregator
