#include "services/ingest/event_scan.h"

#include <algorithm>
#include <map>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/event_log/last_record.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"
#include "naru/catalog/v1/resources.pb.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::ingest {
namespace {

using event_log::ReadPosition;

constexpr size_t kScanFetchBytes = 2 << 20;
constexpr int kMaxIdlePolls = 20;  // of half a second, before the end is reached
constexpr int kMaxLast = 10'000;
constexpr int64_t kMaxLookBack = 4'000'000;  // records looked at for the last ones that match

absl::Status Invalid(absl::string_view field, absl::string_view description) {
  ErrorDetails details;
  details.reason = "INVALID_REQUEST";
  details.violations.push_back({std::string(field), std::string(description)});
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(field, ": ", description), details);
}

// A copy of an event that waits until it is known whether it is among the last.
struct KeptEvent {
  int32_t partition;
  int64_t offset;
  int64_t received_us;
  std::string bytes;
};

}  // namespace

struct EventScan::State {
  explicit State(event_log::EventLog& log_in) : log(log_in) {}

  absl::Status Prepare(const catalog::Snapshot& snapshot, const v1::ReadEventsRequest& request);
  absl::Status SetStart(const v1::ReadEventsRequest& request);
  bool Matches(absl::string_view bytes, int64_t received_us);
  /// Reads from `from`; fn sees what matches. Up to `ends` unless they are empty.
  absl::Status Read(std::vector<ReadPosition> from, std::map<int, int64_t> ends,
                    const std::function<bool(const ScannedEvent&)>& fn, const std::function<bool()>& flush);
  absl::Status CloseFinished(const std::vector<ReadPosition>& from, std::map<int, int64_t>* open);
  absl::Status ReadLast(std::vector<KeptEvent>* last);
  absl::StatusOr<bool> Deliver(const event_log::FetchedBatch& batch, int64_t end,
                               const std::function<bool(const ScannedEvent&)>& fn);

  event_log::EventLog& log;
  bool follow = false;
  int64_t left = INT64_MAX;
  int64_t last_count = 0;
  absl::flat_hash_set<std::string> types;
  std::unique_ptr<cel::Environment> environment;
  cel::Program filter;
  std::unique_ptr<cel::Activation> activation;
  std::vector<ReadPosition> start;
  std::map<int, event_log::PartitionInfo> partitions;  // as they were at the call

  Mutex mu;
  bool cancelled ABSL_GUARDED_BY(mu) = false;
  event_log::Reader* reader ABSL_GUARDED_BY(mu) = nullptr;
};

EventScan::EventScan(std::unique_ptr<State> state) : state_(std::move(state)) {}
EventScan::~EventScan() = default;

absl::StatusOr<std::unique_ptr<EventScan>> EventScan::Open(event_log::EventLog& log, const catalog::Snapshot& snapshot,
                                                           const v1::ReadEventsRequest& request) {
  auto state = std::make_unique<State>(log);
  NARU_RETURN_IF_ERROR(state->Prepare(snapshot, request));
  return std::unique_ptr<EventScan>(new EventScan(std::move(state)));
}

absl::Status EventScan::State::Prepare(const catalog::Snapshot& snapshot, const v1::ReadEventsRequest& request) {
  if (request.limit() < 0) return Invalid("limit", "0 (no limit) or more");
  if (request.limit() > 0) left = request.limit();
  follow = request.follow();
  types.insert(request.types().begin(), request.types().end());
  if (!request.filter().empty()) {
    environment = std::make_unique<cel::Environment>(cel::Environment::ForEvents());
    const auto program = environment->Compile(request.filter(), {.filter = true});
    if (!program.ok()) return Invalid("filter", program.status().message());
    filter = *program;
    for (const catalog::v1::Resource* type : snapshot.List("EventType")) {
      std::vector<std::string> fields;
      for (const auto& [name, field] : type->event_type().schema().properties()) fields.push_back(name);
      environment->DeclareType(type->metadata().name(), fields);
    }
    activation = std::make_unique<cel::Activation>(environment.get());
  }
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo topic, log.DescribeTopic(event_log::kEventsTopic));
  for (const event_log::PartitionInfo& info : topic.partitions) {
    const auto& wanted = request.partitions();
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), info.partition) != wanted.end()) {
      partitions[info.partition] = info;
    }
  }
  for (int partition : request.partitions()) {
    if (!partitions.contains(partition)) {
      return Invalid("partitions", absl::StrCat(partition, " is not one of 0 to ", topic.partitions.size() - 1));
    }
  }
  return SetStart(request);
}

absl::Status EventScan::State::SetStart(const v1::ReadEventsRequest& request) {
  if (request.start_case() == v1::ReadEventsRequest::kLastCount) {
    if (request.last_count() < 0 || request.last_count() > kMaxLast) return Invalid("last_count", "0 to 10000");
    last_count = request.last_count();
  }
  if (request.start_case() == v1::ReadEventsRequest::kFromOffset && request.from_offset() < 0) {
    return Invalid("from_offset", "0 or more");
  }
  for (const auto& [partition, info] : partitions) {
    ReadPosition position{partition, ReadPosition::Kind::kOffset, info.start_offset};
    switch (request.start_case()) {
      case v1::ReadEventsRequest::kFromOffset:
        position.value = request.from_offset();
        break;
      case v1::ReadEventsRequest::kFromTime:
        position.kind = ReadPosition::Kind::kTime;
        position.value = request.from_time().seconds() * 1'000'000 + request.from_time().nanos() / 1000;
        break;
      case v1::ReadEventsRequest::kFromEnd:
      case v1::ReadEventsRequest::kLastCount:
        position.value = info.end_offset;
        break;
      default:
        break;
    }
    start.push_back(position);
  }
  return absl::OkStatus();
}

bool EventScan::State::Matches(absl::string_view bytes, int64_t received_us) {
  if (types.empty() && !filter.valid()) return true;
  event::EventView view;
  if (!event::ParseStoredEvent(bytes, &view)) return false;
  if (!types.empty() && !types.contains(view.type)) return false;
  if (!filter.valid()) return true;
  activation->Load(view, received_us);
  return filter.Matches(*activation);
}

// False when it is time to stop.
absl::StatusOr<bool> EventScan::State::Deliver(const event_log::FetchedBatch& batch, int64_t end,
                                               const std::function<bool(const ScannedEvent&)>& fn) {
  if (batch.headers.schema != event_log::kEventSchema) return true;  // a mark, or of a later release
  for (const event_log::FetchedRecord& record : batch.records) {
    if (record.offset >= end) break;
    if (!Matches(record.value, record.timestamp_us)) continue;
    if (!fn({batch.partition, record.offset, record.timestamp_us, record.value})) return false;
  }
  return true;
}

// Partitions that have nothing to read before their end are not waited for.
absl::Status EventScan::State::CloseFinished(const std::vector<ReadPosition>& from, std::map<int, int64_t>* open) {
  for (const ReadPosition& p : from) {
    const event_log::PartitionInfo& info = partitions[p.partition];
    bool finished = info.start_offset >= info.end_offset;
    if (p.kind == ReadPosition::Kind::kOffset) finished |= p.value >= info.end_offset;
    if (p.kind == ReadPosition::Kind::kTime && !finished) {
      NARU_ASSIGN_OR_RETURN(const std::optional<int64_t> last_us,
                            event_log::LastRecordTime(log, event_log::kEventsTopic, info));
      finished = !last_us.has_value() || *last_us < p.value;
    }
    if (finished) open->erase(p.partition);
  }
  return absl::OkStatus();
}

absl::Status EventScan::State::Read(std::vector<ReadPosition> from, std::map<int, int64_t> ends,
                                    const std::function<bool(const ScannedEvent&)>& fn,
                                    const std::function<bool()>& flush) {
  const bool bounded = !ends.empty();
  std::map<int, int64_t> open;
  for (const ReadPosition& p : from) open[p.partition] = bounded ? ends[p.partition] : INT64_MAX;
  if (bounded) {
    NARU_RETURN_IF_ERROR(CloseFinished(from, &open));
    std::erase_if(from, [&](const ReadPosition& p) { return !open.contains(p.partition); });
  }
  if (from.empty()) return absl::OkStatus();
  NARU_ASSIGN_OR_RETURN(std::unique_ptr<event_log::Reader> opened, log.OpenReader(event_log::kEventsTopic, from));
  {
    MutexLock lock(&mu);
    if (cancelled) return absl::CancelledError("cancelled");
    reader = opened.get();
  }
  absl::Status status;
  int idle = 0;
  while (status.ok() && !open.empty()) {
    auto batches = opened->Poll(std::chrono::milliseconds(bounded ? 500 : 1000), kScanFetchBytes);
    if (absl::IsOutOfRange(batches.status()) || absl::IsDataLoss(batches.status()))
      continue;  // it goes on behind the gap
    if (!batches.ok()) {
      status = batches.status();
      break;
    }
    if (batches->empty() && bounded && ++idle >= kMaxIdlePolls) {
      status = MakeError(absl::StatusCode::kUnavailable, "LOG_NOT_READ",
                         "the end of the log could not be read in time: retry");
      break;
    }
    bool go_on = true;
    for (const event_log::FetchedBatch& batch : *batches) {
      const auto end = open.find(batch.partition);
      if (end == open.end()) continue;
      absl::StatusOr<bool> delivered = Deliver(batch, end->second, fn);
      go_on = delivered.ok() && *delivered;
      if (!go_on) break;
      if (batch.next_offset >= end->second) open.erase(end);
    }
    if (!go_on || !flush()) break;
  }
  MutexLock lock(&mu);
  reader = nullptr;
  return status;
}

// The last ones of all partitions by received time: looks back further and further until there are enough.
absl::Status EventScan::State::ReadLast(std::vector<KeptEvent>* last) {
  for (int64_t back = std::max<int64_t>(last_count, 1000);; back *= 8) {
    last->clear();
    std::vector<ReadPosition> from;
    std::map<int, int64_t> ends;
    bool from_start = true;
    for (const auto& [partition, info] : partitions) {
      const int64_t at = std::max(info.start_offset, info.end_offset - back);
      from_start &= at == info.start_offset;
      from.push_back({partition, ReadPosition::Kind::kOffset, at});
      ends[partition] = info.end_offset;
    }
    const auto keep = [&](const ScannedEvent& event) {
      last->push_back({event.partition, event.offset, event.received_us, std::string(event.bytes)});
      return true;
    };
    const auto newer = [](const KeptEvent& a, const KeptEvent& b) {
      return std::tie(a.received_us, a.partition, a.offset) < std::tie(b.received_us, b.partition, b.offset);
    };
    const auto trim = [&] {
      if (static_cast<int64_t>(last->size()) <= last_count) return true;
      std::sort(last->begin(), last->end(), newer);
      last->erase(last->begin(), last->end() - last_count);
      return true;
    };
    NARU_RETURN_IF_ERROR(Read(from, ends, keep, trim));
    std::sort(last->begin(), last->end(), newer);
    trim();
    if (static_cast<int64_t>(last->size()) == last_count || from_start || back > kMaxLookBack) return absl::OkStatus();
  }
}

absl::Status EventScan::Run(const std::function<bool(const ScannedEvent&)>& fn, const std::function<bool()>& flush) {
  const auto counted = [&](const ScannedEvent& event) { return fn(event) && --state_->left > 0; };
  std::map<int, int64_t> ends;
  for (const auto& [partition, info] : state_->partitions) ends[partition] = info.end_offset;
  if (state_->last_count > 0) {
    std::vector<KeptEvent> last;
    NARU_RETURN_IF_ERROR(state_->ReadLast(&last));
    for (const KeptEvent& event : last) {
      if (!counted({event.partition, event.offset, event.received_us, event.bytes})) return absl::OkStatus();
    }
    if (!flush()) return absl::OkStatus();
  }
  if (state_->follow) ends.clear();
  return state_->Read(state_->start, ends, counted, flush);
}

void EventScan::Cancel() {
  MutexLock lock(&state_->mu);
  state_->cancelled = true;
  if (state_->reader != nullptr) state_->reader->Cancel();
}

}  // namespace naru::ingest
