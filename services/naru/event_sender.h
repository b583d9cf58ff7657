// Sends encoded events to ingest on one stream, as fast as it takes them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/sync/mutex.h"
#include "services/naru/connection.h"

namespace naru::cli {

/// What became of the events sent so far.
struct SendTotals {
  int64_t sent = 0;
  int64_t received = 0;  ///< acknowledged: accepted + duplicate + rejected + filtered
  int64_t accepted = 0;
  int64_t duplicate = 0;
  int64_t rejected = 0;
  int64_t filtered = 0;  ///< left out on purpose by the type's `exclude`
  std::map<std::string, int64_t> rejected_by_reason;
};

/// One event that was not accepted.
struct Rejection {
  int64_t number = 0;  ///< from 0, in the order of Send
  std::string reason;
  std::string field;
  std::string value;
  std::string expected;
};

/// A StreamEvents call. Events are put into batches; at most a few batches are on their way, so a slow server slows
/// Send. Not thread-safe, except Cancel.
class EventSender {
 public:
  /// `on_rejected` is called for each rejected event, from a thread of the sender, one at a time; may be null.
  EventSender(const ConnectionFlags& connection, std::function<void(const Rejection&)> on_rejected);
  ~EventSender();
  EventSender(const EventSender&) = delete;
  EventSender& operator=(const EventSender&) = delete;

  /// Opens the stream. Errors: INVALID_ARGUMENT for a bad address or certificate.
  absl::Status Start();
  /// Adds one encoded event; sends the batch when it is full (500 events or 1 MiB). Blocks while too many are on their
  /// way. Errors: why the stream ended.
  absl::Status Send(absl::string_view event);
  /// Sends what is in the batch.
  absl::Status Flush();
  /// Sends the rest and waits for the last acknowledgement.
  absl::Status Finish();
  /// Ends the stream; Send and Finish then return CANCELLED. What was not acknowledged may or may not be stored.
  void Cancel();
  SendTotals totals() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace naru::cli
