#include "common/kafka/group_consumer.h"

#include <algorithm>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/kafka/client.h"
#include "common/kafka/errors.h"
#include "common/kafka/fetcher.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"

namespace naru::kafka {
namespace {

std::vector<int> PartitionsOf(const rd_kafka_topic_partition_list_t& list) {
  std::vector<int> partitions;
  for (int i = 0; i < list.cnt; ++i) partitions.push_back(list.elems[i].partition);
  std::sort(partitions.begin(), partitions.end());
  return partitions;
}

std::string MemberId(rd_kafka_t* handle) {
  char* id = rd_kafka_memberid(handle);
  std::string copy = id == nullptr ? "" : id;
  if (id != nullptr) rd_kafka_mem_free(handle, id);
  return copy;
}

}  // namespace

struct GroupConsumer::State {
  GroupConsumerOptions options;
  GroupListener listener;
  std::unique_ptr<Fetcher> fetcher;
  std::set<int> assigned;
  // Who this member was when it was last told its partitions, on the polling thread. librdkafka joins again by itself
  // in the background: then its id is a new one, and what was read before may be another member's by now.
  // Metadata asks from other threads.
  mutable Mutex member_mu;
  std::string member_id ABSL_GUARDED_BY(member_mu);
  bool paused = false;
  bool closing = false;

  rd_kafka_t* handle() const { return fetcher->client().get(); }

  void OnRebalance(rd_kafka_resp_err_t event, rd_kafka_topic_partition_list_t* partitions);
  void OnAssigned(rd_kafka_topic_partition_list_t* partitions);
  void OnRevoked(rd_kafka_topic_partition_list_t* partitions);
  absl::StatusOr<std::map<int, int64_t>> Committed(const std::vector<int>& partitions) const;
  void Pause(const rd_kafka_topic_partition_list_t& partitions, bool pause) const;
};

absl::StatusOr<std::unique_ptr<GroupConsumer>> GroupConsumer::Open(const GroupConsumerOptions& options,
                                                                   GroupListener listener) {
  auto state = std::make_unique<State>();
  state->options = options;
  state->listener = std::move(listener);
  Settings settings = FetchSettings(options.raw);
  settings.emplace_back("group.id", options.group);
  settings.emplace_back("partition.assignment.strategy", "cooperative-sticky");
  settings.emplace_back("session.timeout.ms", absl::StrCat(options.session_timeout.count()));
  settings.emplace_back("heartbeat.interval.ms",
                        absl::StrCat(std::min<int64_t>(options.session_timeout.count() / 4, 1000)));
  settings.emplace_back("max.poll.interval.ms",
                        absl::StrCat(std::max(options.max_poll_interval, options.session_timeout).count()));
  State* raw = state.get();
  NARU_ASSIGN_OR_RETURN(
      std::unique_ptr<Client> client,
      Client::Make(RD_KAFKA_CONSUMER, options.raw.client, settings, raw, [](rd_kafka_conf_t* conf) {
        rd_kafka_conf_set_rebalance_cb(conf, [](rd_kafka_t*, rd_kafka_resp_err_t event,
                                                rd_kafka_topic_partition_list_t* partitions, void* opaque) {
          static_cast<State*>(static_cast<Client*>(opaque)->owner())->OnRebalance(event, partitions);
        });
      }));
  state->fetcher = std::make_unique<Fetcher>(std::move(client));
  PartitionList topics(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(topics.get(), options.topic.c_str(), RD_KAFKA_PARTITION_UA);
  NARU_RETURN_IF_ERROR(
      StatusOf(rd_kafka_subscribe(state->handle(), topics.get()), absl::StrCat("joining group ", options.group)));
  return std::unique_ptr<GroupConsumer>(new GroupConsumer(std::move(state)));
}

GroupConsumer::GroupConsumer(std::unique_ptr<State> state) : state_(std::move(state)) {}

GroupConsumer::~GroupConsumer() {
  state_->closing = true;
  rd_kafka_consumer_close(state_->handle());
}

void GroupConsumer::State::OnRebalance(rd_kafka_resp_err_t event, rd_kafka_topic_partition_list_t* partitions) {
  if (event == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
    OnAssigned(partitions);
  } else if (event == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
    OnRevoked(partitions);
  } else {
    NARU_LOG(WARNING, "kafka rebalance failed", {{"group", options.group}, {"error", StatusOf(event, "rebalance")}});
    rd_kafka_assign(handle(), nullptr);
  }
}

// What the group committed, waiting for transactions that are still open: a predecessor's may be about to end.
absl::StatusOr<std::map<int, int64_t>> GroupConsumer::State::Committed(const std::vector<int>& partitions) const {
  const std::string what = absl::StrCat("committed offsets of group ", options.group);
  const auto deadline = std::chrono::steady_clock::now() + options.raw.timeout * 3;
  while (true) {
    PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions.size())));
    for (int partition : partitions) rd_kafka_topic_partition_list_add(list.get(), options.topic.c_str(), partition);
    absl::Status status =
        StatusOf(rd_kafka_committed(handle(), list.get(), static_cast<int>(options.raw.timeout.count())), what);
    std::map<int, int64_t> committed;
    for (int i = 0; status.ok() && i < list->cnt; ++i) {
      status = StatusOf(list->elems[i].err, what);
      if (list->elems[i].offset >= 0) committed[list->elems[i].partition] = list->elems[i].offset;
    }
    if (status.ok()) return committed;
    if (std::chrono::steady_clock::now() >= deadline || !IsRetriable(status)) return status;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

void GroupConsumer::State::OnAssigned(rd_kafka_topic_partition_list_t* partitions) {
  {
    MutexLock lock(&member_mu);
    member_id = MemberId(handle());
  }
  const std::vector<int> added = PartitionsOf(*partitions);
  std::map<int, int64_t> start;
  if (!added.empty() && !closing) {
    NARU_LOG(INFO, "kafka partitions assigned",
             {{"group", options.group}, {"topic", options.topic}, {"partitions", absl::StrJoin(added, ",")}});
    for (int partition : added) assigned.insert(partition);
    if (listener.assigned) {
      for (const auto& [partition, offset] : listener.assigned(added)) start[partition] = offset;
    }
    absl::StatusOr<std::map<int, int64_t>> committed = Committed(added);
    for (int i = 0; i < partitions->cnt; ++i) {
      rd_kafka_topic_partition_t& element = partitions->elems[i];
      const auto wanted = start.find(element.partition);
      const int64_t at_least = wanted == start.end() ? 0 : wanted->second;
      if (committed.ok()) {
        const auto stored = committed->find(element.partition);
        const int64_t next = std::max(at_least, stored == committed->end() ? 0 : stored->second);
        element.offset = next > 0 ? next : RD_KAFKA_OFFSET_BEGINNING;
        fetcher->Track(options.topic, element.partition, next);
      } else {
        // Left to librdkafka, which asks until it is told; what lies below the wanted start is dropped as it comes.
        element.offset = RD_KAFKA_OFFSET_STORED;
        fetcher->Track(options.topic, element.partition, at_least);
      }
    }
  }
  if (absl::Status status = TakeError(rd_kafka_incremental_assign(handle(), partitions), "assigning"); !status.ok()) {
    NARU_LOG(WARNING, "kafka partitions could not be assigned", {{"group", options.group}, {"error", status}});
  }
  if (paused && !added.empty()) Pause(*partitions, true);
}

void GroupConsumer::State::OnRevoked(rd_kafka_topic_partition_list_t* partitions) {
  const std::vector<int> gone = PartitionsOf(*partitions);
  const bool lost = rd_kafka_assignment_lost(handle()) != 0;
  // What this Poll collected of them has not been handed out: it is the next owner's.
  for (int partition : gone) fetcher->Untrack(options.topic, partition);
  if (!gone.empty() && !closing) {
    NARU_LOG(INFO, lost ? "kafka partitions lost" : "kafka partitions revoked",
             {{"group", options.group}, {"topic", options.topic}, {"partitions", absl::StrJoin(gone, ",")}});
    const auto& tell = lost ? listener.lost : listener.revoked;
    if (tell) tell(gone);
  }
  for (int partition : gone) assigned.erase(partition);
  if (absl::Status status = TakeError(rd_kafka_incremental_unassign(handle(), partitions), "revoking"); !status.ok()) {
    NARU_LOG(WARNING, "kafka partitions could not be given back", {{"group", options.group}, {"error", status}});
  }
}

void GroupConsumer::State::Pause(const rd_kafka_topic_partition_list_t& partitions, bool pause) const {
  PartitionList copy(rd_kafka_topic_partition_list_copy(&partitions));
  const rd_kafka_resp_err_t error =
      pause ? rd_kafka_pause_partitions(handle(), copy.get()) : rd_kafka_resume_partitions(handle(), copy.get());
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    NARU_LOG(WARNING, "kafka partitions could not be paused",
             {{"error", StatusOf(error, pause ? "pausing" : "resuming")}});
  }
}

absl::StatusOr<std::vector<RawBatch>> GroupConsumer::Poll(std::chrono::milliseconds max_wait, size_t max_bytes) {
  return state_->fetcher->Poll(max_wait, max_bytes);
}

void GroupConsumer::SetPaused(bool paused) {
  if (state_->paused == paused) return;
  state_->paused = paused;
  state_->fetcher->SetPaused(paused);
  PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(state_->assigned.size())));
  for (int partition : state_->assigned) {
    rd_kafka_topic_partition_list_add(list.get(), state_->options.topic.c_str(), partition);
  }
  if (list->cnt > 0) state_->Pause(*list, paused);
}

absl::Status GroupConsumer::Seek(int partition, int64_t offset) {
  return state_->fetcher->Seek(state_->options.topic, partition, offset);
}

std::vector<int> GroupConsumer::Assignment() const { return {state_->assigned.begin(), state_->assigned.end()}; }

void GroupConsumer::Cancel() { state_->fetcher->Cancel(); }

const std::string& GroupConsumer::group() const { return state_->options.group; }

absl::StatusOr<rd_kafka_consumer_group_metadata_s*> GroupConsumer::Metadata() const {
  GroupMetadata metadata(rd_kafka_consumer_group_metadata(state_->handle()));
  // In this order: metadata taken before the check either belongs to the member that was assigned the partitions, or
  // the check sees that the member is another by now. A generation that grew while the member kept its place is fine:
  // cooperative rebalance takes nothing away without the listener's knowing.
  MutexLock lock(&state_->member_mu);
  if (metadata == nullptr || rd_kafka_assignment_lost(state_->handle()) != 0 ||
      MemberId(state_->handle()) != state_->member_id) {
    return MakeError(absl::StatusCode::kAborted, kFenced,
                     absl::StrCat("member of group ", state_->options.group, " lost its place to others"));
  }
  return metadata.release();
}

}  // namespace naru::kafka
