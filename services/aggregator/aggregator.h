// The aggregator put together: the loop that counts, the view that answers, the calls.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock/clock.h"
#include "common/event_log/event_log.h"
#include "services/aggregator/config.h"
#include "services/aggregator/consume_loop.h"

namespace naru {
class MetricRegistry;
class Server;
}  // namespace naru
namespace naru::catalog {
class Catalog;
}

namespace naru::aggregator {

class PlanDirectory;
class ServingView;

/// What it borrows; all must outlive it.
struct AggregatorDependencies {
  event_log::EventLog& log;
  catalog::Catalog& catalog;
  MetricRegistry& metrics;
  const Clock& clock = *Clock::System();
  /// Where the serving view lives; null: the log's own store, or, where it has none, one in
  /// AggregatorOptions::state_dir.
  event_log::LocalStore* store = nullptr;
};

/// Thread-safe.
class Aggregator {
 public:
  /// Opens the store. Does not yet read the log. Errors: those of the store.
  static absl::StatusOr<std::unique_ptr<Aggregator>> Create(const AggregatorOptions& options,
                                                            const AggregatorDependencies& dependencies);
  ~Aggregator();
  Aggregator(const Aggregator&) = delete;
  Aggregator& operator=(const Aggregator&) = delete;

  /// Adds the calls, their scopes (`read`; `admin` for replays and for what changes a Sink), the health dependency
  /// `aggregator` and the stop callbacks. Before Server::Start.
  void RegisterWith(Server& server);
  /// Begins, on threads of its own: makes the topics `aggregates` and `events.late` once `events` is there, restores
  /// the view, counts. Does not block.
  void Start();
  /// Commits and ends the threads. RegisterWith makes the server call it.
  void Stop();
  /// Ends without committing, as a crash would; for tests.
  void Abandon();

  /// OK when it counts and its view follows.
  absl::Status Health() const;
  ConsumeLoopStats stats() const;

 private:
  struct State;
  explicit Aggregator(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace naru::aggregator
