// How times are written in lines: compiled once, read fast.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/cel/zone_offset.h"

namespace naru::input_format {

/// A layout of times: `rfc3339`, `unix`, `unix_ms`, `unix_us`, or strftime words.
///
/// Words: %Y %y %m %d %e %H %k %I %l %M %S %p %b %h %B %a %A %z %Z %s %f %L %E*S %E3S %F %T %R %D %n %t %%. %z takes +0900,
/// +09:00, +09 and Z; %Z only UTC, GMT and Z; %f and %L one to nine digits of a fraction, cut to microseconds; a blank any
/// number of blanks. Names of months and days are English, in any case.
/// A time that its zone skips (clocks going forward) moves on by the gap; of one that happens twice the first is taken.
/// Immutable, so thread-safe with a ZoneOffset a thread.
class TimeLayout {
 public:
  /// Errors: INVALID_ARGUMENT names the word or zone that is not known.
  static absl::StatusOr<TimeLayout> Compile(absl::string_view layout, absl::string_view time_zone);

  /// Reads all of `text`. False: it does not fit, or is outside the years 1 to 9999.
  bool Parse(absl::string_view text, cel::ZoneOffset* zone_offset, int64_t* micros) const;

  /// Takes a number (of JSON) for the unix layouts. False: another layout, or out of range.
  bool FromNumber(double number, int64_t* micros) const;

  /// For messages: `RFC 3339 (2022-11-01T09:00:00Z)`, `%Y-%m-%d`.
  const std::string& description() const { return description_; }

 private:
  enum class Kind : uint8_t { kRfc3339, kUnix, kUnixMs, kUnixUs, kWords };
  enum class Step : uint8_t {
    kLiteral, kBlank, kYear, kShortYear, kMonth, kDay, kHour, kHour12, kMinute, kSecond, kHalf, kMonthName, kDayName,
    kOffset, kZoneName, kUnixSeconds, kFraction, kSecondFraction,
  };
  struct Word {
    Step step = Step::kLiteral;
    char literal = 0;
  };
  struct Parts;

  absl::Status AddWord(absl::string_view layout, size_t* i);
  bool Has(Step step) const;
  bool ReadWords(absl::string_view text, Parts* parts) const;
  static bool ReadRfc3339(absl::string_view text, Parts* parts);
  static bool ReadWord(Word word, absl::string_view* text, Parts* parts);
  bool Finish(const Parts& parts, cel::ZoneOffset* zone_offset, int64_t* micros) const;
  bool ParseUnix(absl::string_view text, int64_t* micros) const;

  Kind kind_ = Kind::kRfc3339;
  std::vector<Word> words_;
  absl::TimeZone zone_;
  bool utc_ = true;
  std::string description_;
};

}  // namespace naru::input_format
