#include "services/ingest/ingest.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "common/server/server.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ingest.pb.h"
#include "services/ingest/import_calls.h"
#include "services/ingest/import_formats.h"
#include "services/ingest/local_bookkeeping.h"
#include "services/ingest/log_bookkeeping.h"
#include "services/ingest/source_set.h"

namespace naru::ingest {
namespace {

constexpr int kEmbeddedPartitions = 4;
constexpr int kKafkaPartitions = 12;
constexpr std::chrono::microseconds kDefaultRetention = std::chrono::hours(24 * 30);
constexpr size_t kKafkaDeadLetterBytes = 900 * 1024;  // brokers take messages of 1 MB by default
constexpr char kService[] = "naru.ingest.v1.IngestService";

IngestOptions NamedInstance(IngestOptions options) {
  char host[256] = "";
  if (options.instance.empty() && gethostname(host, sizeof(host) - 1) == 0) options.instance = host;
  return options;
}

}  // namespace

struct Ingest::Gauges {
  std::vector<MetricRegistry::Registration> registrations;
};

Ingest::Ingest(const IngestOptions& options, const IngestDependencies& dependencies)
    : options_(NamedInstance(options)), dependencies_(dependencies), budget_(options.max_in_flight.bytes) {}

Ingest::~Ingest() {
  gauges_.reset();
  sources_.reset();
  service_.reset();
  imports_.reset();
  dead_letters_.reset();
  pipeline_.reset();
  bookkeeping_.reset();
}

absl::StatusOr<std::unique_ptr<Ingest>> Ingest::Open(const IngestOptions& options,
                                                     const IngestDependencies& dependencies) {
  std::unique_ptr<Ingest> ingest(new Ingest(options, dependencies));
  NARU_RETURN_IF_ERROR(ingest->Start());
  return ingest;
}

absl::Status Ingest::Start() {
  NARU_RETURN_IF_ERROR(MakeTopics());
  event_log::EventLog& log = *dependencies_.log;
  event_log::LocalStore* store = log.local_store();
  if (store != nullptr) {
    LocalBookkeepingOptions local;
    local.directory = options_.state_dir;
    local.clock = dependencies_.clock;
    local.random = dependencies_.random;
    NARU_ASSIGN_OR_RETURN(bookkeeping_, LocalBookkeeping::Open(store, local, &notes_));
  } else {
    LogBookkeepingOptions follow;
    follow.directory = options_.state_dir;
    follow.instance = options_.instance;
    follow.clock = dependencies_.clock;
    follow.random = dependencies_.random;
    follow.longest_window = TypeTable::Compile(*dependencies_.catalog->snapshot(), nullptr)->longest_window();
    NARU_ASSIGN_OR_RETURN(bookkeeping_, LogBookkeeping::Open(log, follow, &notes_));
  }
  for (const std::string& note : notes_) NARU_LOG(WARNING, "mended at start", {{"note", note}});

  LogPipelineOptions pipeline;
  pipeline.check.limits.event = static_cast<size_t>(options_.max_event.bytes);
  pipeline.check.max_future_us = options_.max_future.count();
  pipeline.check.keep_unregistered = options_.unregistered_events == "keep";
  pipeline.transactional_id = absl::StrCat("naru-ingest-", options_.instance);
  if (store == nullptr) pipeline.max_dead_letter_bytes = kKafkaDeadLetterBytes;
  NARU_ASSIGN_OR_RETURN(pipeline_,
                        LogPipeline::Open(log, *dependencies_.catalog, *bookkeeping_, *dependencies_.clock,
                                          *dependencies_.random, dependencies_.metrics, std::move(pipeline)));
  pipeline_->OnTypes([this](const TypeTable& types) { KeepEventsFor(types); });
  dead_letters_ = std::make_unique<DeadLetters>(log, *pipeline_, *bookkeeping_);
  formats_ = std::make_unique<ImportFormats>(dependencies_.catalog);
  dead_letters_->set_line_reader(formats_->MakeLineReader());
  imports_ = std::make_unique<ImportCalls>(ImportDependencies{&log, pipeline_.get(), &budget_, dependencies_.clock},
                                           formats_.get());
  service_ = std::make_unique<IngestService>(IngestServiceParts{&log, dependencies_.catalog, pipeline_.get(),
                                                                bookkeeping_.get(), dead_letters_.get(), &budget_,
                                                                notes_, dependencies_.data_dir});
  service_->set_import_handler(imports_.get());
  SourceDependencies sources{.log = &log, .pipeline = pipeline_.get(), .budget = &budget_};
  sources.open_reader = [secrets = options_.secrets](const std::string& name, const catalog::v1::KafkaSource& spec) {
    return OpenKafkaReader(name, spec, secrets);
  };
  sources_ = std::make_unique<SourceSet>(sources, dependencies_.catalog, formats_.get());
  service_->set_sources([this] { return sources_->Statuses(); });
  AddMetrics();
  return absl::OkStatus();
}

absl::Status Ingest::MakeTopics() {
  event_log::EventLog& log = *dependencies_.log;
  const bool embedded = log.local_store() != nullptr;
  const auto existing = log.DescribeTopic(event_log::kEventsTopic);
  if (!existing.ok() && !absl::IsNotFound(existing.status())) return existing.status();
  events_topic_.name = event_log::kEventsTopic;
  // What is there stays as it is: its partitions never change.
  events_topic_.partitions = existing.ok()              ? existing->config.partitions
                             : options_.partitions != 0 ? options_.partitions
                             : embedded                 ? kEmbeddedPartitions
                                                        : kKafkaPartitions;
  events_topic_.retention_time = existing.ok() ? existing->config.retention_time : kDefaultRetention;
  NARU_RETURN_IF_ERROR(log.CreateTopic(events_topic_));
  event_log::TopicConfig rejected;
  rejected.name = event_log::kDeadLetterTopic;
  rejected.retention_time = options_.rejected_retention;
  NARU_RETURN_IF_ERROR(log.CreateTopic(rejected));
  event_log::TopicConfig ledger;
  ledger.name = event_log::kLedgerTopic;
  ledger.compacted = true;
  return log.CreateTopic(ledger);
}

// On the catalog's thread, whenever the types change: the topic is kept for the longest retention of its types.
void Ingest::KeepEventsFor(const TypeTable& types) {
  if (types.size() == 0) return;  // nothing says that it may be shorter
  event_log::TopicConfig changed = events_topic_;
  changed.retention_time = types.longest_retention();
  if (options_.unregistered_events == "keep")
    changed.retention_time = std::max(changed.retention_time, kDefaultRetention);
  if (changed.retention_time == events_topic_.retention_time) return;
  const absl::Status status = dependencies_.log->CreateTopic(changed);
  if (status.ok()) {
    events_topic_ = changed;
  } else {
    NARU_LOG(ERROR, "retention of the events cannot be changed", {{"error", status}});
  }
}

void Ingest::AddMetrics() {
  if (dependencies_.metrics == nullptr) return;
  MetricRegistry& metrics = *dependencies_.metrics;
  gauges_ = std::make_unique<Gauges>();
  const auto add = [&](const char* name, const char* help, std::function<double()> read) {
    gauges_->registrations.push_back(
        metrics.AddCallback(MetricRegistry::Kind::kGauge, name, help, {}, std::move(read)));
  };
  add("naru_ingest_in_flight_bytes", "Bytes taken and not yet acknowledged.",
      [this] { return static_cast<double>(budget_.taken()); });
  const auto stat = [this](auto member) {
    return [this, member] { return static_cast<double>(bookkeeping_->window().stats().*member); };
  };
  add("naru_ingest_deduplication_ids", "Ids held for de-duplication.", stat(&dedup::IdWindowStats::ids));
  add("naru_ingest_deduplication_memory_bytes", "Memory that they take.", stat(&dedup::IdWindowStats::memory_bytes));
  add("naru_ingest_deduplication_disk_bytes", "Disk that they take.", stat(&dedup::IdWindowStats::disk_bytes));
  add("naru_ingest_deduplication_damaged_pages", "Pages of ids that could not be read.",
      stat(&dedup::IdWindowStats::damaged_pages));
}

void Ingest::Register(Server& server) {
  service_->Register(server);
  server.health().AddDependency("event_log", [this] { return dependencies_.log->Health(); }, {kService});
  server.health().AddDependency("catalog", [this] { return dependencies_.catalog->Health(); }, {kService});
  server.health().AddDependency("deduplication", [this] { return bookkeeping_->Ready(); }, {kService});
}

}  // namespace naru::ingest
