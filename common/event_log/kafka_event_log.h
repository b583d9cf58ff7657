// The event log on Kafka, through librdkafka.
//
// What differs from the embedded log, because Kafka is as it is: times have milliseconds; offsets are not dense
// (markers of transactions take some); a failed Append may leave records; retention, compaction and damage are the
// broker's affair, so RunMaintenance does nothing; there is no local store.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/event_log/event_log.h"

namespace naru::event_log {

struct KafkaEventLogOptions {
  std::string brokers;  ///< `host:port`, comma-separated
  /// Put before the names of topics, groups and transactional ids, so that several installations can share a cluster.
  std::string topic_prefix;
  std::string client_id = "naru";  ///< service and instance, shown by the brokers
  /// librdkafka's own settings by name (`security.protocol`, `sasl.username`, ...); they win over the defaults here.
  std::map<std::string, std::string> properties;
  /// Of topics that this makes; -1 = the cluster's default.
  int replication_factor = -1;
  /// Appends not acknowledged within this fail with UNAVAILABLE.
  std::chrono::milliseconds delivery_timeout = std::chrono::seconds(30);
  /// After this the broker ends a transaction by itself; Commit aborts before.
  std::chrono::milliseconds transaction_timeout = std::chrono::seconds(10);
  /// Bounds calls that ask the cluster.
  std::chrono::milliseconds request_timeout = std::chrono::seconds(10);
  /// Each producer takes this much that is not yet acknowledged (one larger append is taken alone); then
  /// RESOURCE_EXHAUSTED.
  size_t max_in_flight_bytes = size_t{64} << 20;
  /// Each reader and consumer fetches about this much ahead.
  size_t fetch_ahead_bytes = size_t{16} << 20;
  /// A group member that sends no heartbeats for this long (dead), or does not poll for that long (stuck), loses its
  /// partitions. Brokers take session timeouts from 6 s by default.
  std::chrono::milliseconds session_timeout = std::chrono::seconds(10);
  std::chrono::milliseconds max_poll_interval = std::chrono::minutes(5);
  /// The schema that records of a topic have when they name none: it is left out of their headers, which halves what a
  /// small record costs. All processes that share a topic must agree.
  std::map<std::string, std::string> default_schemas = {{kEventsTopic, kEventSchema}};
  /// Gets librdkafka's statistics (JSON) of each client every `statistics_interval`; must not block.
  std::function<void(absl::string_view json)> on_statistics;
  std::chrono::milliseconds statistics_interval{0};  ///< 0 = none
};

/// An EventLog on a Kafka cluster. Thread-safe. Destroy producers, readers and consumers before it.
class KafkaEventLog : public EventLog {
 public:
  /// Checks the settings and that a broker answers, for at most `request_timeout`.
  /// Errors: INVALID_ARGUMENT names the wrong setting; UNAVAILABLE (retry); UNAUTHENTICATED; PERMISSION_DENIED.
  static absl::StatusOr<std::unique_ptr<KafkaEventLog>> Open(const KafkaEventLogOptions& options);
};

}  // namespace naru::event_log
