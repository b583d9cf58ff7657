// Timestamps, durations and doubles as text, by CEL's rules. Times are microseconds.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace naru::cel {

/// 0001-01-01T00:00:00Z and the last microsecond of 9999.
inline constexpr int64_t kMinTimestampUs = -62135596800000000;
inline constexpr int64_t kMaxTimestampUs = 253402300799999999;
/// About 10,000 years: protobuf's limit for durations.
inline constexpr int64_t kMaxDurationUs = 315576000000000000;

inline bool IsTimestamp(int64_t micros) { return micros >= kMinTimestampUs && micros <= kMaxTimestampUs; }
inline bool IsDuration(int64_t micros) { return micros >= -kMaxDurationUs && micros <= kMaxDurationUs; }

/// Reads RFC 3339 (`2022-11-01T09:00:00.5+09:00`); digits beyond microseconds are cut. False: not one, or out of range.
bool ParseTimestamp(absl::string_view text, int64_t* micros);
/// `2022-11-01T00:00:00.5Z`.
std::string TimestampText(int64_t micros);

/// Reads `1h30m`, `-1.5s`, `250ms`, `10us`, `5ns` (cut to microseconds).
bool ParseDuration(absl::string_view text, int64_t* micros);
/// Seconds: `5400s`, `1.5s`.
std::string DurationText(int64_t micros);

/// The shortest text that reads back as the same double: `1.5`, `20`, `1e+30`, `NaN`, `Infinity`.
std::string DoubleText(double value);

/// Finds a zone by its IANA name or offset (`+09:00`, `09:00`, `-2:30`).
bool FindZone(absl::string_view name, absl::TimeZone* zone);

}  // namespace naru::cel
