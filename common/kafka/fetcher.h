// What RawConsumer and GroupConsumer share: positions, polling, and errors of reading. Includes librdkafka: only for
// .cc files.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/kafka/client.h"
#include "common/kafka/raw_consumer.h"

namespace naru::kafka {

/// Settings of every reader.
Settings FetchSettings(const RawConsumerOptions& options);

/// Collects messages of assigned partitions into batches. Keeps its own position for each partition, so that nothing is
/// delivered twice, or out of order, whatever the client does after lost connections and rebalances.
/// Not thread-safe, but Cancel is.
class Fetcher {
 public:
  /// Takes a consumer; redirects its queues.
  explicit Fetcher(std::unique_ptr<Client> client);

  Client& client() const { return *client_; }

  absl::StatusOr<std::vector<RawBatch>> Poll(std::chrono::milliseconds max_wait, size_t max_bytes);
  void Cancel();

  /// Delivers nothing below `next` of this partition from now on.
  void Track(const std::string& topic, int partition, int64_t next);
  /// Forgets a partition, with what was collected of it in the current Poll.
  void Untrack(const std::string& topic, int partition);
  void UntrackAll();
  /// Goes to `offset`. Errors: FAILED_PRECONDITION when the partition is not tracked; UNAVAILABLE.
  absl::Status Seek(const std::string& topic, int partition, int64_t offset);
  /// Whether the client was told to fetch nothing for now.
  void SetPaused(bool paused) { paused_ = paused; }

 private:
  struct Partition {
    std::string topic;
    int partition = 0;
    int64_t next = 0;
    bool moved = false;   ///< `next` went on without a message since the last Poll returned
    bool at_end = false;  ///< nothing more was there when it was last fetched
    std::vector<MessagePtr> collected;
  };

  void Take(MessagePtr message);
  void TakeError(const rd_kafka_message_t& message);
  absl::Status OutOfRange(Partition& partition);
  absl::Status Reassign(const std::string& topic, int partition, int64_t offset);
  Partition* Find(const rd_kafka_message_t& message);
  std::vector<RawBatch> Pack();
  MessagePtr Next(std::chrono::milliseconds wait);
  bool Starved() const;
  void Nudge(std::chrono::milliseconds timeout);

  std::unique_ptr<Client> client_;
  std::unique_ptr<rd_kafka_queue_t, Deleter> queue_;
  std::map<std::pair<std::string, int>, Partition> partitions_;
  Partition* last_found_ = nullptr;
  rd_kafka_topic_t* last_topic_ = nullptr;
  size_t collected_bytes_ = 0;
  std::chrono::milliseconds patience_{0};  ///< how long to wait before the next nudge
  bool paused_ = false;
  absl::Status pending_error_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace naru::kafka
