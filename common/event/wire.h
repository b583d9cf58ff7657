// Protobuf's wire format, as far as events need it. Nothing here reads outside [p, end).
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/string_view.h"

namespace naru::event::wire {

enum Type : uint32_t { kVarint = 0, kFixed64 = 1, kLength = 2, kFixed32 = 5 };

inline constexpr uint32_t Tag(uint32_t field, Type type) { return field << 3 | type; }

/// Reads a varint of up to `max_bytes` bytes; returns the byte after it, or null where there is none.
inline const char* ReadVarint(const char* p, const char* end, uint64_t* value, int max_bytes = 10) {
  if (p < end && static_cast<uint8_t>(*p) < 0x80) {
    *value = static_cast<uint8_t>(*p);
    return p + 1;
  }
  uint64_t v = 0;
  for (int shift = 0; shift < 7 * max_bytes && p < end; shift += 7) {
    const uint64_t byte = static_cast<uint8_t>(*p++);
    v |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      *value = v;
      return p;
    }
  }
  return nullptr;
}

/// Reads a tag; null for field number 0, and for tags that do not fit in 32 bits. As in generated parsers, tags and
/// lengths take at most 5 bytes.
inline const char* ReadTag(const char* p, const char* end, uint32_t* tag) {
  uint64_t value;
  p = ReadVarint(p, end, &value, 5);
  if (p == nullptr || value > 0xffffffffu || value < 8) return nullptr;
  *tag = static_cast<uint32_t>(value);
  return p;
}

/// Reads a length and the bytes after it.
inline const char* ReadBytes(const char* p, const char* end, absl::string_view* bytes) {
  uint64_t length;
  p = ReadVarint(p, end, &length, 5);
  if (p == nullptr || length > static_cast<uint64_t>(end - p)) return nullptr;
  *bytes = absl::string_view(p, length);
  return p + length;
}

inline const char* ReadDouble(const char* p, const char* end, double* value) {
  if (end - p < 8) return nullptr;
  std::memcpy(value, p, 8);
  return p + 8;
}

/// Steps over the value of a field of unknown number. Groups are not taken: no writer of proto3 makes them.
inline const char* SkipValue(const char* p, const char* end, uint32_t tag) {
  uint64_t ignored;
  absl::string_view bytes;
  switch (tag & 7) {
    case kVarint:
      return ReadVarint(p, end, &ignored);
    case kFixed64:
      return end - p < 8 ? nullptr : p + 8;
    case kLength:
      return ReadBytes(p, end, &bytes);
    case kFixed32:
      return end - p < 4 ? nullptr : p + 4;
    default:
      return nullptr;
  }
}

inline void AppendVarint(uint64_t value, std::string* out) {
  char buffer[10];
  int n = 0;
  while (value >= 0x80) {
    buffer[n++] = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  buffer[n++] = static_cast<char>(value);
  out->append(buffer, n);
}

inline size_t VarintSize(uint64_t value) {
  size_t n = 1;
  while (value >= 0x80) {
    value >>= 7;
    ++n;
  }
  return n;
}

inline void AppendBytes(uint32_t field, absl::string_view bytes, std::string* out) {
  AppendVarint(Tag(field, kLength), out);
  AppendVarint(bytes.size(), out);
  out->append(bytes.data(), bytes.size());
}

inline void AppendInt(uint32_t field, int64_t value, std::string* out) {
  AppendVarint(Tag(field, kVarint), out);
  AppendVarint(static_cast<uint64_t>(value), out);
}

}  // namespace naru::event::wire
