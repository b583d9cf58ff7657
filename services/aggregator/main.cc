// naru-aggregator: counts the events of a log on Kafka into windows, and answers.
#include <unistd.h>

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/catalog/catalog.h"
#include "common/catalog/catalog_key_store.h"
#include "common/event_log/kafka_event_log.h"
#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "common/server/server.h"
#include "common/status/status.h"
#include "services/aggregator/aggregator.h"
#include "services/aggregator/config.h"

namespace naru::aggregator {
namespace {

absl::Status Run(const AggregatorConfig& config, StopSignal& signal) {
  event_log::KafkaEventLogOptions kafka;
  kafka.brokers = config.kafka_brokers;
  kafka.topic_prefix = config.kafka_topic_prefix;
  kafka.client_id = "naru-aggregator";
  for (const std::string& property : config.kafka_properties) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(property, absl::MaxSplits('=', 1));
    kafka.properties.insert(pair);
  }
  NARU_ASSIGN_OR_RETURN(const auto log, event_log::KafkaEventLog::Open(kafka));
  NARU_ASSIGN_OR_RETURN(const auto catalog, catalog::Catalog::Open(*log, *Clock::System()));
  MetricRegistry metrics;
  metrics.AddProcessMetrics();
  catalog::CatalogKeyStore keys(*catalog);
  NARU_ASSIGN_OR_RETURN(const auto aggregator, Aggregator::Create(config.aggregator, {*log, *catalog, metrics}));
  Server server(config.server, {.metrics = &metrics, .keys = &keys});
  server.health().AddDependency("event_log", [&log = *log] { return log.Health(); });
  aggregator->RegisterWith(server);
  NARU_RETURN_IF_ERROR(server.Start());
  aggregator->Start();
  std::cout << "naru-aggregator is ready: " << server.Addresses() << std::endl;
  signal.Wait();
  server.Stop();
  return absl::OkStatus();
}

}  // namespace
}  // namespace naru::aggregator

int main(int argc, char** argv) {
  using namespace naru;  // NOLINT: only in main
  StopSignal signal;
  aggregator::AggregatorConfig config;
  Options options("naru-aggregator", "Counts events into windows and answers what a team's metrics are.");
  aggregator::AddAggregatorConfig(&options, &config);
  if (const std::optional<int> exit_code = options.ParseCommandLine(argc, argv)) return *exit_code;
  log::SetLevel(*log::ParseLevel(config.log_level));
  log::SetFormat(*log::ParseFormat(config.log_format));
  const absl::Status status = aggregator::Run(config, signal);
  if (status.ok()) return 0;
  std::cerr << "naru-aggregator: " << status.message() << std::endl;
  return 1;
}
