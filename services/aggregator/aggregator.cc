#include "services/aggregator/aggregator.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/catalog/catalog.h"
#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "common/server/server.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"
#include "services/aggregator/aggregator_service.h"
#include "services/aggregator/finality.h"
#include "services/aggregator/plan_directory.h"
#include "services/aggregator/rocks_state_store.h"
#include "services/aggregator/serving_view.h"
#include "services/aggregator/sink_set.h"

namespace naru::aggregator {
namespace {

constexpr char kServiceName[] = "naru.aggregator.v1.AggregatorService";
constexpr std::chrono::milliseconds kRetry{200};

std::string HostName() {
  char name[256] = "host";
  gethostname(name, sizeof(name) - 1);
  return name;
}

ConsumeLoopOptions LoopOptions(const AggregatorOptions& options, bool embedded) {
  ConsumeLoopOptions loop;
  loop.group = options.group;
  loop.instance = options.instance.empty() ? HostName() : options.instance;
  loop.commit_interval = options.commit_interval;
  loop.maintenance_interval = options.maintenance_interval;
  loop.max_commit_interval = std::max(loop.max_commit_interval, options.commit_interval);
  loop.memory_budget_bytes = static_cast<size_t>(options.memory.bytes / 2);
  // One commit is held in memory twice; and each shares the budget with what changes meanwhile.
  loop.max_commit_bytes = std::clamp<int64_t>(options.memory.bytes / 8, 1 << 20, 12 << 20);
  loop.drop_repeats = !embedded;
  return loop;
}

SinkSetOptions SinkOptions(const AggregatorOptions& options) {
  SinkSetOptions sinks;
  sinks.instance = options.instance.empty() ? HostName() : options.instance;
  sinks.group = absl::StrCat(options.group, "-sinks");
  sinks.secrets = options.secrets;
  sinks.pace = options.sinks;
  return sinks;
}

}  // namespace

struct Aggregator::State {
  State(const AggregatorOptions& o, const AggregatorDependencies& d, std::unique_ptr<event_log::LocalStore> own,
        std::string temporary)
      : options(o),
        deps(d),
        own_store(std::move(own)),
        temporary_dir(std::move(temporary)),
        view(d.log, Store(d), d.clock, {.memory_budget_bytes = static_cast<size_t>(o.memory.bytes / 2)}),
        plans(view),
        finality(d.log, view, d.clock),
        loop(d.log, view, plans, finality, d.clock, LoopOptions(o, d.log.local_store() != nullptr)),
        late_events(d.log, d.clock),
        sinks({d.log, view, plans, finality, d.metrics, d.clock}, SinkOptions(o)),
        service({view, plans, finality, d.catalog, d.clock, late_events, sinks, [this] { loop.Hurry(); },
                 [this] { return Ready(); }}) {}

  ~State() {
    if (!temporary_dir.empty()) {
      own_store.reset();
      std::error_code ignored;
      std::filesystem::remove_all(temporary_dir, ignored);
    }
  }

  event_log::LocalStore& Store(const AggregatorDependencies& d) {
    if (d.store != nullptr) return *d.store;
    return own_store != nullptr ? *own_store : *d.log.local_store();
  }
  absl::Status Ready() const {
    MutexLock lock(&mu);
    return ready;
  }
  void Open();
  absl::Status TryOpen();
  void AddMetrics();

  const AggregatorOptions options;
  const AggregatorDependencies deps;
  // Before what uses it, so that it goes last.
  std::unique_ptr<event_log::LocalStore> own_store;
  const std::string temporary_dir;
  ServingView view;
  PlanDirectory plans;
  Finality finality;
  ConsumeLoop loop;
  LateEvents late_events;
  SinkSet sinks;
  AggregatorService service;
  mutable Mutex mu;
  CondVar wake;
  absl::Status ready ABSL_GUARDED_BY(mu) = MakeError(absl::StatusCode::kUnavailable, "STARTING",
                                                     "the aggregator is starting");
  bool stopping ABSL_GUARDED_BY(mu) = false;
  bool view_started = false;  // only the opening thread
  int64_t subscription = 0;
  std::thread opener;
  std::vector<MetricRegistry::Registration> registrations;
};

absl::StatusOr<std::unique_ptr<Aggregator>> Aggregator::Create(const AggregatorOptions& options,
                                                               const AggregatorDependencies& dependencies) {
  std::unique_ptr<event_log::LocalStore> own;
  std::string temporary;
  if (dependencies.store == nullptr && dependencies.log.local_store() == nullptr) {
    std::string directory = options.state_dir;
    if (directory.empty()) {
      std::string pattern = (std::filesystem::temp_directory_path() / "naru-aggregator-XXXXXX").string();
      if (mkdtemp(pattern.data()) == nullptr) {
        return MakeError(absl::StatusCode::kInternal, "NO_STATE_DIR", absl::StrCat("cannot make ", pattern));
      }
      directory = temporary = pattern;
    }
    NARU_ASSIGN_OR_RETURN(own, OpenRocksStateStore(directory, static_cast<size_t>(options.memory.bytes / 4)));
  }
  auto state = std::make_unique<State>(options, dependencies, std::move(own), std::move(temporary));
  State* raw = state.get();
  state->subscription = dependencies.catalog.Subscribe([raw](std::shared_ptr<const catalog::Snapshot> snapshot) {
    raw->sinks.SetSnapshot(snapshot);
    raw->plans.SetSnapshot(std::move(snapshot));
  });
  state->AddMetrics();
  return std::unique_ptr<Aggregator>(new Aggregator(std::move(state)));
}

Aggregator::Aggregator(std::unique_ptr<State> state) : state_(std::move(state)) {}

Aggregator::~Aggregator() {
  Stop();
  state_->registrations.clear();
  state_->deps.catalog.Unsubscribe(state_->subscription);
}

void Aggregator::RegisterWith(Server& server) {
  server.AddService(kServiceName, state_->service.service());
  server.RequireScope(absl::StrCat("/", kServiceName, "/*"), Scope::kRead);
  for (const char* method : {"PauseSink", "ReplayLateEvents", "ResumeSink", "ResyncSink"}) {
    server.RequireScope(absl::StrCat("/", kServiceName, "/", method), Scope::kAdmin);
  }
  server.health().AddDependency("aggregator", [this] { return Health(); }, {kServiceName});
  server.OnStop([this] { Stop(); });
}

void Aggregator::Start() {
  state_->opener = std::thread([this] { state_->Open(); });
}

void Aggregator::State::Open() {
  for (;;) {
    const absl::Status status = TryOpen();
    MutexLock lock(&mu);
    ready = status;
    if (status.ok() || stopping) break;
    NARU_LOG_EVERY_SECONDS(30, INFO, "the aggregator waits", {{"for", status}});
    wake.WaitFor(&mu, kRetry);
    if (stopping) return;
  }
}

absl::Status Aggregator::State::TryOpen() {
  // Ingest makes `events`; how many partitions it has is not for the aggregator to say.
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo events, deps.log.DescribeTopic(event_log::kEventsTopic));
  const int partitions = static_cast<int>(events.partitions.size());
  event_log::TopicConfig aggregates;
  aggregates.name = event_log::kAggregatesTopic;
  aggregates.partitions = partitions;
  aggregates.compacted = true;
  NARU_RETURN_IF_ERROR(deps.log.CreateTopic(aggregates));
  event_log::TopicConfig late;
  late.name = event_log::kLateTopic;
  late.partitions = partitions;
  late.retention_time = options.late_retention;
  NARU_RETURN_IF_ERROR(deps.log.CreateTopic(late));
  if (!view_started) NARU_RETURN_IF_ERROR(view.Start(partitions));
  view_started = true;
  MutexLock lock(&mu);
  if (!stopping) {
    loop.Start();
    sinks.Start();
  }
  return absl::OkStatus();
}

void Aggregator::Stop() {
  {
    MutexLock lock(&state_->mu);
    state_->stopping = true;
    state_->wake.SignalAll();
  }
  state_->service.Stop();
  if (state_->opener.joinable()) state_->opener.join();
  state_->sinks.Stop();
  state_->loop.Stop();
  state_->view.Stop();
}

void Aggregator::Abandon() {
  {
    MutexLock lock(&state_->mu);
    state_->stopping = true;
    state_->wake.SignalAll();
  }
  if (state_->opener.joinable()) state_->opener.join();
  state_->loop.Abandon();
  Stop();
}

absl::Status Aggregator::Health() const {
  NARU_RETURN_IF_ERROR(state_->Ready());
  NARU_RETURN_IF_ERROR(state_->loop.Health());
  return state_->view.Health();
}

ConsumeLoopStats Aggregator::stats() const { return state_->loop.stats(); }

void Aggregator::State::AddMetrics() {
  using Kind = MetricRegistry::Kind;
  const auto add = [this](Kind kind, const char* name, const char* help, std::function<double()> read) {
    registrations.push_back(deps.metrics.AddCallback(kind, name, help, {}, std::move(read)));
  };
  add(Kind::kCounter, "naru_aggregator_events_total", "Events counted since the start.",
      [this] { return static_cast<double>(loop.stats().events); });
  add(Kind::kCounter, "naru_aggregator_skipped_records_total", "Records of the topic that are not events.",
      [this] { return static_cast<double>(loop.stats().skipped_records); });
  add(Kind::kCounter, "naru_aggregator_commits_total", "Transactions committed.",
      [this] { return static_cast<double>(loop.stats().commits); });
  add(Kind::kCounter, "naru_aggregator_committed_bytes_total", "Bytes of changed partials committed.",
      [this] { return static_cast<double>(loop.stats().committed_bytes); });
  add(Kind::kCounter, "naru_aggregator_sessions_total", "How often the states were read from what is stored.",
      [this] { return static_cast<double>(loop.stats().sessions); });
  add(Kind::kGauge, "naru_aggregator_state_bytes", "Memory of the states being counted.",
      [this] { return static_cast<double>(loop.stats().state_bytes); });
  add(Kind::kGauge, "naru_aggregator_view_bytes", "Memory of the rows held for answers.",
      [this] { return static_cast<double>(view.memory_bytes()); });
  registrations.push_back(deps.metrics.AddCallbacks(
      Kind::kGauge, "naru_aggregator_metric_lag_records", "Records of the topic that a metric has not yet counted.",
      [this] {
        std::vector<MetricRegistry::Sample> samples;
        const std::vector<int64_t> ends = finality.LogEnds();
        for (const auto& plan : plans.current()->plans) {
          int64_t lag = 0;
          for (size_t p = 0; p < ends.size(); ++p) {
            const auto progress = view.GetProgress({plan->name, plan->version}, static_cast<int32_t>(p));
            lag += std::max<int64_t>(0, ends[p] - (progress.has_value() ? progress->next_offset : 0));
          }
          samples.push_back(
              {{{"metric", plan->name}, {"version", absl::StrCat(plan->version)}}, static_cast<double>(lag)});
        }
        return samples;
      }));
}

}  // namespace naru::aggregator
