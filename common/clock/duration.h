// Lengths of time as text: `90s`, `1h30m`, `250ms`.
#pragma once

#include <chrono>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace naru {

/// Parses a number and a unit, or several in a row: units us, ms, s, m, h, d (24 hours). The number may have decimals
/// (`1.5h`), the first may have a minus sign; `0` alone needs no unit.
/// Errors: INVALID_ARGUMENT (reason DURATION) for anything else, and for what does not fit in 64 bits of microseconds.
absl::StatusOr<std::chrono::microseconds> ParseDuration(absl::string_view text);

/// Returns the shortest text that ParseDuration reads back to the same value: `1h30m`, `250ms`, `1d`, `0s`.
std::string FormatDuration(std::chrono::microseconds duration);

}  // namespace naru
