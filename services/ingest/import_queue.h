// A bounded queue between the stages of an import.
#pragma once

#include <chrono>
#include <deque>
#include <optional>
#include <utility>

#include "common/sync/mutex.h"

namespace naru::ingest {

/// Thread-safe.
template <typename T>
class ImportQueue {
 public:
  explicit ImportQueue(size_t limit) : limit_(limit) {}

  /// Waits for room. False: the queue was aborted, and the item is gone.
  bool Push(T item) {
    MutexLock lock(&mu_);
    while (items_.size() >= limit_ && !aborted_) room_.Wait(&mu_);
    if (aborted_) return false;
    items_.push_back(std::move(item));
    filled_.Signal();
    return true;
  }

  /// Waits for an item, at most `timeout`. Empty: none came, or `*ended`: the queue was closed and is empty, or aborted.
  std::optional<T> Pop(std::chrono::milliseconds timeout, bool* ended) {
    MutexLock lock(&mu_);
    *ended = false;
    if (items_.empty() && !closed_ && !aborted_) filled_.WaitFor(&mu_, timeout);
    if (aborted_ || (items_.empty() && closed_)) {
      *ended = true;
      return std::nullopt;
    }
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    room_.Signal();
    return item;
  }

  /// Nothing more is pushed.
  void Close() {
    MutexLock lock(&mu_);
    closed_ = true;
    filled_.SignalAll();
  }

  /// Throws everything away; nobody waits any more.
  void Abort() {
    MutexLock lock(&mu_);
    aborted_ = true;
    items_.clear();
    filled_.SignalAll();
    room_.SignalAll();
  }

 private:
  const size_t limit_;
  Mutex mu_;
  CondVar filled_;
  CondVar room_;
  std::deque<T> items_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  bool aborted_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace naru::ingest
