// The end of a timeline: a record in the topic `events` that says that an import, file or Source has brought its last
// event. It is an encoded event of a reserved type, with its `timeline` set; ingest writes one into each partition.
#pragma once

#include "absl/strings/string_view.h"
#include "common/event/event_view.h"

namespace naru::event {

/// Type of the record. Types that begin with `naru.` are reserved: senders may not use them.
inline constexpr char kTimelineEndType[] = "naru.timeline.end";

/// Name of the schema in the record's header: readers of events alone pass over it.
inline constexpr char kTimelineEndSchema[] = "naru.timeline.end";

/// Whether a stored event is the end of its timeline rather than something that happened.
inline bool IsTimelineEnd(const EventView& event) {
  return event.type == absl::string_view(kTimelineEndType) && !event.timeline.empty();
}

}  // namespace naru::event
