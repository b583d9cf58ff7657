// Events that came later than a metric allows: what is kept of them, and how they are counted after all.
//
// `events.late` holds each with why it was late. A replay is one transaction: a record in the events' partition, which
// the metric counts without asking whether it is late, and a mark in `events.late` which says so. The record carries
// what the event's timeline knew when it came, so that every version of the metric can tell whether it has counted it
// already.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/clock/clock.h"
#include "common/event_log/event_log.h"
#include "common/sync/mutex.h"

namespace naru::aggregator::v1 {
class ListLateEventsRequest;
class ListLateEventsResponse;
class ReplayLateEventsRequest;
class ReplayLateEventsResponse;
}  // namespace naru::aggregator::v1

namespace naru::aggregator {

/// Name of the schema in the header of replays in `events`: readers of events alone pass over them.
inline constexpr char kLateReplaySchema[] = "naru.late.replay";
/// The same for marks in `events.late`.
inline constexpr char kLateMarkSchema[] = "naru.late.mark";

/// An event as `events.late` keeps it: its bytes with a naru.event.v1.Lateness.
std::string EncodeLateEvent(absl::string_view event, int64_t timeline_time_us, int64_t offset);

/// A record that has a late event counted after all.
struct LateReplay {
  std::string event;             ///< its bytes
  int64_t received_us = 0;       ///< when it came
  int64_t timeline_time_us = 0;  ///< what its timeline knew then, itself included
};
std::string EncodeLateReplay(const LateReplay& replay);
/// False for bytes that are not one.
bool DecodeLateReplay(absl::string_view bytes, LateReplay* replay);

/// Lists and replays. Thread-safe; borrows the log. Calls block while they read `events.late`.
class LateEvents {
 public:
  LateEvents(event_log::EventLog& log, const Clock& clock) : log_(log), clock_(clock) {}

  /// Errors: INVALID_ARGUMENT for a bad page; those of the log.
  absl::Status List(const v1::ListLateEventsRequest& request, v1::ListLateEventsResponse* response);
  /// Errors: NOT_FOUND for a name that is not there; INVALID_ARGUMENT for what is not a name; those of the log. What
  /// was committed before an error stays.
  absl::Status Replay(const v1::ReplayLateEventsRequest& request, v1::ReplayLateEventsResponse* response);

 private:
  using Place = std::pair<int32_t, int64_t>;  // partition and offset in the topic of the events
  struct Batch;
  absl::StatusOr<std::set<Place>> ReadMarks(const std::string& metric);
  absl::Status Commit(event_log::Producer& producer, const std::string& metric, Batch* batch,
                      v1::ReplayLateEventsResponse* response);

  event_log::EventLog& log_;
  const Clock& clock_;
  Mutex replay_mu_;  // one replay at a time
};

}  // namespace naru::aggregator
