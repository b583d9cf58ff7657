#include "common/event_log/kafka_records.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/kafka/errors.h"
#include "common/status/status.h"

namespace naru::event_log {
namespace {

// What librdkafka keeps of a message beside its value: its own structures and the key.
constexpr size_t kRecordOverhead = 256;

}  // namespace

kafka::ClientOptions ClientOptionsOf(const KafkaEventLogOptions& options) {
  kafka::ClientOptions client;
  client.brokers = options.brokers;
  client.client_id = options.client_id;
  client.properties = options.properties;
  client.on_statistics = options.on_statistics;
  client.statistics_interval = options.statistics_interval;
  return client;
}

kafka::Settings ProducerSettings() {
  return {
      {"acks", "all"},
      {"compression.codec", "lz4"},
      {"message.max.bytes", absl::StrCat(kMaxRecordBytes)},
      // The bound on what is in flight is ours, because it is on whole appends; librdkafka's own must never be hit.
      {"queue.buffering.max.messages", "10000000"},
      {"queue.buffering.max.kbytes", "2097151"},
      // Values are always copied into the request, so that one given up in flight is no longer looked at.
      {"message.copy.max.bytes", "1000000000"},
      // librdkafka waits this long when a coordinator is busy with the previous transaction: 100 by default.
      {"retry.backoff.ms", "10"},
  };
}

PendingRecords::PendingRecords(const std::vector<AppendBatch>& batches) : remaining_(0) {
  for (const AppendBatch& batch : batches) {
    counts_.push_back(batch.records.size());
    size_ += batch.records.size();
    for (const Record& record : batch.records) bytes_ += record.key.size() + record.value.size() + kRecordOverhead;
  }
  slots_ = std::make_unique<Slot[]>(size_);
  for (size_t i = 0; i < size_; ++i) slots_[i].records = this;
  remaining_.store(size_, std::memory_order_relaxed);
}

void PendingRecords::OnDelivered(const rd_kafka_message_t& message) {
  auto* slot = static_cast<Slot*>(message._private);
  PendingRecords* records = slot->records;
  slot->offset = message.offset;
  if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    int none = 0;
    records->error_.compare_exchange_strong(none, message.err);
  }
  // The last access: whoever sees the count at zero may destroy the records.
  records->remaining_.fetch_sub(1, std::memory_order_acq_rel);
}

void PendingRecords::Fail(absl::Status status) {
  failure_ = std::move(status);
  remaining_.store(0, std::memory_order_release);
}

absl::Status PendingRecords::SendError() const {
  if (!failure_.ok()) return failure_;
  absl::Status status = kafka::StatusOf(error_.load(), "appending to Kafka");
  // A broken client is replaced by the log itself; for the caller that is a reason to try again.
  if (status.code() == absl::StatusCode::kAborted) {
    status = MakeError(absl::StatusCode::kUnavailable, "KAFKA_PRODUCER_RESTARTED", status.message());
  }
  return status;
}

absl::StatusOr<AppendResult> PendingRecords::Result() const {
  NARU_RETURN_IF_ERROR(SendError());
  AppendResult result;
  size_t first = 0;
  for (size_t count : counts_) {
    AppendedBatch& batch = result.emplace_back();
    if (count > 0) {
      batch.base_offset = slots_[first].offset;
      batch.last_offset = slots_[first + count - 1].offset;
      if (batch.last_offset - batch.base_offset != static_cast<int64_t>(count) - 1) {
        for (size_t i = 0; i < count; ++i) batch.offsets.push_back(slots_[first + i].offset);
      }
    }
    first += count;
  }
  return result;
}

absl::Status RecordSender::Check(const KafkaShared& shared, const std::vector<AppendBatch>& batches) {
  for (const AppendBatch& batch : batches) {
    NARU_ASSIGN_OR_RETURN(const int partitions, shared.partition_count(batch.topic));
    if (batch.partition < 0 || batch.partition >= partitions) {
      return MakeError(
          absl::StatusCode::kInvalidArgument, "PARTITION_NOT_FOUND",
          absl::StrCat("topic ", batch.topic, " has partitions 0 to ", partitions - 1, ", not ", batch.partition));
    }
  }
  return absl::OkStatus();
}

rd_kafka_topic_t* RecordSender::Topic(const std::string& name) {
  kafka::TopicHandle& handle = topics_[name];
  if (handle == nullptr) {
    handle.reset(rd_kafka_topic_new(client_->get(), (shared_.options.topic_prefix + name).c_str(), nullptr));
  }
  return handle.get();
}

void RecordSender::Send(const std::vector<AppendBatch>& batches, PendingRecords* pending) {
  PendingRecords::Slot* slots = pending->slots_.get();
  size_t unsent = pending->size_;
  rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
  for (const AppendBatch& batch : batches) {
    size_t sent = 0;
    error = SendBatch(batch, slots, &sent);
    unsent -= sent;
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) break;
    slots += batch.records.size();
  }
  if (unsent == 0) return;
  int none = 0;
  pending->error_.compare_exchange_strong(none, error);
  pending->remaining_.fetch_sub(unsent, std::memory_order_acq_rel);
}

rd_kafka_resp_err_t RecordSender::SendBatch(const AppendBatch& batch, PendingRecords::Slot* slots, size_t* sent) {
  rd_kafka_topic_t* topic = Topic(batch.topic);
  if (topic == nullptr) return rd_kafka_last_error();
  // The arguments that all records share are set once. The value is not copied (no message flags): it lives until the
  // delivery report, as the interface says. librdkafka copies keys.
  rd_kafka_vu_t arguments[8];
  size_t count = 0;
  arguments[count].vtype = RD_KAFKA_VTYPE_RKT;
  arguments[count++].u.rkt = topic;
  arguments[count].vtype = RD_KAFKA_VTYPE_PARTITION;
  arguments[count++].u.i32 = batch.partition;
  rd_kafka_vu_t& opaque = arguments[count++];
  opaque.vtype = RD_KAFKA_VTYPE_OPAQUE;
  rd_kafka_vu_t& timestamp = arguments[count++];
  timestamp.vtype = RD_KAFKA_VTYPE_TIMESTAMP;
  rd_kafka_vu_t& key = arguments[count++];
  key.vtype = RD_KAFKA_VTYPE_KEY;
  rd_kafka_vu_t& value = arguments[count++];
  value.vtype = RD_KAFKA_VTYPE_VALUE;
  const auto add_header = [&](const char* name, const std::string& text) {
    arguments[count].vtype = RD_KAFKA_VTYPE_HEADER;
    arguments[count].u.header = {name, text.data(), static_cast<ssize_t>(text.size())};
    ++count;
  };
  const auto implied = shared_.options.default_schemas.find(batch.topic);
  if (!batch.headers.schema.empty() &&
      (implied == shared_.options.default_schemas.end() || implied->second != batch.headers.schema)) {
    add_header(kSchemaHeader, batch.headers.schema);
  }
  if (!batch.headers.traceparent.empty()) add_header(kTraceparentHeader, batch.headers.traceparent);

  static char empty[1] = {0};  // an empty value is not a null one
  for (const Record& record : batch.records) {
    opaque.u.ptr = slots++;
    // Kafka reads 0 as "now".
    timestamp.u.i64 = record.timestamp_us >= 1000 ? record.timestamp_us / 1000 : 1;
    key.u.mem.ptr = record.key.empty() ? empty : const_cast<char*>(record.key.data());
    key.u.mem.size = record.key.size();
    value.u.mem.ptr = record.tombstone       ? nullptr
                      : record.value.empty() ? empty
                                             : const_cast<char*>(record.value.data());
    value.u.mem.size = record.tombstone ? 0 : record.value.size();
    if (rd_kafka_error_t* error = rd_kafka_produceva(client_->get(), arguments, count); error != nullptr) {
      const rd_kafka_resp_err_t code = rd_kafka_error_code(error);
      rd_kafka_error_destroy(error);
      return code;
    }
    ++*sent;
  }
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

}  // namespace naru::event_log
