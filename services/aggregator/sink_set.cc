#include "services/aggregator/sink_set.h"

#include <algorithm>
#include <map>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock/duration.h"
#include "common/config/config.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/sink_open.h"

namespace naru::aggregator {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

constexpr milliseconds kPollActive{20};  // a run waits no longer for its state to be stored
constexpr milliseconds kReopen{500};

milliseconds IntervalOf(const catalog::v1::Sink& spec) {
  const auto interval = ParseDuration(spec.interval().empty() ? "1s" : spec.interval());
  return interval.ok() ? std::chrono::duration_cast<milliseconds>(*interval) : milliseconds(1'000);
}

}  // namespace

struct SinkSet::State {
  State(const SinkSetDependencies& d, SinkSetOptions o)
      : deps(d),
        options(std::move(o)),
        ledger(d.log, d.clock, {.group = options.group, .instance = options.instance}) {}

  /// What should run.
  struct Wanted {
    std::shared_ptr<const catalog::v1::Resource> resource;
    SinkRunOptions::Task task = SinkRunOptions::Task::kWrite;
  };
  struct Running {
    Wanted wanted;
    std::unique_ptr<SinkRun> run;
    bool stopping = false;
  };

  const SinkSetDependencies deps;
  const SinkSetOptions options;
  SinkLedger ledger;

  mutable Mutex mu;
  CondVar wake;
  std::shared_ptr<const catalog::Snapshot> snapshot ABSL_GUARDED_BY(mu);
  bool stopping ABSL_GUARDED_BY(mu) = false;
  std::map<SinkId, Running> runs ABSL_GUARDED_BY(mu);
  std::thread thread;
  std::vector<MetricRegistry::Registration> registrations;

  void Run();
  bool AnythingToDo();
  std::map<SinkId, Wanted> FindWanted(const catalog::Snapshot& now) const;
  void Update();
  std::unique_ptr<SinkRun> MakeRun(const SinkId& id, const Wanted& wanted, int64_t claim) const;
  void EndRuns();
  void AddMetrics();
  v1::SinkStatus StatusOf(const catalog::v1::Resource& resource) const;
  void FillMetric(const SinkId& id, bool paused, v1::SinkMetricStatus* status) const;
  absl::StatusOr<std::shared_ptr<const catalog::v1::Resource>> Find(const std::string& sink) const;
};

// Topics and membership cost something, so they wait for the first Sink.
bool SinkSet::State::AnythingToDo() {
  MutexLock lock(&mu);
  return snapshot != nullptr && !snapshot->List("Sink").empty();
}

void SinkSet::State::Run() {
  bool open = false;
  SteadyClock::time_point last_update;
  const milliseconds idle = 2 * options.pace.update_interval;
  for (;;) {
    absl::Status status;
    if (!open && AnythingToDo()) {
      status = ledger.Open();
      open = status.ok();
    }
    if (open) {
      bool active = false;
      {
        MutexLock lock(&mu);
        active = !runs.empty();
      }
      status = ledger.Poll(active ? kPollActive : idle);
      open = status.ok();
      if (SteadyClock::now() - last_update >= options.pace.update_interval) {
        last_update = SteadyClock::now();
        Update();
      }
    }
    if (!status.ok()) {
      NARU_LOG_EVERY_SECONDS(10, WARNING, "the membership for writing sinks was lost", {{"error", status}});
    }
    MutexLock lock(&mu);
    if (!stopping && !open) wake.WaitFor(&mu, status.ok() ? idle : kReopen);
    if (stopping) return;
  }
}

std::map<SinkId, SinkSet::State::Wanted> SinkSet::State::FindWanted(const catalog::Snapshot& now) const {
  std::map<SinkId, Wanted> wanted;
  for (const catalog::v1::Resource* listed : now.List("Sink")) {
    const std::string& name = listed->metadata().name();
    const auto resource = now.FindShared("Sink", name);
    for (const std::string& metric : resource->sink().metrics()) {
      if (now.Find("Metric", metric) != nullptr && !ledger.Paused(name)) wanted[{name, metric}] = {resource};
    }
  }
  for (const SinkId& id : ledger.KnownStates()) {
    const auto resource = now.FindShared("Sink", id.sink);
    // Not only absent: another aggregator may know of a new one earlier.
    if (resource == nullptr && now.DeletedVersion("Sink", id.sink) > 0) {
      // What a Sink that is gone has written is its readers' now.
      wanted[id] = {nullptr, SinkRunOptions::Task::kForget};
    } else if (resource != nullptr && now.Find("Metric", id.metric) == nullptr &&
               now.DeletedVersion("Metric", id.metric) > 0 && !ledger.Paused(id.sink)) {
      // Of a metric that was deleted nothing stays.
      wanted[id] = {resource, SinkRunOptions::Task::kDrop};
    }
  }
  return wanted;
}

std::unique_ptr<SinkRun> SinkSet::State::MakeRun(const SinkId& id, const Wanted& wanted, int64_t claim) const {
  SinkRunOptions run;
  run.id = id;
  run.claim = claim;
  run.instance = options.instance;
  run.pace = options.pace;
  run.task = wanted.task;
  OpenSinkWriter open;
  if (wanted.resource != nullptr) {
    run.target = SinkTarget(wanted.resource->sink());
    run.interval = IntervalOf(wanted.resource->sink());
    open = [this, resource = wanted.resource](SinkFence& fence) {
      return OpenSink(resource->sink(), options.secrets, deps.log, deps.clock, fence);
    };
  }
  return std::make_unique<SinkRun>(SinkRunDependencies{const_cast<SinkLedger&>(ledger), deps.view, deps.plans,
                                                       deps.finality, deps.log, deps.clock, deps.random},
                                   std::move(open), std::move(run));
}

// Brings what runs in line with the catalog and the ownership. A successor begins when its predecessor has ended.
void SinkSet::State::Update() {
  std::shared_ptr<const catalog::Snapshot> now;
  {
    MutexLock lock(&mu);
    now = snapshot;
  }
  if (now == nullptr) return;
  std::map<SinkId, Wanted> wanted = FindWanted(*now);
  MutexLock lock(&mu);
  for (auto it = runs.begin(); it != runs.end();) {
    Running& running = it->second;
    const auto found = wanted.find(it->first);
    const bool goes_on = found != wanted.end() && found->second.resource == running.wanted.resource &&
                         found->second.task == running.wanted.task && ledger.Claim(it->first) == running.run->claim();
    if (!goes_on && !running.stopping) {
      running.run->RequestStop();
      running.stopping = true;
    }
    running.run->EndHungCall();
    it = running.run->finished() ? runs.erase(it) : std::next(it);
  }
  for (const auto& [id, want] : wanted) {
    const int64_t claim = ledger.Claim(id);
    if (claim == 0 || runs.count(id) > 0) continue;
    runs[id] = {want, MakeRun(id, want, claim)};
    NARU_LOG(INFO, "writing a sink", {{"sink", id.sink}, {"metric", id.metric}});
  }
}

void SinkSet::State::EndRuns() {
  std::map<SinkId, Running> ended;
  {
    MutexLock lock(&mu);
    ended.swap(runs);
  }
  for (const auto& [id, running] : ended) running.run->RequestStop();
}

void SinkSet::State::FillMetric(const SinkId& id, bool paused, v1::SinkMetricStatus* status) const {
  status->set_metric(id.metric);
  {
    MutexLock lock(&mu);
    const auto found = runs.find(id);
    if (found != runs.end() && found->second.wanted.task == SinkRunOptions::Task::kWrite) {
      const SinkRunStatus now = found->second.run->status();
      status->set_metric_version(now.metric_version);
      status->set_state(now.state);
      status->set_message(now.message);
      status->set_lag(now.lag);
      status->set_lag_seconds(now.lag_us / 1'000'000);
      status->set_written_count(now.written);
      status->set_refused_count(now.refused);
      status->set_writer(options.instance);
    }
  }
  if (status->writer().empty()) {
    // Another aggregator writes it, or nobody: what was stored last.
    const v1::SinkState stored = ledger.State(id).value_or(v1::SinkState());
    status->set_metric_version(stored.filled() ? stored.metric_version() : 0);
    status->set_state(stored.state().empty() || ledger.Claim(id) != 0 ? "STOPPED" : stored.state());
    status->set_message(stored.message());
    status->set_written_count(stored.written_count());
    status->set_refused_count(stored.refused_count());
    // Who could write it knows that nobody does.
    if (ledger.Claim(id) == 0) status->set_writer(stored.writer());
    const std::vector<int64_t> there = deps.view.LastCommits({id.metric, stored.metric_version()});
    int64_t lag = 0;
    for (size_t p = 0; p < there.size(); ++p) {
      const int64_t done =
          static_cast<int>(p) < stored.done_offsets_size() ? stored.done_offsets(static_cast<int>(p)) : 0;
      lag += std::max<int64_t>(0, there[p] - done);
    }
    status->set_lag(lag);
  }
  // Until the writer has ended, it may still write what it had begun.
  if (paused && status->writer().empty()) {
    status->set_state("PAUSED");
    status->clear_message();
  }
}

v1::SinkStatus SinkSet::State::StatusOf(const catalog::v1::Resource& resource) const {
  v1::SinkStatus status;
  status.set_name(resource.metadata().name());
  status.set_type(SinkType(resource.sink()));
  status.set_target(SinkTarget(resource.sink()));
  status.set_paused(ledger.Paused(status.name()));
  std::vector<std::string> metrics(resource.sink().metrics().begin(), resource.sink().metrics().end());
  std::sort(metrics.begin(), metrics.end());
  for (const std::string& metric : metrics) FillMetric({status.name(), metric}, status.paused(), status.add_metrics());
  return status;
}

void SinkSet::State::AddMetrics() {
  using Kind = MetricRegistry::Kind;
  const auto add = [this](Kind kind, const char* name, const char* help, auto read) {
    registrations.push_back(deps.metrics.AddCallbacks(kind, name, help, [this, read] {
      // Only what is written here: otherwise every aggregator would tell of all.
      std::vector<MetricRegistry::Sample> samples;
      MutexLock lock(&mu);
      for (const auto& [id, running] : runs) {
        if (running.wanted.task != SinkRunOptions::Task::kWrite) continue;
        samples.push_back(
            {{{"sink", id.sink}, {"metric", id.metric}}, static_cast<double>(read(running.run->status()))});
      }
      return samples;
    }));
  };
  add(Kind::kGauge, "naru_sink_lag_records", "Records of aggregates whose rows are not yet in the store.",
      [](const SinkRunStatus& status) { return status.lag; });
  add(Kind::kGauge, "naru_sink_lag_seconds", "For how long the store has not been up to date.",
      [](const SinkRunStatus& status) { return static_cast<double>(status.lag_us) / 1e6; });
  add(Kind::kGauge, "naru_sink_running", "1 while rows are written, 0 while the sink waits for its store.",
      [](const SinkRunStatus& status) { return status.state == "WAITING" ? 0 : 1; });
  add(Kind::kCounter, "naru_sink_rows_written_total", "Rows written.",
      [](const SinkRunStatus& status) { return status.written; });
  add(Kind::kCounter, "naru_sink_rows_refused_total", "Rows that the store refused for good.",
      [](const SinkRunStatus& status) { return status.refused; });
}

absl::StatusOr<std::shared_ptr<const catalog::v1::Resource>> SinkSet::State::Find(const std::string& sink) const {
  MutexLock lock(&mu);
  if (snapshot == nullptr) {
    return MakeError(absl::StatusCode::kUnavailable, "STARTING", "the catalog is not yet known; try again");
  }
  auto resource = snapshot->FindShared("Sink", sink);
  if (resource != nullptr) return resource;
  std::vector<std::string> names;
  for (const catalog::v1::Resource* listed : snapshot->List("Sink")) names.push_back(listed->metadata().name());
  const std::string nearest = NearestWord(sink, names);
  return MakeError(absl::StatusCode::kNotFound, "SINK_NOT_FOUND",
                   absl::StrCat("there is no sink `", sink, "`",
                                nearest.empty() ? "" : absl::StrCat("; did you mean `", nearest, "`?")));
}

SinkSet::SinkSet(const SinkSetDependencies& dependencies, SinkSetOptions options)
    : state_(std::make_unique<State>(dependencies, std::move(options))) {
  state_->AddMetrics();
}

SinkSet::~SinkSet() {
  Stop();
  state_->registrations.clear();
}

void SinkSet::SetSnapshot(std::shared_ptr<const catalog::Snapshot> snapshot) {
  MutexLock lock(&state_->mu);
  state_->snapshot = std::move(snapshot);
  state_->wake.SignalAll();
}

void SinkSet::Start() {
  state_->thread = std::thread([state = state_.get()] { state->Run(); });
}

void SinkSet::Stop() {
  {
    MutexLock lock(&state_->mu);
    state_->stopping = true;
    state_->wake.SignalAll();
  }
  if (state_->thread.joinable()) state_->thread.join();
  // Runs that wait for the ledger are let go before they are waited for.
  state_->ledger.Stop();
  state_->EndRuns();
}

std::vector<v1::SinkStatus> SinkSet::Statuses() const {
  std::shared_ptr<const catalog::Snapshot> now;
  {
    MutexLock lock(&state_->mu);
    now = state_->snapshot;
  }
  std::vector<v1::SinkStatus> statuses;
  if (now == nullptr) return statuses;
  for (const catalog::v1::Resource* resource : now->List("Sink")) statuses.push_back(state_->StatusOf(*resource));
  return statuses;
}

absl::StatusOr<v1::SinkStatus> SinkSet::SetPaused(const std::string& sink, bool paused) {
  NARU_ASSIGN_OR_RETURN(const auto resource, state_->Find(sink));
  NARU_RETURN_IF_ERROR(state_->ledger.SetPaused(sink, paused));
  return state_->StatusOf(*resource);
}

absl::StatusOr<v1::SinkStatus> SinkSet::Resync(const std::string& sink) {
  NARU_ASSIGN_OR_RETURN(const auto resource, state_->Find(sink));
  NARU_RETURN_IF_ERROR(state_->ledger.RequestResync(sink));
  return state_->StatusOf(*resource);
}

}  // namespace naru::aggregator
