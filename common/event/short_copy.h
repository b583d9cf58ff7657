// Copies and comparisons of a few bytes, inlined: names and values of events are mostly shorter than a call is worth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/strings/string_view.h"

namespace naru::event {

/// memcpy, for sizes that are mostly below 32. Reads and writes exactly `size` bytes.
inline char* CopyShort(char* to, const char* from, size_t size) {
  if (size > 32) {
    std::memcpy(to, from, size);
  } else if (size >= 16) {
    // Two pieces that overlap in the middle.
    char head[16], tail[16];
    std::memcpy(head, from, 16);
    std::memcpy(tail, from + size - 16, 16);
    std::memcpy(to, head, 16);
    std::memcpy(to + size - 16, tail, 16);
  } else if (size >= 8) {
    uint64_t head, tail;
    std::memcpy(&head, from, 8);
    std::memcpy(&tail, from + size - 8, 8);
    std::memcpy(to, &head, 8);
    std::memcpy(to + size - 8, &tail, 8);
  } else if (size >= 4) {
    uint32_t head, tail;
    std::memcpy(&head, from, 4);
    std::memcpy(&tail, from + size - 4, 4);
    std::memcpy(to, &head, 4);
    std::memcpy(to + size - 4, &tail, 4);
  } else {
    for (size_t i = 0; i < size; ++i) to[i] = from[i];
  }
  return to + size;
}

/// Whether two pieces of `size` bytes are equal.
inline bool EqualShort(const char* a, const char* b, size_t size) {
  if (size > 16) return std::memcmp(a, b, size) == 0;
  if (size >= 8) {
    uint64_t a_head, a_tail, b_head, b_tail;
    std::memcpy(&a_head, a, 8);
    std::memcpy(&b_head, b, 8);
    std::memcpy(&a_tail, a + size - 8, 8);
    std::memcpy(&b_tail, b + size - 8, 8);
    return a_head == b_head && a_tail == b_tail;
  }
  if (size >= 4) {
    uint32_t a_head, a_tail, b_head, b_tail;
    std::memcpy(&a_head, a, 4);
    std::memcpy(&b_head, b, 4);
    std::memcpy(&a_tail, a + size - 4, 4);
    std::memcpy(&b_tail, b + size - 4, 4);
    return a_head == b_head && a_tail == b_tail;
  }
  for (size_t i = 0; i < size; ++i) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

/// a == b, for names and the like.
inline bool SameText(absl::string_view a, absl::string_view b) {
  return a.size() == b.size() && EqualShort(a.data(), b.data(), a.size());
}

}  // namespace naru::event
