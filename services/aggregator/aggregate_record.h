// What the topic `aggregates` holds, and in the same bytes the serving view's store: keys that sort by metric, version,
// source partition and window, and their values. Everything begins with a format version.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/aggregator/measure.h"
#include "services/aggregator/timelines.h"

namespace naru::aggregator {

/// Schema named in the records' headers.
inline constexpr char kAggregateSchema[] = "naru.aggregator.aggregate.v1";

/// One version of a metric.
struct MetricId {
  std::string name;
  int32_t version = 0;
  friend bool operator==(const MetricId&, const MetricId&) = default;
  friend auto operator<=>(const MetricId&, const MetricId&) = default;
};

/// What a record is about. Numbers are stored, in this order.
enum class RecordKind : uint8_t {
  kHead = 0,         ///< how far a source partition is read; not of a metric
  kProgress = 1,     ///< how far a metric is in a source partition
  kSpec = 2,         ///< the metric's definition (an encoded naru.catalog.v1.Metric)
  kPane = 3,         ///< what is known of all groups of a pane
  kRow = 4,          ///< the states of one group in one pane
  kEntity = 5,       ///< what is open of one entity (a user, a session); see entity_store.h
  kEntityIndex = 6,  ///< what a metric wants to find by an order of its own
};

/// An entity as stored: a hash of its text that is wide enough to stand for it.
struct EntityId {
  uint64_t high = 0;
  uint64_t low = 0;
  friend bool operator==(const EntityId&, const EntityId&) = default;
  friend auto operator<=>(const EntityId&, const EntityId&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const EntityId& id) {
    return H::combine(std::move(h), id.low);
  }
};
/// Part of stored keys: never changes (XXH3, 128 bits).
EntityId EntityIdOf(absl::string_view entity);
inline constexpr size_t kEntityIdBytes = 16;
/// As it is in keys; sorts as ids do.
void AppendEntityId(const EntityId& id, std::string* out);
/// Takes an id off the front of `*bytes`.
bool ReadEntityId(absl::string_view* bytes, EntityId* id);

/// A key taken apart. Views into the key.
struct RecordKey {
  RecordKind kind = RecordKind::kHead;
  absl::string_view metric;
  int32_t version = 0;
  int32_t partition = 0;
  int64_t pane_start_us = 0;  ///< kPane, kRow
  absl::string_view group;    ///< kRow
  EntityId entity;            ///< kEntity
  absl::string_view index;    ///< kEntityIndex: any bytes
};
std::string EncodeKey(const RecordKey& key);
/// Appends to `*out` instead.
void AppendKey(const RecordKey& key, std::string* out);
/// False for what is not a key of this format.
bool DecodeKey(absl::string_view bytes, RecordKey* key);
/// What all keys of the metric in the partition begin with.
std::string KeyPrefix(const MetricId& metric, int32_t partition);
/// What the keys of all rows of a pane begin with.
std::string RowPrefix(const MetricId& metric, int32_t partition, int64_t pane_start_us);
/// What the keys of all records of a kind begin with.
std::string KindPrefix(const MetricId& metric, int32_t partition, RecordKind kind);
/// The smallest key that is greater than all that begin with `prefix`; empty: there is none.
std::string PrefixEnd(absl::string_view prefix);

/// How far a source partition is read by the group: what the next owner must find in its view before it goes on.
struct HeadRecord {
  int64_t next_offset = 0;
};
std::string EncodeHead(const HeadRecord& head);
bool DecodeHead(absl::string_view bytes, HeadRecord* head);

/// What happened to the events that a metric has seen, in one partition.
struct EventCounts {
  int64_t matched = 0;
  int64_t not_matched = 0;
  int64_t failed_expressions = 0;
  int64_t late = 0;
};

/// How far a metric is in one source partition.
struct Progress {
  int64_t next_offset = 0;
  /// It has caught up with the group: a rebuilt version may answer once this holds in all partitions.
  bool joined = false;
  /// The log no longer reached back to its beginning when this version was built: received time of the first record
  /// seen.
  std::optional<int64_t> valid_from_us;
  EventCounts counts;
  std::vector<Timeline> timelines;
};
std::string EncodeProgress(const Progress& progress);
bool DecodeProgress(absl::string_view bytes, Progress* progress);

/// What is known of all groups of a pane, in one source partition.
struct PaneRecord {
  int64_t last_change_us = 0;  ///< greatest received time of an event in it: retention counts from it
  int64_t group_count = 0;
  bool truncated = false;  ///< groups beyond max_groups went to kOtherGroup
  bool first = false;      ///< the pane's first commit: no row of it was stored before this record
};
std::string EncodePane(const PaneRecord& pane);
bool DecodePane(absl::string_view bytes, PaneRecord* pane);

/// How often a row was changed after it was final, by the end of the last window that was final then: a change counts
/// for each window of the pane that ends there or before.
using Revisions = std::vector<std::pair<int64_t, int32_t>>;
/// Counts `count` more of them for windows that end at `end_us`.
void AddRevisions(int64_t end_us, int32_t count, Revisions* revisions);

/// What is stored of an entity.
struct EntityRecord {
  int64_t last_change_us = 0;  ///< greatest received time of an event that changed it: retention counts from it
  absl::string_view state;     ///< whatever the metric keeps; views into what was decoded
};
std::string EncodeEntity(const EntityRecord& entity);
bool DecodeEntity(absl::string_view bytes, EntityRecord* entity);

/// Appends a row's value.
void EncodeRow(const Revisions& revisions, const CellLayout& layout, const char* cell, std::string* out);
/// Reads what comes before the states, taking it off the front of `*bytes`. `*revisions` may be null.
bool ReadRowHeader(absl::string_view* bytes, Revisions* revisions);
/// Adds a row's states to `cell`. False for damaged bytes.
bool MergeRow(absl::string_view bytes, const CellLayout& layout, char* cell, Revisions* revisions);

}  // namespace naru::aggregator
