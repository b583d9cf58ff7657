#include "services/ingest/source_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::ingest {
namespace {

class KafkaReader : public SourceReader {
 public:
  explicit KafkaReader(std::unique_ptr<kafka::RawConsumer> consumer) : consumer_(std::move(consumer)) {}
  absl::StatusOr<int> PartitionCount(const std::string& topic) override { return consumer_->PartitionCount(topic); }
  absl::StatusOr<kafka::PartitionOffsets> Ends(const std::string& topic, const std::vector<int>& partitions) override {
    return consumer_->Offsets(topic, partitions, kafka::Admin::At::kEnd);
  }
  absl::Status Assign(const std::vector<kafka::RawPosition>& positions) override { return consumer_->Assign(positions); }
  absl::StatusOr<std::vector<kafka::RawBatch>> Poll(std::chrono::milliseconds max_wait, size_t max_bytes) override {
    return consumer_->Poll(max_wait, max_bytes);
  }
  void CommitAdvisory(const std::vector<kafka::RawPosition>& next) override {
    const absl::Status status = consumer_->CommitAdvisory(next);
    if (!status.ok()) NARU_LOG(INFO, "a position was not told to the cluster", {{"error", status}});
  }
  void Cancel() override { consumer_->Cancel(); }

 private:
  const std::unique_ptr<kafka::RawConsumer> consumer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SourceReader>> OpenKafkaReader(const std::string& name,
                                                              const catalog::v1::KafkaSource& spec,
                                                              const SecretOptions& secrets) {
  kafka::RawConsumerOptions options;
  options.client.brokers = absl::StrJoin(spec.brokers(), ",");
  options.client.client_id = absl::StrCat("naru-source-", name);
  options.group = absl::StrCat("naru-source-", name);
  // Short, as stopping waits for a call that is under way; what fails is tried again anyway.
  options.timeout = std::chrono::seconds(3);
  for (const auto& [key, value] : spec.properties()) {
    NARU_ASSIGN_OR_RETURN(options.client.properties[key],
                          ResolveSecrets(secrets, absl::StrCat("spec.kafka.properties.", key), value));
  }
  NARU_ASSIGN_OR_RETURN(auto consumer, kafka::RawConsumer::Open(options));
  return std::make_unique<KafkaReader>(std::move(consumer));
}

}  // namespace naru::ingest
