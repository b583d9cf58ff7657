// naru-ingest: takes events into a log on Kafka.
#include <grpcpp/impl/codegen/service_type.h>

#include <iostream>

#include "absl/strings/str_split.h"
#include "common/catalog/catalog.h"
#include "common/catalog/catalog_key_store.h"
#include "common/catalog/catalog_service.h"
#include "common/catalog/catalog_writer.h"
#include "common/catalog/resource_checks.h"
#include "common/event_log/kafka_event_log.h"
#include "common/metrics/metrics.h"
#include "common/server/log_options.h"
#include "common/server/server.h"
#include "common/status/status.h"
#include "services/ingest/config.h"
#include "services/ingest/ingest.h"

namespace naru::ingest {
namespace {

absl::Status Run(const IngestConfig& config, StopSignal& signal) {
  event_log::KafkaEventLogOptions kafka;
  kafka.brokers = config.kafka_brokers;
  kafka.topic_prefix = config.kafka_topic_prefix;
  kafka.client_id = "naru-ingest";
  for (const std::string& property : config.kafka_properties) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(property, absl::MaxSplits('=', 1));
    kafka.properties.insert(pair);
  }
  NARU_ASSIGN_OR_RETURN(const auto log, event_log::KafkaEventLog::Open(kafka));
  NARU_ASSIGN_OR_RETURN(const auto catalog, catalog::Catalog::Open(*log, *Clock::System()));
  catalog::TestRunners runners;
  catalog::RegisterResourceChecks(&runners);
  catalog::CatalogWriter writer(*log, *catalog, *Clock::System(), *Random::System(), &runners);
  const auto catalog_service = catalog::MakeCatalogService(*catalog, writer);
  catalog::CatalogKeyStore keys(*catalog);
  MetricRegistry metrics;
  metrics.AddProcessMetrics();
  NARU_ASSIGN_OR_RETURN(const auto ingest,
                        Ingest::Open(config.ingest, {.log = log.get(), .catalog = catalog.get(), .metrics = &metrics}));
  Server server(config.server, {.metrics = &metrics, .keys = &keys});
  server.AddService(catalog::CatalogServiceName(), catalog_service.get());
  for (const auto& [method, scope] : catalog::CatalogServiceScopes()) server.RequireScope(method, scope);
  ingest->Register(server);
  NARU_RETURN_IF_ERROR(server.Start());
  std::cout << "naru-ingest is ready: " << server.Addresses() << std::endl;
  signal.Wait();
  server.Stop();
  return absl::OkStatus();
}

}  // namespace
}  // namespace naru::ingest

int main(int argc, char** argv) {
  using namespace naru;  // NOLINT: only in main
  StopSignal signal;     // before any thread
  ingest::IngestConfig config;
  Options options("naru-ingest", "Takes events, checks them and stores them in the log; keeps the catalog.");
  ingest::AddIngestConfig(&options, &config);
  if (const std::optional<int> exit_code = options.ParseCommandLine(argc, argv)) return *exit_code;
  ApplyLogOptions(config.log);
  const absl::Status status = ingest::Run(config, signal);
  if (status.ok()) return 0;
  std::cerr << "naru-ingest: " << status.message() << std::endl;
  return 1;
}
