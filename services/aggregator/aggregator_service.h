// naru.aggregator.v1: proto in, proto out.
#pragma once

#include <functional>
#include <memory>

#include "services/aggregator/finality.h"
#include "services/aggregator/late_events.h"
#include "services/aggregator/plan_directory.h"
#include "services/aggregator/serving_view.h"
#include "services/aggregator/sink_set.h"

namespace grpc {
class Service;
}
namespace naru::catalog {
class Catalog;
}

namespace naru::aggregator {

/// What the calls need; all borrowed.
struct ServiceDependencies {
  ServingView& view;
  PlanDirectory& plans;
  Finality& finality;
  catalog::Catalog& catalog;
  const Clock& clock;
  LateEvents& late_events;
  SinkSet& sinks;
  std::function<void()> hurry;          ///< asks for a commit soon
  std::function<absl::Status()> ready;  ///< OK once the view follows the log
};

/// Thread-safe. Outlives the server that serves it.
class AggregatorService {
 public:
  explicit AggregatorService(ServiceDependencies dependencies);
  ~AggregatorService();
  AggregatorService(const AggregatorService&) = delete;
  AggregatorService& operator=(const AggregatorService&) = delete;

  /// To be added to a server under `naru.aggregator.v1.AggregatorService`.
  grpc::Service* service();
  /// Ends watches and waiting queries; before the server drains.
  void Stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace naru::aggregator
