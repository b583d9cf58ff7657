// Numbers for the names of event types, so that what a metric does with a type is looked up by number.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "common/event/short_copy.h"

namespace naru::aggregator {

/// Names come from outside where unregistered types are kept, so the table is emptied when it is full: numbers are only
/// good within one generation. Not thread-safe.
class TypeIds {
 public:
  static constexpr size_t kMaxIds = 4096;

  /// The number of a type, new or known. Not when full().
  uint32_t Find(absl::string_view type) {
    Recent& recent = recent_[Spread(type)];
    if (event::SameText(recent.name, type) && recent.generation == generation_) return recent.id;
    const auto [found, added] = ids_.try_emplace(type, static_cast<uint32_t>(ids_.size()));
    recent = {std::string(type), generation_, found->second};
    return found->second;
  }
  bool full() const { return ids_.size() >= kMaxIds; }
  /// Forgets all numbers.
  void Clear() {
    ids_.clear();
    ++generation_;
  }
  uint32_t generation() const { return generation_; }

 private:
  struct Recent {
    std::string name;
    uint32_t generation = 0;
    uint32_t id = 0;
  };
  // Types of one program often begin alike, so the end and the length tell them apart.
  static size_t Spread(absl::string_view type) {
    uint64_t end = 0;
    const size_t n = type.size() < 8 ? type.size() : 8;
    std::memcpy(&end, type.data() + type.size() - n, n);
    return ((end + type.size()) * 0x9E3779B97F4A7C15ull) >> 57;
  }

  std::array<Recent, 128> recent_;
  absl::flat_hash_map<std::string, uint32_t> ids_;
  uint32_t generation_ = 1;
};

}  // namespace naru::aggregator
