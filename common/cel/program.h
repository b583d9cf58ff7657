// What programs, environments and activations are made of: internal to common/cel.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/time/time.h"
#include "common/cel/cel.h"
#include "common/cel/zone_offset.h"

namespace re2 {
class RE2;
}

namespace naru::cel {

struct Node;

/// Computes one node.
using EvalFn = Value (*)(const Node& node, const ActivationState& state);
/// Computes a function of arguments that are not errors.
using CallFn = Value (*)(const Node& node, const Value* arguments, const ActivationState& state);

/// Elements of a literal list, for `in`.
struct ConstantSet {
  absl::flat_hash_set<absl::string_view> strings;
  absl::flat_hash_set<double> numbers;
  std::vector<uint64_t> type_bits;  ///< `type in [...]`: a bit for each event type's number
};

/// One operation of a compiled expression. Which fields are used depends on `fn`.
struct Node {
  EvalFn fn = nullptr;
  const Node* a = nullptr;
  const Node* b = nullptr;
  const Node* c = nullptr;
  Value constant;
  double number = 0;
  int slot = 0;
  StaticType type = StaticType::kDynamic;
  bool is_constant = false;
  CallFn call = nullptr;
  std::vector<const Node*> children;
  std::string text;  ///< name of the field or function, for errors
  std::unique_ptr<ConstantSet> set;
  std::shared_ptr<const re2::RE2> pattern;
  absl::TimeZone zone;
  int zone_slot = -1;  ///< where the activation remembers `zone`'s offset
};

/// Memory for computed strings and lists, given back all at once.
class Scratch {
 public:
  /// Null when an event's total limit is reached.
  void* Allocate(size_t bytes);
  void Reset() {
    chunk_ = 0;
    used_ = 0;
    total_ = 0;
  }
  /// Copies; kTooLarge beyond the limits.
  Value String(absl::string_view text);

 private:
  struct Chunk {
    std::unique_ptr<char[]> bytes;
    size_t size = 0;
  };
  std::vector<Chunk> chunks_;
  size_t chunk_ = 0;
  size_t used_ = 0;
  size_t total_ = 0;
};

/// Attributes of an event, in the order of ActivationState::attributes.
enum Attribute : int { kId, kSource, kType, kSubject, kSession, kTime, kReceivedTime, kAttributeCount };

/// The keys that events of one type were seen with, in order: the next event probably has them again, less some.
struct Shape {
  struct Entry {
    std::string key;
    int slot = -1;  ///< -1: no program reads it
  };
  std::vector<Entry> entries;
};

/// Numbers of event types that came lately, found without hashing the whole name.
struct TypeCache {
  struct Entry {
    std::string type;
    int number = -1;
  };
  std::array<Entry, 16> entries;

  Entry& EntryOf(absl::string_view type) {
    const size_t last = type.empty() ? 0 : static_cast<unsigned char>(type.back());
    const size_t middle = type.empty() ? 0 : static_cast<unsigned char>(type[type.size() / 2]);
    return entries[(type.size() + last * 3 + middle) % entries.size()];
  }
};

struct ActivationState {
  const EnvironmentData* environment = nullptr;
  int version = -1;  ///< of the environment, that the vectors were made for
  std::array<Value, kAttributeCount> attributes;
  int type_number = 0;
  TypeCache type_cache;
  absl::string_view data;
  std::vector<Value> slots;
  std::vector<Shape> shapes;  ///< by type number
  mutable std::vector<ZoneOffset> zones;
  mutable Scratch scratch;
};

/// A compiled expression's nodes and everything that they point to.
struct ProgramData {
  std::string source;
  std::deque<Node> nodes;
  std::deque<std::string> strings;
  std::deque<std::vector<Value>> lists;
  ActivationState folding;  ///< its scratch memory holds what was computed while compiling
  std::vector<std::string> data_fields;
  std::optional<std::vector<std::string>> event_types;
  const Node* root = nullptr;
};

struct EnvironmentData {
  enum class Kind { kEvents, kVariables, kAnyVariables };
  Kind kind = Kind::kEvents;
  int version = 0;  ///< grows with each change of what follows
  // kEvents: top-level fields of data that programs read. Otherwise: variables.
  std::vector<std::string> names;
  absl::flat_hash_map<std::string, int> slot_by_name;
  std::deque<std::string> labels;  ///< `data.x` for errors; a stable address each
  std::vector<Value> absent;       ///< what a slot holds when the event lacks it
  // Numbers of the event types that programs name or that are declared; 0 = any other.
  absl::flat_hash_map<std::string, int> type_numbers;
  absl::flat_hash_map<int, std::vector<std::string>> declared;
  std::vector<std::vector<Value>> absent_by_type;  ///< by type number; empty: `absent`
  int zone_count = 0;

  int SlotOf(absl::string_view name);
  int TypeNumber(absl::string_view type);
  void RebuildAbsent();
};

inline Value Run(const Node* node, const ActivationState& state) { return node->fn(*node, state); }

}  // namespace naru::cel
