#include "services/ingest/source_reader.h"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
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

absl::Status Unresolved(const std::string& name, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "SETTING_UNRESOLVED",
                   absl::StrCat("spec.kafka.properties.", name, ": ", what));
}

}  // namespace

absl::StatusOr<std::string> ResolveSetting(const std::string& name, const std::string& value) {
  std::string out;
  size_t at = 0;
  while (true) {
    const size_t open = value.find("${", at);
    if (open == std::string::npos) return out + value.substr(at);
    const size_t close = value.find('}', open);
    if (close == std::string::npos) return Unresolved(name, "`${` has no closing `}`");
    out += value.substr(at, open - at);
    const std::string inside = value.substr(open + 2, close - open - 2);
    at = close + 1;
    if (absl::StartsWith(inside, "env:")) {
      const char* variable = std::getenv(inside.substr(4).c_str());
      if (variable == nullptr) return Unresolved(name, absl::StrCat("the variable ", inside.substr(4), " is not set"));
      out += variable;
    } else if (absl::StartsWith(inside, "file:")) {
      std::ifstream file(inside.substr(5), std::ios::binary);
      if (!file) return Unresolved(name, absl::StrCat("the file ", inside.substr(5), " cannot be read"));
      std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
      if (!text.empty() && text.back() == '\n') text.pop_back();
      out += text;
    } else {
      return Unresolved(name, "only ${file:/path} and ${env:NAME} are known");
    }
  }
}

absl::StatusOr<std::unique_ptr<SourceReader>> OpenKafkaReader(const std::string& name,
                                                              const catalog::v1::KafkaSource& spec) {
  kafka::RawConsumerOptions options;
  options.client.brokers = absl::StrJoin(spec.brokers(), ",");
  options.client.client_id = absl::StrCat("naru-source-", name);
  options.group = absl::StrCat("naru-source-", name);
  // Short, as stopping waits for a call that is under way; what fails is tried again anyway.
  options.timeout = std::chrono::seconds(3);
  for (const auto& [key, value] : spec.properties()) {
    NARU_ASSIGN_OR_RETURN(options.client.properties[key], ResolveSetting(key, value));
  }
  NARU_ASSIGN_OR_RETURN(auto consumer, kafka::RawConsumer::Open(options));
  return std::make_unique<KafkaReader>(std::move(consumer));
}

}  // namespace naru::ingest
