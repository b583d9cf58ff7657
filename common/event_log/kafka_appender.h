// Appends outside of transactions. Includes librdkafka: only for .cc files.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "common/event_log/kafka_records.h"
#include "common/sync/mutex.h"

namespace naru::event_log {

/// An idempotent producer with its delivery thread. When librdkafka gives its client up, what was in flight fails with
/// UNAVAILABLE and a new client goes on. Thread-safe.
class KafkaAppender {
 public:
  /// Borrows `shared`.
  static absl::StatusOr<std::unique_ptr<KafkaAppender>> Open(const KafkaShared& shared);
  /// Waits for what is in flight, for at most five seconds; then that fails with UNAVAILABLE.
  ~KafkaAppender();

  /// As Producer::AppendAsync; when `refused` is an error, calls back with that, in its turn.
  void AppendAsync(std::vector<AppendBatch> batches, Producer::Callback done, absl::Status refused = absl::OkStatus());

  /// Makes librdkafka give up its client, as some errors of brokers do. For tests.
  void BreakForTest();

 private:
  struct Append {
    explicit Append(std::vector<AppendBatch> b, Producer::Callback d)
        : batches(std::move(b)), done(std::move(d)), records(batches) {}
    std::vector<AppendBatch> batches;
    Producer::Callback done;
    PendingRecords records;
    size_t reserved = 0;
  };

  explicit KafkaAppender(const KafkaShared& shared) : shared_(shared) {}
  absl::StatusOr<std::unique_ptr<kafka::Client>> MakeClient() const;
  void Use(std::unique_ptr<kafka::Client> client) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DeliveryLoop();
  void CallBack();
  void Replace(const absl::Status& reason);
  size_t Drain(std::chrono::milliseconds timeout);
  bool Idle();

  const KafkaShared& shared_;
  std::thread thread_;

  Mutex mu_;
  std::unique_ptr<kafka::Client> client_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<rd_kafka_queue_t, kafka::Deleter> queue_ ABSL_GUARDED_BY(mu_);
  std::optional<RecordSender> sender_ ABSL_GUARDED_BY(mu_);
  std::deque<std::unique_ptr<Append>> in_flight_ ABSL_GUARDED_BY(mu_);
  size_t in_flight_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status refused_ ABSL_GUARDED_BY(mu_);  // why appends are not taken now
  std::atomic<bool> stop_{false};
};

}  // namespace naru::event_log
