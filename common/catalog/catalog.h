// The catalog: every resource that a team configured and every API key, followed from the topic `naru.catalog`.
//
//     NARU_ASSIGN_OR_RETURN(auto catalog, catalog::Catalog::Open(log, *Clock::System()));
//     const catalog::v1::Resource* type = catalog->snapshot()->Find("EventType", "UserLogin");
//
// Writing is catalog_writer.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/catalog/snapshot.h"
#include "common/clock/clock.h"
#include "common/event_log/event_log.h"

namespace naru::catalog {

/// Follows the topic in a thread of its own. Thread-safe. Destroy before the log.
class Catalog {
 public:
  using Callback = std::function<void(std::shared_ptr<const Snapshot>)>;

  /// Makes the topic where it is not there, reads it to its end, and goes on following it. Blocks for at most a minute.
  /// Errors: those of the log; DEADLINE_EXCEEDED when the end was not reached.
  static absl::StatusOr<std::unique_ptr<Catalog>> Open(event_log::EventLog& log, const Clock& clock);
  ~Catalog();
  Catalog(const Catalog&) = delete;
  Catalog& operator=(const Catalog&) = delete;

  /// The newest snapshot. Never null, never blocks on the log.
  std::shared_ptr<const Snapshot> snapshot() const;

  /// Calls `callback` with the current snapshot (before it returns), then with each new one, in order, one call at a
  /// time, from the following thread. It may not call Subscribe, Unsubscribe or CatchUp. Returns a token for
  /// Unsubscribe.
  int64_t Subscribe(Callback callback);
  /// After it returns the callback is not running and is not called again. Unknown tokens do nothing.
  void Unsubscribe(int64_t token);

  /// Waits until the snapshot (and every subscriber) has what the log held when this was called.
  /// Errors: DEADLINE_EXCEEDED after `timeout`; UNAVAILABLE and others when the log cannot be asked.
  absl::Status CatchUp(std::chrono::milliseconds timeout);
  /// The same for one position: until snapshot()->position() >= `position`.
  absl::Status WaitForPosition(int64_t position, std::chrono::milliseconds timeout);

  /// OK while the topic can be followed; else the last error of reading it.
  absl::Status Health() const;

 private:
  struct State;
  explicit Catalog(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace naru::catalog
