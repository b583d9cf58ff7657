#include "services/ingest/byte_budget.h"

#include <vector>

namespace naru::ingest {

bool ByteBudget::TryTake(int64_t bytes) {
  MutexLock lock(&mu_);
  if (!waiting_.empty() || !Fits(bytes)) return false;
  taken_ += bytes;
  return true;
}

void ByteBudget::Take(int64_t bytes, std::function<void()> ready) {
  {
    MutexLock lock(&mu_);
    if (!waiting_.empty() || !Fits(bytes)) {
      waiting_.emplace_back(bytes, std::move(ready));
      return;
    }
    taken_ += bytes;
  }
  ready();
}

void ByteBudget::TakeAndWait(int64_t bytes) {
  Mutex mu;
  CondVar cv;
  bool taken = false;
  Take(bytes, [&] {
    MutexLock lock(&mu);
    taken = true;
    cv.Signal();
  });
  MutexLock lock(&mu);
  while (!taken) cv.Wait(&mu);
}

void ByteBudget::GiveBack(int64_t bytes) {
  std::vector<std::function<void()>> ready;
  {
    MutexLock lock(&mu_);
    taken_ -= bytes;
    while (!waiting_.empty() && Fits(waiting_.front().first)) {
      taken_ += waiting_.front().first;
      ready.push_back(std::move(waiting_.front().second));
      waiting_.pop_front();
    }
  }
  for (const auto& callback : ready) callback();
}

int64_t ByteBudget::taken() const {
  MutexLock lock(&mu_);
  return taken_;
}

}  // namespace naru::ingest
