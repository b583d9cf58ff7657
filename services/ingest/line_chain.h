// Identities of lines: each depends on its text and on all lines before it, so equal lines of a file stay different
// events, and a file that has grown keeps the identities of its old lines.
#pragma once

// Inlined: a call for each line would cost as much as its hash.
#ifndef XXH_INLINE_ALL
#define XXH_INLINE_ALL
#endif
#include <xxhash.h>

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace naru::ingest {

/// A 128-bit identity. Its text form is 32 hexadecimal digits.
struct ChainId {
  uint64_t high = 0;
  uint64_t low = 0;
  bool operator==(const ChainId&) const = default;
};

/// Where the chain of an event source begins; `seed` tells files that begin alike apart, none changes nothing.
inline ChainId ChainStart(absl::string_view source, absl::string_view seed = {}) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(source.data(), source.size(), 0x6e61727531ull);  // "naru1"
  if (seed.empty()) return {hash.high64, hash.low64};
  const XXH128_hash_t mixed = XXH3_128bits_withSeed(seed.data(), seed.size(), hash.low64 ^ 0x6e61727532ull);  // "naru2"
  return {hash.high64 ^ mixed.high64, hash.low64 + mixed.low64};
}

/// The identity of `line` after `previous`. Half of `previous` seeds the hash and the other half is mixed into both
/// halves of the result, so all 128 bits go on.
inline ChainId NextChainId(const ChainId& previous, absl::string_view line) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(line.data(), line.size(), previous.low);
  const uint64_t mixed = previous.high * 0x9E3779B97F4A7C15ull;
  return {hash.high64 ^ mixed, hash.low64 + ((mixed << 31) | (mixed >> 33))};
}

inline constexpr size_t kChainIdHexBytes = 32;

/// Writes 32 digits to `out`.
inline void WriteChainId(const ChainId& id, char* out) {
  static constexpr char kDigits[] = "0123456789abcdef";
  for (int i = 0; i < 16; ++i) {
    out[i] = kDigits[(id.high >> (60 - 4 * i)) & 15];
    out[16 + i] = kDigits[(id.low >> (60 - 4 * i)) & 15];
  }
}

inline std::string ChainIdText(const ChainId& id) {
  std::string text(kChainIdHexBytes, '0');
  WriteChainId(id, text.data());
  return text;
}

/// Reads 32 digits; false for anything else.
inline bool ParseChainId(absl::string_view text, ChainId* id) {
  if (text.size() != kChainIdHexBytes) return false;
  uint64_t halves[2] = {0, 0};
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return false;
    halves[i / 16] = halves[i / 16] << 4 | static_cast<uint64_t>(digit);
  }
  *id = {halves[0], halves[1]};
  return true;
}

}  // namespace naru::ingest
