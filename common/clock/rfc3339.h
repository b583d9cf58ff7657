// Times of day as text: RFC 3339.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace naru {

/// Returns microseconds since 1970 UTC as `2024-05-01T09:30:00Z`, with 3 or 6 decimals where they are not zero.
/// Years outside 0..9999 are printed with the digits they need (such a text does not parse back).
std::string FormatRfc3339(int64_t time_us);

/// Parses `2024-05-01T09:30:00[.fraction](Z|+09:00)` into microseconds since 1970 UTC. `T` and `Z` may be lower case
/// and `T` may be a space; digits after the sixth are cut; second 60 is taken as the next minute's 0. Errors:
/// INVALID_ARGUMENT (reason TIME) for anything else, dates that do not exist included.
absl::StatusOr<int64_t> ParseRfc3339(absl::string_view text);

/// Days since 1970-01-01 of a civil date of the proleptic Gregorian calendar. `month` is 1..12.
int64_t DaysFromCivil(int64_t year, int month, int day);

/// A civil date.
struct CivilDate {
  int64_t year;
  int month;  ///< 1..12
  int day;    ///< 1..31
};
/// The inverse of DaysFromCivil.
CivilDate CivilFromDays(int64_t days);

}  // namespace naru
