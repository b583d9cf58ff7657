#include "services/ingest/source_set.h"

#include <atomic>
#include <map>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "naru/catalog/v1/resources.pb.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::ingest {
namespace {

constexpr std::chrono::milliseconds kElectionWait(200);
constexpr std::chrono::milliseconds kRetry(2'000);

}  // namespace

struct SourceSet::State {
  struct Source {
    std::shared_ptr<const catalog::v1::Resource> resource;
    std::shared_ptr<const input_format::InputFormat> format;
    std::unique_ptr<SourceRun> run;  ///< null: stopped, and `message` says why
    std::string message;
  };

  SourceDependencies dependencies;
  catalog::Catalog* catalog = nullptr;
  ImportFormats* formats = nullptr;

  mutable Mutex mu;
  CondVar changed;
  std::shared_ptr<const catalog::Snapshot> snapshot ABSL_GUARDED_BY(mu);
  bool stopping ABSL_GUARDED_BY(mu) = false;
  std::map<std::string, Source> sources ABSL_GUARDED_BY(mu);
  bool elected ABSL_GUARDED_BY(mu) = false;
  int64_t subscription = 0;
  std::thread thread;

  // Only of the thread, on Kafka.
  std::unique_ptr<event_log::Consumer> election;
  std::chrono::steady_clock::time_point next_election;

  void Run();
  void TakePart();
  void SetElected(bool value);
  void Update(const std::shared_ptr<const catalog::Snapshot>& seen, bool active);
  void StopAll(absl::string_view message);
};

void SourceSet::State::SetElected(bool value) {
  MutexLock lock(&mu);
  elected = value;
}

/// Keeps up the membership by which one replica is chosen.
void SourceSet::State::TakePart() {
  if (election == nullptr) {
    if (std::chrono::steady_clock::now() < next_election) return;
    next_election = std::chrono::steady_clock::now() + kRetry;
    event_log::RebalanceListener listener;
    listener.assigned = [this](const std::vector<int>& partitions) {
      if (!partitions.empty()) SetElected(true);
      return std::vector<std::pair<int, int64_t>>();
    };
    const auto taken = [this](const std::vector<int>& partitions) {
      if (partitions.empty()) return;
      SetElected(false);
      // Before another replica begins.
      StopAll("another replica follows it");
    };
    listener.revoked = taken;
    listener.lost = taken;
    auto opened = dependencies.log->OpenConsumer(kSourceGroup, event_log::kLedgerTopic, std::move(listener));
    if (!opened.ok()) {
      NARU_LOG(WARNING, "this replica takes no part in following sources", {{"error", opened.status()}});
      return;
    }
    election = *std::move(opened);
    // Only the membership is wanted, not the records.
    election->SetPaused(true);
  }
  const auto polled = election->Poll(kElectionWait, 1);
  if (!polled.ok() && !absl::IsUnavailable(polled.status()) && !absl::IsOutOfRange(polled.status())) {
    NARU_LOG(WARNING, "the membership for following sources was lost", {{"error", polled.status()}});
    SetElected(false);
    StopAll("another replica may follow it");
    election.reset();
  }
}

void SourceSet::State::StopAll(absl::string_view message) {
  std::vector<std::unique_ptr<SourceRun>> stopped;
  {
    MutexLock lock(&mu);
    for (auto& [name, source] : sources) {
      if (source.run != nullptr) stopped.push_back(std::move(source.run));
      source.message = std::string(message);
      source.resource = nullptr;
    }
  }
  stopped.clear();
}

/// Brings what runs in line with the catalog.
void SourceSet::State::Update(const std::shared_ptr<const catalog::Snapshot>& seen, bool active) {
  std::map<std::string, Source> wanted;
  for (const catalog::v1::Resource* listed : seen->List("Source")) {
    const std::string& name = listed->metadata().name();
    Source source;
    source.resource = seen->FindShared("Source", name);
    if (!active) {
      source.message = "another replica follows it";
    } else if (listed->source().paused()) {
      source.message = "paused";
    } else {
      auto format = formats->Find(listed->source().format());
      if (format.ok()) {
        source.format = *std::move(format);
      } else {
        source.message = std::string(format.status().message());
      }
    }
    wanted[name] = std::move(source);
  }
  std::vector<std::unique_ptr<SourceRun>> stopped;
  {
    MutexLock lock(&mu);
    for (auto& [name, source] : sources) {
      const auto same = wanted.find(name);
      const bool goes_on = same != wanted.end() && same->second.resource == source.resource &&
                           same->second.format == source.format && source.run != nullptr;
      if (goes_on) {
        same->second.run = std::move(source.run);
      } else if (source.run != nullptr) {
        stopped.push_back(std::move(source.run));
      }
    }
  }
  // What ran before must have stored its positions before its successor reads them.
  stopped.clear();
  for (auto& [name, source] : wanted) {
    if (source.format == nullptr || source.run != nullptr) continue;
    SourceRunOptions options;
    options.name = name;
    options.format = source.format;
    SourceDependencies elected_by = dependencies;
    elected_by.election = election.get();
    source.run = std::make_unique<SourceRun>(elected_by, source.resource->source(), options);
    NARU_LOG(INFO, "following a source", {{"source", name}, {"format", source.format->name()}});
  }
  MutexLock lock(&mu);
  sources = std::move(wanted);
}

void SourceSet::State::Run() {
  const bool embedded = dependencies.log->local_store() != nullptr;
  std::shared_ptr<const catalog::Snapshot> done;
  bool was_active = false;
  while (true) {
    if (!embedded) TakePart();
    std::shared_ptr<const catalog::Snapshot> seen;
    bool active = false;
    {
      MutexLock lock(&mu);
      active = embedded || elected;
      // On Kafka the wait is in TakePart.
      while (embedded && snapshot == done && !stopping) changed.Wait(&mu);
      if (stopping) break;
      seen = snapshot;
    }
    if (seen == done && active == was_active) {
      if (!embedded && election == nullptr) {
        MutexLock lock(&mu);
        if (!stopping) changed.WaitFor(&mu, kElectionWait);
      }
      continue;
    }
    Update(seen, active);
    done = seen;
    was_active = active;
  }
  StopAll("stopped");
  election.reset();
}

SourceSet::SourceSet(const SourceDependencies& dependencies, catalog::Catalog* catalog, ImportFormats* formats)
    : state_(std::make_unique<State>()) {
  State* state = state_.get();
  state->dependencies = dependencies;
  state->catalog = catalog;
  state->formats = formats;
  state->subscription = catalog->Subscribe([state](std::shared_ptr<const catalog::Snapshot> snapshot) {
    MutexLock lock(&state->mu);
    state->snapshot = std::move(snapshot);
    state->changed.SignalAll();
  });
  state->thread = std::thread([state] { state->Run(); });
}

SourceSet::~SourceSet() {
  state_->catalog->Unsubscribe(state_->subscription);
  {
    MutexLock lock(&state_->mu);
    state_->stopping = true;
    state_->changed.SignalAll();
  }
  state_->thread.join();
}

std::vector<v1::SourceStatus> SourceSet::Statuses() const {
  std::vector<v1::SourceStatus> statuses;
  MutexLock lock(&state_->mu);
  for (const auto& [name, source] : state_->sources) {
    v1::SourceStatus& status = statuses.emplace_back();
    status.set_name(name);
    if (source.run == nullptr) {
      const bool waits = !source.message.empty() && source.message != "paused";
      status.set_state(waits && source.resource != nullptr ? "WAITING" : "STOPPED");
      status.set_message(source.message);
      continue;
    }
    const SourceState now = source.run->state();
    status.set_state(now.running ? "RUNNING" : "WAITING");
    status.set_message(now.message);
    status.set_read_count(now.read_count);
    status.set_lag(now.lag);
  }
  return statuses;
}

}  // namespace naru::ingest
