// A member of a Kafka consumer group with cooperative rebalance, whose offsets are committed in a producer's
// transactions.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/kafka/raw_consumer.h"

struct rd_kafka_consumer_group_metadata_s;

namespace naru::kafka {

/// Told about partitions of the one topic, on the thread that polls.
struct GroupListener {
  /// Now this member's. Returns where to start (the larger of this and the committed offset is used).
  std::function<PartitionOffsets(const std::vector<int>& partitions)> assigned;
  /// About to be taken away.
  std::function<void(const std::vector<int>& partitions)> revoked;
  /// Already gone.
  std::function<void(const std::vector<int>& partitions)> lost;
};

struct GroupConsumerOptions {
  RawConsumerOptions raw;
  std::string group;
  std::string topic;
  /// A member that does not send heartbeats for this long (a dead process) loses its partitions.
  std::chrono::milliseconds session_timeout = std::chrono::seconds(10);
  /// A member that does not poll for this long (a stuck one) loses its partitions.
  std::chrono::milliseconds max_poll_interval = std::chrono::minutes(5);
};

/// Not thread-safe, but Cancel is.
class GroupConsumer {
 public:
  static absl::StatusOr<std::unique_ptr<GroupConsumer>> Open(const GroupConsumerOptions& options,
                                                             GroupListener listener);
  /// Leaves the group, without calling the listener.
  ~GroupConsumer();

  /// As RawConsumer::Poll; runs the listener.
  absl::StatusOr<std::vector<RawBatch>> Poll(std::chrono::milliseconds max_wait, size_t max_bytes);
  void SetPaused(bool paused);
  /// Errors: FAILED_PRECONDITION when the partition is not assigned.
  absl::Status Seek(int partition, int64_t offset);
  std::vector<int> Assignment() const;
  void Cancel();

  const std::string& group() const;
  /// What a transaction sends with this member's offsets; the caller destroys it.
  /// Errors: ABORTED with reason FENCED when the member has lost its place since it was last assigned partitions.
  absl::StatusOr<rd_kafka_consumer_group_metadata_s*> Metadata() const;

 private:
  struct State;
  explicit GroupConsumer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace naru::kafka
