#include "common/kafka/raw_consumer.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/kafka/client.h"
#include "common/kafka/errors.h"
#include "common/kafka/fetcher.h"
#include "common/log/log.h"
#include "common/status/status.h"

namespace naru::kafka {

struct RawConsumer::State {
  std::unique_ptr<Admin> admin;
  std::unique_ptr<Fetcher> fetcher;

  absl::StatusOr<std::vector<RawPosition>> Resolve(const std::vector<RawPosition>& positions);
};

absl::StatusOr<std::unique_ptr<RawConsumer>> RawConsumer::Open(const RawConsumerOptions& options) {
  auto state = std::make_unique<State>();
  NARU_ASSIGN_OR_RETURN(state->admin, Admin::Open(options.client, options.timeout));
  Settings settings = FetchSettings(options);
  // librdkafka wants a group's name even of a reader that joins none.
  settings.emplace_back("group.id", options.group);
  NARU_ASSIGN_OR_RETURN(std::unique_ptr<Client> client,
                        Client::Make(RD_KAFKA_CONSUMER, options.client, settings, nullptr, [](rd_kafka_conf_t* conf) {
                          rd_kafka_conf_set_offset_commit_cb(conf, [](rd_kafka_t*, rd_kafka_resp_err_t error,
                                                                      rd_kafka_topic_partition_list_t*, void*) {
                            if (error == RD_KAFKA_RESP_ERR_NO_ERROR || error == RD_KAFKA_RESP_ERR__NO_OFFSET) return;
                            NARU_LOG_EVERY_SECONDS(60, WARNING, "kafka offsets were not committed",
                                                   {{"error", StatusOf(error, "committing")}});
                          });
                        }));
  state->fetcher = std::make_unique<Fetcher>(std::move(client));
  return std::unique_ptr<RawConsumer>(new RawConsumer(std::move(state)));
}

RawConsumer::RawConsumer(std::unique_ptr<State> state) : state_(std::move(state)) {}

RawConsumer::~RawConsumer() = default;

absl::StatusOr<int> RawConsumer::PartitionCount(const std::string& topic) {
  return state_->admin->PartitionCount(topic);
}

absl::StatusOr<PartitionOffsets> RawConsumer::Offsets(const std::string& topic, const std::vector<int>& partitions,
                                                      Admin::At at, int64_t time_ms) {
  return state_->admin->Offsets(topic, partitions, at, time_ms);
}

// Turns every kind of position into an offset that is there now, with one request for each topic and kind.
absl::StatusOr<std::vector<RawPosition>> RawConsumer::State::Resolve(const std::vector<RawPosition>& positions) {
  std::vector<RawPosition> resolved = positions;
  std::map<std::string, std::vector<RawPosition*>> by_topic;
  for (RawPosition& position : resolved) by_topic[position.topic].push_back(&position);
  for (auto& [topic, of_topic] : by_topic) {
    NARU_ASSIGN_OR_RETURN(const int count, admin->PartitionCount(topic));
    std::map<std::pair<Admin::At, int64_t>, std::vector<RawPosition*>> requests;
    for (RawPosition* position : of_topic) {
      if (position->partition < 0 || position->partition >= count) {
        return MakeError(
            absl::StatusCode::kNotFound, "PARTITION_NOT_FOUND",
            absl::StrCat("topic ", topic, " has partitions 0 to ", count - 1, ", not ", position->partition));
      }
      const bool from_time = position->kind == RawPosition::Kind::kTime;
      const Admin::At at = from_time                                   ? Admin::At::kTime
                           : position->kind == RawPosition::Kind::kEnd ? Admin::At::kEnd
                                                                       : Admin::At::kStart;
      // Down to Kafka's milliseconds, in which the stored times were cut the same way.
      requests[{at, from_time ? position->value / 1000 : 0}].push_back(position);
    }
    for (auto& [request, wanted] : requests) {
      std::vector<int> partitions;
      for (const RawPosition* position : wanted) partitions.push_back(position->partition);
      NARU_ASSIGN_OR_RETURN(const PartitionOffsets offsets,
                            admin->Offsets(topic, partitions, request.first, request.second));
      const std::map<int, int64_t> offset_of(offsets.begin(), offsets.end());
      for (RawPosition* position : wanted) {
        const int64_t found = offset_of.at(position->partition);
        const bool given = position->kind == RawPosition::Kind::kOffset;
        position->value = given ? std::max(position->value, found) : found;
        position->kind = RawPosition::Kind::kOffset;
      }
    }
  }
  return resolved;
}

absl::Status RawConsumer::Assign(const std::vector<RawPosition>& positions) {
  NARU_ASSIGN_OR_RETURN(const std::vector<RawPosition> resolved, state_->Resolve(positions));
  PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(resolved.size())));
  state_->fetcher->UntrackAll();
  for (const RawPosition& position : resolved) {
    rd_kafka_topic_partition_list_add(list.get(), position.topic.c_str(), position.partition)->offset = position.value;
    state_->fetcher->Track(position.topic, position.partition, position.value);
  }
  return StatusOf(rd_kafka_assign(state_->fetcher->client().get(), list.get()), "assigning partitions");
}

absl::StatusOr<std::vector<RawBatch>> RawConsumer::Poll(std::chrono::milliseconds max_wait, size_t max_bytes) {
  return state_->fetcher->Poll(max_wait, max_bytes);
}

absl::Status RawConsumer::CommitAdvisory(const std::vector<RawPosition>& next) {
  if (next.empty()) return absl::OkStatus();
  PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(next.size())));
  for (const RawPosition& position : next) {
    rd_kafka_topic_partition_list_add(list.get(), position.topic.c_str(), position.partition)->offset = position.value;
  }
  return StatusOf(rd_kafka_commit(state_->fetcher->client().get(), list.get(), /*async=*/1), "committing offsets");
}

void RawConsumer::Cancel() { state_->fetcher->Cancel(); }

}  // namespace naru::kafka
