// Follows a topic on a thread of its own.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/event_log/event_log.h"
#include "common/sync/mutex.h"

namespace naru::ingest {

/// Gives every batch of a topic to a callback, in order by partition, for ever: errors are logged and tried again.
/// Thread-safe.
class TopicFollower {
 public:
  using Callback = std::function<void(const event_log::FetchedBatch&)>;

  /// Starts at `from`; where that is a time, there must be a record from then on, or Passed stays false until one
  /// comes. `callback` runs on the follower's thread. Errors: those of the log.
  static absl::StatusOr<std::unique_ptr<TopicFollower>> Start(event_log::EventLog& log, const std::string& topic,
                                                              std::vector<event_log::ReadPosition> from,
                                                              Callback callback);
  ~TopicFollower();

  /// Next offset of each partition; what is before it went through the callback.
  std::map<int, int64_t> Positions() const;
  /// What the topic held at this moment, for WaitFor and Passed.
  struct Mark {
    std::map<int, int64_t> ends;
  };
  absl::StatusOr<Mark> MarkEnd();
  /// Whether everything up to the mark went through the callback.
  bool Passed(const Mark& mark) const;
  /// Waits until Passed. Errors: DEADLINE_EXCEEDED.
  absl::Status WaitFor(const Mark& mark, std::chrono::milliseconds timeout);

 private:
  TopicFollower(event_log::EventLog& log, std::string topic, Callback callback)
      : log_(log), topic_(std::move(topic)), callback_(std::move(callback)) {}
  void Run();
  bool PassedLocked(const Mark& mark) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  event_log::EventLog& log_;
  const std::string topic_;
  const Callback callback_;
  std::unique_ptr<event_log::Reader> reader_;
  mutable Mutex mu_;
  CondVar moved_;
  std::map<int, int64_t> positions_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace naru::ingest
