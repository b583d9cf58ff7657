// A metric without a server: events in, rows out. Runs the `tests` of Metric resources.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/catalog/test_runners.h"
#include "services/aggregator/window_query.h"

namespace google::protobuf {
class Struct;
}
namespace naru::catalog::v1 {
class Metric;
class Resource;
class ResourceTest;
}  // namespace naru::catalog::v1

namespace naru::aggregator {

class MetricState;

/// Counts events in memory, in the order given, as one partition. Not thread-safe.
class MetricEvaluator {
 public:
  /// Fields that an event type declares: absent ones are null, as in the service.
  struct DeclaredType {
    std::string type;
    std::vector<std::string> fields;
  };
  /// Errors: as MetricPlan::Compile.
  static absl::StatusOr<std::unique_ptr<MetricEvaluator>> Create(const std::string& name,
                                                                 const catalog::v1::Metric& metric,
                                                                 const std::vector<DeclaredType>& types = {});
  /// The same of a Metric, Funnel or Retention resource.
  static absl::StatusOr<std::unique_ptr<MetricEvaluator>> CreateFor(const catalog::v1::Resource& resource,
                                                                    const std::vector<DeclaredType>& types);
  /// An evaluator that has taken the events of one of the resource's tests; null if it cannot be made. Adds what went
  /// wrong to `*failures`; `field` is the test's.
  static std::unique_ptr<MetricEvaluator> RunEvents(const catalog::v1::Resource& resource,
                                                    const catalog::v1::ResourceTest& test,
                                                    const catalog::ResourceLookup& lookup, const std::string& field,
                                                    std::vector<FieldViolation>* failures);
  ~MetricEvaluator();

  /// Takes an encoded naru.event.v1.Event.
  absl::Status Add(absl::string_view event, int64_t received_us);
  /// Takes an event as JSON: `type`, `time` (RFC 3339), `subject`, `session`, `source`, `id`, `data`, `received_time`.
  /// Without received_time it is received when it happened, but never before an earlier one.
  absl::Status AddJson(const google::protobuf::Struct& event);

  /// The page that a query (without `metric`) gives. Windows are final by the events' own watermark.
  absl::StatusOr<ResultPage> Query(const v1::QueryWindowsRequest& request);
  /// All rows, at most 10,000, as `naru query` prints them.
  absl::StatusOr<std::vector<google::protobuf::Struct>> Rows();
  /// What was counted.
  const MetricState& state() const;
  /// What ends at or before this is final by the events' own watermark.
  int64_t frontier_us() const;
  /// Events that were too late to be counted.
  int64_t late_count() const;

 private:
  struct State;
  explicit MetricEvaluator(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Runs the tests of a Metric; see catalog::TestRunner.
std::vector<FieldViolation> RunMetricTests(const catalog::v1::Resource& resource,
                                           const catalog::ResourceLookup& lookup);
/// Compiles a Metric as the aggregator would: what the aggregator cannot compute is refused when it is applied.
std::vector<FieldViolation> CheckMetric(const catalog::v1::Resource& resource);
/// What is wrong with the entity of a Metric with session windows, as far as the event types that its filter names
/// tell.
std::vector<FieldViolation> CheckSessionEntity(const catalog::v1::Resource& resource,
                                               const catalog::ResourceLookup& lookup);
/// Registers all of them for the kind `Metric`.
void RegisterMetricTests(catalog::TestRunners* runners);

}  // namespace naru::aggregator
