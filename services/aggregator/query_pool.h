// Threads for answering queries, and a place where queries wait for the view without holding one.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <list>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/sync/mutex.h"
#include "services/aggregator/serving_view.h"

namespace naru::aggregator {

/// Thread-safe. Borrows the view.
class QueryPool {
 public:
  struct Options {
    int threads = 4;
    size_t max_queued = 1000;   ///< tasks that wait for a thread
    size_t max_waiting = 1000;  ///< queries that wait for the view
  };
  /// `while_waiting` is called every few milliseconds as long as any query waits.
  QueryPool(ServingView& view, Options options, std::function<void()> while_waiting);
  /// Runs what is queued, ends waits as if their time were over.
  ~QueryPool();

  /// Runs `task` on a thread of the pool. Errors: RESOURCE_EXHAUSTED; then it is not run.
  absl::Status Post(std::function<void()> task);
  /// Runs `done(true)` on a thread of the pool once `condition` holds, or `done(false)` after `timeout`. The condition
  /// is asked after each change of the view; it must not block. Errors: RESOURCE_EXHAUSTED; then neither is run.
  absl::Status WaitThen(std::function<bool()> condition, std::chrono::microseconds timeout,
                        std::function<void(bool)> done);
  void Stop();

 private:
  struct Waiting {
    std::function<bool()> condition;
    std::chrono::steady_clock::time_point deadline;
    std::function<void(bool)> done;
  };
  void Work();
  void Watch();

  ServingView& view_;
  const Options options_;
  const std::function<void()> while_waiting_;
  Mutex mu_;
  CondVar wake_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mu_);
  std::list<Waiting> waiting_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace naru::aggregator
