// When the newest record of a partition came.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/event_log/event_log.h"

namespace naru::event_log {

/// Time of the newest record below `info.end_offset`; nothing if there is no record. A reader that starts at a later
/// time than that would wait for ever. Blocks on the log. Errors: those of the log; DEADLINE_EXCEEDED.
absl::StatusOr<std::optional<int64_t>> LastRecordTime(EventLog& log, const std::string& topic,
                                                      const PartitionInfo& info);

}  // namespace naru::event_log
