// How a number came about.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "common/clock/clock.h"
#include "services/aggregator/finality.h"
#include "services/aggregator/metric_plan.h"
#include "services/aggregator/serving_view.h"

namespace naru::aggregator::v1 {
class ExplainWindowRequest;
class ExplainWindowResponse;
}  // namespace naru::aggregator::v1

namespace naru::aggregator {

/// Most partials that an answer shows.
inline constexpr size_t kMaxPartials = 1000;

/// Fills all but the response's `state`. `plan` is the version that answers. With session windows the running sessions
/// are in the numbers, as they are in rows. Errors: NOT_FOUND when no such window has rows; INVALID_ARGUMENT for a bad
/// filter; those of the view.
absl::Status ExplainWindow(const v1::ExplainWindowRequest& request, const std::shared_ptr<const MetricPlan>& plan,
                           ServingView& view, Finality& finality, const Clock& clock,
                           v1::ExplainWindowResponse* response);

}  // namespace naru::aggregator
