// The way of an event into the log, whoever brings it: a call, an import or a Source.
//
// parse -> type -> schema -> de-duplicate -> partition -> add what the server knows -> append (events, dead letters,
// ids, accounting: one atomic write where the log is embedded) -> answer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/event_log/event_log.h"

namespace naru::ingest::v1 {
enum RejectReason : int;
}

namespace naru::ingest {

/// A line that did not even become an event. Views are borrowed until the batch is done.
struct RejectedLine {
  v1::RejectReason reason;
  absl::string_view field;     ///< of the line; may be empty
  absl::string_view value;     ///< uncut
  absl::string_view expected;  ///< what would be right
  absl::string_view line;      ///< the bytes as they came
  int64_t position = 0;        ///< line number from 1, or offset in the topic it came from
  absl::string_view line_id;   ///< of the hash chain
};

/// The line that an event was made of: what its dead letter keeps if the event is rejected.
struct EventLine {
  absl::string_view line;
  int64_t position = 0;
  absl::string_view line_id;
};

/// A record of the caller's own (a ledger entry, a timeline's end) that is stored together with the events or not at
/// all.
struct ExtraRecord {
  std::string topic;
  int partition = 0;
  std::string schema;  ///< full name of the value's message
  std::string key;
  std::string value;
  bool tombstone = false;
};

/// What is taken in one go. All views must stay valid until `done` was called; `owner` may hold what they point into.
struct Batch {
  std::vector<absl::string_view> events;  ///< encoded naru.event.v1.Event, at most kMaxBatchEvents
  std::shared_ptr<const void> owner;
  std::string traceparent;      ///< stored in the records' headers
  bool return_offsets = false;  ///< fill BatchResult::event_offsets

  // Imports and Sources.
  std::string timeline;                ///< empty: live
  std::vector<EventLine> lines;        ///< empty, or one for each of `events`
  std::vector<RejectedLine> rejected;  ///< counted as received and rejected; each becomes a dead letter
  int64_t known_duplicates = 0;        ///< lines that the ledger knows, good or bad: only counted
  std::string format;                  ///< dead letters of lines: name of the InputFormat
  std::string origin;                  ///< dead letters of lines: file or topic; `:position` is added
  std::string import_source;           ///< dead letters of lines: the source given to the import
  std::vector<ExtraRecord> extra;
  std::vector<event_log::LocalWrite> local;  ///< only where the log is embedded

  // On Kafka, of batches with `extra`.
  /// What BeginSession gave before the log was read for what `extra` goes by; 0: it goes by nothing.
  int64_t session = 0;
  /// Not null: stored only while this member of the group has the partition of `offsets`. Borrowed until `done`.
  event_log::Consumer* consumer = nullptr;
  event_log::GroupOffsets offsets;

  /// Dead letters taken again: (partition, offset) in `events.dlq` for each of `events`, else empty. What is accepted
  /// then counts as replayed (not as received); what is rejected again is not counted and leaves no second dead letter.
  /// A letter of which nothing is rejected is marked as replayed, in the same write.
  std::vector<std::pair<int32_t, int64_t>> replayed_from;
};

/// An event that was not stored.
struct NotAccepted {
  int32_t index = 0;       ///< in Batch::events
  bool duplicate = false;  ///< else rejected, and the rest is filled in
  v1::RejectReason reason{};
  std::string field;
  std::string value;  ///< at most 64 bytes; empty for personal fields
  std::string expected;
};

/// Where an accepted event is.
struct StoredAt {
  int32_t index = 0;
  int32_t partition = 0;
  int64_t offset = 0;
};

/// What became of a batch: received = accepted + duplicate + rejected + filtered (of `events` and `rejected` together
/// with known_duplicates). Filtered are events that their type excludes: stored nowhere.
struct BatchResult {
  int64_t received = 0;
  int64_t accepted = 0;
  int64_t duplicate = 0;
  int64_t rejected = 0;
  int64_t filtered = 0;
  std::vector<NotAccepted> not_accepted;                  ///< by ascending index
  std::vector<std::pair<int32_t, int64_t>> last_offsets;  ///< (partition, offset), by ascending partition
  std::vector<StoredAt> event_offsets;                    ///< by ascending index; filtered events have none
};

/// Limits of one batch.
inline constexpr size_t kMaxBatchEvents = 10'000;
inline constexpr size_t kMaxBatchBytes = size_t{4} << 20;

/// Takes batches. Thread-safe.
class IngestPipeline {
 public:
  using Done = std::function<void(absl::StatusOr<BatchResult>)>;
  virtual ~IngestPipeline() = default;

  /// Takes a batch; `done` is called once, when everything in it is durable and every duplicate in it is a duplicate of
  /// something durable. It may be called before Submit returns, from any thread, and must not block.
  /// A batch is not atomic for its events, but `extra` and `local` are stored exactly when all that is accepted is: in
  /// the same atomic write embedded, in one transaction on Kafka (batches with `extra` then go one after another, about
  /// 15 ms each). Errors: INVALID_ARGUMENT (BATCH_TOO_LARGE); RESOURCE_EXHAUSTED (disk nearly full: retry later);
  /// UNAVAILABLE (the log cannot be reached, or the first of a duplicate's pair was not stored: retry with the same
  /// ids); ABORTED (on Kafka, of batches with `extra`: another ingest took over, or nobody knows whether it was stored:
  /// begin a session, read again what is stored, and go on from there; never with the same batch). After an error the
  /// ids of the batch count as never seen, whatever a Kafka may have stored of it.
  virtual void Submit(Batch batch, Done done) = 0;

  /// To be called before a ledger or positions are read from the log: nothing that was begun under this ingest's name
  /// before is still to come, and batches of the session are refused once that may have changed. 0 where nothing can
  /// take over. Blocks. Errors: UNAVAILABLE.
  virtual absl::StatusOr<int64_t> BeginSession() { return 0; }

  /// Submit and wait. Not from a `done`.
  absl::StatusOr<BatchResult> SubmitAndWait(Batch batch);
};

}  // namespace naru::ingest
