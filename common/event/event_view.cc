#include "common/event/event_view.h"

#include <cmath>

#include "common/event/utf8.h"
#include "common/event/wire.h"

namespace naru::event {
namespace {

using wire::kFixed64;
using wire::kLength;
using wire::kVarint;
using wire::Tag;

constexpr int64_t kMinSeconds = -62135596800;  // 0001-01-01T00:00:00Z
constexpr int64_t kMaxSeconds = 253402300799;  // 9999-12-31T23:59:59Z

// Depth is also what bounds the recursion, so that no configuration lets a sender overflow the stack.
constexpr int kMaxDepth = 64;

bool Finite(double number) { return std::isfinite(number); }

// Reads a field of a Struct in the form that nearly all have: the key, then a scalar of one kind, each once, with
// lengths and numbers of one byte. Returns the byte after it. Null where the form is any other, which says nothing yet:
// the careful walks below decide. They give the same for whatever this one reads.
inline const char* ReadPlainField(const char* p, const char* end, absl::string_view* key, ValueView* value) {
  const auto byte = [&](int at) { return static_cast<uint8_t>(p[at]); };
  if (end - p < 8 || byte(0) != Tag(1, kLength) || byte(1) >= 0x80 || byte(1) > end - p - 2) return nullptr;
  const char* const after = p + 2 + byte(1);
  const int key_size = byte(3);
  // The key's tag and length, the value's tag and length, and at least two bytes of value.
  if (byte(2) != Tag(1, kLength) || key_size + 6 > byte(1)) return nullptr;
  *key = absl::string_view(p + 4, static_cast<size_t>(key_size));
  p += 4 + key_size;
  const auto value_size = static_cast<size_t>(after - p - 2);
  if (byte(0) != Tag(2, kLength) || byte(1) != value_size) return nullptr;
  p += 2;
  *value = ValueView();
  if (byte(0) == Tag(3, kLength) && value_size == size_t{2} + byte(1)) {
    value->kind = Kind::kString;
    value->bytes = absl::string_view(p + 2, value_size - 2);
    return after;
  }
  if (byte(0) == Tag(2, kFixed64) && value_size == 9) {
    value->kind = Kind::kNumber;
    std::memcpy(&value->number, p + 1, 8);
    return after;
  }
  if (value_size != 2 || byte(1) >= 0x80) return nullptr;
  if (byte(0) == Tag(4, kVarint)) {
    value->kind = Kind::kBool;
    value->boolean = byte(1) != 0;
    return after;
  }
  value->kind = Kind::kNull;
  return byte(0) == Tag(1, kVarint) ? after : nullptr;
}

// Checks `data` all the way down. One object checks one event.
class DataChecker {
 public:
  explicit DataChecker(int max_depth) : max_depth_(max_depth < kMaxDepth ? max_depth : kMaxDepth) {}

  ParseError CheckStruct(absl::string_view bytes, int depth) {
    if (depth > max_depth_) return ParseError::kDataTooDeep;
    const char* p = bytes.data();
    const char* const end = p + bytes.size();
    uint32_t tag;
    while (p < end) {
      absl::string_view key;
      ValueView value;
      if (const char* const next = ReadPlainField(p, end, &key, &value); next != nullptr) {
        const ParseError error = CheckPlainField(key, value, depth);
        if (error != ParseError::kOk) return error;
        p = next;
        continue;
      }
      p = wire::ReadTag(p, end, &tag);
      if (p == nullptr) return ParseError::kMalformed;
      if (tag != Tag(1, kLength)) {
        p = wire::SkipValue(p, end, tag);
        if (p == nullptr) return ParseError::kMalformed;
        continue;
      }
      absl::string_view entry;
      p = wire::ReadBytes(p, end, &entry);
      if (p == nullptr) return ParseError::kMalformed;
      const ParseError error = CheckEntry(entry, depth);
      if (error != ParseError::kOk) return error;
    }
    return ParseError::kOk;
  }

  absl::string_view key() const { return key_; }
  absl::string_view value() const { return value_; }

 private:
  ParseError CheckPlainField(absl::string_view key, const ValueView& value, int depth) {
    if (!ValidUtf8(key)) return Fail(ParseError::kInvalidUtf8, key);
    if (depth == 1) key_ = key;
    if (value.kind == Kind::kString && !ValidUtf8(value.bytes)) return Fail(ParseError::kInvalidUtf8, value.bytes);
    return value.kind == Kind::kNumber ? CheckNumber(value.number) : ParseError::kOk;
  }

  ParseError CheckNumber(double number) {
    return Finite(number) ? ParseError::kOk : Fail(ParseError::kNotFinite, std::isnan(number) ? "NaN" : "Infinity");
  }

  ParseError CheckEntry(absl::string_view entry, int depth) {
    const char* p = entry.data();
    const char* const end = p + entry.size();
    absl::string_view key, value;
    bool has_value = false;
    uint32_t tag;
    while (p < end) {
      p = wire::ReadTag(p, end, &tag);
      if (p == nullptr) return ParseError::kMalformed;
      if (tag == Tag(1, kLength)) {
        p = wire::ReadBytes(p, end, &key);
        if (p != nullptr && !ValidUtf8(key)) return Fail(ParseError::kInvalidUtf8, key);
      } else if (tag == Tag(2, kLength)) {
        if (has_value) return ParseError::kMalformed;
        has_value = true;
        p = wire::ReadBytes(p, end, &value);
      } else {
        p = wire::SkipValue(p, end, tag);
      }
      if (p == nullptr) return ParseError::kMalformed;
    }
    if (depth == 1) key_ = key;
    return CheckValue(value, depth);
  }

  ParseError CheckList(absl::string_view bytes, int depth) {
    if (depth > max_depth_) return ParseError::kDataTooDeep;
    const char* p = bytes.data();
    const char* const end = p + bytes.size();
    uint32_t tag;
    while (p < end) {
      p = wire::ReadTag(p, end, &tag);
      if (p == nullptr) return ParseError::kMalformed;
      if (tag != Tag(1, kLength)) {
        p = wire::SkipValue(p, end, tag);
        if (p == nullptr) return ParseError::kMalformed;
        continue;
      }
      absl::string_view element;
      p = wire::ReadBytes(p, end, &element);
      if (p == nullptr) return ParseError::kMalformed;
      const ParseError error = CheckValue(element, depth);
      if (error != ParseError::kOk) return error;
    }
    return ParseError::kOk;
  }

  // `depth` is that of the struct or list that the value is in.
  ParseError CheckValue(absl::string_view bytes, int depth) {
    const char* p = bytes.data();
    const char* const end = p + bytes.size();
    int messages = 0;
    uint32_t tag;
    uint64_t ignored;
    while (p < end) {
      p = wire::ReadTag(p, end, &tag);
      if (p == nullptr) return ParseError::kMalformed;
      switch (tag) {
        case Tag(3, kLength): {
          absl::string_view text;
          p = wire::ReadBytes(p, end, &text);
          if (p != nullptr && !ValidUtf8(text)) return Fail(ParseError::kInvalidUtf8, text);
          break;
        }
        case Tag(2, kFixed64): {
          double number = 0;
          p = wire::ReadDouble(p, end, &number);
          if (p != nullptr && !Finite(number)) return CheckNumber(number);
          break;
        }
        case Tag(1, kVarint):
        case Tag(4, kVarint):
          p = wire::ReadVarint(p, end, &ignored);
          break;
        case Tag(5, kLength):
        case Tag(6, kLength): {
          absl::string_view nested;
          p = wire::ReadBytes(p, end, &nested);
          if (p == nullptr || ++messages > 1) return ParseError::kMalformed;
          const ParseError error =
              tag == Tag(5, kLength) ? CheckStruct(nested, depth + 1) : CheckList(nested, depth + 1);
          if (error != ParseError::kOk) return error;
          break;
        }
        default:
          p = wire::SkipValue(p, end, tag);
      }
      if (p == nullptr) return ParseError::kMalformed;
    }
    return ParseError::kOk;
  }

  ParseError Fail(ParseError error, absl::string_view value) {
    value_ = value;
    return error;
  }

  const int max_depth_;
  absl::string_view key_;
  absl::string_view value_;
};

// Reads a Timestamp into `*seconds` and `*nanos`, which keep what an earlier one said where this one is silent.
bool ReadTimestamp(absl::string_view bytes, int64_t* seconds, int32_t* nanos) {
  const char* p = bytes.data();
  const char* const end = p + bytes.size();
  uint32_t tag;
  uint64_t value = 0;
  while (p < end) {
    p = wire::ReadTag(p, end, &tag);
    if (p == nullptr) return false;
    if (tag == Tag(1, kVarint) || tag == Tag(2, kVarint)) {
      p = wire::ReadVarint(p, end, &value);
      if (tag == Tag(1, kVarint)) {
        *seconds = static_cast<int64_t>(value);
      } else {
        *nanos = static_cast<int32_t>(value);
      }
    } else {
      p = wire::SkipValue(p, end, tag);
    }
    if (p == nullptr) return false;
  }
  return true;
}

// The walk over an event's own fields, for checked and stored bytes alike.
class EventReader {
 public:
  EventReader(absl::string_view bytes, EventView* view) : bytes_(bytes), view_(view) {}

  bool Read() {
    const char* p = bytes_.data();
    const char* const end = p + bytes_.size();
    uint32_t tag;
    while (p < end) {
      p = wire::ReadTag(p, end, &tag);
      if (p == nullptr) return false;
      if (tag >= Tag(8, kVarint)) view_->has_server_fields = true;
      p = ReadField(p, end, tag);
      if (p == nullptr) return false;
    }
    // Seconds outside the years 1 to 9999 would overflow; ParseEvent refuses them.
    if (time_in_range()) view_->time_us = seconds_ * 1'000'000 + nanos_ / 1000;
    return true;
  }

  bool time_in_range() const {
    return seconds_ >= kMinSeconds && seconds_ <= kMaxSeconds && nanos_ >= 0 && nanos_ <= 999'999'999;
  }
  absl::string_view time_bytes() const { return time_bytes_; }

 private:
  const char* ReadField(const char* p, const char* end, uint32_t tag) {
    uint64_t value = 0;
    switch (tag) {
      case Tag(1, kLength):
        return ReadText(p, end, &view_->id);
      case Tag(2, kLength):
        return ReadText(p, end, &view_->source);
      case Tag(3, kLength):
        return ReadText(p, end, &view_->type);
      case Tag(4, kLength):
        return ReadText(p, end, &view_->subject);
      case Tag(5, kLength):
        return ReadText(p, end, &view_->session);
      case Tag(6, kLength):
        view_->has_time = true;
        p = wire::ReadBytes(p, end, &time_bytes_);
        if (p == nullptr || !ReadTimestamp(time_bytes_, &seconds_, &nanos_)) return nullptr;
        return p;
      case Tag(7, kLength):
        if (view_->has_data) return nullptr;
        view_->has_data = true;
        return wire::ReadBytes(p, end, &view_->data);
      case Tag(8, kLength):
        return ReadReceivedTime(p, end);
      case Tag(9, kVarint):
        p = wire::ReadVarint(p, end, &value);
        view_->type_version = static_cast<int32_t>(value);
        return p;
      case Tag(10, kLength):
        return ReadText(p, end, &view_->timeline);
      case Tag(11, kVarint):
        p = wire::ReadVarint(p, end, &value);
        view_->id_generated = value != 0;
        return p;
      default:
        return wire::SkipValue(p, end, tag);
    }
  }

  // The last one counts, but generated code refuses a message for any string in it, so an earlier one is checked here.
  static const char* ReadText(const char* p, const char* end, absl::string_view* text) {
    if (!text->empty() && !ValidUtf8(*text)) return nullptr;
    return wire::ReadBytes(p, end, text);
  }

  // It is never stored, so it is only looked at for its form.
  static const char* ReadReceivedTime(const char* p, const char* end) {
    absl::string_view bytes;
    int64_t seconds;
    int32_t nanos;
    p = wire::ReadBytes(p, end, &bytes);
    return p != nullptr && ReadTimestamp(bytes, &seconds, &nanos) ? p : nullptr;
  }

  const absl::string_view bytes_;
  EventView* const view_;
  absl::string_view time_bytes_;
  int64_t seconds_ = 0;
  int32_t nanos_ = 0;
};

struct Attribute {
  absl::string_view name;
  absl::string_view value;
  size_t limit;
  bool required;
  absl::string_view too_long;
};

ParseError Problem(ParseProblem* problem, ParseError error, absl::string_view field, absl::string_view value,
                   absl::string_view expected) {
  if (problem != nullptr) *problem = ParseProblem{error, field, {}, value, expected};
  return error;
}

ParseError CheckAttribute(const Attribute& attribute, ParseProblem* problem) {
  if (attribute.value.size() > attribute.limit) {
    return Problem(problem, ParseError::kAttributeTooLong, attribute.name, attribute.value, attribute.too_long);
  }
  if (attribute.required && attribute.value.empty()) {
    return Problem(problem, ParseError::kMissingAttribute, attribute.name, {}, "1 to 256 bytes");
  }
  if (!ValidUtf8(attribute.value)) {
    return Problem(problem, ParseError::kInvalidUtf8, attribute.name, attribute.value, "valid UTF-8");
  }
  return ParseError::kOk;
}

ParseError CheckData(const EventView& view, const Limits& limits, ParseProblem* problem) {
  DataChecker checker(limits.data_depth);
  const ParseError error = checker.CheckStruct(view.data, 1);
  if (error == ParseError::kOk) return error;
  absl::string_view expected = "a google.protobuf.Struct";
  if (error == ParseError::kDataTooDeep) expected = "objects and lists nested at most 8 deep";
  if (error == ParseError::kNotFinite) expected = "a finite number";
  if (error == ParseError::kInvalidUtf8) expected = "valid UTF-8";
  Problem(problem, error, "data", checker.value(), expected);
  if (problem != nullptr && ValidUtf8(checker.key())) problem->data_key = checker.key();
  return error;
}

}  // namespace

ParseError ParseEvent(absl::string_view bytes, const Limits& limits, EventView* view, ParseProblem* problem) {
  *view = EventView();
  view->bytes = bytes;
  EventReader reader(bytes, view);
  if (bytes.size() > limits.event) {
    // What can be read is read all the same: the dead letter names its source and type.
    if (!reader.Read()) *view = EventView{.bytes = bytes};
    return Problem(problem, ParseError::kEventTooLarge, {}, {}, "an event of at most 256 KiB");
  }
  if (!reader.Read()) {
    return Problem(problem, ParseError::kMalformed, {}, {}, "an encoded naru.event.v1.Event");
  }
  const Attribute attributes[] = {
      {"id", view->id, limits.id, false, "at most 128 bytes"},
      {"source", view->source, limits.source, true, "1 to 256 bytes"},
      {"type", view->type, limits.type, true, "1 to 256 bytes"},
      {"subject", view->subject, limits.subject, false, "at most 1024 bytes"},
      {"session", view->session, limits.session, false, "at most 256 bytes"},
      {"timeline", view->timeline, limits.event, false, "valid UTF-8"},
  };
  for (const Attribute& attribute : attributes) {
    const ParseError error = CheckAttribute(attribute, problem);
    if (error != ParseError::kOk) return error;
  }
  if (view->has_time && !reader.time_in_range()) {
    return Problem(problem, ParseError::kTime, "time", reader.time_bytes(), "a time in the years 1 to 9999");
  }
  return view->has_data ? CheckData(*view, limits, problem) : ParseError::kOk;
}

bool ParseStoredEvent(absl::string_view bytes, EventView* view) {
  *view = EventView();
  view->bytes = bytes;
  EventReader reader(bytes, view);
  return reader.Read();
}

bool SplitPublishRequest(absl::string_view request, std::vector<absl::string_view>* events, bool* return_offsets) {
  const char* p = request.data();
  const char* const end = p + request.size();
  uint32_t tag;
  *return_offsets = false;
  while (p < end) {
    p = wire::ReadTag(p, end, &tag);
    if (p == nullptr) return false;
    if (tag == Tag(1, kLength)) {
      absl::string_view event;
      p = wire::ReadBytes(p, end, &event);
      if (p != nullptr) events->push_back(event);
    } else if (tag == Tag(2, kVarint)) {
      uint64_t value = 0;
      p = wire::ReadVarint(p, end, &value);
      *return_offsets = value != 0;
    } else {
      p = wire::SkipValue(p, end, tag);
    }
    if (p == nullptr) return false;
  }
  return true;
}

namespace {

// Reads a Value. The last kind given wins, as in generated code; none at all is null.
bool ReadValue(absl::string_view bytes, ValueView* value) {
  const char* p = bytes.data();
  const char* const end = p + bytes.size();
  uint32_t tag;
  uint64_t number = 0;
  *value = ValueView();
  value->kind = Kind::kNull;
  while (p < end) {
    p = wire::ReadTag(p, end, &tag);
    if (p == nullptr) return false;
    switch (tag) {
      case Tag(1, kVarint):
        p = wire::ReadVarint(p, end, &number);
        value->kind = Kind::kNull;
        break;
      case Tag(2, kFixed64):
        p = wire::ReadDouble(p, end, &value->number);
        value->kind = Kind::kNumber;
        break;
      case Tag(3, kLength):
        p = wire::ReadBytes(p, end, &value->bytes);
        value->kind = Kind::kString;
        break;
      case Tag(4, kVarint):
        p = wire::ReadVarint(p, end, &number);
        value->boolean = number != 0;
        value->kind = Kind::kBool;
        break;
      case Tag(5, kLength):
        p = wire::ReadBytes(p, end, &value->bytes);
        value->kind = Kind::kStruct;
        break;
      case Tag(6, kLength):
        p = wire::ReadBytes(p, end, &value->bytes);
        value->kind = Kind::kList;
        break;
      default:
        p = wire::SkipValue(p, end, tag);
    }
    if (p == nullptr) return false;
  }
  return true;
}

// Steps to the next length-delimited field 1 of `*rest`; false at the end and at damaged bytes.
bool NextEntry(absl::string_view* rest, absl::string_view* entry) {
  const char* p = rest->data();
  const char* const end = p + rest->size();
  uint32_t tag;
  while (p < end) {
    p = wire::ReadTag(p, end, &tag);
    if (p == nullptr) return false;
    if (tag == Tag(1, kLength)) {
      p = wire::ReadBytes(p, end, entry);
      if (p == nullptr) return false;
      *rest = absl::string_view(p, end - p);
      return true;
    }
    p = wire::SkipValue(p, end, tag);
    if (p == nullptr) return false;
  }
  return false;
}

}  // namespace

bool StructCursor::Next(absl::string_view* key, ValueView* value) {
  const char* const plain = ReadPlainField(rest_.data(), rest_.data() + rest_.size(), key, value);
  if (plain != nullptr) {
    rest_.remove_prefix(plain - rest_.data());
    return true;
  }
  absl::string_view entry;
  if (!NextEntry(&rest_, &entry)) return false;
  *key = absl::string_view();
  absl::string_view value_bytes;
  const char* p = entry.data();
  const char* const end = p + entry.size();
  uint32_t tag;
  while (p < end) {
    p = wire::ReadTag(p, end, &tag);
    if (p == nullptr) return false;
    if (tag == Tag(1, kLength)) {
      p = wire::ReadBytes(p, end, key);
    } else if (tag == Tag(2, kLength)) {
      p = wire::ReadBytes(p, end, &value_bytes);
    } else {
      p = wire::SkipValue(p, end, tag);
    }
    if (p == nullptr) return false;
  }
  return ReadValue(value_bytes, value);
}

bool ListCursor::Next(ValueView* value) {
  absl::string_view element;
  return NextEntry(&rest_, &element) && ReadValue(element, value);
}

ValueView FindField(absl::string_view struct_bytes, absl::string_view name) {
  ValueView found;
  StructCursor cursor(struct_bytes);
  absl::string_view key;
  ValueView value;
  while (cursor.Next(&key, &value)) {
    if (key == name) found = value;
  }
  return found;
}

void FindFields(absl::string_view struct_bytes, absl::Span<const absl::string_view> names, absl::Span<ValueView> out) {
  for (ValueView& value : out) value = ValueView();
  StructCursor cursor(struct_bytes);
  absl::string_view key;
  ValueView value;
  while (cursor.Next(&key, &value)) {
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i] == key) out[i] = value;
    }
  }
}

}  // namespace naru::event
