// What can be set about ingest.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "common/config/config.h"
#include "common/secret/secret.h"
#include "common/server/log_options.h"
#include "common/server/server_options.h"
#include "common/status/status.h"

namespace naru::ingest {

/// What the service itself needs; the same in its own process and in `naru up`.
struct IngestOptions {
  ByteSize max_in_flight{64 << 20};                               ///< bytes taken and not yet acknowledged
  ByteSize max_event{256 << 10};                                  ///< of one event
  std::chrono::microseconds max_future = std::chrono::hours(24);  ///< `time` after the received time
  std::string unregistered_events = "reject";  ///< events of a type that nobody registered: reject, keep
  int partitions = 0;                          ///< of `events`, when it is made; 0 = 4 embedded, 12 on Kafka
  std::chrono::microseconds rejected_retention = std::chrono::hours(24 * 90);  ///< of `events.dlq`
  std::string state_dir;  ///< ids seen; embedded: under the data directory. Empty: a temporary one
  std::string instance;   ///< stable and unique name of this replica; empty: host name
  SecretOptions secrets;  ///< what Sources name
};

/// Adds the options above, without `secrets`, which services share, and `state_dir` and `instance`, which only
/// separate services have.
void AddIngestOptions(Options* options, IngestOptions* ingest);
/// Problems that concern several values.
std::vector<FieldViolation> ValidateIngestOptions(const IngestOptions& ingest);

/// Of the program naru-ingest.
struct IngestConfig {
  ServerOptions server{.name = "ingest", .listen = "127.0.0.1:7701", .metrics_listen = "127.0.0.1:7791"};
  IngestOptions ingest;
  std::string kafka_brokers;
  std::string kafka_topic_prefix;
  std::vector<std::string> kafka_properties;  ///< name=value
  std::string data_dir;                       ///< only to say what to do instead
  LogOptions log;
};

void AddIngestConfig(Options* options, IngestConfig* config);

}  // namespace naru::ingest
