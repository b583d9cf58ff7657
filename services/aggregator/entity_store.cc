#include "services/aggregator/entity_store.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"

namespace naru::aggregator {
namespace {

constexpr size_t kKeyBytes = 64;          // of a record, about
constexpr size_t kChangeBytes = 112;      // of a change in memory, beside key and value
constexpr size_t kMapBytesAnEntity = 40;  // of the hash table, at its usual load

}  // namespace

void EntityStore::Unlink(Entity* entity) {
  (entity->older_ != nullptr ? entity->older_->newer_ : oldest_) = entity->newer_;
  (entity->newer_ != nullptr ? entity->newer_->older_ : newest_) = entity->older_;
}

void EntityStore::Use(Entity* entity) {
  if (newest_ == entity) return;
  Unlink(entity);
  entity->older_ = newest_;
  entity->newer_ = nullptr;
  (newest_ != nullptr ? newest_->newer_ : oldest_) = entity;
  newest_ = entity;
}

Entity* EntityStore::Add(const EntityId& id) {
  auto made = std::make_unique<Entity>();
  Entity* entity = made.get();
  entity->id_ = id;
  entity->older_ = newest_;
  (newest_ != nullptr ? newest_->newer_ : oldest_) = entity;
  newest_ = entity;
  entities_.emplace(id, std::move(made));
  return entity;
}

absl::StatusOr<Entity*> EntityStore::Get(const EntityId& id, int64_t received_us) {
  const auto found = entities_.find(id);
  if (found != entities_.end()) {
    Entity* entity = found->second.get();
    Use(entity);
    if (IsExpired(*entity, received_us)) Forget(entity);
    return entity;
  }
  if (all_in_memory_ || source_ == nullptr) return Add(id);
  NARU_ASSIGN_OR_RETURN(const std::optional<std::string> value, source_->ReadEntity(metric_, partition_, id));
  Entity* entity = Add(id);
  if (!value.has_value()) return entity;
  EntityRecord record;
  if (!DecodeEntity(*value, &record)) {
    return MakeError(absl::StatusCode::kDataLoss, "STATE_DAMAGED",
                     absl::StrCat("a stored entity of metric ", metric_.name, " cannot be read"));
  }
  entity->stored_ = true;
  entity->last_change_us_ = record.last_change_us;
  entity->state = std::string(record.state);
  CountBytes(entity);
  if (IsExpired(*entity, received_us)) Forget(entity);
  return entity;
}

size_t EntityStore::MarkDirty(Entity* entity, int64_t received_us) {
  Use(entity);
  entity->last_change_us_ = std::max(entity->last_change_us_, received_us);
  if (entity->dirty_) return 0;
  entity->dirty_ = true;
  dirty_.push_back(entity);
  CountBytes(entity);
  return kKeyBytes + entity->state.size();
}

// States grow after they were marked, so they are counted again when they are committed.
void EntityStore::CountBytes(Entity* entity) {
  static const size_t kInPlace = std::string().capacity();
  const size_t bytes = entity->state.capacity() > kInPlace ? entity->state.capacity() + 1 : 0;
  heap_bytes_ += bytes - entity->heap_bytes_;
  entity->heap_bytes_ = bytes;
}

size_t EntityStore::Forget(Entity* entity) {
  entity->state.clear();
  return MarkDirty(entity, entity->last_change_us_);
}

void EntityStore::MarkCommitted(int64_t offset) {
  for (Entity* entity : dirty_) {
    entity->dirty_ = false;
    entity->stored_ = !entity->state.empty();
    entity->committed_offset_ = offset;
    CountBytes(entity);
  }
  dirty_.clear();
}

size_t EntityStore::bytes() const {
  return entities_.size() * (sizeof(Entity) + kMapBytesAnEntity) + heap_bytes_ + dirty_.capacity() * sizeof(Entity*);
}

size_t EntityStore::Evict(int64_t applied_offset, size_t bytes) {
  size_t freed = 0;
  // Whatever changed was used then, so behind the first that must stay there is little that may go.
  while (freed < bytes && oldest_ != nullptr && !oldest_->dirty_ && oldest_->committed_offset_ < applied_offset) {
    Entity* entity = oldest_;
    if (entity->stored_) all_in_memory_ = false;
    freed += sizeof(Entity) + kMapBytesAnEntity + entity->heap_bytes_;
    heap_bytes_ -= entity->heap_bytes_;
    Unlink(entity);
    entities_.erase(entity->id_);
  }
  return freed;
}

absl::StatusOr<size_t> EntityStore::Expire(int64_t now_us, size_t limit) {
  if (source_ == nullptr || limit == 0) return size_t{0};
  struct Found {
    EntityId id;
    int64_t last_change_us;
  };
  std::vector<Found> old;
  size_t seen = 0;
  EntityId last;
  NARU_RETURN_IF_ERROR(
      source_->VisitEntities(metric_, partition_, expiry_cursor_, [&](const EntityId& id, absl::string_view value) {
        EntityRecord record;
        last = id;
        const int64_t before_us = now_us - kExpirySlackUs;
        if (DecodeEntity(value, &record) && before_us - record.last_change_us > retention_us_) {
          old.push_back({id, record.last_change_us});
        }
        return ++seen < limit;
      }));
  expiry_cursor_ = EntityId{};
  if (seen == limit) {
    expiry_cursor_ = {last.high, last.low + 1};
    if (expiry_cursor_.low == 0) ++expiry_cursor_.high;
  }
  size_t bytes = 0;
  for (const Found& found : old) {
    const auto loaded = entities_.find(found.id);
    Entity* entity = loaded != entities_.end() ? loaded->second.get() : Add(found.id);
    if (loaded == entities_.end()) {
      entity->stored_ = true;
      entity->last_change_us_ = found.last_change_us;
    }
    // In memory it may be newer than what the source has.
    if (IsExpired(*entity, now_us - kExpirySlackUs)) bytes += Forget(entity);
  }
  return bytes;
}

size_t EntityIndex::Set(absl::string_view key, std::optional<std::string> value) {
  const auto found = changes_.find(key);
  if (found == changes_.end()) {
    bytes_ += kChangeBytes + key.size() + (value.has_value() ? value->size() : 0);
    const size_t added = kKeyBytes + key.size() + (value.has_value() ? value->size() : 0);
    changes_.emplace(std::string(key), Change{std::move(value), true, -1});
    dirty_.emplace_back(key);
    return added;
  }
  Change& change = found->second;
  bytes_ += (value.has_value() ? value->size() : 0) - (change.value.has_value() ? change.value->size() : 0);
  const size_t added = kKeyBytes + key.size() + (value.has_value() ? value->size() : 0);
  change.value = std::move(value);
  if (change.dirty) return 0;
  change.dirty = true;
  dirty_.emplace_back(key);
  return added;
}

absl::StatusOr<std::optional<std::string>> EntityIndex::Get(absl::string_view key) {
  std::optional<std::string> result;
  // One byte more than a key makes the next possible one.
  std::string end(key);
  end.push_back('\0');
  NARU_RETURN_IF_ERROR(Visit(key, end, [&](absl::string_view, absl::string_view value) {
    result = std::string(value);
    return false;
  }));
  return result;
}

absl::Status EntityIndex::Visit(absl::string_view from, absl::string_view to, const EntitySource::IndexFn& fn) {
  if (!to.empty() && from >= to) return absl::OkStatus();
  auto change = changes_.lower_bound(from);
  const auto end = to.empty() ? changes_.end() : changes_.lower_bound(to);
  bool go_on = true;
  // Gives the changes before `key`, and says whether there is one of `key` itself, which then stands for it.
  const auto take_changes = [&](const absl::string_view* key) {
    while (go_on && change != end && (key == nullptr || change->first <= *key)) {
      const bool same = key != nullptr && change->first == *key;
      if (change->second.value.has_value()) go_on = fn(change->first, *change->second.value);
      ++change;
      if (same) return true;
    }
    return false;
  };
  if (source_ != nullptr) {
    NARU_RETURN_IF_ERROR(
        source_->VisitIndex(metric_, partition_, from, to, [&](absl::string_view key, absl::string_view value) {
          const bool replaced = take_changes(&key);
          if (go_on && !replaced) go_on = fn(key, value);
          return go_on;
        }));
  }
  take_changes(nullptr);
  return absl::OkStatus();
}

void EntityIndex::MarkCommitted(int64_t offset) {
  for (const std::string& key : dirty_) {
    const auto found = changes_.find(key);
    if (found == changes_.end()) continue;
    found->second.dirty = false;
    found->second.committed_offset = offset;
  }
  dirty_.clear();
}

void EntityIndex::DropApplied(int64_t applied_offset) {
  if (source_ == nullptr) return;
  for (auto it = changes_.begin(); it != changes_.end();) {
    const Change& change = it->second;
    if (change.dirty || change.committed_offset >= applied_offset) {
      ++it;
      continue;
    }
    bytes_ -= kChangeBytes + it->first.size() + (change.value.has_value() ? change.value->size() : 0);
    it = changes_.erase(it);
  }
}

}  // namespace naru::aggregator
