#include "common/clock/rfc3339.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"

namespace naru {
namespace {

constexpr int64_t kMicrosPerSecond = 1'000'000;
constexpr int64_t kSecondsPerDay = 86'400;

bool IsLeap(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

int DaysInMonth(int64_t year, int month) {
  static constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return month == 2 && IsLeap(year) ? 29 : kDays[month - 1];
}

// Reads exactly `digits` decimal digits from the front of `text`.
bool TakeDigits(absl::string_view* text, int digits, int* value) {
  if (text->size() < static_cast<size_t>(digits)) return false;
  *value = 0;
  for (int i = 0; i < digits; ++i) {
    const char c = (*text)[i];
    if (c < '0' || c > '9') return false;
    *value = *value * 10 + (c - '0');
  }
  text->remove_prefix(digits);
  return true;
}

bool TakeChar(absl::string_view* text, absl::string_view any_of) {
  if (text->empty() || any_of.find((*text)[0]) == absl::string_view::npos) return false;
  text->remove_prefix(1);
  return true;
}

// Reads `.123456789` if it is there; microseconds, the rest cut off.
bool TakeFraction(absl::string_view* text, int64_t* micros) {
  *micros = 0;
  if (!TakeChar(text, ".")) return true;
  int64_t scale = kMicrosPerSecond;
  bool any = false;
  while (!text->empty() && (*text)[0] >= '0' && (*text)[0] <= '9') {
    scale /= 10;
    *micros += ((*text)[0] - '0') * scale;
    text->remove_prefix(1);
    any = true;
  }
  return any;
}

// Reads `Z` or `+09:00`; seconds east of UTC.
bool TakeOffset(absl::string_view* text, int* seconds) {
  *seconds = 0;
  if (TakeChar(text, "Zz")) return true;
  const bool west = !text->empty() && (*text)[0] == '-';
  int hours = 0;
  int minutes = 0;
  if (!TakeChar(text, "+-") || !TakeDigits(text, 2, &hours) || !TakeChar(text, ":") || !TakeDigits(text, 2, &minutes) ||
      hours > 23 || minutes > 59) {
    return false;
  }
  *seconds = (hours * 3600 + minutes * 60) * (west ? -1 : 1);
  return true;
}

}  // namespace

// The calendar is counted in eras of 400 years that begin on the first of March, so that the leap day comes last
// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
int64_t DaysFromCivil(int64_t year, int month, int day) {
  year -= month <= 2;
  const int64_t era = (year >= 0 ? year : year - 399) / 400;
  const int64_t year_of_era = year - era * 400;
  const int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  const int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146'097 + day_of_era - 719'468;
}

CivilDate CivilFromDays(int64_t days) {
  days += 719'468;
  const int64_t era = (days >= 0 ? days : days - 146'096) / 146'097;
  const int64_t day_of_era = days - era * 146'097;
  const int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t shifted_month = (5 * day_of_year + 2) / 153;
  const int month = static_cast<int>(shifted_month < 10 ? shifted_month + 3 : shifted_month - 9);
  return {year_of_era + era * 400 + (month <= 2), month,
          static_cast<int>(day_of_year - (153 * shifted_month + 2) / 5 + 1)};
}

std::string FormatRfc3339(int64_t time_us) {
  int64_t seconds = time_us / kMicrosPerSecond;
  int64_t micros = time_us % kMicrosPerSecond;
  if (micros < 0) {
    micros += kMicrosPerSecond;
    --seconds;
  }
  int64_t days = seconds / kSecondsPerDay;
  int64_t second_of_day = seconds % kSecondsPerDay;
  if (second_of_day < 0) {
    second_of_day += kSecondsPerDay;
    --days;
  }
  const CivilDate date = CivilFromDays(days);
  const int hour = static_cast<int>(second_of_day / 3600);
  const int minute = static_cast<int>(second_of_day / 60 % 60);
  const int second = static_cast<int>(second_of_day % 60);
  char text[64];
  int size = std::snprintf(text, sizeof(text), "%04lld-%02d-%02dT%02d:%02d:%02d", static_cast<long long>(date.year),
                           date.month, date.day, hour, minute, second);
  if (micros % 1000 != 0) {
    size += std::snprintf(text + size, sizeof(text) - size, ".%06d", static_cast<int>(micros));
  } else if (micros != 0) {
    size += std::snprintf(text + size, sizeof(text) - size, ".%03d", static_cast<int>(micros / 1000));
  }
  text[size++] = 'Z';
  return std::string(text, size);
}

absl::StatusOr<int64_t> ParseRfc3339(absl::string_view text) {
  absl::string_view rest = text;
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, offset = 0;
  int64_t micros = 0;
  const bool parsed = TakeDigits(&rest, 4, &year) && TakeChar(&rest, "-") && TakeDigits(&rest, 2, &month) &&
                      TakeChar(&rest, "-") && TakeDigits(&rest, 2, &day) && TakeChar(&rest, "Tt ") &&
                      TakeDigits(&rest, 2, &hour) && TakeChar(&rest, ":") && TakeDigits(&rest, 2, &minute) &&
                      TakeChar(&rest, ":") && TakeDigits(&rest, 2, &second) && TakeFraction(&rest, &micros) &&
                      TakeOffset(&rest, &offset) && rest.empty();
  const bool exists = parsed && month >= 1 && month <= 12 && day >= 1 && day <= DaysInMonth(year, month) &&
                      hour <= 23 && minute <= 59 && second <= 60;
  if (!exists) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TIME",
                     absl::StrCat("`", text.substr(0, 64), "` is not a time like 2024-05-01T09:30:00Z"));
  }
  const int64_t seconds =
      DaysFromCivil(year, month, day) * kSecondsPerDay + hour * 3600 + minute * 60 + second - offset;
  return seconds * kMicrosPerSecond + micros;
}

}  // namespace naru
