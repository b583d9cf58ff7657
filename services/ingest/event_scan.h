// Reads stored events from the log for ReadEvents: where to start, which ones, and when to stop.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/catalog/snapshot.h"
#include "common/cel/cel.h"
#include "common/event/event_view.h"
#include "common/event_log/event_log.h"

namespace naru::ingest::v1 {
class ReadEventsRequest;
}

namespace naru::ingest {

/// An event as it is in the log. Views live during the callback.
struct ScannedEvent {
  int32_t partition = 0;
  int64_t offset = 0;
  int64_t received_us = 0;
  absl::string_view bytes;
};

/// One ReadEvents call. For one thread, but Cancel is thread-safe.
class EventScan {
 public:
  /// Checks the request. Errors: INVALID_ARGUMENT with field violations; those of the log.
  static absl::StatusOr<std::unique_ptr<EventScan>> Open(event_log::EventLog& log, const catalog::Snapshot& snapshot,
                                                         const v1::ReadEventsRequest& request);
  ~EventScan();

  /// Calls fn for each event that matches until fn returns false, the limit is reached, the end of the log as it was at
  /// the call (without `follow`), or Cancel. `flush` is called whenever nothing more is at hand.
  absl::Status Run(const std::function<bool(const ScannedEvent&)>& fn, const std::function<bool()>& flush);
  void Cancel();

 private:
  struct State;
  explicit EventScan(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace naru::ingest
