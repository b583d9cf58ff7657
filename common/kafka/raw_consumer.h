// Reads messages of Kafka topics as they are, from positions that the caller keeps.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/kafka/admin.h"
#include "common/kafka/options.h"

namespace naru::kafka {

struct RawHeader {
  absl::string_view name;
  absl::string_view value;
};

/// A message as read. Views live as long as the RawBatch it came in.
struct RawMessage {
  int64_t offset = 0;
  int64_t timestamp_us = 0;  ///< 0 when the message has none; Kafka's resolution is a millisecond
  absl::string_view key;
  absl::string_view value;
  bool null_value = false;  ///< a tombstone, in a compacted topic
  absl::Span<const RawHeader> headers;
};

/// Messages of one partition, in order; possibly none, when only the position moved (markers of transactions).
struct RawBatch {
  std::string topic;
  int partition = 0;
  std::vector<RawMessage> messages;
  int64_t next_offset = 0;  ///< where to go on after this batch
  std::shared_ptr<const void> owner;
};

/// Where to start reading one partition.
struct RawPosition {
  std::string topic;
  int partition = 0;
  enum class Kind { kOffset, kTime, kStart, kEnd } kind = Kind::kOffset;
  int64_t value = 0;  ///< offset, or microseconds; an offset below the oldest message means the oldest
};

struct RawConsumerOptions {
  ClientOptions client;
  /// What CommitAdvisory commits for; no group is joined.
  std::string group = "naru";
  /// About this much is fetched ahead, at most.
  size_t fetch_ahead_bytes = size_t{16} << 20;
  std::chrono::milliseconds timeout = std::chrono::seconds(10);  ///< of calls that ask the cluster
};

/// Reads given partitions, without joining a group; sees committed transactions only. Not thread-safe, but Cancel is.
class RawConsumer {
 public:
  /// Does not connect. Errors: INVALID_ARGUMENT names the wrong setting.
  static absl::StatusOr<std::unique_ptr<RawConsumer>> Open(const RawConsumerOptions& options);
  ~RawConsumer();

  /// Partitions that a topic has now. Errors: NOT_FOUND; UNAVAILABLE.
  absl::StatusOr<int> PartitionCount(const std::string& topic);
  /// Offsets of the cluster, as Admin::Offsets: for lag, and to know when a topic was read to its end.
  absl::StatusOr<PartitionOffsets> Offsets(const std::string& topic, const std::vector<int>& partitions, Admin::At at,
                                           int64_t time_ms = 0);

  /// Reads these partitions, and no others, from here on. Errors: NOT_FOUND (topic or partition); UNAVAILABLE.
  absl::Status Assign(const std::vector<RawPosition>& positions);

  /// Returns at most about `max_bytes` of messages, waiting up to `max_wait` for the first. Empty: nothing came in
  /// time. Errors: OUT_OF_RANGE when a position is not there any more (the message names the lost range; the next Poll
  /// goes on at the oldest message); DATA_LOSS for a damaged message (reported once, then skipped); UNAVAILABLE when no
  /// broker can be reached (retry); NOT_FOUND; PERMISSION_DENIED; CANCELLED after Cancel.
  absl::StatusOr<std::vector<RawBatch>> Poll(std::chrono::milliseconds max_wait, size_t max_bytes);

  /// Tells the cluster how far the group has read (next offsets), for its own tools to show; nothing here reads it
  /// back. Does not wait, and a failure is only logged.
  absl::Status CommitAdvisory(const std::vector<RawPosition>& next);

  /// Makes the current and all later Polls return CANCELLED.
  void Cancel();

 private:
  struct State;
  explicit RawConsumer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace naru::kafka
