// Where a Sink's rows go: Redis, PostgreSQL and a topic are written through this interface, and pass one suite
// (sink_writer_conformance.h).
//
// A row has a version: (epoch, metric version, position). The epoch grows with each new writer and each fill; the
// position is the sum of the offsets of `aggregates` up to which the row holds everything. The store itself refuses a
// row that is older than what it has, so a writer that was taken for dead and wakes up changes nothing.
//
// A store holds a mark for each metric, which every turn moves on: a store whose mark is missing, or older than the
// last one, was emptied, or fell back to an older state, and must be filled again.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/event_log/event_log.h"
#include "services/aggregator/window_query.h"

namespace naru::aggregator {

/// Most rows of one Write.
inline constexpr size_t kMaxSinkBatchRows = 1000;

/// What the rows of one (sink, metric) look like: their values are in the order of these names.
struct SinkLayout {
  std::string sink;
  std::string metric;
  int32_t metric_version = 0;
  int64_t retention_us = 0;
  int64_t window_us = 0;    ///< about how long a window is
  bool cumulative = false;  ///< windows are told apart by their ends, too
  std::vector<std::string> dimensions;
  std::vector<std::string> measures;
  std::vector<MeasureShape> shapes;  ///< one for each of `measures`
  /// Rows of another Sink in the same place become this one's. Otherwise they are left alone, and Prepare fails.
  bool take_over = false;
};
SinkLayout MakeSinkLayout(const std::string& sink, const MetricPlan& plan);

/// What a turn leaves in the store.
struct SinkMark {
  int64_t epoch = 0;
  int64_t sequence = 0;
  friend auto operator<=>(const SinkMark&, const SinkMark&) = default;
};

/// What rows are written together.
struct SinkTurn {
  int64_t epoch = 0;
  /// All rows are written; what is older than `epoch` at the end is removed.
  bool fill = false;
  /// The mark that the store must have, or a newer one; not with `fill`.
  SinkMark expected;
};

/// A row of a window with what a store needs beside it.
struct SinkRow {
  ResultRow result;
  int64_t expire_time_us = 0;  ///< by the aggregator's clock; then the store may forget it
};

/// A row that the store will never take.
struct RefusedRow {
  size_t index = 0;     ///< in what was given to Write
  std::string reason;   ///< the store's own code
  std::string message;  ///< what it said
};

/// Writes the rows of one (sink, metric). For one thread, but Cancel is thread-safe. Whatever fails with UNAVAILABLE
/// may be tried again from Prepare on. Other errors that callers tell apart: ABORTED with reason FENCED (a newer writer
/// has been here), DATA_LOSS with reason STORE_EMPTIED (fill it again). The rest waits for somebody to mend it.
class SinkWriter {
 public:
  virtual ~SinkWriter() = default;

  /// Connects where it is not connected, and makes or changes what rows of this layout need. Changes that readers of
  /// the old rows would see wait for Begin of a fill. Errors: also FAILED_PRECONDITION (STORE_TAKEN) where another Sink
  /// writes.
  virtual absl::Status Prepare(const SinkLayout& layout) = 0;
  /// The mark as it is in the store; absent: the store was emptied, or never filled.
  virtual absl::StatusOr<std::optional<SinkMark>> ReadMark() = 0;
  /// False: the store keeps no mark, and cannot tell that it was emptied.
  virtual bool keeps_mark() const { return true; }

  /// Whether rows vanish at their expire time by themselves, so that those of a window whose time has moved on must be
  /// written again.
  virtual bool expires_rows() const { return false; }

  virtual absl::Status Begin(const SinkTurn& turn) = 0;
  /// Writes at most kMaxSinkBatchRows rows of different keys. Rows older than those stored change nothing and are no
  /// error.
  virtual absl::Status Write(absl::Span<const SinkRow> rows, int64_t position, std::vector<RefusedRow>* refused) = 0;
  /// Removes at most kMaxSinkBatchRows rows of different keys, as far as those stored are not newer. Of a row given
  /// only its window and its group are looked at; one that is not there is no error.
  virtual absl::Status Remove(absl::Span<const SinkRow> rows, int64_t position) = 0;
  /// Ends the turn and leaves `mark`. Until then readers may or may not see what was written.
  virtual absl::Status Finish(const SinkMark& mark) = 0;
  /// Gives the turn up, after an error or instead of Finish. Rows may stay.
  virtual void Abandon() = 0;

  /// Gives back the space of rows whose time is over, where the store does not do so by itself. `now_us`: the time.
  virtual absl::Status Expire(int64_t now_us) = 0;
  /// Removes everything of the metric. `epoch`: greater than all before.
  virtual absl::Status Drop(int64_t epoch) = 0;
  /// Makes the call under way, and all later ones, fail soon.
  virtual void Cancel() {}
};

/// Appends under the ownership of one (sink, metric).
class SinkFence {
 public:
  virtual ~SinkFence() = default;
  /// All or nothing. Errors: ABORTED (FENCED) once another has taken over; those of the log.
  virtual absl::Status Append(std::vector<event_log::AppendBatch> appends) = 0;
};

absl::Status SinkFenced();
absl::Status SinkStoreEmptied(const std::string& what);
absl::Status SinkStoreTaken(const std::string& where, const std::string& other_sink);
bool IsSinkFenced(const absl::Status& status);
bool IsSinkStoreEmptied(const absl::Status& status);

}  // namespace naru::aggregator
