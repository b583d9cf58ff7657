// Reader and Consumer on Kafka.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/event_log/event_log.h"
#include "common/kafka/group_consumer.h"
#include "common/kafka/raw_consumer.h"

namespace naru::event_log {

struct KafkaShared;

class KafkaReader : public Reader {
 public:
  /// Borrows `shared`.
  static absl::StatusOr<std::unique_ptr<KafkaReader>> Open(const KafkaShared& shared, const std::string& topic,
                                                           const std::vector<ReadPosition>& positions);
  absl::StatusOr<std::vector<FetchedBatch>> Poll(std::chrono::milliseconds max_wait, size_t max_bytes) override;
  void Cancel() override;

 private:
  KafkaReader(const KafkaShared& shared, std::unique_ptr<kafka::RawConsumer> consumer)
      : shared_(shared), consumer_(std::move(consumer)) {}

  const KafkaShared& shared_;
  std::unique_ptr<kafka::RawConsumer> consumer_;
};

class KafkaConsumer : public Consumer {
 public:
  /// Borrows `shared`.
  static absl::StatusOr<std::unique_ptr<KafkaConsumer>> Open(const KafkaShared& shared, const std::string& group,
                                                             const std::string& topic, RebalanceListener listener);
  absl::StatusOr<std::vector<FetchedBatch>> Poll(std::chrono::milliseconds max_wait, size_t max_bytes) override;
  void SetPaused(bool paused) override;
  absl::Status Seek(int partition, int64_t offset) override;
  std::vector<int> Assignment() const override;
  void Cancel() override;

  const kafka::GroupConsumer& member() const { return *consumer_; }

 private:
  KafkaConsumer(const KafkaShared& shared, std::unique_ptr<kafka::GroupConsumer> consumer)
      : shared_(shared), consumer_(std::move(consumer)) {}

  const KafkaShared& shared_;
  std::unique_ptr<kafka::GroupConsumer> consumer_;
};

}  // namespace naru::event_log
