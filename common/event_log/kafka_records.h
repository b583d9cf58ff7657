// Records on their way to Kafka: enqueued without copying their values, their offsets collected from delivery reports.
// Includes librdkafka: only for .cc files.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/event_log/event_log.h"
#include "common/event_log/kafka_event_log.h"
#include "common/kafka/client.h"

namespace naru::event_log {

/// Names of record headers on Kafka.
inline constexpr char kSchemaHeader[] = "naru-schema";
inline constexpr char kTraceparentHeader[] = "traceparent";

/// Records of up to this many bytes are taken (topics are made accordingly).
inline constexpr int kMaxRecordBytes = 8 << 20;

/// What producers, readers and consumers of one log share. The functions are thread-safe.
struct KafkaShared {
  KafkaEventLogOptions options;
  /// Partitions of a topic (name without prefix), remembered. Errors: NOT_FOUND; UNAVAILABLE.
  std::function<absl::StatusOr<int>(const std::string& topic)> partition_count;
  /// Puts the last stable offset of each partition into the list. Errors: UNAVAILABLE.
  std::function<absl::Status(rd_kafka_topic_partition_list_t* partitions)> stable_ends;
  /// Adds a line to the recovery report.
  std::function<void(std::string note)> note;
};

/// How clients of this log reach the cluster.
kafka::ClientOptions ClientOptionsOf(const KafkaEventLogOptions& options);

/// Settings of every producer.
kafka::Settings ProducerSettings();

/// Counts the delivery reports of some batches. Made and sent by one thread, reported on by another.
class PendingRecords {
 public:
  explicit PendingRecords(const std::vector<AppendBatch>& batches);
  PendingRecords(const PendingRecords&) = delete;
  PendingRecords& operator=(const PendingRecords&) = delete;

  /// Takes a delivery report whose opaque came from SendRecords.
  static void OnDelivered(const rd_kafka_message_t& message);

  /// Whether every record was reported on, or could not be sent.
  bool done() const { return remaining_.load(std::memory_order_acquire) == 0; }
  /// What the records cost in memory while they are in flight.
  size_t bytes() const { return bytes_; }
  /// Gives up on all records (and those not yet sent) with this error.
  void Fail(absl::Status status);
  /// Why not all could be enqueued, or what already failed; OK so far otherwise.
  absl::Status SendError() const;
  /// Once done: where the records are, or why some are not. Several errors: the first.
  absl::StatusOr<AppendResult> Result() const;

 private:
  friend class RecordSender;
  struct Slot {
    PendingRecords* records = nullptr;
    int64_t offset = -1;
  };

  std::vector<size_t> counts_;  // records of each batch
  size_t size_ = 0;
  size_t bytes_ = 0;
  std::unique_ptr<Slot[]> slots_;
  std::atomic<size_t> remaining_;
  std::atomic<int> error_{0};  // the first error of librdkafka
  absl::Status failure_;       // an error found here
};

/// Enqueues records to one client. Not thread-safe.
class RecordSender {
 public:
  /// Borrows both.
  RecordSender(const KafkaShared& shared, kafka::Client* client) : shared_(shared), client_(client) {}

  /// Checks topics and partitions of `batches`; may ask the cluster for topics not seen before.
  /// Errors: NOT_FOUND; INVALID_ARGUMENT; UNAVAILABLE.
  static absl::Status Check(const KafkaShared& shared, const std::vector<AppendBatch>& batches);

  /// Enqueues all records; those that cannot be are reported to `pending` at once. Borrows both until `pending` is
  /// done.
  void Send(const std::vector<AppendBatch>& batches, PendingRecords* pending);

 private:
  rd_kafka_topic_t* Topic(const std::string& name);
  rd_kafka_resp_err_t SendBatch(const AppendBatch& batch, PendingRecords::Slot* slots, size_t* sent);

  const KafkaShared& shared_;
  kafka::Client* client_;
  std::map<std::string, kafka::TopicHandle> topics_;
};

}  // namespace naru::event_log
