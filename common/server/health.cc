#include "common/server/health.h"

#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log/log.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace naru {
namespace {

using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;
using ServingStatus = HealthCheckResponse::ServingStatus;

class WatchReactor;

}  // namespace

struct Health::State {
  struct Check {
    std::string name;
    std::function<absl::Status()> ask;
    std::set<std::string> services;  // empty = all
    absl::Status last = absl::UnavailableError("not asked yet");
  };
  class Service;

  mutable Mutex mu;
  CondVar changed;
  std::vector<Check> checks ABSL_GUARDED_BY(mu);
  std::set<std::string> services ABSL_GUARDED_BY(mu) = {""};
  std::set<std::shared_ptr<WatchReactor>> watchers ABSL_GUARDED_BY(mu);
  bool started ABSL_GUARDED_BY(mu) = false;
  bool stopping ABSL_GUARDED_BY(mu) = false;
  bool stopped ABSL_GUARDED_BY(mu) = false;
  std::unique_ptr<Service> service;
  std::thread thread;

  bool Knows(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) { return services.count(name) > 0; }
  bool Serving(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  ServingStatus StatusOf(const std::string& name) const ABSL_LOCKS_EXCLUDED(mu);
  void Ask() ABSL_LOCKS_EXCLUDED(mu);
  void TellWatchers() ABSL_LOCKS_EXCLUDED(mu);
  void Forget(WatchReactor* watcher) ABSL_LOCKS_EXCLUDED(mu);
  void Run(std::chrono::milliseconds interval);
};

namespace {

// One Watch call. gRPC must never be called with a lock held that its callbacks take, so every step decides under the
// lock and acts after it: `writing_` and `finished_` see to it that no two steps act at once.
class WatchReactor : public grpc::ServerWriteReactor<HealthCheckResponse>,
                     public std::enable_shared_from_this<WatchReactor> {
 public:
  WatchReactor(Health::State* health, std::string service) : health_(health), service_(std::move(service)) {}

  // Sends the state when it is not the one sent last.
  void Tell() {
    {
      MutexLock lock(&mu_);
      const ServingStatus now = health_->StatusOf(service_);
      if (writing_ || ending_ || now == sent_) return;
      writing_ = true;
      sent_ = now;
      response_.set_status(now);
    }
    StartWrite(&response_);
  }

  void End(grpc::StatusCode code, const char* message) {
    {
      MutexLock lock(&mu_);
      if (ending_) return;
      ending_ = true;
      end_status_ = grpc::Status(code, message);
      if (writing_) return;  // OnWriteDone finishes
    }
    Finish(end_status_);
  }

  void OnWriteDone(bool ok) override {
    bool write = false;
    {
      MutexLock lock(&mu_);
      // It may have changed while the last one was on its way; the caller hears of that also when this is the end.
      const ServingStatus now = health_->StatusOf(service_);
      if (!ok && !ending_) {
        ending_ = true;
        end_status_ = grpc::Status(grpc::StatusCode::CANCELLED, "the caller has gone");
      }
      write = writing_ = ok && now != sent_;
      if (!write && !ending_) return;
      sent_ = now;
      response_.set_status(now);
    }
    if (write) {
      StartWrite(&response_);
    } else {
      Finish(end_status_);
    }
  }
  void OnCancel() override { End(grpc::StatusCode::CANCELLED, "cancelled"); }
  void OnDone() override { health_->Forget(this); }  // deletes this

 private:
  Health::State* const health_;
  const std::string service_;
  Mutex mu_;
  HealthCheckResponse response_;
  int sent_ ABSL_GUARDED_BY(mu_) = -1;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool ending_ ABSL_GUARDED_BY(mu_) = false;
  grpc::Status end_status_;
};

}  // namespace

class Health::State::Service : public ::grpc::health::v1::Health::CallbackService {
 public:
  explicit Service(State* state) : state_(state) {}

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context, const HealthCheckRequest* request,
                                  HealthCheckResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const ServingStatus status = state_->StatusOf(request->service());
    if (status == HealthCheckResponse::SERVICE_UNKNOWN) {
      reactor->Finish(ToGrpcStatus(MakeError(absl::StatusCode::kNotFound, "SERVICE_UNKNOWN",
                                             absl::StrCat("there is no service `", request->service(), "` here")),
                                   "health.naru.dev"));
    } else {
      response->set_status(status);
      reactor->Finish(grpc::Status::OK);
    }
    return reactor;
  }

  grpc::ServerWriteReactor<HealthCheckResponse>* Watch(grpc::CallbackServerContext* /*context*/,
                                                       const HealthCheckRequest* request) override {
    auto watcher = std::make_shared<WatchReactor>(state_, request->service());
    bool stopped = false;
    {
      MutexLock lock(&state_->mu);
      state_->watchers.insert(watcher);
      stopped = state_->stopped;
    }
    if (stopped) {
      watcher->End(grpc::StatusCode::CANCELLED, "the server is stopping");
    } else {
      watcher->Tell();
    }
    return watcher.get();
  }

 private:
  State* const state_;
};

bool Health::State::Serving(const std::string& name) const {
  if (!started || stopping) return false;
  return std::all_of(checks.begin(), checks.end(), [&name](const Check& check) {
    const bool concerns = name.empty() || check.services.empty() || check.services.count(name) > 0;
    return !concerns || check.last.ok();
  });
}

ServingStatus Health::State::StatusOf(const std::string& name) const {
  MutexLock lock(&mu);
  if (!Knows(name)) return HealthCheckResponse::SERVICE_UNKNOWN;
  return Serving(name) ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

void Health::State::Ask() {
  std::vector<std::function<absl::Status()>> questions;
  {
    MutexLock lock(&mu);
    for (const Check& check : checks) questions.push_back(check.ask);
  }
  std::vector<absl::Status> answers;
  for (const auto& ask : questions) answers.push_back(ask());
  {
    MutexLock lock(&mu);
    for (size_t i = 0; i < answers.size(); ++i) {
      if (checks[i].last.ok() != answers[i].ok() && started) {
        if (answers[i].ok()) {
          NARU_LOG(INFO, "dependency is well again", {{"dependency", checks[i].name}});
        } else {
          NARU_LOG(WARNING, "dependency is down", {{"dependency", checks[i].name}, {"error", answers[i]}});
        }
      }
      checks[i].last = std::move(answers[i]);
    }
  }
  TellWatchers();
}

void Health::State::TellWatchers() {
  std::set<std::shared_ptr<WatchReactor>> all;
  {
    MutexLock lock(&mu);
    all = watchers;
  }
  for (const auto& watcher : all) watcher->Tell();
}

void Health::State::Forget(WatchReactor* watcher) {
  const std::shared_ptr<WatchReactor> last = watcher->shared_from_this();
  MutexLock lock(&mu);
  watchers.erase(last);
}

void Health::State::Run(std::chrono::milliseconds interval) {
  while (true) {
    {
      MutexLock lock(&mu);
      if (!stopped) changed.WaitFor(&mu, interval);
      if (stopped) return;
    }
    Ask();
  }
}

Health::Health() : state_(std::make_unique<State>()) {
  state_->service = std::make_unique<State::Service>(state_.get());
}

Health::~Health() { Stop(); }

void Health::AddDependency(absl::string_view name, std::function<absl::Status()> check,
                           std::vector<std::string> services) {
  MutexLock lock(&state_->mu);
  State::Check added;
  added.name = std::string(name);
  added.ask = std::move(check);
  added.services = {services.begin(), services.end()};
  state_->checks.push_back(std::move(added));
}

void Health::AddService(absl::string_view name) {
  MutexLock lock(&state_->mu);
  state_->services.insert(std::string(name));
}

Health::Report Health::GetReport() const {
  MutexLock lock(&state_->mu);
  Report report{state_->Serving(""), state_->stopping, {}};
  for (const State::Check& check : state_->checks) report.dependencies.push_back({check.name, check.last});
  return report;
}

absl::StatusOr<bool> Health::IsServing(absl::string_view service) const {
  MutexLock lock(&state_->mu);
  const std::string name(service);
  if (!state_->Knows(name)) {
    return MakeError(absl::StatusCode::kNotFound, "SERVICE_UNKNOWN", absl::StrCat("there is no service `", name, "`"));
  }
  return state_->Serving(name);
}

void Health::Refresh() { state_->Ask(); }

void Health::Start(std::chrono::milliseconds interval) {
  state_->Ask();
  {
    MutexLock lock(&state_->mu);
    state_->started = true;
  }
  state_->TellWatchers();
  state_->thread = std::thread([this, interval] { state_->Run(interval); });
}

void Health::SetStopping() {
  {
    MutexLock lock(&state_->mu);
    state_->stopping = true;
  }
  state_->TellWatchers();
}

void Health::Stop() {
  std::set<std::shared_ptr<WatchReactor>> all;
  {
    MutexLock lock(&state_->mu);
    state_->stopping = true;
    state_->stopped = true;
    state_->changed.SignalAll();
    all = state_->watchers;
  }
  if (state_->thread.joinable()) state_->thread.join();
  for (const auto& watcher : all) watcher->End(grpc::StatusCode::CANCELLED, "the server is stopping");
}

grpc::Service* Health::service() { return state_->service.get(); }

}  // namespace naru
