#include "common/kafka/fetcher.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/kafka/errors.h"
#include "common/log/log.h"
#include "common/status/status.h"

namespace naru::kafka {
namespace {

using SteadyClock = std::chrono::steady_clock;

// What a message costs beside its bytes.
constexpr size_t kMessageOverhead = 64;
constexpr int kSeekTimeoutMs = 10'000;
// How long one wait may hold up Cancel, should the wake-up be missed.
constexpr std::chrono::milliseconds kSlice(100);
constexpr std::chrono::milliseconds kFirstPatience(5);
constexpr std::chrono::milliseconds kLastPatience(1000);

size_t HeaderBytes(const rd_kafka_headers_t* headers, size_t* count) {
  size_t bytes = 0;
  const char* name;
  const void* value;
  size_t size;
  for (*count = 0; rd_kafka_header_get_all(headers, *count, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
       ++*count) {
    bytes += std::strlen(name) + size;
  }
  return bytes;
}

// The bytes of a batch, copied out of librdkafka's buffers: one kept message would pin a whole fetch otherwise, and the
// bound on memory would not hold.
struct Storage {
  std::string bytes;
  std::vector<RawHeader> headers;

  absl::string_view Add(const void* data, size_t size) {
    const size_t at = bytes.size();
    bytes.append(static_cast<const char*>(data), size);
    return absl::string_view(bytes.data() + at, size);
  }
};

}  // namespace

Settings FetchSettings(const RawConsumerOptions& options) {
  Settings settings = {
      {"isolation.level", "read_committed"},
      {"enable.auto.commit", "false"},
      {"enable.auto.offset.store", "false"},
      {"allow.auto.create.topics", "false"},
      // A position that retention removed is reported, never silently moved.
      {"auto.offset.reset", "error"},
      // The end of a partition is told, because only that shows a position past the markers of transactions.
      {"enable.partition.eof", "true"},
      {"fetch.wait.max.ms", "100"},
      {"queued.max.messages.kbytes", absl::StrCat(std::max<size_t>(options.fetch_ahead_bytes >> 10, 1))},
      // Bytes are the bound. A full queue makes librdkafka wait a second before it fetches again, so the bound in
      // messages, low by default, would decide the speed.
      {"queued.min.messages", "10000000"},
  };
#if RD_KAFKA_VERSION >= 0x020200ff
  settings.emplace_back("fetch.queue.backoff.ms", "10");
#endif
  return settings;
}

Fetcher::Fetcher(std::unique_ptr<Client> client) : client_(std::move(client)) {
  rd_kafka_poll_set_consumer(client_->get());
  queue_.reset(rd_kafka_queue_get_consumer(client_->get()));
}

void Fetcher::Cancel() {
  cancelled_.store(true);
  if (queue_ != nullptr) rd_kafka_queue_yield(queue_.get());
}

void Fetcher::Track(const std::string& topic, int partition, int64_t next) {
  Partition& tracked = partitions_[{topic, partition}];
  tracked.topic = topic;
  tracked.partition = partition;
  tracked.next = next;
  tracked.moved = false;
  tracked.at_end = false;
  last_topic_ = nullptr;
}

void Fetcher::Untrack(const std::string& topic, int partition) {
  partitions_.erase({topic, partition});
  last_topic_ = nullptr;
}

void Fetcher::UntrackAll() {
  partitions_.clear();
  last_topic_ = nullptr;
}

absl::Status Fetcher::Seek(const std::string& topic, int partition, int64_t offset) {
  const auto found = partitions_.find({topic, partition});
  if (found == partitions_.end()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "NOT_ASSIGNED",
                     absl::StrCat("partition ", partition, " of ", topic, " is not assigned to this reader"));
  }
  const std::string what = absl::StrCat("seeking partition ", partition, " of ", topic, " to ", offset);
  PartitionList list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset = offset;
  NARU_RETURN_IF_ERROR(kafka::TakeError(rd_kafka_seek_partitions(client_->get(), list.get(), kSeekTimeoutMs), what));
  if (list->elems[0].err == RD_KAFKA_RESP_ERR__STATE) {
    // It was not being fetched: just assigned, or stopped after an error.
    NARU_RETURN_IF_ERROR(Reassign(topic, partition, offset));
  } else {
    NARU_RETURN_IF_ERROR(StatusOf(list->elems[0].err, what));
  }
  found->second.collected.clear();
  found->second.next = offset;
  found->second.at_end = false;
  return absl::OkStatus();
}

absl::Status Fetcher::Reassign(const std::string& topic, int partition, int64_t offset) {
  const std::string what = absl::StrCat("starting partition ", partition, " of ", topic, " at ", offset);
  PartitionList list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset = offset;
  NARU_RETURN_IF_ERROR(kafka::TakeError(rd_kafka_incremental_unassign(client_->get(), list.get()), what));
  return kafka::TakeError(rd_kafka_incremental_assign(client_->get(), list.get()), what);
}

absl::StatusOr<std::vector<RawBatch>> Fetcher::Poll(std::chrono::milliseconds max_wait, size_t max_bytes) {
  if (cancelled_.load()) return absl::CancelledError("the reader was cancelled");
  if (!pending_error_.ok()) return std::exchange(pending_error_, absl::OkStatus());
  const auto deadline = SteadyClock::now() + max_wait;
  collected_bytes_ = 0;
  bool moved = false;
  while (pending_error_.ok() && collected_bytes_ < std::max<size_t>(max_bytes, 1)) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - SteadyClock::now());
    const bool wait = collected_bytes_ == 0 && !moved && left.count() > 0;
    MessagePtr message = Next(wait ? std::min(left, kSlice) : std::chrono::milliseconds(0));
    if (cancelled_.load()) return absl::CancelledError("the reader was cancelled");
    if (message == nullptr) {
      if (!wait) break;
      continue;
    }
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
      Take(std::move(message));
    } else {
      TakeError(*message);
      moved = std::any_of(partitions_.begin(), partitions_.end(), [](const auto& p) { return p.second.moved; });
    }
  }
  std::vector<RawBatch> batches = Pack();
  if (!batches.empty()) {
    client_->SetReachable();
    return batches;
  }
  if (!pending_error_.ok()) return std::exchange(pending_error_, absl::OkStatus());
  if (absl::Status fatal = client_->fatal_error(); !fatal.ok()) return fatal;
  if (client_->unreachable()) {
    // Cleared, so that a cluster that came back with nothing new to read is not called unreachable for ever: librdkafka
    // tells again while it lasts.
    client_->SetReachable();
    return MakeError(absl::StatusCode::kUnavailable, "KAFKA_ALL_BROKERS_DOWN", "no Kafka broker can be reached");
  }
  return batches;
}

MessagePtr Fetcher::Next(std::chrono::milliseconds wait) {
  MessagePtr message;
  if (wait.count() == 0 || !Starved()) {
    message.reset(rd_kafka_consumer_poll(client_->get(), static_cast<int>(wait.count())));
  } else {
    patience_ = std::clamp(patience_, kFirstPatience, kLastPatience);
    message.reset(rd_kafka_consumer_poll(client_->get(), static_cast<int>(std::min(wait, patience_).count())));
    if (message == nullptr) {
      Nudge(wait);
      patience_ *= 2;
    }
  }
  if (message != nullptr && message->err == RD_KAFKA_RESP_ERR_NO_ERROR) patience_ = kFirstPatience;
  return message;
}

// Whether there is more to read than has come. librdkafka before 2.2 stops fetching when what it fetched ahead is as
// much as it may be, and then looks again only after up to a second, however soon that was taken.
bool Fetcher::Starved() const {
#if RD_KAFKA_VERSION >= 0x020200ff
  return false;
#else
  return !paused_ && !client_->unreachable() &&
         std::any_of(partitions_.begin(), partitions_.end(), [](const auto& p) { return !p.second.at_end; });
#endif
}

// Any request wakes the thread of its broker, which then fetches too. This one goes to the leaders of all partitions.
void Fetcher::Nudge(std::chrono::milliseconds timeout) {
  PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions_.size())));
  for (const auto& [key, partition] : partitions_) {
    if (partition.at_end) continue;
    rd_kafka_topic_partition_list_add(list.get(), partition.topic.c_str(), partition.partition)->offset =
        RD_KAFKA_OFFSET_END;
  }
  rd_kafka_offsets_for_times(client_->get(), list.get(), static_cast<int>(timeout.count()));
}

Fetcher::Partition* Fetcher::Find(const rd_kafka_message_t& message) {
  if (message.rkt == nullptr) return nullptr;
  if (last_topic_ == message.rkt && last_found_->partition == message.partition) return last_found_;
  const auto found = partitions_.find({rd_kafka_topic_name(message.rkt), message.partition});
  if (found == partitions_.end()) return nullptr;
  last_topic_ = message.rkt;
  last_found_ = &found->second;
  return last_found_;
}

void Fetcher::Take(MessagePtr message) {
  Partition* partition = Find(*message);
  if (partition == nullptr || message->offset < partition->next) return;
  partition->next = message->offset + 1;
  partition->at_end = false;
  collected_bytes_ += message->len + message->key_len + kMessageOverhead;
  partition->collected.push_back(std::move(message));
}

void Fetcher::TakeError(const rd_kafka_message_t& message) {
  Partition* partition = Find(message);
  switch (message.err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
      if (partition == nullptr) return;
      partition->at_end = true;
      if (message.offset > partition->next) {
        partition->next = message.offset;
        partition->moved = true;
      }
      return;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
      if (partition != nullptr) pending_error_ = OutOfRange(*partition);
      return;
    case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED:
      NARU_LOG(WARNING, "kafka group member did not poll in time and lost its partitions", {});
      return;
    default:
      break;
  }
  absl::Status status = StatusOf(message.err, absl::StrCat("reading Kafka: ", rd_kafka_message_errstr(&message)));
  if (status.code() == absl::StatusCode::kDataLoss && partition != nullptr) {
    const int64_t damaged = std::max(partition->next, message.offset);
    status = MakeError(absl::StatusCode::kDataLoss, "LOG_DAMAGED",
                       absl::StrCat("partition ", partition->partition, " of ", partition->topic,
                                    ": damaged at offset ", damaged, "; skipped"));
    if (absl::Status seek = Seek(partition->topic, partition->partition, damaged + 1); !seek.ok()) status = seek;
  }
  // What passes by itself is librdkafka's to retry; it tells through the error callback when no broker is left.
  if (status.code() == absl::StatusCode::kUnavailable) return;
  pending_error_ = std::move(status);
}

absl::Status Fetcher::OutOfRange(Partition& partition) {
  const std::string where = absl::StrCat("partition ", partition.partition, " of ", partition.topic);
  int64_t start = 0;
  int64_t end = 0;
  NARU_RETURN_IF_ERROR(StatusOf(rd_kafka_query_watermark_offsets(client_->get(), partition.topic.c_str(),
                                                                 partition.partition, &start, &end, kSeekTimeoutMs),
                                absl::StrCat("offsets of ", where)));
  const int64_t lost_from = partition.next;
  // Messages that came before the gap stay collected: their offsets are below it.
  std::vector<MessagePtr> collected = std::move(partition.collected);
  const int64_t resume = lost_from < start ? start : end;
  NARU_RETURN_IF_ERROR(Seek(partition.topic, partition.partition, resume));
  partition.collected = std::move(collected);
  if (lost_from < start) {
    return MakeError(absl::StatusCode::kOutOfRange, "OFFSET_OUT_OF_RANGE",
                     absl::StrCat(where, ": offsets [", lost_from, ", ", start, ") were removed by retention"));
  }
  return MakeError(
      absl::StatusCode::kOutOfRange, "OFFSET_OUT_OF_RANGE",
      absl::StrCat(where, ": offset ", lost_from, " is past the end ", end, "; reading goes on at the end"));
}

std::vector<RawBatch> Fetcher::Pack() {
  std::vector<RawBatch> batches;
  for (auto& [key, partition] : partitions_) {
    if (partition.collected.empty() && !partition.moved) continue;
    partition.moved = false;
    size_t bytes = 0;
    size_t header_count = 0;
    for (const MessagePtr& message : partition.collected) {
      bytes += message->len + message->key_len;
      rd_kafka_headers_t* headers;
      size_t count = 0;
      if (rd_kafka_message_headers(message.get(), &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        bytes += HeaderBytes(headers, &count);
        header_count += count;
      }
    }
    auto storage = std::make_shared<Storage>();
    // Reserved in full, so that views into both stay where they are.
    storage->bytes.reserve(bytes);
    storage->headers.reserve(header_count);
    RawBatch batch;
    batch.topic = partition.topic;
    batch.partition = partition.partition;
    batch.next_offset = partition.next;
    batch.messages.reserve(partition.collected.size());
    for (const MessagePtr& message : partition.collected) {
      RawMessage& out = batch.messages.emplace_back();
      rd_kafka_timestamp_type_t type;
      const int64_t timestamp_ms = rd_kafka_message_timestamp(message.get(), &type);
      out.offset = message->offset;
      out.timestamp_us = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? 0 : timestamp_ms * 1000;
      out.key = storage->Add(message->key, message->key_len);
      out.value = storage->Add(message->payload, message->len);
      out.null_value = message->payload == nullptr;
      rd_kafka_headers_t* headers;
      if (rd_kafka_message_headers(message.get(), &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) continue;
      const size_t first = storage->headers.size();
      const char* name;
      const void* value;
      size_t size;
      for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR; ++i) {
        storage->headers.push_back({storage->Add(name, std::strlen(name)), storage->Add(value, size)});
      }
      out.headers = absl::MakeConstSpan(storage->headers).subspan(first);
    }
    partition.collected.clear();
    batch.owner = std::move(storage);
    batches.push_back(std::move(batch));
  }
  return batches;
}

}  // namespace naru::kafka
