#include "common/catalog/yaml_scalar.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace naru::catalog {
namespace {

constexpr double kExactInteger = 9007199254740992.0;  // 2^53

bool IsOneOf(absl::string_view text, std::initializer_list<absl::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

size_t CountDigits(absl::string_view text) {
  size_t n = 0;
  while (n < text.size() && absl::ascii_isdigit(text[n])) ++n;
  return n;
}

absl::string_view WithoutSign(absl::string_view text) {
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) text.remove_prefix(1);
  return text;
}

// [-+]? ( \.[0-9]+ | [0-9]+ (\.[0-9]*)? ) ([eE][-+]?[0-9]+)?
bool LooksLikeFloat(absl::string_view text) {
  text = WithoutSign(text);
  const size_t whole = CountDigits(text);
  text.remove_prefix(whole);
  size_t fraction = 0;
  if (!text.empty() && text[0] == '.') {
    text.remove_prefix(1);
    fraction = CountDigits(text);
    text.remove_prefix(fraction);
  }
  if (whole + fraction == 0) return false;
  if (text.empty()) return true;
  if (text[0] != 'e' && text[0] != 'E') return false;
  text = WithoutSign(text.substr(1));
  return !text.empty() && CountDigits(text) == text.size();
}

// Reads digits of a base without a sign; false when another character is among them.
bool ParseBase(absl::string_view digits, int base, Scalar* scalar) {
  if (digits.empty()) return false;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (end != digits.data() + digits.size()) return false;
  scalar->kind = ScalarKind::kInteger;
  scalar->overflows = error != std::errc() || value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  scalar->integer = scalar->overflows ? 0 : static_cast<int64_t>(value);
  scalar->number = static_cast<double>(scalar->overflows ? std::numeric_limits<uint64_t>::max() : value);
  return true;
}

bool ParseInteger(absl::string_view text, Scalar* scalar) {
  if (absl::StartsWith(text, "0o")) return ParseBase(text.substr(2), 8, scalar);
  if (absl::StartsWith(text, "0x")) return ParseBase(text.substr(2), 16, scalar);
  const absl::string_view digits = WithoutSign(text);
  if (digits.empty() || CountDigits(digits) != digits.size()) return false;
  scalar->kind = ScalarKind::kInteger;
  scalar->overflows = !absl::SimpleAtoi(text[0] == '+' ? digits : text, &scalar->integer);
  if (scalar->overflows) {
    scalar->integer = 0;
    if (!absl::SimpleAtod(text, &scalar->number)) scalar->number = HUGE_VAL;
  } else {
    scalar->number = static_cast<double>(scalar->integer);
  }
  return true;
}

bool ParseFloat(absl::string_view text, Scalar* scalar) {
  if (IsOneOf(text, {".nan", ".NaN", ".NAN"})) {
    scalar->number = std::numeric_limits<double>::quiet_NaN();
  } else if (IsOneOf(WithoutSign(text), {".inf", ".Inf", ".INF"})) {
    scalar->number = text[0] == '-' ? -HUGE_VAL : HUGE_VAL;
  } else if (!LooksLikeFloat(text) || !absl::SimpleAtod(text, &scalar->number)) {
    return false;
  }
  scalar->kind = ScalarKind::kFloat;
  return true;
}

// What YAML 1.1 readers (many libraries still) take for something else than a string.
bool MisreadByOthers(absl::string_view text) {
  const std::string lower = absl::AsciiStrToLower(text);
  return IsOneOf(lower, {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"});
}

bool IsPlainByte(char c) {
  // Bytes of other scripts are letters here; the caller has looked for their special characters.
  return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-' || c == '/' || c == '%' || c == '(' || c == ')' ||
         static_cast<unsigned char>(c) >= 0x80;
}

// C0, DEL, C1, line and paragraph separators, byte order marks and non-characters must be escaped.
bool NeedsEscape(absl::string_view text, size_t i) {
  const auto at = [&](size_t k) { return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0; };
  if (at(0) < 0x20 || at(0) == 0x7F) return true;
  if (at(0) == 0xC2) return at(1) < 0xA0;
  if (at(0) == 0xE2) return at(1) == 0x80 && (at(2) == 0xA8 || at(2) == 0xA9);
  return at(0) == 0xEF && ((at(1) == 0xBB && at(2) == 0xBF) || (at(1) == 0xBF && at(2) >= 0xBE));
}

bool AnyNeedsEscape(absl::string_view text, absl::string_view but) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (NeedsEscape(text, i) && but.find(text[i]) == absl::string_view::npos) return true;
  }
  return false;
}

// `90s`, `1h30m`: numbers and units, which no reader takes for anything else.
bool IsDuration(absl::string_view text) {
  while (!text.empty()) {
    const size_t digits = CountDigits(text);
    size_t end = digits;
    while (end < text.size() && absl::ascii_islower(text[end])) ++end;
    if (digits == 0 || end == digits) return false;
    text.remove_prefix(end);
  }
  return true;
}

bool IsPlainSafe(absl::string_view text) {
  if (text.empty() || text.size() > 200 || ResolvePlain(text).kind != ScalarKind::kString || MisreadByOthers(text)) {
    return false;
  }
  if (IsDuration(text)) return true;
  const char first = text[0];
  if (!absl::ascii_isalpha(first) && first != '_' && static_cast<unsigned char>(first) < 0x80) return false;
  if (text.back() == ' ') return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return c == ' ' || IsPlainByte(c); }) &&
         !AnyNeedsEscape(text, "");
}

std::string DoubleQuoted(absl::string_view text) {
  std::string out = "\"";
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '"' || byte == '\\') {
      out += '\\';
      out += text[i];
    } else if (byte == '\n') {
      out += "\\n";
    } else if (byte == '\t') {
      out += "\\t";
    } else if (!NeedsEscape(text, i)) {
      out += text[i];
    } else if (byte < 0x80) {
      absl::StrAppendFormat(&out, "\\x%02x", byte);
    } else if (byte == 0xC2) {
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(text[++i]));
    } else {
      const auto second = static_cast<unsigned char>(text[i + 1]);
      const auto third = static_cast<unsigned char>(text[i + 2]);
      absl::StrAppendFormat(&out, "\\u%04x", ((byte & 0x0F) << 12) | ((second & 0x3F) << 6) | (third & 0x3F));
      i += 2;
    }
  }
  return out + "\"";
}

}  // namespace

Scalar ResolvePlain(absl::string_view text) {
  Scalar scalar;
  if (text.empty() || IsOneOf(text, {"~", "null", "Null", "NULL"})) {
    scalar.kind = ScalarKind::kNull;
  } else if (IsOneOf(text, {"true", "True", "TRUE", "false", "False", "FALSE"})) {
    scalar.kind = ScalarKind::kBool;
    scalar.boolean = text[0] == 't' || text[0] == 'T';
  } else if (!ParseInteger(text, &scalar) && !ParseFloat(text, &scalar)) {
    scalar.kind = ScalarKind::kString;
  }
  return scalar;
}

std::string QuoteString(absl::string_view text) {
  if (IsPlainSafe(text)) return std::string(text);
  if (AnyNeedsEscape(text, "")) return DoubleQuoted(text);
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') out += '\'';
    out += c;
  }
  return out + "'";
}

bool FitsLiteralBlock(absl::string_view text) {
  if (text.size() < 2 || text.find('\n') == absl::string_view::npos) return false;
  if (absl::ascii_isspace(text[0]) || absl::EndsWith(text, "\n\n")) return false;
  if (AnyNeedsEscape(text, "\n")) return false;
  // A line of spaces alone would be taken for an empty one by some readers; one at the start decides the indentation.
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const absl::string_view line = text.substr(start, end - start);
    if (!line.empty() && (line.find_first_not_of(' ') == absl::string_view::npos || line.back() == ' ')) return false;
    start = end + 1;
  }
  return true;
}

std::string FormatNumber(double number) {
  char buffer[64];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), number);
  std::string text(buffer, result.ptr);
  // An integer that is not exact, or minus zero, is read back as the same number only when it is written as a float.
  const bool integral = text.find_first_of(".en") == std::string::npos;
  if (integral && (std::abs(number) > kExactInteger || (number == 0 && std::signbit(number)))) text += ".0";
  return text;
}

}  // namespace naru::catalog
