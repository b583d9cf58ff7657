// naru up: the only place where the services are put together.
#include "services/naru/up_command.h"

#include <grpcpp/impl/codegen/service_type.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/catalog/catalog.h"
#include "common/catalog/catalog_key_store.h"
#include "common/catalog/catalog_service.h"
#include "common/catalog/catalog_writer.h"
#include "common/catalog/resource_checks.h"
#include "common/catalog/resource_file.h"
#include "common/catalog/test_runners.h"
#include "common/clock/clock.h"
#include "common/event_log/kafka_event_log.h"
#include "common/event_log/rocks_event_log.h"
#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "common/server/server.h"
#include "common/status/status.h"
#include "naru/catalog/v1/catalog.pb.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/aggregator.h"
#include "services/aggregator/metric_evaluator.h"
#include "services/aggregator/user_evaluator.h"
#include "services/ingest/ingest.h"
#include "services/naru/data_layout.h"
#include "services/naru/infer_command.h"
#include "services/naru/packs.h"
#include "services/naru/up_config.h"

namespace naru::cli {
namespace {

std::string GetVariable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::Status MakeDirectory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, "DATA_DIR",
                   absl::StrCat("--data_dir: ", path, ": ", error.message()));
}

absl::StatusOr<std::unique_ptr<event_log::EventLog>> OpenLog(const UpConfig& config) {
  if (!config.kafka_brokers.empty()) {
    event_log::KafkaEventLogOptions options;
    options.brokers = config.kafka_brokers;
    options.topic_prefix = config.kafka_topic_prefix;
    options.client_id = "naru-up";
    for (const std::string& property : config.kafka_properties) {
      const size_t equals = property.find('=');
      options.properties[property.substr(0, equals)] = property.substr(equals + 1);
    }
    return event_log::KafkaEventLog::Open(options);
  }
  event_log::RocksEventLogOptions options;
  options.path = LogDirectory(config.data_dir);
  options.topic_prefix = config.kafka_topic_prefix;
  options.memory_budget = static_cast<size_t>(config.log_memory.bytes);
  return event_log::RocksEventLog::Open(options);
}

absl::StatusOr<catalog::ResourceSet> LoadPacks(const std::vector<std::string>& packs) {
  std::vector<std::string> paths;
  for (const std::string& pack : packs) {
    const absl::StatusOr<std::string> path = FindPack(pack, GetVariable);
    if (!path.ok()) return Annotate(path.status(), "--pack");
    paths.push_back(*path);
  }
  catalog::ResourceSet set = catalog::LoadPaths(paths);
  if (set.problems.empty()) return set;
  ErrorDetails details;
  details.reason = "INVALID_RESOURCES";
  for (const catalog::FileProblem& problem : set.problems) details.violations.push_back({"", problem.ToString()});
  return MakeError(absl::StatusCode::kInvalidArgument, "the packs have problems", std::move(details));
}

// Applies what is new or different; starting again with the same packs writes nothing.
absl::Status ApplyPacks(catalog::CatalogWriter& writer, const catalog::ResourceSet& set) {
  if (set.resources.empty()) return absl::OkStatus();
  const auto applied = writer.Apply(set.Resources(), false);
  if (!applied.ok()) {
    ErrorDetails details = GetErrorDetails(applied.status());
    for (FieldViolation& violation : details.violations) violation = {"", set.Locate(violation).ToString()};
    return MakeError(applied.status().code(), absl::StrCat("the packs cannot be applied: ", applied.status().message()),
                     std::move(details));
  }
  int changed = 0;
  for (const auto& result : applied->results()) changed += result.action() != catalog::v1::ApplyResult::UNCHANGED;
  NARU_LOG(INFO, "packs applied", {{"resources", applied->results_size()}, {"changed", changed}});
  return absl::OkStatus();
}

// Everything that runs, in the order of construction; taken down in the reverse order.
class Platform {
 public:
  explicit Platform(UpConfig config) : config_(std::move(config)) {}

  // Opens, restores and serves; the first line of output can be printed when it returns OK.
  absl::Status Start() {
    NARU_ASSIGN_OR_RETURN(const catalog::ResourceSet packs, LoadPacks(config_.packs));
    NARU_RETURN_IF_ERROR(MakeDirectory(config_.data_dir));
    NARU_ASSIGN_OR_RETURN(log_, OpenLog(config_));
    for (const std::string& note : log_->recovery_report().notes)
      NARU_LOG(WARNING, "mended when opening", {{"note", note}});
    NARU_ASSIGN_OR_RETURN(catalog_, catalog::Catalog::Open(*log_, *Clock::System()));
    RegisterRunners(&runners_);
    writer_ =
        std::make_unique<catalog::CatalogWriter>(*log_, *catalog_, *Clock::System(), *Random::System(), &runners_);
    NARU_RETURN_IF_ERROR(ApplyPacks(*writer_, packs));
    keys_ = std::make_unique<catalog::CatalogKeyStore>(*catalog_);
    catalog_service_ = catalog::MakeCatalogService(*catalog_, *writer_);

    server_ = std::make_unique<Server>(config_.server, ServerDependencies{.metrics = &metrics_, .keys = keys_.get()});
    server_->AddService(catalog::CatalogServiceName(), catalog_service_.get());
    for (const auto& [method, scope] : catalog::CatalogServiceScopes()) server_->RequireScope(method, scope);
    NARU_RETURN_IF_ERROR(StartServices());
    NARU_RETURN_IF_ERROR(server_->Start());
    WaitForWindows();
    return absl::OkStatus();
  }

  // "Ready" is said when windows are counted too, so that a script's next command finds everything serving. Where they
  // take longer to restore, events are taken and health says what is missing.
  void WaitForWindows() {
    const int64_t deadline_us = Clock::System()->MonotonicMicros() + 2'000'000;
    while (!aggregator_->Health().ok() && Clock::System()->MonotonicMicros() < deadline_us) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    server_->health().Refresh();
  }

  absl::Status StartServices() {
    config_.ingest.secrets = config_.aggregator.secrets = config_.secrets;
    config_.ingest.state_dir = IngestDirectory(config_.data_dir);
    NARU_ASSIGN_OR_RETURN(ingest_, ingest::Ingest::Open(config_.ingest, {.log = log_.get(),
                                                                         .catalog = catalog_.get(),
                                                                         .metrics = &metrics_,
                                                                         .data_dir = config_.data_dir}));
    ingest_->Register(*server_);
    config_.aggregator.state_dir = AggregatorDirectory(config_.data_dir);
    NARU_ASSIGN_OR_RETURN(
        aggregator_,
        aggregator::Aggregator::Create(config_.aggregator, {.log = *log_, .catalog = *catalog_, .metrics = metrics_}));
    aggregator_->RegisterWith(*server_);
    aggregator_->Start();
    return absl::OkStatus();
  }

  std::string FirstLine() const {
    return absl::StrCat("naru is ready: ", server_->Addresses(), " data_dir=", config_.data_dir);
  }

  void Stop() { server_->Stop(); }

  ~Platform() {
    if (server_ != nullptr) server_->Stop();
    if (aggregator_ != nullptr) aggregator_->Stop();
  }

 private:
  UpConfig config_;
  MetricRegistry metrics_;
  catalog::TestRunners runners_;
  std::unique_ptr<event_log::EventLog> log_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<catalog::CatalogWriter> writer_;
  std::unique_ptr<catalog::CatalogKeyStore> keys_;
  std::unique_ptr<grpc::Service> catalog_service_;
  std::unique_ptr<ingest::Ingest> ingest_;
  std::unique_ptr<aggregator::Aggregator> aggregator_;
  std::unique_ptr<Server> server_;
};

class UpCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options_ = &options;
    AddUpOptions(&options, &config_);
  }

  absl::StatusOr<int> Run(Session&) override {
    // Before any thread: all of them leave SIGINT and SIGTERM to it.
    StopSignal signal;
    FillAddresses(options_->IsSet("http_listen"), options_->IsSet("metrics_listen"), &config_.server);
    ApplyLogOptions(config_.log);
    Platform platform(config_);
    NARU_RETURN_IF_ERROR(platform.Start());
    std::printf("%s\n", platform.FirstLine().c_str());
    std::fflush(stdout);
    signal.Wait();
    platform.Stop();
    return kDone;
  }

 private:
  UpConfig config_;
  const Options* options_ = nullptr;
};

// Here because only this program knows how to run the tests of every kind.
class TestCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("PATH", &paths_, "Files and directories of resources, or names of packs.", 1);
  }

  absl::StatusOr<int> Run(Session& session) override {
    std::vector<std::string> paths;
    for (const std::string& path : paths_) {
      std::error_code error;
      if (std::filesystem::exists(path, error)) {
        paths.push_back(path);
        continue;
      }
      NARU_ASSIGN_OR_RETURN(std::string pack, FindPack(path, GetVariable));
      paths.push_back(std::move(pack));
    }
    catalog::ResourceSet set = catalog::LoadPaths(paths);
    if (set.problems.empty()) catalog::CheckOffline(session.runners, &set);
    int tests = 0;
    for (const catalog::LoadedResource& loaded : set.resources) tests += loaded.resource->tests_size();
    for (const catalog::FileProblem& problem : set.problems) std::printf("%s\n", problem.ToString().c_str());
    session.Say(
        absl::StrCat(set.resources.size(), " resources, ", tests, " tests, ", set.problems.size(), " problems"));
    return set.problems.empty() ? kDone : kFailed;
  }

 private:
  std::vector<std::string> paths_;
};

}  // namespace

void RegisterRunners(catalog::TestRunners* runners) {
  catalog::RegisterResourceChecks(runners);
  aggregator::RegisterMetricTests(runners);
  aggregator::RegisterUserTests(runners);
}

std::vector<CommandEntry> ServerCommands() {
  return {
      {"up", "Run the whole platform in this process, until Ctrl-C.",
       "The first line on standard output says where everything is. Every flag may also come from a variable "
       "(NARU_DATA_DIR) or the file of --config.",
       "naru up --data_dir .naru --pack ciao_labella\n"
       "naru up --data_dir /var/lib/naru --pack weblog --pack ./my_pack --listen 127.0.0.1:0\n"
       "naru up --kafka_brokers broker:9092 --listen 0.0.0.0:7700 --tls_cert tls.crt --tls_key tls.key --require_keys",
       [] { return std::make_unique<UpCommand>(); }, true},
      {"test", "Check resources and run their tests, without a server.", "",
       "naru test deploy/packs/weblog\nnaru test ciao_labella", [] { return std::make_unique<TestCommand>(); }},
      InferEntry()};
}

}  // namespace naru::cli
