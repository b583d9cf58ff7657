#include "services/naru/text_width.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace naru::cli {
namespace {

struct Range {
  uint32_t first;
  uint32_t last;
};

// Unicode 15: East_Asian_Width W and F, and characters shown as emoji by default, merged where unassigned gaps allow.
constexpr Range kWide[] = {
    {0x1100, 0x115F},   {0x231A, 0x231B},   {0x2329, 0x232A},   {0x23E9, 0x23EC},   {0x23F0, 0x23F0},
    {0x23F3, 0x23F3},   {0x25FD, 0x25FE},   {0x2614, 0x2615},   {0x2648, 0x2653},   {0x267F, 0x267F},
    {0x2693, 0x2693},   {0x26A1, 0x26A1},   {0x26AA, 0x26AB},   {0x26BD, 0x26BE},   {0x26C4, 0x26C5},
    {0x26CE, 0x26CE},   {0x26D4, 0x26D4},   {0x26EA, 0x26EA},   {0x26F2, 0x26F3},   {0x26F5, 0x26F5},
    {0x26FA, 0x26FA},   {0x26FD, 0x26FD},   {0x2705, 0x2705},   {0x270A, 0x270B},   {0x2728, 0x2728},
    {0x274C, 0x274C},   {0x274E, 0x274E},   {0x2753, 0x2755},   {0x2757, 0x2757},   {0x2795, 0x2797},
    {0x27B0, 0x27B0},   {0x27BF, 0x27BF},   {0x2B1B, 0x2B1C},   {0x2B50, 0x2B50},   {0x2B55, 0x2B55},
    {0x2E80, 0x303E},   {0x3041, 0x33FF},   {0x3400, 0x4DBF},   {0x4E00, 0xA4CF},   {0xA960, 0xA97F},
    {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE10, 0xFE19},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},
    {0xFFE0, 0xFFE6},   {0x16FE0, 0x18CFF}, {0x1AFF0, 0x1B2FF}, {0x1F004, 0x1F004}, {0x1F0CF, 0x1F0CF},
    {0x1F18E, 0x1F18E}, {0x1F191, 0x1F19A}, {0x1F200, 0x1F320}, {0x1F32D, 0x1F335}, {0x1F337, 0x1F37C},
    {0x1F37E, 0x1F393}, {0x1F3A0, 0x1F3CA}, {0x1F3CF, 0x1F3D3}, {0x1F3E0, 0x1F3F0}, {0x1F3F4, 0x1F3F4},
    {0x1F3F8, 0x1F43E}, {0x1F440, 0x1F440}, {0x1F442, 0x1F4FC}, {0x1F4FF, 0x1F53D}, {0x1F54B, 0x1F567},
    {0x1F57A, 0x1F57A}, {0x1F595, 0x1F596}, {0x1F5A4, 0x1F5A4}, {0x1F5FB, 0x1F64F}, {0x1F680, 0x1F6C5},
    {0x1F6CC, 0x1F6CC}, {0x1F6D0, 0x1F6D2}, {0x1F6D5, 0x1F6D7}, {0x1F6DC, 0x1F6DF}, {0x1F6EB, 0x1F6EC},
    {0x1F6F4, 0x1F6FC}, {0x1F7E0, 0x1F7F0}, {0x1F90C, 0x1F93A}, {0x1F93C, 0x1F945}, {0x1F947, 0x1FAFF},
    {0x20000, 0x3FFFD},
};

// Combining marks of the scripts that events are likely to hold, Hangul's medial vowels and final consonants (they join
// the initial before them), zero-width and direction characters, variation selectors.
constexpr Range kZero[] = {
    {0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD}, {0x0610, 0x061A},   {0x064B, 0x065F}, {0x0900, 0x0902},
    {0x093A, 0x093A}, {0x093C, 0x093C}, {0x0941, 0x0948}, {0x094D, 0x094D},   {0x0E31, 0x0E31}, {0x0E34, 0x0E3A},
    {0x0E47, 0x0E4E}, {0x1160, 0x11FF}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF},   {0x200B, 0x200F}, {0x202A, 0x202E},
    {0x2060, 0x2064}, {0x2066, 0x206F}, {0x20D0, 0x20F0}, {0x302A, 0x302D},   {0x3099, 0x309A}, {0xD7B0, 0xD7FF},
    {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0xFEFF, 0xFEFF}, {0xE0001, 0xE01EF},
};

template <size_t N>
bool Contains(const Range (&ranges)[N], uint32_t c) {
  const Range* at = std::upper_bound(std::begin(ranges), std::end(ranges), c,
                                     [](uint32_t value, const Range& range) { return value < range.first; });
  return at != std::begin(ranges) && c <= std::prev(at)->last;
}

size_t WidthOf(uint32_t c) {
  if (c < 0x300) return 1;
  if (Contains(kZero, c)) return 0;
  return Contains(kWide, c) ? 2 : 1;
}

struct Character {
  uint32_t code = 0;
  size_t bytes = 1;
  bool valid = false;
};

// Decodes the first character of a text that is not empty; an invalid one is one byte long.
Character FirstOf(absl::string_view text) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return {lead, 1, true};
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return {lead, 1, false};
  uint32_t code = lead & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xC0) != 0x80) return {lead, 1, false};
    code = (code << 6) | (at(i) & 0x3F);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (overlong || surrogate || code > 0x10FFFF) return {lead, 1, false};
  return {code, length, true};
}

void AppendHexEscape(unsigned char byte, std::string* out) {
  constexpr char kHex[] = "0123456789abcdef";
  *out += "\\x";
  *out += kHex[byte >> 4];
  *out += kHex[byte & 15];
}

}  // namespace

size_t DisplayWidth(absl::string_view text) {
  size_t width = 0;
  while (!text.empty()) {
    const Character c = FirstOf(text);
    width += c.valid ? WidthOf(c.code) : 1;
    text.remove_prefix(c.bytes);
  }
  return width;
}

std::string CutToWidth(absl::string_view text, size_t width) {
  if (width == 0) return "";
  size_t used = 0;
  size_t bytes = 0;
  size_t fits_with_ellipsis = 0;  // bytes that leave one column for `…`
  while (bytes < text.size()) {
    const Character c = FirstOf(text.substr(bytes));
    const size_t columns = c.valid ? WidthOf(c.code) : 1;
    if (used + columns > width) return std::string(text.substr(0, fits_with_ellipsis)) + "…";
    used += columns;
    bytes += c.bytes;
    if (used < width) fits_with_ellipsis = bytes;
  }
  return std::string(text);
}

std::string PadToWidth(absl::string_view text, size_t width, bool right_aligned) {
  const size_t used = DisplayWidth(text);
  const std::string padding(used < width ? width - used : 0, ' ');
  return right_aligned ? padding + std::string(text) : std::string(text) + padding;
}

std::string MakePrintable(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character c = FirstOf(text);
    const unsigned char lead = static_cast<unsigned char>(text[0]);
    if (!c.valid) {
      AppendHexEscape(lead, &out);
    } else if (c.code == '\n') {
      out += "\\n";
    } else if (c.code == '\t') {
      out += "\\t";
    } else if (c.code == '\r') {
      out += "\\r";
    } else if (c.code < 0x20 || c.code == 0x7F) {
      AppendHexEscape(lead, &out);
    } else if ((c.code >= 0x80 && c.code < 0xA0) || (c.code >= 0x202A && c.code <= 0x202E) ||
               (c.code >= 0x2066 && c.code <= 0x2069)) {
      // C1 controls act like escape sequences on some terminals; direction overrides reorder what is shown.
      for (size_t i = 0; i < c.bytes; ++i) AppendHexEscape(static_cast<unsigned char>(text[i]), &out);
    } else {
      out.append(text.data(), c.bytes);
    }
    text.remove_prefix(c.bytes);
  }
  return out;
}

}  // namespace naru::cli
