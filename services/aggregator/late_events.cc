#include "services/aggregator/late_events.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "naru/event/v1/event.pb.h"
#include "services/aggregator/row_proto.h"
#include "services/aggregator/sketch_bytes.h"

namespace naru::aggregator {
namespace {

constexpr char kTransactionalId[] = "naru-late-replay";
constexpr uint8_t kReplayVersion = 1;
constexpr uint8_t kMarkVersion = 1;
constexpr int kDefaultPage = 100;
constexpr int kMaxPage = 1000;
constexpr size_t kFetchBytes = size_t{2} << 20;
constexpr int kMaxIdlePolls = 20;  // of half a second, before the end is reached
constexpr size_t kMaxBatchEvents = 500;
constexpr size_t kMaxBatchBytes = size_t{1} << 20;

absl::Status Invalid(absl::string_view field, absl::string_view description) {
  ErrorDetails details;
  details.reason = "LATE_INVALID";
  details.violations.push_back({std::string(field), std::string(description)});
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(field, ": ", description), details);
}

bool ParseName(absl::string_view name, std::pair<int32_t, int64_t>* place) {
  const std::vector<absl::string_view> parts = absl::StrSplit(name, '/');
  return parts.size() == 2 && absl::SimpleAtoi(parts[0], &place->first) && absl::SimpleAtoi(parts[1], &place->second);
}

// Calls fn for each record of one partition of `events.late` from an offset up to its end as it is now, until it
// returns false.
absl::Status Scan(
    event_log::EventLog& log, const event_log::PartitionInfo& info, int64_t from,
    const std::function<absl::StatusOr<bool>(const event_log::FetchedBatch&, const event_log::FetchedRecord&)>& fn) {
  int64_t at = std::max(from, info.start_offset);
  if (at >= info.end_offset) return absl::OkStatus();
  NARU_ASSIGN_OR_RETURN(auto reader, log.OpenReader(event_log::kLateTopic,
                                                    {{info.partition, event_log::ReadPosition::Kind::kOffset, at}}));
  for (int idle = 0; at < info.end_offset && idle < kMaxIdlePolls;) {
    const auto batches = reader->Poll(std::chrono::milliseconds(500), kFetchBytes);
    if (!batches.ok() && (absl::IsOutOfRange(batches.status()) || absl::IsDataLoss(batches.status()))) continue;
    NARU_RETURN_IF_ERROR(batches.status());
    idle = batches->empty() ? idle + 1 : 0;
    for (const event_log::FetchedBatch& batch : *batches) {
      for (const event_log::FetchedRecord& record : batch.records) {
        if (record.offset >= info.end_offset) return absl::OkStatus();
        NARU_ASSIGN_OR_RETURN(const bool more, fn(batch, record));
        if (!more) return absl::OkStatus();
      }
      at = batch.next_offset;
    }
  }
  return absl::OkStatus();
}

std::string EncodeMark(const std::vector<int64_t>& offsets) {
  std::string bytes(1, static_cast<char>(kMarkVersion));
  PutVarint(offsets.size(), &bytes);
  for (const int64_t offset : offsets) PutVarint(static_cast<uint64_t>(offset), &bytes);
  return bytes;
}

bool DecodeMark(absl::string_view bytes, std::vector<int64_t>* offsets) {
  uint8_t version;
  uint64_t count, offset;
  if (!GetByte(&bytes, &version) || version != kMarkVersion || !GetVarint(&bytes, &count) || count > bytes.size())
    return false;
  for (uint64_t i = 0; i < count; ++i) {
    if (!GetVarint(&bytes, &offset)) return false;
    offsets->push_back(static_cast<int64_t>(offset));
  }
  return true;
}

// A record of `events.late` that is a late event of the metric.
bool ReadLate(const std::string& metric, const event_log::FetchedBatch& batch, const event_log::FetchedRecord& record,
              event::v1::Event* event) {
  if (batch.headers.schema == kLateMarkSchema || record.key != absl::string_view(metric)) return false;
  return event->ParseFromArray(record.value.data(), static_cast<int>(record.value.size()));
}

}  // namespace

std::string EncodeLateEvent(absl::string_view event, int64_t timeline_time_us, int64_t offset) {
  std::string bytes(event);
  event::v1::Event added;
  TimeToProto(timeline_time_us, added.mutable_lateness()->mutable_timeline_time());
  added.mutable_lateness()->set_offset(offset);
  added.AppendToString(&bytes);  // further fields of an encoded message are merged into it
  return bytes;
}

std::string EncodeLateReplay(const LateReplay& replay) {
  std::string bytes(1, static_cast<char>(kReplayVersion));
  PutSigned(replay.received_us, &bytes);
  PutSigned(replay.timeline_time_us, &bytes);
  PutBytes(replay.event, &bytes);
  return bytes;
}

bool DecodeLateReplay(absl::string_view bytes, LateReplay* replay) {
  uint8_t version;
  absl::string_view event;
  if (!GetByte(&bytes, &version) || version != kReplayVersion || !GetSigned(&bytes, &replay->received_us) ||
      !GetSigned(&bytes, &replay->timeline_time_us) || !GetBytes(&bytes, &event) || !bytes.empty()) {
    return false;
  }
  replay->event = std::string(event);
  return true;
}

absl::StatusOr<std::set<LateEvents::Place>> LateEvents::ReadMarks(const std::string& metric) {
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo topic, log_.DescribeTopic(event_log::kLateTopic));
  std::set<Place> marks;
  for (const event_log::PartitionInfo& info : topic.partitions) {
    NARU_RETURN_IF_ERROR(
        Scan(log_, info, 0,
             [&](const event_log::FetchedBatch& batch, const event_log::FetchedRecord& record) -> absl::StatusOr<bool> {
               std::vector<int64_t> offsets;
               if (batch.headers.schema == kLateMarkSchema && record.key == absl::string_view(metric) &&
                   DecodeMark(record.value, &offsets)) {
                 for (const int64_t offset : offsets) marks.insert({info.partition, offset});
               }
               return true;
             }));
  }
  return marks;
}

absl::Status LateEvents::List(const v1::ListLateEventsRequest& request, v1::ListLateEventsResponse* response) {
  if (request.page_size() < 0 || request.page_size() > kMaxPage)
    return Invalid("page_size", absl::StrCat(request.page_size(), " must be between 0 and ", kMaxPage));
  const int page = request.page_size() == 0 ? kDefaultPage : request.page_size();
  Place from{0, 0};  // in `events.late`
  if (!request.page_token().empty() && !ParseName(request.page_token(), &from))
    return Invalid("page_token", "is not a token of this service");
  NARU_ASSIGN_OR_RETURN(const std::set<Place> marks, ReadMarks(request.metric()));
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo topic, log_.DescribeTopic(event_log::kLateTopic));
  for (const event_log::PartitionInfo& info : topic.partitions) {
    if (info.partition < from.first || !response->next_page_token().empty()) continue;
    const int64_t start = info.partition == from.first ? from.second : 0;
    const auto take = [&](const event_log::FetchedBatch& batch,
                          const event_log::FetchedRecord& record) -> absl::StatusOr<bool> {
      event::v1::Event event;
      if (!ReadLate(request.metric(), batch, record, &event)) return true;
      if (response->events_size() >= page) {
        response->set_next_page_token(absl::StrCat(info.partition, "/", record.offset));
        return false;
      }
      v1::LateEvent* late = response->add_events();
      late->set_name(absl::StrCat(info.partition, "/", event.lateness().offset()));
      late->set_replayed(event.has_lateness() && marks.count({info.partition, event.lateness().offset()}) > 0);
      TimeToProto(record.timestamp_us, event.mutable_received_time());
      *late->mutable_event() = std::move(event);
      return true;
    };
    NARU_RETURN_IF_ERROR(Scan(log_, info, start, take));
  }
  return absl::OkStatus();
}

// What goes into one transaction: the late events of one partition.
struct LateEvents::Batch {
  int32_t partition = 0;
  std::vector<std::string> values;
  std::vector<int64_t> offsets;
  size_t bytes = 0;
};

absl::Status LateEvents::Commit(event_log::Producer& producer, const std::string& metric, Batch* batch,
                                v1::ReplayLateEventsResponse* response) {
  if (batch->values.empty()) return absl::OkStatus();
  const int64_t now_us = clock_.NowMicros();
  std::vector<event_log::Record> replays;
  for (const std::string& value : batch->values) replays.push_back({metric, value, now_us, false});
  const std::string mark = EncodeMark(batch->offsets);
  const event_log::Record mark_record{metric, mark, now_us, false};
  event_log::Transaction transaction;
  transaction.appends.push_back({event_log::kEventsTopic, batch->partition, {kLateReplaySchema, ""}, replays});
  transaction.appends.push_back(
      {event_log::kLateTopic, batch->partition, {kLateMarkSchema, ""}, absl::MakeConstSpan(&mark_record, 1)});
  NARU_ASSIGN_OR_RETURN(const event_log::AppendResult result, producer.Commit(transaction));
  response->set_replayed_count(response->replayed_count() + static_cast<int64_t>(batch->values.size()));
  if (!result.empty()) {
    if (response->after().empty() || response->after().rbegin()->partition() != batch->partition)
      response->add_after()->set_partition(batch->partition);
    response->mutable_after()->rbegin()->set_offset(result[0].last_offset);
  }
  *batch = {};
  return absl::OkStatus();
}

absl::Status LateEvents::Replay(const v1::ReplayLateEventsRequest& request, v1::ReplayLateEventsResponse* response) {
  std::set<Place> wanted;
  for (const std::string& name : request.names()) {
    Place place;
    if (!ParseName(name, &place)) return Invalid("names", absl::StrCat("`", name, "` is not PARTITION/OFFSET"));
    wanted.insert(place);
  }
  MutexLock lock(&replay_mu_);
  // From here on no other replay can commit, so what is marked now is all that is marked.
  std::unique_ptr<event_log::Producer> producer;
  if (!request.dry_run()) {
    NARU_ASSIGN_OR_RETURN(producer, log_.OpenProducer({kTransactionalId}));
  }
  NARU_ASSIGN_OR_RETURN(std::set<Place> marks, ReadMarks(request.metric()));
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo topic, log_.DescribeTopic(event_log::kLateTopic));
  std::set<Place> missing = wanted;
  for (const event_log::PartitionInfo& info : topic.partitions) {
    Batch batch;
    const auto take = [&](const event_log::FetchedBatch& fetched,
                          const event_log::FetchedRecord& record) -> absl::StatusOr<bool> {
      event::v1::Event event;
      if (!ReadLate(request.metric(), fetched, record, &event)) return true;
      const Place place{info.partition, event.lateness().offset()};
      if (!wanted.empty() && (!event.has_lateness() || wanted.count(place) == 0)) return true;
      missing.erase(place);
      response->set_read_count(response->read_count() + 1);
      if (!event.has_lateness()) {
        response->set_skipped_count(response->skipped_count() + 1);
      } else if (!marks.insert(place).second) {
        // Before, or just now: a version built anew found it late again.
        response->set_duplicate_count(response->duplicate_count() + 1);
      } else if (request.dry_run()) {
        response->set_replayed_count(response->replayed_count() + 1);
      } else {
        batch.partition = info.partition;
        batch.offsets.push_back(place.second);
        batch.values.push_back(EncodeLateReplay(
            {std::string(record.value), record.timestamp_us, TimeFromProto(event.lateness().timeline_time())}));
        batch.bytes += batch.values.back().size();
        if (batch.values.size() >= kMaxBatchEvents || batch.bytes >= kMaxBatchBytes)
          NARU_RETURN_IF_ERROR(Commit(*producer, request.metric(), &batch, response));
      }
      return true;
    };
    NARU_RETURN_IF_ERROR(Scan(log_, info, 0, take));
    if (producer != nullptr) NARU_RETURN_IF_ERROR(Commit(*producer, request.metric(), &batch, response));
  }
  if (missing.empty()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kNotFound, "LATE_EVENT_NOT_FOUND",
                   absl::StrCat("metric ", request.metric(), " has no late event ", missing.begin()->first, "/",
                                missing.begin()->second, "; it may be past its retention"));
}

}  // namespace naru::aggregator
