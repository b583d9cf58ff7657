// Which windows are final: nothing that is on time can come for them any more.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "common/clock/clock.h"
#include "common/event_log/event_log.h"
#include "common/sync/mutex.h"
#include "services/aggregator/metric_plan.h"
#include "services/aggregator/serving_view.h"

namespace naru::aggregator {

/// What the frontier of one partition is made of.
struct PartitionStanding {
  std::optional<Progress> progress;  ///< absent: the metric is not counted there yet
  int64_t start_offset = 0;          ///< of the log
  int64_t end_offset = 0;
  bool caught_up = false;
  int64_t frontier_us = kNever;
};

/// Compares what the view has seen with the end of the log (asked at most once a second). Thread-safe.
class Finality {
 public:
  Finality(event_log::EventLog& log, ServingView& view, const Clock& clock) : log_(log), view_(view), clock_(clock) {}

  /// Windows that end at or before this are final: the least frontier of all partitions (see PartitionFrontier); kNever
  /// while a partition is not known.
  int64_t Frontier(const MetricPlan& plan);
  /// The partitions one by one.
  std::vector<PartitionStanding> Partitions(const MetricPlan& plan);
  /// The greatest frontier that a reader may have been shown until `until_us` (by the wall clock), as far as the view
  /// tells: as if everything received by then had been counted.
  int64_t FrontierShownUntil(const MetricPlan& plan, int64_t until_us);
  /// Ends of the partitions of the source topic, as known within the last second.
  std::vector<int64_t> LogEnds();
  /// The same, asked now. Errors: those of the log.
  absl::StatusOr<std::vector<int64_t>> ReadLogEnds();

 private:
  event_log::EventLog& log_;
  ServingView& view_;
  const Clock& clock_;
  Mutex mu_;
  std::vector<int64_t> ends_ ABSL_GUARDED_BY(mu_);
  std::vector<int64_t> starts_ ABSL_GUARDED_BY(mu_);
  int64_t read_at_us_ ABSL_GUARDED_BY(mu_) = INT64_MIN;
};

}  // namespace naru::aggregator
