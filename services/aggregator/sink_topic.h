// Rows as records of a topic of Naru's own log: key METRIC:WINDOW_START:GROUP (as in sink_redis.h), value a
// naru.aggregator.v1.SinkRow, or its JSON. Records are appended under the ownership of the (sink, metric), so a writer
// that was replaced appends nothing more. Readers take, for each key, the record with the greatest (epoch, metric
// version, position), and no row where that says `removed`; a fill begins with a record whose key is the metric alone.
// The topic is kept for the longest retention of its metrics, counted from the last change of a row.
#pragma once

#include <memory>
#include <string>

#include "common/clock/clock.h"
#include "services/aggregator/sink_writer.h"

namespace naru::catalog::v1 {
class TopicSink;
}

namespace naru::aggregator {

/// Borrows all.
std::unique_ptr<SinkWriter> MakeTopicSinkWriter(event_log::EventLog& log, const Clock& clock, SinkFence& fence,
                                                const catalog::v1::TopicSink& spec);

/// Schemas named in the records' headers.
inline constexpr char kSinkRowSchema[] = "naru.aggregator.v1.SinkRow";
inline constexpr char kSinkRowJsonSchema[] = "naru.aggregator.v1.SinkRow+json";

}  // namespace naru::aggregator
