// What can be set about `naru up`.
#pragma once

#include <string>
#include <vector>

#include "common/config/config.h"
#include "common/secret/secret.h"
#include "common/server/log_options.h"
#include "common/server/server_options.h"
#include "services/aggregator/config.h"
#include "services/ingest/config.h"

namespace naru::cli {

struct UpConfig {
  ServerOptions server{.name = "naru", .listen = "127.0.0.1:7700"};
  ingest::IngestOptions ingest;
  aggregator::AggregatorOptions aggregator;
  SecretOptions secrets;  ///< of both
  std::string data_dir = ".naru";
  std::vector<std::string> packs;  ///< names or paths
  ByteSize log_memory{64 << 20};   ///< bounds what the embedded log keeps in memory
  std::string kafka_brokers;       ///< empty: the log is in the data directory
  std::string kafka_topic_prefix;
  std::vector<std::string> kafka_properties;  ///< NAME=VALUE
  LogOptions log;
};

/// Adds everything above.
void AddUpOptions(Options* options, UpConfig* config);

/// Fills in the ports of HTTP and metrics where nobody set them: 7780 and 7790 beside --listen, free ones when its port
/// is 0. `http_set` and `metrics_set`: they were set, maybe to nothing.
void FillAddresses(bool http_set, bool metrics_set, ServerOptions* server);

}  // namespace naru::cli
