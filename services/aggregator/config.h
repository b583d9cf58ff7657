// What can be set about the aggregator.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "common/config/config.h"
#include "common/secret/secret.h"
#include "common/server/server_options.h"
#include "services/aggregator/sink_pace.h"

namespace naru::aggregator {

/// What the service itself needs; the same in its own process and in `naru up`.
struct AggregatorOptions {
  ByteSize memory{64 << 20};  ///< of states, half for counting, half for answering
  std::chrono::milliseconds commit_interval{200};
  std::chrono::milliseconds maintenance_interval{10'000};  ///< how often old windows and metrics are removed
  std::string group = "naru-aggregator";                   ///< the replicas that share the partitions out among them
  std::string instance;                                    ///< stable and unique name of this replica; empty: host name
  std::string state_dir;                                   ///< on Kafka: the serving view; empty: a temporary directory
  std::chrono::microseconds late_retention = std::chrono::hours(24 * 30);  ///< of `events.late`
  SecretOptions secrets;                                                   ///< what Sinks name
  SinkPace sinks;                                                          ///< tests make it faster
};

/// Adds the options above, without `secrets`, which services share, and `instance`, `group` and `state_dir`, which only
/// separate services have.
void AddAggregatorOptions(Options* options, AggregatorOptions* aggregator);

/// Of the program naru-aggregator.
struct AggregatorConfig {
  ServerOptions server{.name = "aggregator", .listen = "127.0.0.1:7702", .metrics_listen = "127.0.0.1:7792"};
  AggregatorOptions aggregator;
  std::string kafka_brokers;
  std::string kafka_topic_prefix;
  std::vector<std::string> kafka_properties;  ///< name=value
  std::string data_dir;                       ///< only to say what to do instead
  std::string log_level = "info";
  std::string log_format = "text";
};

void AddAggregatorConfig(Options* options, AggregatorConfig* config);

}  // namespace naru::aggregator
