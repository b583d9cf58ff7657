// Rows in Redis, for web pages. Of a metric, with BASE = PREFIX:METRIC:
//
//   BASE:WINDOW_START:GROUP           hash: a row
//   BASE:WINDOW_START:GROUP:MEASURE   sorted set: the values of a top_k measure by their counts
//   BASE:WINDOW_START                 set: the GROUPs of a window
//   BASE:windows                      sorted set: the WINDOW_STARTs by their time in milliseconds
//   BASE:mark                         hash: who writes here and how far
//
// Fields of a row: the dimensions (null: absent) and measures by name, window_start, window_end, final, revision,
// truncated (0 or 1), naru_metric_version, naru_version, naru_errors (measures that have an error instead of a value),
// naru_valid_from (the log no longer reached back so far).
// WINDOW_START is as in `naru query --output json` (`2022-11-01T08:05:00Z`), of cumulative windows `START/END`; GROUP
// is as GroupText says. A hash and its sorted sets change in one step (a Lua script); all of a window expires when the
// metric's retention after its last change is over. One Redis server, not a cluster: the scripts find keys by the names
// of others.
#pragma once

#include <memory>
#include <string>

#include "common/clock/clock.h"
#include "common/redis/redis_client.h"
#include "services/aggregator/sink_writer.h"

namespace naru::aggregator {

/// Borrows the clock.
std::unique_ptr<SinkWriter> MakeRedisSinkWriter(const redis::RedisOptions& options, const std::string& key_prefix,
                                                const Clock& clock);

}  // namespace naru::aggregator
