#include "common/event_log/kafka_transactor.h"

#include <algorithm>
#include <functional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/event_log/kafka_reader.h"
#include "common/kafka/errors.h"
#include "common/log/log.h"
#include "common/status/status.h"

namespace naru::event_log {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kReadableTimeout(50);

int MillisecondsUntil(SteadyClock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - SteadyClock::now()).count();
  return static_cast<int>(std::max<int64_t>(left, 1));
}

// What a step of a transaction came to.
struct Outcome {
  absl::Status status;
  rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
  bool fatal = false;
  bool must_abort = false;
};

Outcome Judge(rd_kafka_error_t* error, absl::string_view what) {
  Outcome outcome;
  if (error != nullptr) {
    outcome.code = rd_kafka_error_code(error);
    outcome.fatal = rd_kafka_error_is_fatal(error) != 0;
    outcome.must_abort = rd_kafka_error_txn_requires_abort(error) != 0;
    const bool retriable = rd_kafka_error_is_retriable(error) != 0;
    outcome.status = kafka::TakeError(error, what);
    if (retriable && !kafka::IsRetriable(outcome.status)) {
      outcome.status =
          MakeError(absl::StatusCode::kUnavailable, GetErrorDetails(outcome.status).reason, outcome.status.message());
    }
  }
  return outcome;
}

// Repeats a step while librdkafka says that it may be repeated.
Outcome Repeat(const std::function<rd_kafka_error_t*(int timeout_ms)>& step, absl::string_view what,
               SteadyClock::time_point deadline) {
  while (true) {
    Outcome outcome = Judge(step(MillisecondsUntil(deadline)), what);
    if (outcome.status.ok() || outcome.fatal || outcome.must_abort || !kafka::IsRetriable(outcome.status) ||
        SteadyClock::now() >= deadline) {
      return outcome;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaTransactor>> KafkaTransactor::Open(const KafkaShared& shared,
                                                                       const std::string& transactional_id) {
  const KafkaEventLogOptions& options = shared.options;
  kafka::Settings settings = ProducerSettings();
  settings.emplace_back("transactional.id", options.topic_prefix + transactional_id);
  settings.emplace_back("transaction.timeout.ms", absl::StrCat(options.transaction_timeout.count()));
  settings.emplace_back("message.timeout.ms", absl::StrCat(options.transaction_timeout.count()));
  settings.emplace_back("linger.ms", "1");
  NARU_ASSIGN_OR_RETURN(
      std::unique_ptr<kafka::Client> client,
      kafka::Client::Make(RD_KAFKA_PRODUCER, ClientOptionsOf(options), settings, nullptr, [](rd_kafka_conf_t* conf) {
        rd_kafka_conf_set_dr_msg_cb(
            conf, [](rd_kafka_t*, const rd_kafka_message_t* message, void*) { PendingRecords::OnDelivered(*message); });
      }));
  // A predecessor's transaction may have to time out first, and coordinators to load.
  const auto deadline = SteadyClock::now() + options.transaction_timeout + options.request_timeout;
  rd_kafka_t* handle = client->get();
  const Outcome outcome = Repeat([&](int timeout_ms) { return rd_kafka_init_transactions(handle, timeout_ms); },
                                 absl::StrCat("taking transactional id ", transactional_id), deadline);
  NARU_RETURN_IF_ERROR(outcome.status);
  return std::unique_ptr<KafkaTransactor>(new KafkaTransactor(shared, std::move(client)));
}

absl::Status KafkaTransactor::broken() {
  MutexLock lock(&broken_mu_);
  return broken_;
}

absl::Status KafkaTransactor::Break(absl::Status reason) {
  // The error at hand may only say that there was a fatal one before.
  if (absl::Status first = client_->fatal_error(); !first.ok() && !kafka::IsFenced(reason)) reason = std::move(first);
  NARU_LOG(WARNING, "kafka transactions ended for this producer", {{"error", reason}});
  MutexLock lock(&broken_mu_);
  broken_ = std::move(reason);
  return broken_;
}

absl::StatusOr<AppendResult> KafkaTransactor::Commit(const Transaction& transaction) {
  if (!transaction.local.empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "NO_LOCAL_STORE", "a log on Kafka has no local store");
  }
  NARU_RETURN_IF_ERROR(RecordSender::Check(shared_, transaction.appends));
  MutexLock lock(&mu_);
  NARU_RETURN_IF_ERROR(broken());
  const auto deadline = SteadyClock::now() + shared_.options.transaction_timeout;
  // Declared before anything is sent and destroyed after all of it was reported on: librdkafka holds pointers into it.
  PendingRecords records(transaction.appends);
  NARU_RETURN_IF_ERROR(Begin(transaction, deadline));
  sender_.Send(transaction.appends, &records);
  absl::Status status = records.SendError();
  if (status.ok()) {
    status = SendOffsets(transaction, deadline);
    if (status.ok()) status = Finish(deadline);
  } else {
    status = Abort(std::move(status), deadline);
  }
  // Nothing may still point to `records`; after a commit or an abort nothing does.
  const auto last = SteadyClock::now() + std::chrono::seconds(5);
  while (!records.done() && SteadyClock::now() < last) {
    if (!status.ok()) rd_kafka_purge(client_->get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_poll(client_->get(), 10);
  }
  NARU_RETURN_IF_ERROR(status);
  absl::StatusOr<AppendResult> result = records.Result();
  if (result.ok()) WaitUntilReadable(transaction, *result);
  return result;
}

// The broker answers a commit before it has told the partitions, a few milliseconds later. Waiting for that makes a
// commit readable when it returns, as it is embedded, and costs little: the next transaction would have to wait for it
// anyway. Bounded, because another producer's open transaction may hold the end of a partition back.
void KafkaTransactor::WaitUntilReadable(const Transaction& transaction, const AppendResult& result) {
  const auto deadline = SteadyClock::now() + kReadableTimeout;
  while (SteadyClock::now() < deadline) {
    kafka::PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(result.size())));
    std::vector<int64_t> last;
    for (size_t i = 0; i < result.size(); ++i) {
      const AppendBatch& batch = transaction.appends[i];
      const std::string topic = shared_.options.topic_prefix + batch.topic;
      if (batch.records.empty()) continue;
      if (rd_kafka_topic_partition_list_find(list.get(), topic.c_str(), batch.partition) != nullptr) continue;
      rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), batch.partition)->offset = RD_KAFKA_OFFSET_END;
      last.push_back(result[i].base_offset);
    }
    if (list->cnt == 0 || !shared_.stable_ends(list.get()).ok()) return;
    bool readable = true;
    for (int i = 0; i < list->cnt; ++i) readable = readable && list->elems[i].offset > last[i];
    if (readable) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

absl::Status KafkaTransactor::Begin(const Transaction& transaction, Deadline deadline) {
  // Asked before anything is begun: a consumer that lost its place has nothing to commit.
  if (transaction.consumer != nullptr) {
    const auto* consumer = dynamic_cast<const KafkaConsumer*>(transaction.consumer);
    if (consumer == nullptr) {
      return MakeError(absl::StatusCode::kInvalidArgument, "OTHER_LOG", "the consumer belongs to another event log");
    }
    absl::StatusOr<rd_kafka_consumer_group_metadata_s*> metadata = consumer->member().Metadata();
    NARU_RETURN_IF_ERROR(metadata.status());
    rd_kafka_consumer_group_metadata_destroy(*metadata);
  }
  const Outcome outcome =
      Repeat([&](int) { return rd_kafka_begin_transaction(client_->get()); }, "beginning a transaction", deadline);
  if (outcome.fatal) return Break(outcome.status);
  return outcome.status;
}

absl::Status KafkaTransactor::SendOffsets(const Transaction& transaction, Deadline deadline) {
  for (const GroupOffsets& offsets : transaction.offsets) {
    if (offsets.next_offsets.empty()) continue;
    const std::string group = shared_.options.topic_prefix + offsets.group;
    const std::string topic = shared_.options.topic_prefix + offsets.topic;
    kafka::GroupMetadata metadata;
    const auto* consumer = static_cast<const KafkaConsumer*>(transaction.consumer);
    const bool own_group = consumer != nullptr && consumer->member().group() == group;
    if (own_group) {
      absl::StatusOr<rd_kafka_consumer_group_metadata_s*> own = consumer->member().Metadata();
      if (!own.ok()) return Abort(own.status(), deadline);
      metadata.reset(*own);
    } else {
      metadata.reset(rd_kafka_consumer_group_metadata_new(group.c_str()));
    }
    kafka::PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(offsets.next_offsets.size())));
    for (const auto& [partition, next] : offsets.next_offsets) {
      rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset = next;
    }
    const Outcome outcome = Repeat(
        [&](int timeout_ms) {
          return rd_kafka_send_offsets_to_transaction(client_->get(), list.get(), metadata.get(), timeout_ms);
        },
        absl::StrCat("committing offsets of group ", offsets.group), deadline);
    if (outcome.fatal) return Break(outcome.status);
    if (outcome.status.ok()) continue;
    absl::Status aborted = Abort(outcome.status, deadline);
    // A rebalance gave the group a new generation while the offsets were on their way. A member that kept its place
    // kept its partitions too (one that did not is called unknown, not of an old generation), and may try again.
    if (outcome.code == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION && broken().ok() && own_group) {
      absl::StatusOr<rd_kafka_consumer_group_metadata_s*> now = consumer->member().Metadata();
      if (now.ok()) {
        rd_kafka_consumer_group_metadata_destroy(*now);
        return MakeError(absl::StatusCode::kUnavailable, "REBALANCE", aborted.message());
      }
    }
    return aborted;
  }
  return absl::OkStatus();
}

absl::Status KafkaTransactor::Finish(Deadline deadline) {
  // Beyond the transaction's own time: once the broker has been asked to commit, only its answer tells how it went.
  const auto patient = deadline + 2 * shared_.options.transaction_timeout;
  const Outcome outcome = Repeat(
      [&](int timeout_ms) { return rd_kafka_commit_transaction(client_->get(), timeout_ms); }, "committing", patient);
  if (outcome.status.ok()) return absl::OkStatus();
  if (outcome.fatal) return Break(outcome.status);
  if (outcome.must_abort) return Abort(outcome.status, SteadyClock::now() + shared_.options.transaction_timeout);
  return Break(MakeError(absl::StatusCode::kAborted, "COMMIT_UNKNOWN",
                         absl::StrCat("no answer to the commit: ", outcome.status.message())));
}

absl::Status KafkaTransactor::Abort(absl::Status reason, Deadline deadline) {
  // At least one real try, also when the time was used up before.
  const auto until = std::max(deadline, SteadyClock::now() + shared_.options.request_timeout);
  const Outcome outcome =
      Repeat([&](int timeout_ms) { return rd_kafka_abort_transaction(client_->get(), timeout_ms); }, "aborting", until);
  if (outcome.fatal) return Break(outcome.status);
  if (!outcome.status.ok()) {
    return Break(MakeError(absl::StatusCode::kAborted, "ABORT_FAILED",
                           absl::StrCat(reason.message(), "; and aborting: ", outcome.status.message())));
  }
  // Aborted cleanly. What librdkafka calls a state error then is a reason to try again, except what names itself.
  if (reason.code() == absl::StatusCode::kAborted && !kafka::IsFenced(reason)) {
    return MakeError(absl::StatusCode::kUnavailable, GetErrorDetails(reason).reason, reason.message());
  }
  return reason;
}

}  // namespace naru::event_log
