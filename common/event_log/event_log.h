// The event log: the seam that makes "one process" and "on Kafka" the same program.
//
// A log has topics; a topic has partitions; a partition is a sequence of records with growing offsets (not always
// dense). Two implementations pass one conformance suite (event_log_conformance.h): RocksEventLog in the process and
// KafkaEventLog. A service that reads a topic, keeps state and writes a topic is one code path: consume -> update state
// -> Commit{append changes, offsets}.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace naru::event_log {

/// What a topic is. Partitions are fixed when it is made.
struct TopicConfig {
  std::string name;
  int partitions = 1;
  /// Keep the last value of each key (tombstones included, for `tombstone_retention`), instead of dropping by age.
  bool compacted = false;
  std::chrono::microseconds retention_time{0};  ///< by record timestamp; 0 = for ever
  int64_t retention_bytes = 0;                  ///< a partition; 0 = no limit
  std::chrono::microseconds tombstone_retention = std::chrono::hours(24 * 7);
  /// Embedded: retention keeps what a consumer group has not read, until the partition is this large (0 = 4 times
  /// retention_bytes, or no limit); what is dropped unread then is logged and counted.
  int64_t unread_hard_limit_bytes = 0;
};

/// Offsets of one partition: records lie in [start_offset, end_offset).
struct PartitionInfo {
  int partition = 0;
  int64_t start_offset = 0;
  int64_t end_offset = 0;  ///< on Kafka the last stable offset: nothing before it belongs to an open transaction
};

/// How far a group is behind, over all partitions, in offsets.
struct GroupLag {
  std::string group;
  int64_t lag = 0;
};

struct TopicInfo {
  TopicConfig config;
  std::vector<PartitionInfo> partitions;
  int64_t size_bytes = -1;  ///< -1: not known
  std::vector<GroupLag> groups;
};

/// Headers that all records of a batch share. `schema` names the protobuf message of the values.
struct Headers {
  std::string schema;
  std::string traceparent;  ///< W3C trace context; empty: none
};

/// A record to append. The views are borrowed until Append or Commit calls back.
struct Record {
  absl::string_view key;
  absl::string_view value;
  int64_t timestamp_us = 0;  ///< received time: retention and reading from a time go by it
  bool tombstone = false;    ///< compacted topics: deletes the key
};

/// Records for one partition.
struct AppendBatch {
  std::string topic;
  int partition = 0;
  Headers headers;
  absl::Span<const Record> records;
};

/// A key of the process's own store, written in the same atomic write as the records. Only where
/// EventLog::local_store() is not null.
struct LocalWrite {
  std::string family;
  std::string key;
  std::optional<std::string> value;  ///< absent: deletes
};

/// Where the records of one AppendBatch went.
struct AppendedBatch {
  int64_t base_offset = 0;
  int64_t last_offset = 0;
  /// Empty when offsets are base_offset + index (always so embedded); else one for each record.
  std::vector<int64_t> offsets;
};
using AppendResult = std::vector<AppendedBatch>;

/// Next offset to read, by partition of a topic.
struct GroupOffsets {
  std::string group;
  std::string topic;
  std::vector<std::pair<int, int64_t>> next_offsets;
};

class Consumer;

/// All or nothing: records of several topics, a consumer's offsets, local writes.
struct Transaction {
  std::vector<AppendBatch> appends;
  std::vector<GroupOffsets> offsets;
  /// The consumer whose group generation the offsets belong to; a member of an older generation is refused (ABORTED,
  /// reason FENCED). Null: offsets are stored without a group (single readers).
  Consumer* consumer = nullptr;
  std::vector<LocalWrite> local;
  /// Nobody waits for it: embedded, it may be held back for some milliseconds, to be synced together with what others
  /// append. It is as durable as any other when Commit returns.
  bool patient = false;
};

/// A record as read. Views live as long as the FetchedBatch it came in.
struct FetchedRecord {
  int64_t offset = 0;
  int64_t timestamp_us = 0;
  absl::string_view key;
  absl::string_view value;
  bool tombstone = false;
};

/// Records of one partition, in order; possibly none, when only the position moved (past removed records, or what Kafka
/// keeps about transactions). Owns the bytes. Movable.
struct FetchedBatch {
  std::string topic;
  int partition = 0;
  Headers headers;
  std::vector<FetchedRecord> records;
  int64_t next_offset = 0;  ///< where to go on after this batch (skips removed records)
  std::shared_ptr<const void> owner;
};

/// Reads given partitions from given positions, without a group. Not thread-safe, but Cancel is.
class Reader {
 public:
  virtual ~Reader() = default;
  /// Returns at most about `max_bytes` of records, waiting up to `max_wait` for the first. Empty: nothing came in time.
  /// Errors: OUT_OF_RANGE when the position was removed by retention (the message names the lost range; the next Poll
  /// goes on at the oldest record); DATA_LOSS for a damaged range (reported once, then skipped); UNAVAILABLE (retry);
  /// CANCELLED after Cancel.
  virtual absl::StatusOr<std::vector<FetchedBatch>> Poll(std::chrono::milliseconds max_wait, size_t max_bytes) = 0;
  /// Makes the current and all later Polls return CANCELLED.
  virtual void Cancel() = 0;
};

/// Where a Reader starts in one partition.
struct ReadPosition {
  int partition = 0;
  enum class Kind { kOffset, kTime, kEnd } kind = Kind::kOffset;
  int64_t value = 0;  ///< offset, or microseconds; offsets below the oldest record mean the oldest
};

/// What a group member is told, on the thread that polls.
struct RebalanceListener {
  /// These partitions are now this member's; called before any of their records. Returns where to start reading each
  /// partition (the larger of this and the committed offset is used; an empty answer = committed offsets).
  std::function<std::vector<std::pair<int, int64_t>>(const std::vector<int>& partitions)> assigned;
  /// About to be taken away: commit or abort now.
  std::function<void(const std::vector<int>& partitions)> revoked;
  /// Already gone (this member was too slow): throw their state away.
  std::function<void(const std::vector<int>& partitions)> lost;
};

/// A member of a consumer group: the partitions of a topic are shared out among the members (cooperative rebalance).
/// Not thread-safe, but Cancel is.
class Consumer {
 public:
  virtual ~Consumer() = default;
  /// As Reader::Poll, for the partitions assigned; runs the listener.
  virtual absl::StatusOr<std::vector<FetchedBatch>> Poll(std::chrono::milliseconds max_wait, size_t max_bytes) = 0;
  /// Stops (or goes on) fetching all assigned partitions, keeping membership alive by Poll: bounded memory downstream.
  virtual void SetPaused(bool paused) = 0;
  /// Goes back (or on) to `offset` in an assigned partition.
  virtual absl::Status Seek(int partition, int64_t offset) = 0;
  virtual std::vector<int> Assignment() const = 0;
  virtual void Cancel() = 0;
};

struct ProducerOptions {
  /// Not empty: Commit may be used; a later producer of the same id fences this one (ABORTED, reason FENCED).
  std::string transactional_id;
};

/// Appends. Thread-safe.
class Producer {
 public:
  virtual ~Producer() = default;
  using Callback = std::function<void(absl::StatusOr<AppendResult>)>;

  /// Appends; `done` is called once everything is durable (synced, or acks=all), from a thread of the log, in the order
  /// of the calls; it must not block. The batches' views must live until then. Embedded: all batches and `local` are
  /// one atomic write. On Kafka a failure may leave some of the records stored. Errors: RESOURCE_EXHAUSTED (disk nearly
  /// full, or too much in flight: retry later), UNAVAILABLE, NOT_FOUND (topic).
  virtual void AppendAsync(std::vector<AppendBatch> batches, std::vector<LocalWrite> local, Callback done) = 0;

  /// AppendAsync and wait.
  absl::StatusOr<AppendResult> Append(std::vector<AppendBatch> batches, std::vector<LocalWrite> local = {});

  /// Commits all or nothing. Needs a transactional id. One at a time.
  /// Errors: as AppendAsync; ABORTED with reason FENCED when a newer producer or group generation took over: throw
  /// state away and start again.
  virtual absl::StatusOr<AppendResult> Commit(const Transaction& transaction) = 0;
};

/// Keys and values of this process, in column families, in the same database as an embedded log. Thread-safe.
class LocalStore {
 public:
  virtual ~LocalStore() = default;
  /// Makes the family if it is not there. Families: `ids`, `state`, ...
  virtual absl::Status EnsureFamily(const std::string& family) = 0;
  virtual absl::StatusOr<std::optional<std::string>> Get(const std::string& family, absl::string_view key) = 0;
  /// Looks up many keys of one family, in order.
  virtual absl::StatusOr<std::vector<std::optional<std::string>>> MultiGet(const std::string& family,
                                                                           absl::Span<const std::string> keys) = 0;
  /// Calls fn(key, value) for each key in [from, to) in order until it returns false; empty `to` = to the end.
  virtual absl::Status Scan(const std::string& family, absl::string_view from, absl::string_view to,
                            const std::function<bool(absl::string_view, absl::string_view)>& fn) = 0;
  /// Writes all or nothing; synced if `sync`.
  virtual absl::Status Write(absl::Span<const LocalWrite> writes, bool sync) = 0;
  /// Removes the keys in [from, to) and gives their space back cheaply.
  virtual absl::Status DeleteRange(const std::string& family, absl::string_view from, absl::string_view to) = 0;
  virtual int64_t ApproximateBytes(const std::string& family) = 0;
};

/// What opening found and mended, or a broker reported. In words, for people; also as metrics.
struct RecoveryReport {
  std::vector<std::string> notes;
};

/// Thread-safe.
class EventLog {
 public:
  virtual ~EventLog() = default;

  /// Makes the topic, or changes its retention. FAILED_PRECONDITION when it exists with other partitions or compaction.
  virtual absl::Status CreateTopic(const TopicConfig& config) = 0;
  virtual absl::StatusOr<TopicInfo> DescribeTopic(const std::string& topic) = 0;
  virtual absl::StatusOr<std::vector<std::string>> ListTopics() = 0;

  virtual absl::StatusOr<std::unique_ptr<Producer>> OpenProducer(const ProducerOptions& options) = 0;
  virtual absl::StatusOr<std::unique_ptr<Reader>> OpenReader(const std::string& topic,
                                                             std::vector<ReadPosition> positions) = 0;
  virtual absl::StatusOr<std::unique_ptr<Consumer>> OpenConsumer(const std::string& group, const std::string& topic,
                                                                 RebalanceListener listener) = 0;
  /// Next offsets that a group has committed; partitions without one are left out.
  virtual absl::StatusOr<std::vector<std::pair<int, int64_t>>> CommittedOffsets(const std::string& group,
                                                                                const std::string& topic) = 0;
  /// Forgets a group (it no longer holds back retention).
  virtual absl::Status DeleteGroup(const std::string& group, const std::string& topic) = 0;

  /// Applies retention and compaction now (they also run in the background).
  virtual absl::Status RunMaintenance() = 0;

  /// The store in the same database, for LocalWrite; null on Kafka.
  virtual LocalStore* local_store() = 0;
  virtual RecoveryReport recovery_report() = 0;
  /// OK when the log can take records now; else why not (health, status).
  virtual absl::Status Health() = 0;
  /// Free bytes on the log's disk; -1 when that is not this process's affair.
  virtual int64_t disk_free_bytes() = 0;
};

/// Reason of the RESOURCE_EXHAUSTED that an append fails with when more bytes are under way than the log takes: it
/// holds nothing of it, and there is room again in a moment.
inline constexpr char kTooMuchInFlight[] = "TOO_MUCH_IN_FLIGHT";

/// Names of Naru's topics, before the settable prefix (which implementations add).
inline constexpr char kEventsTopic[] = "events";
inline constexpr char kDeadLetterTopic[] = "events.dlq";
inline constexpr char kLateTopic[] = "events.late";
inline constexpr char kAggregatesTopic[] = "aggregates";
inline constexpr char kCatalogTopic[] = "naru.catalog";
/// Compacted: import ledgers, positions in others' topics, accounting of what the log cannot tell by itself.
inline constexpr char kLedgerTopic[] = "naru.ledger";

/// Names of the schemas that records of these topics have (`Headers::schema`).
inline constexpr char kEventSchema[] = "naru.event.v1.Event";
inline constexpr char kRejectedSchema[] = "naru.ingest.v1.RejectedEvent";
inline constexpr char kLedgerSchema[] = "naru.ingest.v1.LedgerEntry";

/// The partition of `key` among `partitions`: the same on every implementation and for ever (XXH3 64 of the key).
int PartitionOf(absl::string_view key, int partitions);

}  // namespace naru::event_log
