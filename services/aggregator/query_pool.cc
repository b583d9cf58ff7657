#include "services/aggregator/query_pool.h"

#include <utility>

#include "common/status/status.h"

namespace naru::aggregator {
namespace {

constexpr std::chrono::milliseconds kWatchInterval{5};

absl::Status TooBusy() {
  ErrorDetails details;
  details.reason = "TOO_MANY_QUERIES";
  details.retry_after = std::chrono::milliseconds(500);
  return MakeError(absl::StatusCode::kResourceExhausted, "too many queries at a time", details);
}

}  // namespace

QueryPool::QueryPool(ServingView& view, Options options, std::function<void()> while_waiting)
    : view_(view), options_(options), while_waiting_(std::move(while_waiting)) {
  for (int i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { Work(); });
  threads_.emplace_back([this] { Watch(); });
}

QueryPool::~QueryPool() { Stop(); }

void QueryPool::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    wake_.SignalAll();
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  // The workers have left; what still came in between is answered here.
  for (;;) {
    std::function<void()> task;
    {
      MutexLock lock(&mu_);
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

absl::Status QueryPool::Post(std::function<void()> task) {
  MutexLock lock(&mu_);
  if (stopping_) return MakeError(absl::StatusCode::kUnavailable, "STOPPING", "the service is stopping");
  if (queue_.size() >= options_.max_queued) return TooBusy();
  queue_.push_back(std::move(task));
  wake_.SignalAll();
  return absl::OkStatus();
}

absl::Status QueryPool::WaitThen(std::function<bool()> condition, std::chrono::microseconds timeout,
                                 std::function<void(bool)> done) {
  if (condition()) return Post([done = std::move(done)] { done(true); });
  MutexLock lock(&mu_);
  if (stopping_) return MakeError(absl::StatusCode::kUnavailable, "STOPPING", "the service is stopping");
  if (waiting_.size() >= options_.max_waiting) return TooBusy();
  waiting_.push_back({std::move(condition), std::chrono::steady_clock::now() + timeout, std::move(done)});
  wake_.SignalAll();
  return absl::OkStatus();
}

void QueryPool::Work() {
  for (;;) {
    std::function<void()> task;
    {
      MutexLock lock(&mu_);
      while (queue_.empty() && !stopping_) wake_.Wait(&mu_);
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

void QueryPool::Watch() {
  for (;;) {
    std::list<Waiting> waiting;
    bool stopping;
    {
      MutexLock lock(&mu_);
      while (waiting_.empty() && !stopping_) wake_.Wait(&mu_);
      stopping = stopping_;
      waiting.swap(waiting_);
    }
    const uint64_t seen = view_.change_count();
    std::list<Waiting> still;
    for (Waiting& query : waiting) {
      const bool holds = !stopping && query.condition();
      if (!holds && !stopping && std::chrono::steady_clock::now() < query.deadline) {
        still.push_back(std::move(query));
        continue;
      }
      MutexLock lock(&mu_);
      queue_.push_back([done = std::move(query.done), holds] { done(holds); });
      wake_.SignalAll();
    }
    if (stopping) return;
    if (still.empty()) continue;
    {
      MutexLock lock(&mu_);
      waiting_.splice(waiting_.end(), still);
    }
    if (while_waiting_) while_waiting_();
    view_.WaitUntil([&] { return view_.change_count() != seen; }, kWatchInterval);
  }
}

}  // namespace naru::aggregator
