#include "services/aggregator/sink_writer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"

namespace naru::aggregator {

SinkLayout MakeSinkLayout(const std::string& sink, const MetricPlan& plan) {
  SinkLayout layout;
  layout.sink = sink;
  layout.metric = plan.name;
  layout.metric_version = plan.version;
  layout.retention_us = plan.retention_us;
  layout.cumulative = plan.grid.cumulative();
  std::vector<TimeSpan> windows;
  plan.grid.AppendWindowsOf(plan.grid.PaneOf(0).start_us, &windows);
  for (const TimeSpan& window : windows) layout.window_us = std::max(layout.window_us, window.end_us - window.start_us);
  for (const DimensionPlan& dimension : plan.dimensions) layout.dimensions.push_back(dimension.name);
  for (const MeasurePlan& measure : plan.measures) {
    layout.measures.push_back(measure.name);
    layout.shapes.push_back(measure.shape);
  }
  return layout;
}

absl::Status SinkFenced() {
  return MakeError(absl::StatusCode::kAborted, "FENCED", "another aggregator writes this sink now");
}

absl::Status SinkStoreEmptied(const std::string& what) {
  return MakeError(absl::StatusCode::kDataLoss, "STORE_EMPTIED", what);
}

absl::Status SinkStoreTaken(const std::string& where, const std::string& other_sink) {
  return MakeError(absl::StatusCode::kFailedPrecondition, "STORE_TAKEN",
                   absl::StrCat(where, " is written by the Sink `", other_sink,
                                "`; give one of the two another place, or take it over with `naru sink resync`"));
}

bool IsSinkFenced(const absl::Status& status) {
  return absl::IsAborted(status) && GetErrorDetails(status).reason == "FENCED";
}

bool IsSinkStoreEmptied(const absl::Status& status) {
  return absl::IsDataLoss(status) && GetErrorDetails(status).reason == "STORE_EMPTIED";
}

}  // namespace naru::aggregator
