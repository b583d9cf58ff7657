#include "common/clock/duration.h"

#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"

namespace naru {
namespace {

struct Unit {
  absl::string_view name;
  int64_t micros;
};

// Longest first: this is also the order in which FormatDuration takes them out.
constexpr Unit kUnits[] = {{"d", 86'400'000'000}, {"h", 3'600'000'000}, {"m", 60'000'000},
                           {"s", 1'000'000},      {"ms", 1000},         {"us", 1}};

const Unit* FindUnit(absl::string_view name) {
  for (const Unit& unit : kUnits) {
    if (unit.name == name) return &unit;
  }
  return nullptr;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Reads one number with its unit from the front of `text` and adds its microseconds to `total`. False when malformed,
// when it is not a whole number of microseconds, or on overflow.
bool TakePart(absl::string_view* text, __int128* total) {
  __int128 number = 0;
  __int128 scale = 1;
  size_t i = 0;
  bool point = false;
  bool digits = false;
  for (; i < text->size() && (IsDigit((*text)[i]) || ((*text)[i] == '.' && !point)); ++i) {
    if ((*text)[i] == '.') {
      point = true;
      continue;
    }
    digits = true;
    number = number * 10 + ((*text)[i] - '0');
    if (point) scale *= 10;
    if (number > std::numeric_limits<int64_t>::max() || scale > 1'000'000'000'000) return false;
  }
  size_t end = i;
  while (end < text->size() && (*text)[end] >= 'a' && (*text)[end] <= 'z') ++end;
  const Unit* unit = FindUnit(text->substr(i, end - i));
  if (!digits || unit == nullptr) return false;
  const __int128 micros = number * unit->micros;
  if (micros % scale != 0) return false;
  *total += micros / scale;
  text->remove_prefix(end);
  return *total <= std::numeric_limits<int64_t>::max();
}

}  // namespace

absl::StatusOr<std::chrono::microseconds> ParseDuration(absl::string_view text) {
  absl::string_view rest = text;
  const bool negative = !rest.empty() && rest[0] == '-';
  if (negative) rest.remove_prefix(1);
  if (rest == "0") return std::chrono::microseconds(0);
  __int128 total = 0;
  bool ok = !rest.empty();
  while (ok && !rest.empty()) ok = TakePart(&rest, &total);
  if (!ok) {
    return MakeError(absl::StatusCode::kInvalidArgument, "DURATION",
                     absl::StrCat("`", text.substr(0, 64), "` is not a duration like 90s, 250ms or 1h30m"));
  }
  return std::chrono::microseconds(static_cast<int64_t>(negative ? -total : total));
}

std::string FormatDuration(std::chrono::microseconds duration) {
  if (duration.count() == 0) return "0s";
  const bool negative = duration.count() < 0;
  // Unsigned, because the smallest 64-bit number has no positive counterpart.
  uint64_t left = negative ? 0 - static_cast<uint64_t>(duration.count()) : static_cast<uint64_t>(duration.count());
  std::string text = negative ? "-" : "";
  for (const Unit& unit : kUnits) {
    const uint64_t count = left / unit.micros;
    if (count == 0) continue;
    absl::StrAppend(&text, count, unit.name);
    left -= count * unit.micros;
  }
  return text;
}

}  // namespace naru
