// State of single entities (users, sessions): what a metric keeps of each one beside its windows, such as the sessions
// or funnels that are open. One record for each (metric version, source partition, entity) in `aggregates`, committed
// in the same transaction as panes, progress and offsets; read from the serving view when the entity's next event
// comes, dropped from memory when it was not used for long.
//
//     NARU_ASSIGN_OR_RETURN(Entity* entity, state.entities.Get(EntityIdOf(event.subject), received_us));
//     ... read and change entity->state (bytes of the metric's own, with a version byte; empty: nothing) ...
//     state.TouchEntity(entity, received_us);   // MetricState: it changed; counts for the pace of commits
//
// Beside it an index: records with keys of the metric's own choice, to find things in another order than by entity
// (what belongs to a pane, what an entity had before). Both must only be changed by what the log's records say, in the
// order of offsets: then a restart finds exactly what a run without it would have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/aggregator/aggregate_record.h"
#include "services/aggregator/timelines.h"

namespace naru::aggregator {

/// Where committed entities are. Values are as EncodeEntity made them.
class EntitySource {
 public:
  using EntityFn = std::function<bool(const EntityId& id, absl::string_view value)>;
  using IndexFn = std::function<bool(absl::string_view key, absl::string_view value)>;
  virtual ~EntitySource() = default;
  /// Absent: there is none.
  virtual absl::StatusOr<std::optional<std::string>> ReadEntity(const MetricId& metric, int32_t partition,
                                                                const EntityId& id) = 0;
  /// Calls fn for each entity whose id is not less than `from`, in the order of ids, until it returns false.
  virtual absl::Status VisitEntities(const MetricId& metric, int32_t partition, const EntityId& from,
                                     const EntityFn& fn) = 0;
  /// Calls fn for each index record with a key in [from, to) (empty `to`: to the end), in order, until it returns
  /// false.
  virtual absl::Status VisitIndex(const MetricId& metric, int32_t partition, absl::string_view from,
                                  absl::string_view to, const IndexFn& fn) = 0;
};

/// An entity in memory.
class Entity {
 public:
  const EntityId& id() const { return id_; }
  int64_t last_change_us() const { return last_change_us_; }

  /// What the metric knows of it; empty: nothing, and then nothing is stored. To be changed only together with
  /// EntityStore::MarkDirty.
  std::string state;

 private:
  friend class EntityStore;
  EntityId id_;
  int64_t last_change_us_ = kNever;
  int64_t committed_offset_ = -1;
  bool dirty_ = false;
  bool stored_ = false;    // `aggregates` may have a record of it
  size_t heap_bytes_ = 0;  // of the state, as last counted
  Entity* older_ = nullptr;
  Entity* newer_ = nullptr;
};

/// All entities of a metric in a source partition. Not thread-safe.
class EntityStore {
 public:
  /// `source` is borrowed; null: nothing is ever on disk only.
  EntityStore(MetricId metric, int32_t partition, EntitySource* source)
      : metric_(std::move(metric)), partition_(partition), source_(source) {}
  EntityStore(const EntityStore&) = delete;
  EntityStore& operator=(const EntityStore&) = delete;

  /// How long an entity is kept after its last change; by received time.
  void set_retention_us(int64_t retention_us) { retention_us_ = retention_us; }
  /// Nothing of this metric was ever stored here, so an entity that is not in memory is new. Before the first Get.
  void BeginEmpty() { all_in_memory_ = true; }

  /// The entity, read from the source where it is not in memory; one that is not known has an empty state. What was
  /// changed more than the retention before `received_us` (of the event that this is for; kNever: none) is forgotten.
  /// Stays where it is until Evict. Errors: those of the source; DATA_LOSS for damaged bytes.
  absl::StatusOr<Entity*> Get(const EntityId& id, int64_t received_us);
  /// The state has changed because of an event received then. Returns about how many bytes that adds to the next
  /// commit.
  size_t MarkDirty(Entity* entity, int64_t received_us);

  /// Changed since the last commit.
  const std::vector<Entity*>& dirty() const { return dirty_; }
  /// Whether a commit must store something of it: a state, or that it has none any more.
  static bool ToStore(const Entity& entity) { return !entity.state.empty() || entity.stored_; }
  /// What is dirty is committed at this offset of `aggregates`.
  void MarkCommitted(int64_t offset);

  /// Drops the entities that were used longest ago from memory until `bytes` are free, as far as the source has them:
  /// those committed before `applied_offset`. Returns how many bytes became free.
  size_t Evict(int64_t applied_offset, size_t bytes);
  /// Looks at up to `limit` entities of the source, going on where the last call ended and beginning again at the end;
  /// forgets (with the next commit) those unchanged for the retention and kExpirySlackUs before `now_us`. So any number
  /// of entities costs the same. Returns about how many bytes that adds to the next commit.
  absl::StatusOr<size_t> Expire(int64_t now_us, size_t limit);

  /// Calls fn(const Entity&) for each entity in memory with a state, in no order.
  template <typename Fn>
  void ForEachLoaded(Fn&& fn) const {
    for (const auto& [id, entity] : entities_) {
      if (!entity->state.empty()) fn(*entity);
    }
  }
  size_t loaded_count() const { return entities_.size(); }
  /// Memory, about.
  size_t bytes() const;

  /// Clocks of senders differ by less: within it, received times decide what is forgotten, not when Expire looks.
  static constexpr int64_t kExpirySlackUs = int64_t{10} * 60 * 1'000'000;

 private:
  Entity* Add(const EntityId& id);
  void Use(Entity* entity);
  void Unlink(Entity* entity);
  bool IsExpired(const Entity& entity, int64_t now_us) const {
    return entity.last_change_us_ != kNever && now_us != kNever && now_us - entity.last_change_us_ > retention_us_;
  }
  size_t Forget(Entity* entity);
  void CountBytes(Entity* entity);

  const MetricId metric_;
  const int32_t partition_;
  EntitySource* source_;
  int64_t retention_us_ = kForever;
  bool all_in_memory_ = false;
  absl::flat_hash_map<EntityId, std::unique_ptr<Entity>> entities_;
  Entity* oldest_ = nullptr;  // by use
  Entity* newest_ = nullptr;
  std::vector<Entity*> dirty_;
  size_t heap_bytes_ = 0;  // of all states, as last counted
  EntityId expiry_cursor_;
};

/// The index records of a metric in a source partition: what is not yet to be read from the source is in memory, the
/// rest is only there. Not thread-safe.
class EntityIndex {
 public:
  /// As EntityStore.
  EntityIndex(MetricId metric, int32_t partition, EntitySource* source)
      : metric_(std::move(metric)), partition_(partition), source_(source) {}

  /// Stores with the next commit. Return about how many bytes that adds to it.
  size_t Put(absl::string_view key, std::string value) { return Set(key, std::move(value)); }
  size_t Erase(absl::string_view key) { return Set(key, std::nullopt); }
  /// Absent: there is no such record. Errors: those of the source.
  absl::StatusOr<std::optional<std::string>> Get(absl::string_view key);
  /// Calls fn(key, value) for each record with a key in [from, to) (empty `to`: to the end), in order, until it returns
  /// false. fn must not change the index. Errors: those of the source.
  absl::Status Visit(absl::string_view from, absl::string_view to, const EntitySource::IndexFn& fn);

  /// Calls fn(key, value or null) for what changed since the last commit.
  template <typename Fn>
  void ForEachDirty(Fn&& fn) const {
    for (const std::string& key : dirty_) {
      const auto found = changes_.find(key);
      if (found != changes_.end()) fn(absl::string_view(key), found->second.value);
    }
  }
  bool dirty() const { return !dirty_.empty(); }
  void MarkCommitted(int64_t offset);
  /// Forgets what the source has: what was committed before `applied_offset`.
  void DropApplied(int64_t applied_offset);
  size_t bytes() const { return bytes_; }

 private:
  struct Change {
    std::optional<std::string> value;
    bool dirty = false;
    int64_t committed_offset = -1;
  };
  size_t Set(absl::string_view key, std::optional<std::string> value);

  const MetricId metric_;
  const int32_t partition_;
  EntitySource* source_;
  absl::btree_map<std::string, Change, std::less<>> changes_;
  std::vector<std::string> dirty_;
  size_t bytes_ = 0;
};

}  // namespace naru::aggregator
