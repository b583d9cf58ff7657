// All Sinks of the catalog: which are written here, by runs that come and go with the catalog and with the ownership of
// the ledger; how far each is; pausing and filling again.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "common/catalog/snapshot.h"
#include "common/metrics/metrics.h"
#include "common/secret/secret.h"
#include "services/aggregator/sink_run.h"

namespace naru::aggregator::v1 {
class SinkStatus;
}

namespace naru::aggregator {

struct SinkSetOptions {
  std::string instance = "0";  ///< stable and unique
  std::string group = "naru-aggregator-sinks";
  SecretOptions secrets;
  SinkPace pace;
};

/// What the set borrows; all must outlive it.
struct SinkSetDependencies {
  event_log::EventLog& log;
  ServingView& view;
  PlanDirectory& plans;
  Finality& finality;
  MetricRegistry& metrics;
  const Clock& clock;
  Random& random = *Random::System();
};

/// Thread-safe. Without a Sink in the catalog it does nothing, and makes no topics.
class SinkSet {
 public:
  SinkSet(const SinkSetDependencies& dependencies, SinkSetOptions options);
  ~SinkSet();
  SinkSet(const SinkSet&) = delete;
  SinkSet& operator=(const SinkSet&) = delete;

  void SetSnapshot(std::shared_ptr<const catalog::Snapshot> snapshot);
  /// Begins, in a thread of its own. The view must follow.
  void Start();
  /// Ends the runs and the thread. Twice does nothing more.
  void Stop();

  /// Every Sink, by name.
  std::vector<v1::SinkStatus> Statuses() const;
  /// Errors: NOT_FOUND with the nearest name; UNAVAILABLE; those of the log.
  absl::StatusOr<v1::SinkStatus> SetPaused(const std::string& sink, bool paused);
  absl::StatusOr<v1::SinkStatus> Resync(const std::string& sink);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace naru::aggregator
