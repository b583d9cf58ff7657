#include "common/event_log/kafka_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/event_log/kafka_records.h"
#include "common/status/status.h"

namespace naru::event_log {
namespace {

kafka::RawConsumerOptions RawOptionsOf(const KafkaEventLogOptions& options) {
  kafka::RawConsumerOptions raw;
  raw.client = ClientOptionsOf(options);
  raw.group = absl::StrCat(options.topic_prefix, "naru-reader");
  raw.fetch_ahead_bytes = options.fetch_ahead_bytes;
  raw.timeout = options.request_timeout;
  return raw;
}

struct HeaderViews {
  absl::string_view schema;
  absl::string_view traceparent;
  bool operator==(const HeaderViews&) const = default;
};

HeaderViews HeadersOf(const kafka::RawMessage& message, absl::string_view default_schema) {
  HeaderViews views{default_schema, {}};
  for (const kafka::RawHeader& header : message.headers) {
    if (header.name == kSchemaHeader) {
      views.schema = header.value;
    } else if (header.name == kTraceparentHeader) {
      views.traceparent = header.value;
    }
  }
  return views;
}

// Cuts one partition's messages into runs that share their headers.
void Convert(const KafkaShared& shared, const kafka::RawBatch& raw, std::vector<FetchedBatch>* out) {
  const std::string topic = raw.topic.substr(shared.options.topic_prefix.size());
  const auto implied = shared.options.default_schemas.find(topic);
  const absl::string_view default_schema =
      implied == shared.options.default_schemas.end() ? absl::string_view() : implied->second;
  const auto begin = [&]() -> FetchedBatch& {
    FetchedBatch& batch = out->emplace_back();
    batch.topic = topic;
    batch.partition = raw.partition;
    batch.owner = raw.owner;
    return batch;
  };
  FetchedBatch* batch = nullptr;
  HeaderViews current;
  for (const kafka::RawMessage& message : raw.messages) {
    const HeaderViews headers = HeadersOf(message, default_schema);
    if (batch == nullptr || !(headers == current)) {
      if (batch != nullptr) batch->next_offset = message.offset;
      batch = &begin();
      batch->headers.schema = std::string(headers.schema);
      batch->headers.traceparent = std::string(headers.traceparent);
      current = headers;
    }
    FetchedRecord& record = batch->records.emplace_back();
    record.offset = message.offset;
    record.timestamp_us = message.timestamp_us;
    record.key = message.key;
    record.value = message.value;
    record.tombstone = message.null_value;
  }
  if (batch == nullptr) batch = &begin();
  batch->next_offset = raw.next_offset;
}

absl::StatusOr<std::vector<FetchedBatch>> ConvertAll(const KafkaShared& shared,
                                                     const absl::StatusOr<std::vector<kafka::RawBatch>>& raw) {
  if (!raw.ok()) {
    const absl::StatusCode code = raw.status().code();
    if (code == absl::StatusCode::kOutOfRange || code == absl::StatusCode::kDataLoss) {
      shared.note(std::string(raw.status().message()));
    }
    return raw.status();
  }
  std::vector<FetchedBatch> batches;
  for (const kafka::RawBatch& batch : *raw) Convert(shared, batch, &batches);
  return batches;
}

kafka::RawPosition::Kind KindOf(ReadPosition::Kind kind) {
  switch (kind) {
    case ReadPosition::Kind::kTime:
      return kafka::RawPosition::Kind::kTime;
    case ReadPosition::Kind::kEnd:
      return kafka::RawPosition::Kind::kEnd;
    case ReadPosition::Kind::kOffset:
      break;
  }
  return kafka::RawPosition::Kind::kOffset;
}

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaReader>> KafkaReader::Open(const KafkaShared& shared, const std::string& topic,
                                                               const std::vector<ReadPosition>& positions) {
  NARU_ASSIGN_OR_RETURN(std::unique_ptr<kafka::RawConsumer> consumer,
                        kafka::RawConsumer::Open(RawOptionsOf(shared.options)));
  std::vector<kafka::RawPosition> raw;
  for (const ReadPosition& position : positions) {
    raw.push_back({shared.options.topic_prefix + topic, position.partition, KindOf(position.kind), position.value});
  }
  NARU_RETURN_IF_ERROR(consumer->Assign(raw));
  return std::unique_ptr<KafkaReader>(new KafkaReader(shared, std::move(consumer)));
}

absl::StatusOr<std::vector<FetchedBatch>> KafkaReader::Poll(std::chrono::milliseconds max_wait, size_t max_bytes) {
  return ConvertAll(shared_, consumer_->Poll(max_wait, max_bytes));
}

void KafkaReader::Cancel() { consumer_->Cancel(); }

absl::StatusOr<std::unique_ptr<KafkaConsumer>> KafkaConsumer::Open(const KafkaShared& shared, const std::string& group,
                                                                   const std::string& topic,
                                                                   RebalanceListener listener) {
  NARU_RETURN_IF_ERROR(shared.partition_count(topic).status());
  kafka::GroupConsumerOptions options;
  options.raw = RawOptionsOf(shared.options);
  options.group = shared.options.topic_prefix + group;
  options.topic = shared.options.topic_prefix + topic;
  options.session_timeout = shared.options.session_timeout;
  options.max_poll_interval = shared.options.max_poll_interval;
  kafka::GroupListener raw{std::move(listener.assigned), std::move(listener.revoked), std::move(listener.lost)};
  NARU_ASSIGN_OR_RETURN(std::unique_ptr<kafka::GroupConsumer> consumer,
                        kafka::GroupConsumer::Open(options, std::move(raw)));
  return std::unique_ptr<KafkaConsumer>(new KafkaConsumer(shared, std::move(consumer)));
}

absl::StatusOr<std::vector<FetchedBatch>> KafkaConsumer::Poll(std::chrono::milliseconds max_wait, size_t max_bytes) {
  return ConvertAll(shared_, consumer_->Poll(max_wait, max_bytes));
}

void KafkaConsumer::SetPaused(bool paused) { consumer_->SetPaused(paused); }

absl::Status KafkaConsumer::Seek(int partition, int64_t offset) { return consumer_->Seek(partition, offset); }

std::vector<int> KafkaConsumer::Assignment() const { return consumer_->Assignment(); }

void KafkaConsumer::Cancel() { consumer_->Cancel(); }

}  // namespace naru::event_log
