// Reads lines of JSON into the wire form that events have.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/event/event_view.h"
#include "common/input_format/byte_arena.h"
#include "common/input_format/rejection.h"
#include "common/input_format/wire_buffer.h"

namespace naru::input_format {

/// Fields that were used for something else, and so do not go into `data`.
struct UsedFields {
  struct Entry {
    std::string name;
    bool whole = false;  ///< this field itself, not only some below it
    std::unique_ptr<UsedFields> below;
  };
  std::vector<Entry> entries;

  void Add(absl::string_view path);
  const Entry* Find(absl::string_view name) const;
};

/// What of an object is looked up by number: its top-level keys.
class JsonKeys {
 public:
  /// Returns the key's number, giving it one if it has none.
  int Add(absl::string_view name);
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::vector<std::string> names_;
};

/// Reads JSON objects. One a thread; reused line after line.
///
/// Refused, with a reason: what is not JSON; invalid UTF-8 and lone surrogates; a key given twice; numbers that a double does
/// not hold (integers beyond 2^53 included); more than 8 levels.
class JsonReader {
 public:
  /// Borrows all of it. `null_values`: strings that count as absent. `element_keys`: keys of exploded elements.
  JsonReader(const JsonKeys* keys, const JsonKeys* element_keys, const std::vector<std::string>* null_values);
  ~JsonReader();

  /// Parses one object. At least kPaddingBytes after `text` must be readable. What was read before becomes invalid.
  bool Parse(absl::string_view text, LineRejection* rejection);

  /// Finds the array at `path` of the line, whose elements must be objects; then SelectElement chooses one of them.
  bool OpenArray(const std::vector<std::string>& path, size_t* count, LineRejection* rejection);
  bool SelectElement(size_t index, LineRejection* rejection);

  /// Whether a field is looked for in the line or in the selected element.
  enum class Scope { kLine, kElement };

  /// Finds the value of key number `key` and then of `below` inside it. kAbsent if there is none; objects and lists in wire
  /// form, at `depth` of an event's data. False: there is something that cannot be taken (then `rejection->field` is the
  /// path below it).
  bool Get(Scope scope, int key, const std::vector<std::string>& below, int depth, event::ValueView* value,
           LineRejection* rejection);

  /// Appends the whole object, sorted by key, without `used`, as wire bytes of a Struct.
  bool EncodeObject(Scope scope, const UsedFields& used, WireBuffer* out, LineRejection* rejection);

  /// Gives back what the line needed. What Get returned becomes invalid.
  void Reset();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace naru::input_format
