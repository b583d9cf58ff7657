// Rejected events: looked at, and taken again.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/event_log/event_log.h"
#include "common/sync/mutex.h"
#include "services/ingest/bookkeeping.h"
#include "services/ingest/log_pipeline.h"

namespace naru::ingest::v1 {
class ListRejectedRequest;
class ListRejectedResponse;
class RejectedEvent;
class ReplayRejectedRequest;
class ReplayRejectedResponse;
}  // namespace naru::ingest::v1

namespace naru::ingest {

/// Reads the line of a dead letter again, by its format as it is now: the encoded events in it. INVALID_ARGUMENT: still
/// not readable.
using LineReader = std::function<absl::StatusOr<std::vector<std::string>>(const v1::RejectedEvent& letter)>;

/// The topic `events.dlq`. Thread-safe; every call blocks on the log.
class DeadLetters {
 public:
  DeadLetters(event_log::EventLog& log, LogPipeline& pipeline, Bookkeeping& bookkeeping)
      : log_(log), pipeline_(pipeline), bookkeeping_(bookkeeping) {}

  /// For dead letters that are lines; without it they cannot be replayed. Before the first Replay.
  void set_line_reader(LineReader reader) { line_reader_ = std::move(reader); }

  /// Errors: INVALID_ARGUMENT (page_token, page_size).
  absl::Status List(const v1::ListRejectedRequest& request, v1::ListRejectedResponse* response);
  /// Errors: INVALID_ARGUMENT for a name that is none; NOT_FOUND.
  absl::StatusOr<v1::RejectedEvent> Get(const std::string& name);
  /// One at a time: another waits. An event without an id gets the one of its letter, so that it is stored once also
  /// when two replicas replay at a time.
  /// Errors: as Get for each name; those of the pipeline (what was taken before stays taken).
  absl::Status Replay(const v1::ReplayRejectedRequest& request, v1::ReplayRejectedResponse* response);

 private:
  struct ReplayRun;
  /// Calls fn(letter, offset) from `offset` on until it returns false or the end that was there is reached.
  absl::Status Scan(event_log::ReadPosition from,
                    const std::function<absl::StatusOr<bool>(v1::RejectedEvent&, int64_t)>& fn);
  absl::Status TakeAgain(const v1::RejectedEvent& letter, int64_t offset, ReplayRun* run);
  absl::Status Flush(ReplayRun* run);

  event_log::EventLog& log_;
  LogPipeline& pipeline_;
  Bookkeeping& bookkeeping_;
  LineReader line_reader_;
  Mutex replay_mu_;
};

}  // namespace naru::ingest
