#include "common/event_log/last_record.h"

#include <algorithm>

#include "common/status/status.h"

namespace naru::event_log {
namespace {

constexpr int kMaxPolls = 20;

}  // namespace

absl::StatusOr<std::optional<int64_t>> LastRecordTime(EventLog& log, const std::string& topic,
                                                      const PartitionInfo& info) {
  std::optional<int64_t> time_us;
  // The last offsets may be marks of transactions, which are no records: look back further and further.
  for (int64_t back = 1; !time_us.has_value(); back *= 8) {
    const int64_t from = std::max(info.start_offset, info.end_offset - back);
    NARU_ASSIGN_OR_RETURN(std::unique_ptr<Reader> reader,
                          log.OpenReader(topic, {{info.partition, ReadPosition::Kind::kOffset, from}}));
    int polls = 0;
    for (int64_t next = from; next < info.end_offset;) {
      const auto batches = reader->Poll(std::chrono::milliseconds(500), size_t{1} << 20);
      if (absl::IsOutOfRange(batches.status()) || absl::IsDataLoss(batches.status())) continue;
      NARU_RETURN_IF_ERROR(batches.status());
      if (batches->empty() && ++polls == kMaxPolls) {
        return MakeError(absl::StatusCode::kDeadlineExceeded, "LOG_NOT_READ",
                         "the end of the log could not be read in time");
      }
      for (const FetchedBatch& batch : *batches) {
        next = batch.next_offset;
        for (const FetchedRecord& record : batch.records) {
          if (record.offset < info.end_offset) time_us = record.timestamp_us;
        }
      }
    }
    if (from == info.start_offset) break;
  }
  return time_us;
}

}  // namespace naru::event_log
