#include "services/ingest/dead_letters.h"

#include <map>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/event/event_view.h"
#include "common/event/event_writer.h"
#include "common/event/utf8.h"
#include "common/event_log/last_record.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::ingest {
namespace {

constexpr int kDefaultPage = 100;
constexpr int kMaxPage = 1000;
constexpr size_t kListedRawBytes = 1024;
constexpr int64_t kMaxScannedAPage = 1'000'000;  // a page of a rare reason may be shorter than asked for
constexpr size_t kReplayBatchEvents = 500;
constexpr size_t kReplayBatchBytes = 1 << 20;
constexpr size_t kRejectedFetchBytes = 4 << 20;

std::string NameOf(int64_t offset) { return absl::StrCat("0/", offset); }

// Gives an event that has no id this one.
void GiveId(const std::string& id, std::string* event) {
  event::EventView view;
  if (event::ParseStoredEvent(*event, &view) && view.id.empty()) event::AppendEvent({.id = id}, event);
}

absl::StatusOr<int64_t> OffsetOf(absl::string_view field, const std::string& name) {
  const std::vector<absl::string_view> parts = absl::StrSplit(name, '/');
  int partition;
  int64_t offset;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &partition) || !absl::SimpleAtoi(parts[1], &offset) ||
      partition != 0 || offset < 0) {
    ErrorDetails details;
    details.reason = "INVALID_NAME";
    details.violations.push_back(
        {std::string(field), "PARTITION/OFFSET, as in the `name` of a rejected event: `0/17`"});
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(field, ": `", event::CutUtf8(name, 64), "` is not PARTITION/OFFSET"), details);
  }
  return offset;
}

}  // namespace

absl::Status DeadLetters::Scan(event_log::ReadPosition from,
                               const std::function<absl::StatusOr<bool>(v1::RejectedEvent&, int64_t)>& fn) {
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo topic, log_.DescribeTopic(event_log::kDeadLetterTopic));
  const int64_t end = topic.partitions.at(0).end_offset;
  if (topic.partitions[0].start_offset >= end) return absl::OkStatus();
  if (from.kind == event_log::ReadPosition::Kind::kTime) {
    NARU_ASSIGN_OR_RETURN(const std::optional<int64_t> last_us,
                          event_log::LastRecordTime(log_, event_log::kDeadLetterTopic, topic.partitions[0]));
    if (!last_us.has_value() || *last_us < from.value) return absl::OkStatus();
  }
  NARU_ASSIGN_OR_RETURN(std::unique_ptr<event_log::Reader> reader,
                        log_.OpenReader(event_log::kDeadLetterTopic, {from}));
  v1::RejectedEvent letter;
  int64_t next = from.kind == event_log::ReadPosition::Kind::kOffset ? from.value : 0;
  while (next < end) {
    auto batches = reader->Poll(std::chrono::seconds(10), kRejectedFetchBytes);
    if (absl::IsOutOfRange(batches.status()) || absl::IsDataLoss(batches.status())) continue;  // goes on behind it
    NARU_RETURN_IF_ERROR(batches.status());
    if (batches->empty()) {
      return MakeError(absl::StatusCode::kUnavailable, "LOG_NOT_READ",
                       "the rejected events could not be read in time: retry");
    }
    for (const event_log::FetchedBatch& batch : *batches) {
      next = batch.next_offset;
      if (batch.headers.schema != event_log::kRejectedSchema) continue;
      for (const event_log::FetchedRecord& record : batch.records) {
        if (record.offset >= end) return absl::OkStatus();
        if (!letter.ParseFromArray(record.value.data(), static_cast<int>(record.value.size()))) continue;
        letter.set_name(NameOf(record.offset));
        NARU_ASSIGN_OR_RETURN(const bool go_on, fn(letter, record.offset));
        if (!go_on) return absl::OkStatus();
      }
    }
  }
  return absl::OkStatus();
}

absl::Status DeadLetters::List(const v1::ListRejectedRequest& request, v1::ListRejectedResponse* response) {
  if (request.page_size() < 0) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_PAGE_SIZE", "page_size: 0 to 1000");
  }
  NARU_RETURN_IF_ERROR(bookkeeping_.CatchUp());
  const int page = request.page_size() == 0 ? kDefaultPage : std::min(request.page_size(), kMaxPage);
  event_log::ReadPosition from;
  if (!request.page_token().empty()) {
    NARU_ASSIGN_OR_RETURN(from.value, OffsetOf("page_token", request.page_token()));
  } else if (request.has_from_time()) {
    from.kind = event_log::ReadPosition::Kind::kTime;
    from.value = request.from_time().seconds() * 1'000'000 + request.from_time().nanos() / 1000;
  }
  const int64_t from_us = request.from_time().seconds() * 1'000'000 + request.from_time().nanos() / 1000;
  int64_t scanned = 0;
  return Scan(from, [&](v1::RejectedEvent& letter, int64_t offset) -> absl::StatusOr<bool> {
    if (response->rejected_size() == page || ++scanned > kMaxScannedAPage) {
      response->set_next_page_token(NameOf(offset));
      return false;
    }
    if (request.reason() != v1::REJECT_REASON_UNSPECIFIED && letter.reason() != request.reason()) return true;
    const int64_t time_us = letter.reject_time().seconds() * 1'000'000 + letter.reject_time().nanos() / 1000;
    if (request.has_from_time() && time_us < from_us) return true;
    NARU_ASSIGN_OR_RETURN(const bool replayed, bookkeeping_.WasReplayed(0, offset));
    letter.set_replayed(replayed);
    if (letter.raw().size() > kListedRawBytes) letter.mutable_raw()->resize(kListedRawBytes);
    *response->add_rejected() = letter;
    return true;
  });
}

absl::StatusOr<v1::RejectedEvent> DeadLetters::Get(const std::string& name) {
  NARU_ASSIGN_OR_RETURN(const int64_t offset, OffsetOf("name", name));
  v1::RejectedEvent found;
  bool is_there = false;
  NARU_RETURN_IF_ERROR(Scan({.value = offset}, [&](v1::RejectedEvent& letter, int64_t at) -> absl::StatusOr<bool> {
    is_there = at == offset;
    if (is_there) found = letter;
    return false;
  }));
  if (!is_there) {
    return MakeError(absl::StatusCode::kNotFound, "REJECTED_EVENT_NOT_FOUND",
                     absl::StrCat("there is no rejected event ", name, "; it may be past its retention"));
  }
  NARU_ASSIGN_OR_RETURN(const bool replayed, bookkeeping_.WasReplayed(0, offset));
  found.set_replayed(replayed);
  return found;
}

// --- Replay --------------------------------------------------------------------------------------------------------

// Events that wait to be taken together; all of one timeline.
struct DeadLetters::ReplayRun {
  bool dry_run = false;
  int64_t session = 0;  // of the pipeline, begun before the marks were read
  v1::ReplayRejectedResponse* response = nullptr;
  std::string timeline;
  std::vector<std::string> events;
  std::vector<std::pair<int32_t, int64_t>> from;
  size_t bytes = 0;
  std::map<int32_t, int64_t> last_offsets;
};

absl::Status DeadLetters::Replay(const v1::ReplayRejectedRequest& request, v1::ReplayRejectedResponse* response) {
  // Between the look for a mark and the write of it nobody else may look.
  MutexLock lock(&replay_mu_);
  ReplayRun run;
  NARU_ASSIGN_OR_RETURN(run.session, pipeline_.BeginSession());
  NARU_RETURN_IF_ERROR(bookkeeping_.CatchUp());
  run.dry_run = request.dry_run();
  run.response = response;
  if (request.names_size() > 0) {
    for (const std::string& name : request.names()) {
      NARU_ASSIGN_OR_RETURN(const v1::RejectedEvent letter, Get(name));
      if (request.reason() != v1::REJECT_REASON_UNSPECIFIED && letter.reason() != request.reason()) continue;
      NARU_ASSIGN_OR_RETURN(const int64_t offset, OffsetOf("names", name));
      NARU_RETURN_IF_ERROR(TakeAgain(letter, offset, &run));
    }
  } else {
    NARU_RETURN_IF_ERROR(Scan({}, [&](v1::RejectedEvent& letter, int64_t offset) -> absl::StatusOr<bool> {
      if (request.reason() != v1::REJECT_REASON_UNSPECIFIED && letter.reason() != request.reason()) return true;
      NARU_RETURN_IF_ERROR(TakeAgain(letter, offset, &run));
      return true;
    }));
  }
  NARU_RETURN_IF_ERROR(Flush(&run));
  for (const auto& [partition, offset] : run.last_offsets) {
    v1::PartitionOffset* last = response->add_last_offsets();
    last->set_partition(partition);
    last->set_offset(offset);
  }
  return absl::OkStatus();
}

absl::Status DeadLetters::TakeAgain(const v1::RejectedEvent& letter, int64_t offset, ReplayRun* run) {
  v1::ReplayRejectedResponse* response = run->response;
  response->set_read_count(response->read_count() + 1);
  NARU_ASSIGN_OR_RETURN(const bool replayed, bookkeeping_.WasReplayed(0, offset));
  if (replayed) {
    response->set_duplicate_count(response->duplicate_count() + 1);
    return absl::OkStatus();
  }
  std::vector<std::string> events;
  if (letter.format().empty()) {
    events.push_back(letter.raw());
  } else if (line_reader_) {
    auto read = line_reader_(letter);
    if (read.ok()) events = *std::move(read);
  }
  if (events.empty()) response->set_rejected_count(response->rejected_count() + 1);
  // A line of several events is taken whole or not at all: its parts may come into different batches, and the first of
  // them would mark it.
  if (events.size() > 1) {
    const BatchResult seen = pipeline_.Preview({events.begin(), events.end()});
    if (seen.rejected > 0) {
      response->set_rejected_count(response->rejected_count() + seen.received);
      return absl::OkStatus();
    }
  }
  for (size_t i = 0; i < events.size(); ++i) {
    std::string& event = events[i];
    GiveId(absl::StrCat(event_log::kDeadLetterTopic, "/", letter.name(), "/", i), &event);
    const bool full = run->events.size() >= kReplayBatchEvents || run->bytes + event.size() > kReplayBatchBytes;
    if (full || run->timeline != letter.timeline()) NARU_RETURN_IF_ERROR(Flush(run));
    run->timeline = letter.timeline();
    run->bytes += event.size();
    run->events.push_back(std::move(event));
    run->from.emplace_back(0, offset);
  }
  return absl::OkStatus();
}

absl::Status DeadLetters::Flush(ReplayRun* run) {
  if (run->events.empty()) return absl::OkStatus();
  BatchResult result;
  const std::vector<absl::string_view> views(run->events.begin(), run->events.end());
  if (run->dry_run) {
    result = pipeline_.Preview(views);
  } else {
    Batch batch;
    batch.events = views;
    batch.timeline = run->timeline;
    batch.replayed_from = run->from;
    batch.session = run->session;
    NARU_ASSIGN_OR_RETURN(result, pipeline_.SubmitAndWait(std::move(batch)));
  }
  v1::ReplayRejectedResponse* response = run->response;
  response->set_accepted_count(response->accepted_count() + result.accepted);
  response->set_duplicate_count(response->duplicate_count() + result.duplicate);
  response->set_rejected_count(response->rejected_count() + result.rejected);
  response->set_filtered_count(response->filtered_count() + result.filtered);
  for (const auto& [partition, offset] : result.last_offsets) run->last_offsets[partition] = offset;
  run->events.clear();
  run->from.clear();
  run->bytes = 0;
  return absl::OkStatus();
}

}  // namespace naru::ingest
