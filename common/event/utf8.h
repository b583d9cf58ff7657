// Is it UTF-8? Nearly all strings of events are short ASCII, which is decided without a call.
#pragma once

#include <cstdint>
#include <cstring>

#include "absl/strings/string_view.h"

namespace naru::event {

/// Whether `text` is valid UTF-8 (no overlong forms, no surrogates). For text that has bytes from 0x80 on.
bool ValidNonAsciiUtf8(absl::string_view text);

/// Whether all bytes are below 0x80. Reads eight at a time, the last eight overlapping, and never outside `text`.
inline bool IsAscii(absl::string_view text) {
  const char* p = text.data();
  const size_t n = text.size();
  if (n >= 8) {
    uint64_t all = 0;
    uint64_t word;
    for (size_t i = 0; i + 8 <= n; i += 8) {
      std::memcpy(&word, p + i, 8);
      all |= word;
    }
    std::memcpy(&word, p + n - 8, 8);
    return ((all | word) & 0x8080808080808080ull) == 0;
  }
  if (n >= 4) {
    uint32_t first, last;
    std::memcpy(&first, p, 4);
    std::memcpy(&last, p + n - 4, 4);
    return ((first | last) & 0x80808080u) == 0;
  }
  uint8_t all = 0;
  for (size_t i = 0; i < n; ++i) all |= static_cast<uint8_t>(p[i]);
  return all < 0x80;
}

inline bool ValidUtf8(absl::string_view text) { return IsAscii(text) || ValidNonAsciiUtf8(text); }

/// At most `max_bytes` of `text`, cut between characters (text that is not UTF-8 may be cut anywhere).
absl::string_view CutUtf8(absl::string_view text, size_t max_bytes);

}  // namespace naru::event
