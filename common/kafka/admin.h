// Topics, offsets and groups of a Kafka cluster.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/kafka/options.h"

struct rd_kafka_topic_partition_list_s;

namespace naru::kafka {

class Client;

/// An offset for each of some partitions.
using PartitionOffsets = std::vector<std::pair<int, int64_t>>;

/// Asks and changes a cluster. Every call blocks for at most `timeout` (given at Open). Thread-safe.
/// Errors of all calls: UNAVAILABLE (retry), PERMISSION_DENIED, UNAUTHENTICATED.
class Admin {
 public:
  /// Does not connect. Errors: INVALID_ARGUMENT names the wrong setting.
  static absl::StatusOr<std::unique_ptr<Admin>> Open(const ClientOptions& options,
                                                     std::chrono::milliseconds timeout = std::chrono::seconds(10));
  ~Admin();

  /// Errors: ALREADY_EXISTS; INVALID_ARGUMENT. `replication_factor` -1 = the cluster's default.
  absl::Status CreateTopic(const std::string& topic, int partitions, int replication_factor,
                           const std::map<std::string, std::string>& settings);
  /// All settings of a topic, defaults included. Errors: NOT_FOUND.
  absl::StatusOr<std::map<std::string, std::string>> TopicSettings(const std::string& topic);
  /// Changes these settings; the others stay. Errors: NOT_FOUND; INVALID_ARGUMENT.
  absl::Status SetTopicSettings(const std::string& topic, const std::map<std::string, std::string>& settings);
  absl::StatusOr<std::vector<std::string>> ListTopics();
  /// Errors: NOT_FOUND. Never makes the topic.
  absl::StatusOr<int> PartitionCount(const std::string& topic);

  /// Where an offset is looked for.
  enum class At { kStart, kEnd, kTime };
  /// Offsets of `partitions`: of the oldest record; past the last stable one; of the first whose time is at least
  /// `time_ms` (the end when there is none). Errors: NOT_FOUND.
  absl::StatusOr<PartitionOffsets> Offsets(const std::string& topic, const std::vector<int>& partitions, At at,
                                           int64_t time_ms = 0);

  /// The last stable offsets of partitions of several topics, put into librdkafka's list of them. One try.
  absl::Status StableEnds(rd_kafka_topic_partition_list_s* partitions);

  absl::StatusOr<std::vector<std::string>> ListGroups();
  /// Next offsets that a group has committed for partitions [0, partitions); those without one are left out. Waits for
  /// pending transactions.
  absl::StatusOr<PartitionOffsets> CommittedOffsets(const std::string& group, const std::string& topic, int partitions);
  /// Forgets a group's offsets of a topic; OK when there were none. Errors: FAILED_PRECONDITION while it has members.
  absl::Status DeleteGroupOffsets(const std::string& group, const std::string& topic, int partitions);

  /// Whether a broker answers within `timeout`.
  absl::Status Ping(std::chrono::milliseconds timeout);

 private:
  struct State;
  explicit Admin(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace naru::kafka
