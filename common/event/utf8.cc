#include "common/event/utf8.h"

#include <simdjson.h>

namespace naru::event {

bool ValidNonAsciiUtf8(absl::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

absl::string_view CutUtf8(absl::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  size_t n = max_bytes;
  // Step back over continuation bytes, at most three: the first byte left out must begin a character.
  for (int back = 0; back < 3 && n > 0 && (static_cast<uint8_t>(text[n]) & 0xc0) == 0x80; ++back) --n;
  if ((static_cast<uint8_t>(text[n]) & 0xc0) == 0x80) n = max_bytes;
  return text.substr(0, n);
}

}  // namespace naru::event
