// Times as people type and read them.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace naru::cli {

/// Reads a moment, in microseconds since 1970 UTC: RFC 3339 (`2026-11-22T09:00:00+09:00`), a date (`2026-11-22`) or a
/// date and time without zone (`2026-11-22 09:00`), both in `time_zone` (IANA name), `now`, `today`, `yesterday`
/// (midnight in that zone), or a length of time ago (`1h`, `-30m`, `2d`).
/// Errors: INVALID_ARGUMENT naming what would be right.
absl::StatusOr<int64_t> ParseMoment(absl::string_view text, absl::string_view time_zone, int64_t now_us);

/// The moment in `time_zone` for people: `2026-11-22 09:00:00`, with milliseconds if there are any.
std::string FormatLocal(int64_t time_us, absl::string_view time_zone);

/// Errors: INVALID_ARGUMENT for a name that this machine's zone database does not have.
absl::Status CheckTimeZone(absl::string_view name);

/// Start of the civil day that holds `time_us` in `time_zone` (a checked name).
int64_t StartOfDay(int64_t time_us, absl::string_view time_zone);

}  // namespace naru::cli
