// A thread for work that blocks.
#pragma once

#include <deque>
#include <functional>
#include <thread>

#include "common/sync/mutex.h"

namespace naru::ingest {

/// Runs what is posted, one after another, on a thread of its own. What may be posted is bounded by the caller (ingest:
/// by the bytes in flight). Thread-safe.
class WorkQueue {
 public:
  WorkQueue() : thread_([this] { Run(); }) {}
  /// Runs what is left, then ends.
  ~WorkQueue() { Stop(); }
  void Post(std::function<void()> work) {
    MutexLock lock(&mu_);
    work_.push_back(std::move(work));
    wakes_.Signal();
  }
  /// Runs what was posted and ends the thread; later work is never run.
  void Stop() {
    {
      MutexLock lock(&mu_);
      stopping_ = true;
      wakes_.Signal();
    }
    if (thread_.joinable()) thread_.join();
  }

 private:
  void Run() {
    while (true) {
      std::function<void()> work;
      {
        MutexLock lock(&mu_);
        while (work_.empty() && !stopping_) wakes_.Wait(&mu_);
        if (work_.empty()) return;
        work = std::move(work_.front());
        work_.pop_front();
      }
      work();
    }
  }

  Mutex mu_;
  CondVar wakes_;
  std::deque<std::function<void()>> work_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace naru::ingest
