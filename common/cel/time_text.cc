#include "common/cel/time_text.h"

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/civil_time.h"

namespace naru::cel {
namespace {

constexpr int64_t kSecond = 1000000;

/// Reads exactly `digits` digits at `*text` and takes them off.
bool TakeDigits(absl::string_view* text, int digits, int* value) {
  if (text->size() < static_cast<size_t>(digits)) return false;
  *value = 0;
  for (int i = 0; i < digits; ++i) {
    if (!absl::ascii_isdigit((*text)[i])) return false;
    *value = *value * 10 + ((*text)[i] - '0');
  }
  text->remove_prefix(digits);
  return true;
}

bool Take(absl::string_view* text, char c) {
  if (text->empty() || text->front() != c) return false;
  text->remove_prefix(1);
  return true;
}

/// Reads a fraction's digits as microseconds; false if there are none.
bool TakeFraction(absl::string_view* text, int64_t* micros) {
  size_t digits = 0;
  int64_t scale = 100000;
  *micros = 0;
  while (digits < text->size() && absl::ascii_isdigit((*text)[digits])) {
    *micros += ((*text)[digits] - '0') * scale;
    scale /= 10;
    ++digits;
  }
  text->remove_prefix(digits);
  return digits > 0 && digits <= 9;
}

std::string Fraction(int64_t micros) {
  if (micros == 0) return "";
  std::string text = absl::StrFormat(".%06d", micros);
  while (text.back() == '0') text.pop_back();
  return text;
}

}  // namespace

bool ParseTimestamp(absl::string_view text, int64_t* micros) {
  int year, month, day, hour, minute, second;
  if (!TakeDigits(&text, 4, &year) || !Take(&text, '-') || !TakeDigits(&text, 2, &month) || !Take(&text, '-') ||
      !TakeDigits(&text, 2, &day) || !(Take(&text, 'T') || Take(&text, 't')) || !TakeDigits(&text, 2, &hour) ||
      !Take(&text, ':') || !TakeDigits(&text, 2, &minute) || !Take(&text, ':') || !TakeDigits(&text, 2, &second)) {
    return false;
  }
  int64_t fraction = 0;
  if (Take(&text, '.') && !TakeFraction(&text, &fraction)) return false;
  int64_t offset_s = 0;
  if (!Take(&text, 'Z') && !Take(&text, 'z')) {
    const bool west = Take(&text, '-');
    int offset_hour, offset_minute;
    if ((!west && !Take(&text, '+')) || !TakeDigits(&text, 2, &offset_hour) || !Take(&text, ':') ||
        !TakeDigits(&text, 2, &offset_minute) || offset_hour > 23 || offset_minute > 59) {
      return false;
    }
    offset_s = (offset_hour * 60 + offset_minute) * 60 * (west ? -1 : 1);
  }
  if (!text.empty() || year < 1 || hour > 23 || minute > 59 || second > 59) return false;
  const absl::CivilDay date(year, month, day);
  if (date.year() != year || date.month() != month || date.day() != day) return false;
  const int64_t days = date - absl::CivilDay(1970, 1, 1);
  *micros = (days * 86400 + hour * 3600 + minute * 60 + second - offset_s) * kSecond + fraction;
  return IsTimestamp(*micros);
}

std::string TimestampText(int64_t micros) {
  int64_t seconds = micros / kSecond;
  int64_t fraction = micros % kSecond;
  if (fraction < 0) {
    fraction += kSecond;
    --seconds;
  }
  const absl::CivilSecond civil = absl::CivilSecond(1970, 1, 1) + seconds;
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d%sZ", civil.year(), civil.month(), civil.day(), civil.hour(),
                         civil.minute(), civil.second(), Fraction(fraction));
}

bool ParseDuration(absl::string_view text, int64_t* micros) {
  const bool negative = Take(&text, '-');
  if (!negative) Take(&text, '+');
  if (text == "0") {
    *micros = 0;
    return true;
  }
  if (text.empty()) return false;
  double total_whole = 0;
  int64_t total = 0;
  while (!text.empty()) {
    size_t digits = 0;
    while (digits < text.size() && (absl::ascii_isdigit(text[digits]) || text[digits] == '.')) ++digits;
    size_t end = digits;
    while (end < text.size() && absl::ascii_isalpha(text[end])) ++end;
    const absl::string_view unit = text.substr(digits, end - digits);
    const double unit_us = unit == "h"    ? 3600e6
                           : unit == "m"  ? 60e6
                           : unit == "s"  ? 1e6
                           : unit == "ms" ? 1e3
                           : unit == "us" ? 1
                           : unit == "ns" ? 1e-3
                                          : 0;
    const absl::string_view number = text.substr(0, digits);
    const size_t dot = number.find('.');
    int64_t whole = 0;
    const absl::string_view whole_text = number.substr(0, dot);
    const auto read = std::from_chars(whole_text.data(), whole_text.data() + whole_text.size(), whole);
    if (unit_us == 0 || number.empty() || number == ".") return false;
    if (!whole_text.empty() && (read.ec != std::errc() || read.ptr != whole_text.data() + whole_text.size()))
      return false;
    double fraction = 0;
    if (dot != absl::string_view::npos) {
      const std::string fraction_text = absl::StrCat("0", number.substr(dot));
      const auto end_of = std::from_chars(fraction_text.data(), fraction_text.data() + fraction_text.size(), fraction);
      if (end_of.ec != std::errc() || end_of.ptr != fraction_text.data() + fraction_text.size()) return false;
    }
    total_whole += static_cast<double>(whole) * unit_us;
    if (total_whole > 2 * static_cast<double>(kMaxDurationUs)) return false;
    const int64_t part = unit_us >= 1 ? whole * static_cast<int64_t>(unit_us) : whole / 1000;
    total += part + static_cast<int64_t>(std::llround(fraction * unit_us * 1000) / 1000);
    text.remove_prefix(end);
  }
  *micros = negative ? -total : total;
  return IsDuration(*micros);
}

std::string DurationText(int64_t micros) {
  const int64_t absolute = std::abs(micros);
  return absl::StrCat(micros < 0 ? "-" : "", absolute / kSecond, Fraction(absolute % kSecond), "s");
}

std::string DoubleText(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  char buffer[40];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value);
  return std::string(buffer, result.ptr);
}

bool FindZone(absl::string_view name, absl::TimeZone* zone) {
  absl::string_view text = name;
  const bool west = Take(&text, '-');
  if (!west) Take(&text, '+');
  int hour = 0;
  int minute = 0;
  const size_t colon = text.find(':');
  if (colon == 1 || colon == 2) {
    if (!TakeDigits(&text, static_cast<int>(colon), &hour) || !Take(&text, ':') || !TakeDigits(&text, 2, &minute) ||
        !text.empty() || hour > 23 || minute > 59) {
      return false;
    }
    *zone = absl::FixedTimeZone((hour * 60 + minute) * 60 * (west ? -1 : 1));
    return true;
  }
  // The library also takes `localtime` and file names, which would make results depend on the machine.
  const bool is_path = absl::StrContains(name, "..") || name.find_first_of("/:.") == 0;
  if (name.empty() || name.size() > 64 || name == "localtime" || is_path) return false;
  return absl::LoadTimeZone(name, zone);
}

}  // namespace naru::cel
