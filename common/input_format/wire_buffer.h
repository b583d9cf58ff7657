// A growing buffer that wire bytes are written into with as few steps as possible: an importer's innermost loop.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>

#include "absl/strings/string_view.h"
#include "common/event/event_view.h"
#include "common/event/event_writer.h"
#include "common/event/wire.h"
#include "common/event/short_copy.h"

namespace naru::input_format {

/// Bytes; movable. Views into it live until the next write.
class WireBuffer {
 public:
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  absl::string_view view() const { return {bytes_.get(), size_}; }
  void Clear() { size_ = 0; }
  /// Forgets what comes after the first `size` bytes.
  void Truncate(size_t size) { size_ = std::min(size, size_); }

  /// Makes room for `bytes` altogether.
  void Reserve(size_t bytes) {
    if (bytes > capacity_) Grow(bytes - size_);
  }

  void Append(absl::string_view bytes) {
    char* p = Room(bytes.size());
    size_ = Copy(p, bytes) - bytes_.get();
  }

  /// Appends an entry of a google.protobuf.Struct; kAbsent is written as null.
  void AddField(absl::string_view key, const event::ValueView& value) {
    const size_t value_size = ValueSize(value);
    const size_t entry_size =
        1 + event::wire::VarintSize(key.size()) + key.size() + 1 + event::wire::VarintSize(value_size) + value_size;
    char* p = Room(entry_size + 6);
    p = Head(p, event::wire::Tag(1, event::wire::kLength), entry_size);
    p = Head(p, event::wire::Tag(1, event::wire::kLength), key.size());
    p = Copy(p, key);
    p = Head(p, event::wire::Tag(2, event::wire::kLength), value_size);
    size_ = WriteValue(p, value) - bytes_.get();
  }

  /// Appends an element of a google.protobuf.ListValue.
  void AddElement(const event::ValueView& value) {
    const size_t value_size = ValueSize(value);
    char* p = Room(value_size + 6);
    p = Head(p, event::wire::Tag(1, event::wire::kLength), value_size);
    size_ = WriteValue(p, value) - bytes_.get();
  }

  /// Appends an event, byte for byte as event::AppendEvent does.
  void AddEvent(const event::EventFields& fields) {
    const absl::string_view texts[] = {fields.id, fields.source, fields.type, fields.subject, fields.session};
    size_t room = fields.data.size() + 64;
    for (absl::string_view text : texts) room += text.size() + 6;
    char* p = Room(room);
    uint32_t field = 1;
    for (absl::string_view text : texts) {
      if (!text.empty()) p = Copy(Head(p, event::wire::Tag(field, event::wire::kLength), text.size()), text);
      ++field;
    }
    if (fields.has_time) p = WriteTime(p, fields.time_us);
    if (!fields.data.empty()) {
      p = Copy(Head(p, event::wire::Tag(7, event::wire::kLength), fields.data.size()), fields.data);
    }
    size_ = p - bytes_.get();
  }

 private:
  static size_t ValueSize(const event::ValueView& value) {
    switch (value.kind) {
      case event::Kind::kAbsent:
      case event::Kind::kNull:
      case event::Kind::kBool: return 2;
      case event::Kind::kNumber: return 9;
      default: return 1 + event::wire::VarintSize(value.bytes.size()) + value.bytes.size();
    }
  }

  static char* Varint(char* p, uint64_t value) {
    while (value >= 0x80) {
      *p++ = static_cast<char>(value | 0x80);
      value >>= 7;
    }
    *p++ = static_cast<char>(value);
    return p;
  }

  /// A tag below 128, and a length.
  static char* Head(char* p, uint32_t tag, size_t length) {
    *p++ = static_cast<char>(tag);
    return Varint(p, length);
  }

  static char* Copy(char* p, absl::string_view bytes) { return event::CopyShort(p, bytes.data(), bytes.size()); }

  static char* WriteValue(char* p, const event::ValueView& value) {
    using event::wire::Tag;
    switch (value.kind) {
      case event::Kind::kAbsent:
      case event::Kind::kNull: return Head(p, Tag(1, event::wire::kVarint), 0);
      case event::Kind::kBool: return Head(p, Tag(4, event::wire::kVarint), value.boolean ? 1 : 0);
      case event::Kind::kNumber:
        *p++ = static_cast<char>(Tag(2, event::wire::kFixed64));
        std::memcpy(p, &value.number, 8);
        return p + 8;
      default: break;
    }
    const uint32_t field = value.kind == event::Kind::kString ? 3 : value.kind == event::Kind::kStruct ? 5 : 6;
    return Copy(Head(p, Tag(field, event::wire::kLength), value.bytes.size()), value.bytes);
  }

  static char* WriteTime(char* p, int64_t time_us) {
    int64_t seconds = time_us / 1'000'000;
    int64_t micros = time_us % 1'000'000;
    if (micros < 0) {
      micros += 1'000'000;
      --seconds;
    }
    char timestamp[24];
    char* end = timestamp;
    if (seconds != 0) end = Varint(Varint(end, event::wire::Tag(1, event::wire::kVarint)), static_cast<uint64_t>(seconds));
    if (micros != 0) end = Varint(Varint(end, event::wire::Tag(2, event::wire::kVarint)), micros * 1000);
    const absl::string_view bytes(timestamp, end - timestamp);
    return Copy(Head(p, event::wire::Tag(6, event::wire::kLength), bytes.size()), bytes);
  }

  /// The end of the buffer, with room for `bytes` more.
  char* Room(size_t bytes) {
    if (size_ + bytes > capacity_) Grow(bytes);
    return bytes_.get() + size_;
  }

  void Grow(size_t bytes) {
    const size_t capacity = std::max<size_t>({capacity_ * 2, size_ + bytes, 256});
    std::unique_ptr<char[]> grown(new char[capacity]);
    std::copy(bytes_.get(), bytes_.get() + size_, grown.get());
    bytes_ = std::move(grown);
    capacity_ = capacity;
  }

  std::unique_ptr<char[]> bytes_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace naru::input_format
