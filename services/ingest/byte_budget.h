// How many bytes may be on their way at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <utility>

#include "common/sync/mutex.h"

namespace naru::ingest {

/// Bounds the bytes that were taken and are not yet acknowledged. Calls that cannot wait are refused; streams and
/// imports wait in line. What is larger than the whole budget is let through alone, so that nothing waits for ever.
/// Thread-safe.
class ByteBudget {
 public:
  explicit ByteBudget(int64_t limit_bytes) : limit_(limit_bytes) {}

  /// Takes `bytes` if they fit and nobody is waiting; they must be given back.
  bool TryTake(int64_t bytes);
  /// Takes `bytes` as soon as they fit, first come first served, then calls `ready` (at once, or from the thread that
  /// gives back; it must not block).
  void Take(int64_t bytes, std::function<void()> ready);
  /// Take, and wait for it.
  void TakeAndWait(int64_t bytes);
  void GiveBack(int64_t bytes);

  int64_t taken() const;
  int64_t limit() const { return limit_; }

 private:
  bool Fits(int64_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return taken_ == 0 || taken_ + bytes <= limit_; }

  const int64_t limit_;
  mutable Mutex mu_;
  int64_t taken_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<std::pair<int64_t, std::function<void()>>> waiting_ ABSL_GUARDED_BY(mu_);
};

}  // namespace naru::ingest
