#include "common/kafka/admin.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/kafka/client.h"
#include "common/kafka/errors.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"

namespace naru::kafka {
namespace {

// Clients kept to ask for groups' offsets, one for each of the groups asked for last.
constexpr size_t kKeptGroups = 8;

using SteadyClock = std::chrono::steady_clock;
using EventPtr = std::unique_ptr<rd_kafka_event_t, Deleter>;

struct NewTopicDeleter {
  void operator()(rd_kafka_NewTopic_t* p) const { rd_kafka_NewTopic_destroy(p); }
};
struct ConfigResourceDeleter {
  void operator()(rd_kafka_ConfigResource_t* p) const { rd_kafka_ConfigResource_destroy(p); }
};

PartitionList ListOf(const std::string& topic, const std::vector<int>& partitions, int64_t offset) {
  PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions.size())));
  for (int partition : partitions) {
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset = offset;
  }
  return list;
}

std::vector<int> FirstPartitions(int count) {
  std::vector<int> partitions(count);
  for (int i = 0; i < count; ++i) partitions[i] = i;
  return partitions;
}

}  // namespace

struct Admin::State {
  ClientOptions options;
  std::unique_ptr<Client> client;
  std::chrono::milliseconds timeout;
  Mutex mu;
  std::deque<std::pair<std::string, std::shared_ptr<Client>>> of_groups ABSL_GUARDED_BY(mu);  // the last used first

  int timeout_ms() const { return static_cast<int>(timeout.count()); }

  // A consumer only asks for the end of a partition with respect to open transactions, and for offsets of its own
  // group.
  absl::StatusOr<std::unique_ptr<Client>> MakeClient(Settings settings) const {
    settings.insert(settings.begin(), {{"isolation.level", "read_committed"},
                                       {"enable.auto.commit", "false"},
                                       {"allow.auto.create.topics", "false"},
                                       {"retry.backoff.ms", "20"},
                                       {"socket.timeout.ms", absl::StrCat(timeout.count())}});
    return Client::Make(RD_KAFKA_CONSUMER, options, settings);
  }

  // A client of the group that never joins it.
  absl::StatusOr<std::shared_ptr<Client>> ClientOf(const std::string& group) {
    MutexLock lock(&mu);
    auto found =
        std::find_if(of_groups.begin(), of_groups.end(), [&](const auto& kept) { return kept.first == group; });
    if (found == of_groups.end()) {
      NARU_ASSIGN_OR_RETURN(std::shared_ptr<Client> made, MakeClient({{"group.id", group}}));
      of_groups.emplace_front(group, std::move(made));
      if (of_groups.size() > kKeptGroups) of_groups.pop_back();
    } else {
      std::rotate(of_groups.begin(), found, found + 1);
    }
    return of_groups.front().second;
  }

  // Runs one request of the admin API and returns its answer.
  absl::StatusOr<EventPtr> Ask(rd_kafka_admin_op_t op, absl::string_view what,
                               const std::function<void(const rd_kafka_AdminOptions_t*, rd_kafka_queue_t*)>& request) {
    std::unique_ptr<rd_kafka_AdminOptions_t, Deleter> options(rd_kafka_AdminOptions_new(client->get(), op));
    char error[256];
    rd_kafka_AdminOptions_set_request_timeout(options.get(), timeout_ms(), error, sizeof error);
    std::unique_ptr<rd_kafka_queue_t, Deleter> queue(rd_kafka_queue_new(client->get()));
    request(options.get(), queue.get());
    // librdkafka answers within its own timeout; the margin only guards against it never doing so.
    EventPtr event(rd_kafka_queue_poll(queue.get(), timeout_ms() + 5000));
    if (event == nullptr) {
      return MakeError(absl::StatusCode::kUnavailable, "KAFKA_TIMED_OUT", absl::StrCat(what, ": no answer"));
    }
    if (rd_kafka_resp_err_t code = rd_kafka_event_error(event.get()); code != RD_KAFKA_RESP_ERR_NO_ERROR) {
      const char* text = rd_kafka_event_error_string(event.get());
      return StatusOf(code, absl::StrCat(what, ": ", text == nullptr ? "" : text));
    }
    return event;
  }

  // Repeats what failed for a reason that passes (coordinators load after a broker's start), within the timeout.
  absl::Status Retry(const std::function<absl::Status()>& attempt) {
    const auto deadline = SteadyClock::now() + timeout;
    for (auto pause = std::chrono::milliseconds(10);; pause = std::min(pause * 2, std::chrono::milliseconds(500))) {
      absl::Status status = attempt();
      if (status.code() != absl::StatusCode::kUnavailable || SteadyClock::now() + pause >= deadline) return status;
      std::this_thread::sleep_for(pause);
    }
  }
};

absl::StatusOr<std::unique_ptr<Admin>> Admin::Open(const ClientOptions& options, std::chrono::milliseconds timeout) {
  auto state = std::make_unique<State>();
  state->timeout = timeout;
  state->options = options;
  state->options.on_statistics = nullptr;  // a client that only asks has nothing to tell
  NARU_ASSIGN_OR_RETURN(state->client, state->MakeClient({}));
  return std::unique_ptr<Admin>(new Admin(std::move(state)));
}

Admin::Admin(std::unique_ptr<State> state) : state_(std::move(state)) {}
Admin::~Admin() = default;

absl::Status Admin::CreateTopic(const std::string& topic, int partitions, int replication_factor,
                                const std::map<std::string, std::string>& settings) {
  const std::string what = absl::StrCat("creating topic ", topic);
  return state_->Retry([&]() -> absl::Status {
    char text[512];
    std::unique_ptr<rd_kafka_NewTopic_t, NewTopicDeleter> request(
        rd_kafka_NewTopic_new(topic.c_str(), partitions, replication_factor, text, sizeof text));
    if (request == nullptr) {
      return MakeError(absl::StatusCode::kInvalidArgument, "KAFKA_TOPIC", absl::StrCat(what, ": ", text));
    }
    for (const auto& [name, value] : settings) {
      NARU_RETURN_IF_ERROR(StatusOf(rd_kafka_NewTopic_set_config(request.get(), name.c_str(), value.c_str()), what));
    }
    rd_kafka_NewTopic_t* topics[] = {request.get()};
    NARU_ASSIGN_OR_RETURN(EventPtr event,
                          state_->Ask(RD_KAFKA_ADMIN_OP_CREATETOPICS, what, [&](const auto* options, auto* queue) {
                            rd_kafka_CreateTopics(state_->client->get(), topics, 1, options, queue);
                          }));
    size_t count = 0;
    const rd_kafka_topic_result_t** results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event.get()), &count);
    if (count != 1 || rd_kafka_topic_result_error(results[0]) == RD_KAFKA_RESP_ERR_NO_ERROR) return absl::OkStatus();
    const char* reason = rd_kafka_topic_result_error_string(results[0]);
    return StatusOf(rd_kafka_topic_result_error(results[0]), absl::StrCat(what, ": ", reason == nullptr ? "" : reason));
  });
}

absl::StatusOr<std::map<std::string, std::string>> Admin::TopicSettings(const std::string& topic) {
  const std::string what = absl::StrCat("settings of topic ", topic);
  std::map<std::string, std::string> found;
  NARU_RETURN_IF_ERROR(state_->Retry([&]() -> absl::Status {
    std::unique_ptr<rd_kafka_ConfigResource_t, ConfigResourceDeleter> request(
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str()));
    rd_kafka_ConfigResource_t* resources[] = {request.get()};
    NARU_ASSIGN_OR_RETURN(EventPtr event,
                          state_->Ask(RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, what, [&](const auto* options, auto* queue) {
                            rd_kafka_DescribeConfigs(state_->client->get(), resources, 1, options, queue);
                          }));
    size_t count = 0;
    const rd_kafka_ConfigResource_t** results =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event.get()), &count);
    if (count != 1) return MakeError(absl::StatusCode::kNotFound, "KAFKA_TOPIC", absl::StrCat(what, ": no answer"));
    NARU_RETURN_IF_ERROR(StatusOf(rd_kafka_ConfigResource_error(results[0]), what));
    size_t entries = 0;
    const rd_kafka_ConfigEntry_t** configs = rd_kafka_ConfigResource_configs(results[0], &entries);
    for (size_t i = 0; i < entries; ++i) {
      const char* value = rd_kafka_ConfigEntry_value(configs[i]);
      if (value != nullptr) found[rd_kafka_ConfigEntry_name(configs[i])] = value;
    }
    return absl::OkStatus();
  }));
  return found;
}

absl::Status Admin::SetTopicSettings(const std::string& topic, const std::map<std::string, std::string>& settings) {
  const std::string what = absl::StrCat("changing the settings of topic ", topic);
  return state_->Retry([&]() -> absl::Status {
    std::unique_ptr<rd_kafka_ConfigResource_t, ConfigResourceDeleter> request(
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str()));
    rd_kafka_ConfigResource_t* resources[] = {request.get()};
    // Debian's librdkafka can only replace all that was set on a topic, so what others set there is sent again.
    NARU_ASSIGN_OR_RETURN(EventPtr before,
                          state_->Ask(RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, what, [&](const auto* options, auto* queue) {
                            rd_kafka_DescribeConfigs(state_->client->get(), resources, 1, options, queue);
                          }));
    size_t count = 0;
    const rd_kafka_ConfigResource_t** described =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(before.get()), &count);
    if (count != 1) return MakeError(absl::StatusCode::kNotFound, "KAFKA_TOPIC", absl::StrCat(what, ": no answer"));
    NARU_RETURN_IF_ERROR(StatusOf(rd_kafka_ConfigResource_error(described[0]), what));
    size_t entries = 0;
    const rd_kafka_ConfigEntry_t** configs = rd_kafka_ConfigResource_configs(described[0], &entries);
    for (size_t i = 0; i < entries; ++i) {
      const std::string name = rd_kafka_ConfigEntry_name(configs[i]);
      const char* value = rd_kafka_ConfigEntry_value(configs[i]);
      if (value == nullptr || settings.contains(name) ||
          rd_kafka_ConfigEntry_source(configs[i]) != RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG) {
        continue;
      }
      NARU_RETURN_IF_ERROR(StatusOf(rd_kafka_ConfigResource_set_config(request.get(), name.c_str(), value), what));
    }
    for (const auto& [name, value] : settings) {
      NARU_RETURN_IF_ERROR(
          StatusOf(rd_kafka_ConfigResource_set_config(request.get(), name.c_str(), value.c_str()), what));
    }
    NARU_ASSIGN_OR_RETURN(EventPtr event,
                          state_->Ask(RD_KAFKA_ADMIN_OP_ALTERCONFIGS, what, [&](const auto* options, auto* queue) {
                            rd_kafka_AlterConfigs(state_->client->get(), resources, 1, options, queue);
                          }));
    const rd_kafka_ConfigResource_t** results =
        rd_kafka_AlterConfigs_result_resources(rd_kafka_event_AlterConfigs_result(event.get()), &count);
    if (count != 1 || rd_kafka_ConfigResource_error(results[0]) == RD_KAFKA_RESP_ERR_NO_ERROR) return absl::OkStatus();
    const char* reason = rd_kafka_ConfigResource_error_string(results[0]);
    return StatusOf(rd_kafka_ConfigResource_error(results[0]),
                    absl::StrCat(what, ": ", reason == nullptr ? "" : reason));
  });
}

absl::StatusOr<std::vector<std::string>> Admin::ListTopics() {
  const rd_kafka_metadata_t* raw = nullptr;
  NARU_RETURN_IF_ERROR(
      StatusOf(rd_kafka_metadata(state_->client->get(), 1, nullptr, &raw, state_->timeout_ms()), "listing topics"));
  std::unique_ptr<const rd_kafka_metadata_t, Deleter> metadata(raw);
  std::vector<std::string> topics;
  for (int i = 0; i < raw->topic_cnt; ++i) topics.emplace_back(raw->topics[i].topic);
  return topics;
}

absl::StatusOr<int> Admin::PartitionCount(const std::string& topic) {
  const std::string what = absl::StrCat("topic ", topic);
  int partitions = 0;
  NARU_RETURN_IF_ERROR(state_->Retry([&]() -> absl::Status {
    TopicHandle handle(rd_kafka_topic_new(state_->client->get(), topic.c_str(), nullptr));
    if (handle == nullptr) return StatusOf(rd_kafka_last_error(), what);
    const rd_kafka_metadata_t* raw = nullptr;
    NARU_RETURN_IF_ERROR(
        StatusOf(rd_kafka_metadata(state_->client->get(), 0, handle.get(), &raw, state_->timeout_ms()), what));
    std::unique_ptr<const rd_kafka_metadata_t, Deleter> metadata(raw);
    if (raw->topic_cnt != 1)
      return MakeError(absl::StatusCode::kNotFound, "KAFKA_TOPIC", absl::StrCat(what, " is not there"));
    NARU_RETURN_IF_ERROR(StatusOf(raw->topics[0].err, what));
    partitions = raw->topics[0].partition_cnt;
    // A topic that is being made has no leaders for a moment.
    for (int i = 0; i < partitions; ++i) {
      if (raw->topics[0].partitions[i].leader < 0) {
        return MakeError(absl::StatusCode::kUnavailable, "KAFKA_LEADER_NOT_AVAILABLE",
                         absl::StrCat(what, ": no leader"));
      }
    }
    return absl::OkStatus();
  }));
  return partitions;
}

absl::StatusOr<PartitionOffsets> Admin::Offsets(const std::string& topic, const std::vector<int>& partitions, At at,
                                                int64_t time_ms) {
  const std::string what = absl::StrCat("offsets of topic ", topic);
  PartitionOffsets offsets;
  if (partitions.empty()) return offsets;
  NARU_RETURN_IF_ERROR(state_->Retry([&]() -> absl::Status {
    offsets.clear();
    // In this request a time of -1 asks for the end and -2 for the start, for all partitions at once.
    const int64_t time = at == At::kStart ? -2 : at == At::kEnd ? -1 : std::max<int64_t>(time_ms, 0);
    PartitionList list = ListOf(topic, partitions, time);
    NARU_RETURN_IF_ERROR(
        StatusOf(rd_kafka_offsets_for_times(state_->client->get(), list.get(), state_->timeout_ms()), what));
    for (int i = 0; i < list->cnt; ++i) {
      NARU_RETURN_IF_ERROR(StatusOf(list->elems[i].err, what));
      offsets.emplace_back(list->elems[i].partition, list->elems[i].offset);
    }
    return absl::OkStatus();
  }));
  std::vector<int> without;
  for (const auto& [partition, offset] : offsets) {
    if (offset < 0) without.push_back(partition);
  }
  if (at != At::kTime || without.empty()) return offsets;
  NARU_ASSIGN_OR_RETURN(PartitionOffsets ends, Offsets(topic, without, At::kEnd));
  const std::map<int, int64_t> end_of(ends.begin(), ends.end());
  for (auto& [partition, offset] : offsets) {
    if (offset < 0) offset = end_of.at(partition);
  }
  return offsets;
}

absl::Status Admin::StableEnds(rd_kafka_topic_partition_list_t* partitions) {
  for (int i = 0; i < partitions->cnt; ++i) partitions->elems[i].offset = -1;  // a time: the end
  NARU_RETURN_IF_ERROR(StatusOf(rd_kafka_offsets_for_times(state_->client->get(), partitions, state_->timeout_ms()),
                                "ends of partitions"));
  for (int i = 0; i < partitions->cnt; ++i)
    NARU_RETURN_IF_ERROR(StatusOf(partitions->elems[i].err, "ends of partitions"));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Admin::ListGroups() {
  std::vector<std::string> groups;
  NARU_RETURN_IF_ERROR(state_->Retry([&]() -> absl::Status {
    groups.clear();
    NARU_ASSIGN_OR_RETURN(
        EventPtr event,
        state_->Ask(RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, "listing groups", [&](const auto* options, auto* queue) {
          rd_kafka_ListConsumerGroups(state_->client->get(), options, queue);
        }));
    const auto* result = rd_kafka_event_ListConsumerGroups_result(event.get());
    size_t count = 0;
    const rd_kafka_error_t** errors = rd_kafka_ListConsumerGroups_result_errors(result, &count);
    if (count > 0) return StatusOf(rd_kafka_error_code(errors[0]), "listing groups");
    const rd_kafka_ConsumerGroupListing_t** found = rd_kafka_ListConsumerGroups_result_valid(result, &count);
    for (size_t i = 0; i < count; ++i) groups.emplace_back(rd_kafka_ConsumerGroupListing_group_id(found[i]));
    return absl::OkStatus();
  }));
  return groups;
}

// Not by ListConsumerGroupOffsets of the admin API: librdkafka 2.0 looks for the coordinator again when the broker says
// that it is none, as it does after a restart, and does so through a pointer that is null then.
absl::StatusOr<PartitionOffsets> Admin::CommittedOffsets(const std::string& group, const std::string& topic,
                                                         int partitions) {
  const std::string what = absl::StrCat("committed offsets of group ", group);
  NARU_ASSIGN_OR_RETURN(const std::shared_ptr<Client> client, state_->ClientOf(group));
  PartitionOffsets offsets;
  NARU_RETURN_IF_ERROR(state_->Retry([&]() -> absl::Status {
    offsets.clear();
    const PartitionList list = ListOf(topic, FirstPartitions(partitions), RD_KAFKA_OFFSET_INVALID);
    const absl::Status asked = StatusOf(rd_kafka_committed(client->get(), list.get(), state_->timeout_ms()), what);
    if (!asked.ok()) return asked.code() == absl::StatusCode::kNotFound ? absl::OkStatus() : asked;
    for (int i = 0; i < list->cnt; ++i) {
      NARU_RETURN_IF_ERROR(StatusOf(list->elems[i].err, what));
      if (list->elems[i].offset >= 0) offsets.emplace_back(list->elems[i].partition, list->elems[i].offset);
    }
    return absl::OkStatus();
  }));
  return offsets;
}

absl::Status Admin::DeleteGroupOffsets(const std::string& group, const std::string& topic, int partitions) {
  const std::string what = absl::StrCat("forgetting group ", group);
  return state_->Retry([&]() -> absl::Status {
    PartitionList list = ListOf(topic, FirstPartitions(partitions), RD_KAFKA_OFFSET_INVALID);
    rd_kafka_DeleteConsumerGroupOffsets_t* request = rd_kafka_DeleteConsumerGroupOffsets_new(group.c_str(), list.get());
    auto event = state_->Ask(RD_KAFKA_ADMIN_OP_DELETECONSUMERGROUPOFFSETS, what, [&](const auto* options, auto* queue) {
      rd_kafka_DeleteConsumerGroupOffsets(state_->client->get(), &request, 1, options, queue);
    });
    rd_kafka_DeleteConsumerGroupOffsets_destroy(request);
    if (event.status().code() == absl::StatusCode::kNotFound) return absl::OkStatus();
    NARU_RETURN_IF_ERROR(event.status());
    size_t count = 0;
    const rd_kafka_group_result_t** results = rd_kafka_DeleteConsumerGroupOffsets_result_groups(
        rd_kafka_event_DeleteConsumerGroupOffsets_result(event->get()), &count);
    if (count != 1) return absl::OkStatus();
    if (const rd_kafka_error_t* error = rd_kafka_group_result_error(results[0]); error != nullptr) {
      absl::Status status = StatusOf(rd_kafka_error_code(error), what);
      return status.code() == absl::StatusCode::kNotFound ? absl::OkStatus() : status;
    }
    const rd_kafka_topic_partition_list_t* answers = rd_kafka_group_result_partitions(results[0]);
    for (int i = 0; answers != nullptr && i < answers->cnt; ++i)
      NARU_RETURN_IF_ERROR(StatusOf(answers->elems[i].err, what));
    return absl::OkStatus();
  });
}

absl::Status Admin::Ping(std::chrono::milliseconds timeout) {
  // Nothing else takes what librdkafka wants to say to this client (lost connections).
  rd_kafka_poll(state_->client->get(), 0);
  const rd_kafka_metadata_t* raw = nullptr;
  const absl::Status status =
      StatusOf(rd_kafka_metadata(state_->client->get(), 0, nullptr, &raw, static_cast<int>(timeout.count())),
               "no broker answers");
  if (status.ok()) rd_kafka_metadata_destroy(raw);
  return status;
}

}  // namespace naru::kafka
