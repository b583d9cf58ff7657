#include "services/aggregator/watch_hub.h"

#include <chrono>
#include <deque>
#include <utility>
#include <vector>

#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "services/aggregator/error_domain.h"

namespace naru::aggregator {
namespace {

constexpr std::chrono::milliseconds kTick{10};

absl::Status Stopping() { return MakeError(absl::StatusCode::kUnavailable, "STOPPING", "the service is stopping"); }

}  // namespace

// One call. Messages wait here only until the reader has taken them; the next turn comes after.
class WatchHub::Reactor : public grpc::ServerWriteReactor<v1::WatchWindowsResponse> {
 public:
  Reactor(WatchHub* hub, std::unique_ptr<WindowWatch> watch) : hub_(hub), watch_(std::move(watch)) {}

  // Runs a turn if it is time. `self` keeps the reactor until the turn is over.
  void Tick(const std::shared_ptr<Reactor>& self) {
    if (watch_ == nullptr) return;  // refused: it only waits for its end
    {
      MutexLock lock(&mu_);
      if (busy_ || writing_ || finished_ || std::chrono::steady_clock::now() < next_turn_) return;
      busy_ = true;
    }
    if (!hub_->pool_.Post([self] { self->RunTurn(); }).ok()) {
      MutexLock lock(&mu_);
      busy_ = false;
    }
  }

  void End(const absl::Status& status) {
    bool finish = false;
    {
      MutexLock lock(&mu_);
      if (ending_.ok()) ending_ = status;
      finish = MayFinish();
    }
    if (finish) Finish(ToGrpcStatus(status, kErrorDomain));
  }

  void OnCancel() override { End(MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the caller went away")); }
  void OnDone() override { hub_->Remove(this); }
  void OnWriteDone(bool ok) override {
    const v1::WatchWindowsResponse* next = nullptr;
    absl::Status ending;
    {
      MutexLock lock(&mu_);
      writing_ = false;
      messages_.pop_front();
      if (!ok && ending_.ok()) ending_ = MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the caller went away");
      if (MayFinish()) {
        ending = ending_;
      } else if (!messages_.empty()) {
        writing_ = true;
        next = &messages_.front();
      }
    }
    if (!ending.ok()) Finish(ToGrpcStatus(ending, kErrorDomain));
    if (next != nullptr) StartWrite(next);
  }

 private:
  // Whether to call Finish now: the call is to end, and nothing of it is under way.
  bool MayFinish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (ending_.ok() || busy_ || writing_ || finished_) return false;
    finished_ = true;
    return true;
  }

  void RunTurn() {
    absl::StatusOr<std::vector<v1::WatchWindowsResponse>> turn = watch_->Turn();
    const v1::WatchWindowsResponse* next = nullptr;
    absl::Status ending;
    {
      MutexLock lock(&mu_);
      busy_ = false;
      next_turn_ = std::chrono::steady_clock::now() + std::chrono::microseconds(watch_->interval_us());
      if (!turn.ok() && ending_.ok()) ending_ = turn.status();
      if (MayFinish()) {
        ending = ending_;
      } else if (turn.ok() && !turn->empty()) {
        for (v1::WatchWindowsResponse& message : *turn) messages_.push_back(std::move(message));
        writing_ = true;
        next = &messages_.front();
      }
    }
    if (!ending.ok()) Finish(ToGrpcStatus(ending, kErrorDomain));
    if (next != nullptr) StartWrite(next);
  }

  WatchHub* const hub_;
  const std::unique_ptr<WindowWatch> watch_;  // used by one turn at a time
  Mutex mu_;
  std::deque<v1::WatchWindowsResponse> messages_ ABSL_GUARDED_BY(mu_);
  absl::Status ending_ ABSL_GUARDED_BY(mu_);
  bool busy_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  std::chrono::steady_clock::time_point next_turn_ ABSL_GUARDED_BY(mu_){};
};

WatchHub::WatchHub(QueryPool& pool) : pool_(pool) {
  thread_ = std::thread([this] { Run(); });
}

WatchHub::~WatchHub() {
  Stop();
  // Reactors refer to the hub until gRPC has let go of them.
  MutexLock lock(&mu_);
  while (!reactors_.empty()) wake_.Wait(&mu_);
}

grpc::ServerWriteReactor<v1::WatchWindowsResponse>* WatchHub::Add(absl::StatusOr<std::unique_ptr<WindowWatch>> watch) {
  absl::Status refused = watch.status();
  auto reactor = std::make_shared<Reactor>(this, watch.ok() ? *std::move(watch) : nullptr);
  {
    MutexLock lock(&mu_);
    if (refused.ok() && stopping_) refused = Stopping();
    if (refused.ok() && reactors_.size() >= kMaxWatches) {
      refused = MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_WATCHES", "too many watches are open");
    }
    reactors_[reactor.get()] = reactor;
    wake_.SignalAll();
  }
  if (!refused.ok()) reactor->End(refused);
  return reactor.get();
}

void WatchHub::Remove(Reactor* reactor) {
  std::shared_ptr<Reactor> last;  // destroyed after the lock is released
  MutexLock lock(&mu_);
  const auto found = reactors_.find(reactor);
  if (found == reactors_.end()) return;
  last = std::move(found->second);
  reactors_.erase(found);
  wake_.SignalAll();
}

void WatchHub::Stop() {
  std::vector<std::shared_ptr<Reactor>> open;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    for (const auto& [pointer, reactor] : reactors_) open.push_back(reactor);
    wake_.SignalAll();
  }
  for (const auto& reactor : open) reactor->End(Stopping());
  if (thread_.joinable()) thread_.join();
}

void WatchHub::Run() {
  for (;;) {
    std::vector<std::shared_ptr<Reactor>> open;
    {
      MutexLock lock(&mu_);
      while (reactors_.empty() && !stopping_) wake_.Wait(&mu_);
      if (stopping_) return;
      for (const auto& [pointer, reactor] : reactors_) open.push_back(reactor);
    }
    for (const auto& reactor : open) reactor->Tick(reactor);
    open.clear();
    MutexLock lock(&mu_);
    if (!stopping_) wake_.WaitFor(&mu_, kTick);
  }
}

}  // namespace naru::aggregator
