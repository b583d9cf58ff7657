// The event types of the catalog, compiled for checking events.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "common/catalog/snapshot.h"
#include "common/cel/cel.h"
#include "common/event/schema.h"

namespace naru::ingest {

/// One event type, ready to use. Immutable; thread-safe.
struct CompiledType {
  std::shared_ptr<const catalog::v1::Resource> resource;  ///< what it was compiled from
  int32_t version = 0;
  std::unique_ptr<event::TypeSchema> schema;  ///< null: could not be compiled (events are then taken unchecked)
  bool drops_unknown = false;
  bool by_session = false;  ///< partitioned by session, else by subject
  uint32_t window_s = 86'400;
  std::chrono::microseconds retention = std::chrono::hours(24 * 30);
  std::unique_ptr<cel::Environment> environment;  ///< null: nothing is excluded
  cel::Program exclude;
};

inline constexpr uint32_t kDefaultWindowSeconds = 86'400;

/// All event types of one catalog snapshot. Immutable; thread-safe.
class TypeTable {
 public:
  /// Types that have not changed are taken over from `before` (may be null). Types that cannot be compiled are logged.
  static std::shared_ptr<const TypeTable> Compile(const catalog::Snapshot& snapshot, const TypeTable* before);

  /// Null: there is no such type.
  const CompiledType* Find(absl::string_view name) const {
    const auto it = types_.find(name);
    return it == types_.end() ? nullptr : it->second.get();
  }
  /// How long the topic of events must be kept: the longest retention of all types.
  std::chrono::microseconds longest_retention() const { return longest_retention_; }
  /// The longest de-duplication window of all types, at least the default of a day.
  std::chrono::seconds longest_window() const { return longest_window_; }
  size_t size() const { return types_.size(); }

 private:
  absl::flat_hash_map<std::string, std::shared_ptr<const CompiledType>> types_;
  std::chrono::microseconds longest_retention_{0};
  std::chrono::seconds longest_window_{kDefaultWindowSeconds};
};

}  // namespace naru::ingest
