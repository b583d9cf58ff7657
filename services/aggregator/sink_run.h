// Writes one metric into one Sink, in a thread of its own: follows the serving view as a watch does, remembering only
// up to which offsets of `aggregates` the store knows the rows, so that a store that is down for long costs no memory
// and nothing is lost.
//
// Each turn reads the windows that changed since. Before rows are written, the offsets that they may hold are stored as
// the intent; after them, how far the store is. Whoever writes next waits until its view has passed the intent, so a
// row in the store never goes backwards.
//
// Of session windows the running sessions are in the rows too, and may leave a row without a trace: which rows had some
// is remembered by the run alone, so each run begins with a fill.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/clock/clock.h"
#include "services/aggregator/finality.h"
#include "services/aggregator/plan_directory.h"
#include "services/aggregator/serving_view.h"
#include "services/aggregator/sink_ledger.h"
#include "services/aggregator/sink_pace.h"
#include "services/aggregator/sink_writer.h"

namespace naru::aggregator {

/// What a run borrows; all must outlive it.
struct SinkRunDependencies {
  SinkLedger& ledger;
  ServingView& view;
  PlanDirectory& plans;
  Finality& finality;
  event_log::EventLog& log;
  const Clock& clock;
  Random& random;
};

struct SinkRunOptions {
  SinkId id;
  int64_t claim = 0;     ///< of the ledger
  std::string instance;  ///< who writes
  std::string target;    ///< where to, for people
  std::chrono::milliseconds interval{1'000};
  SinkPace pace;
  /// What is to be done: write; remove the metric's rows, as it was deleted; only forget how far it was.
  enum class Task : uint8_t { kWrite, kDrop, kForget } task = Task::kWrite;
};

/// Makes the writer; called at the beginning and after each failure. Not called for kForget.
using OpenSinkWriter = std::function<absl::StatusOr<std::unique_ptr<SinkWriter>>(SinkFence& fence)>;

/// Where a run is.
struct SinkRunStatus {
  std::string state;  ///< as SinkMetricStatus.state
  std::string message;
  int32_t metric_version = 0;
  int64_t lag = 0;  ///< records of `aggregates`
  int64_t lag_us = 0;
  int64_t written = 0;
  int64_t refused = 0;
};

/// Starts when it is made. Thread-safe.
class SinkRun {
 public:
  SinkRun(const SinkRunDependencies& dependencies, OpenSinkWriter open, SinkRunOptions options);
  /// Waits for the thread.
  ~SinkRun();
  SinkRun(const SinkRun&) = delete;
  SinkRun& operator=(const SinkRun&) = delete;

  /// It ends soon; does not wait.
  void RequestStop();
  /// Ends a call of the store that takes longer than SinkPace::max_call, which is then tried on a new connection. To be
  /// called from time to time.
  void EndHungCall();
  /// The thread is about to end: it was stopped, its task is done, or another aggregator took over.
  bool finished() const;
  int64_t claim() const;
  SinkRunStatus status() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace naru::aggregator
