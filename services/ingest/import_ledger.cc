#include "services/ingest/import_ledger.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ledger.pb.h"

namespace naru::ingest {
namespace {

constexpr char kRangePrefix[] = "import/";
constexpr char kEndPrefix[] = "import-end/";
constexpr size_t kLedgerFetchBytes = size_t{4} << 20;
constexpr std::chrono::milliseconds kFetchWait(5'000);

}  // namespace

absl::Status ReadLedger(event_log::EventLog& log, const std::function<void(const event_log::FetchedRecord&)>& fn) {
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo topic, log.DescribeTopic(event_log::kLedgerTopic));
  if (topic.partitions.empty() || topic.partitions[0].end_offset <= topic.partitions[0].start_offset) {
    return absl::OkStatus();
  }
  const int64_t end = topic.partitions[0].end_offset;
  NARU_ASSIGN_OR_RETURN(const std::unique_ptr<event_log::Reader> reader,
                        log.OpenReader(event_log::kLedgerTopic, {{.partition = 0}}));
  int64_t next = 0;
  while (next < end) {
    const auto batches = reader->Poll(kFetchWait, kLedgerFetchBytes);
    // Compaction may have removed what the position pointed at; the next Poll goes on behind it.
    // What is damaged is told by the log; an import can go on without it, and its lines are found by their ids.
    if (absl::IsOutOfRange(batches.status()) || absl::IsDataLoss(batches.status())) continue;
    NARU_RETURN_IF_ERROR(batches.status());
    if (batches->empty()) {
      // Not the end: what comes later may say that a range is stored, and half a ledger would store it again.
      return MakeError(absl::StatusCode::kUnavailable, "LEDGER_NOT_READ",
                       absl::StrCat("the ledger of imports could not be read beyond offset ", next, " of ", end));
    }
    for (const event_log::FetchedBatch& batch : *batches) {
      next = batch.next_offset;
      for (const event_log::FetchedRecord& record : batch.records) fn(record);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ImportLedger> ImportLedger::Load(event_log::EventLog& log) {
  ImportLedger ledger;
  NARU_RETURN_IF_ERROR(
      ReadLedger(log, [&](const event_log::FetchedRecord& record) { ledger.Apply(record.key, record); }));
  return ledger;
}

void ImportLedger::Apply(absl::string_view key, const event_log::FetchedRecord& record) {
  if (absl::ConsumePrefix(&key, kEndPrefix)) {
    if (!record.tombstone) ended_.insert(std::string(key));
    return;
  }
  ChainId start;
  if (!absl::ConsumePrefix(&key, kRangePrefix) || !ParseChainId(key, &start)) return;
  v1::ImportRange range;
  LedgerRange entry;
  if (record.tombstone || !range.ParseFromArray(record.value.data(), static_cast<int>(record.value.size())) ||
      !ParseChainId(range.end_id(), &entry.end)) {
    ranges_.erase(start);
    return;
  }
  entry.line_count = range.line_count();
  entry.event_count = range.event_count();
  entry.rejected_count = range.rejected_count();
  entry.end_byte = range.end_byte();
  entry.timeline = range.timeline();
  ranges_[start] = std::move(entry);
}

const LedgerRange* ImportLedger::Find(const ChainId& start) const {
  const auto found = ranges_.find(start);
  return found == ranges_.end() ? nullptr : &found->second;
}

const LedgerRange* ImportLedger::FindEnd(const ChainId& end, ChainId* start) const {
  for (const auto& [first, range] : ranges_) {
    if (!(range.end == end) || range.line_count == 0) continue;  // a part of a line
    *start = first;
    return &range;
  }
  return nullptr;
}

void ImportLedger::Add(const ChainId& start, LedgerRange range) { ranges_[start] = std::move(range); }

ExtraRecord ImportLedger::RangeRecord(const ChainId& start, const LedgerRange& range) {
  v1::ImportRange proto;
  proto.set_end_id(ChainIdText(range.end));
  proto.set_line_count(range.line_count);
  proto.set_event_count(range.event_count);
  proto.set_rejected_count(range.rejected_count);
  proto.set_end_byte(range.end_byte);
  proto.set_timeline(range.timeline);
  return {event_log::kLedgerTopic, 0, "naru.ingest.v1.ImportRange", absl::StrCat(kRangePrefix, ChainIdText(start)),
          proto.SerializeAsString()};
}

ExtraRecord ImportLedger::EndRecord(const std::string& timeline, const ChainId& end, int64_t end_byte) {
  v1::ImportEnd proto;
  proto.set_end_id(ChainIdText(end));
  proto.set_end_byte(end_byte);
  return {event_log::kLedgerTopic, 0, "naru.ingest.v1.ImportEnd", absl::StrCat(kEndPrefix, timeline),
          proto.SerializeAsString()};
}

}  // namespace naru::ingest
