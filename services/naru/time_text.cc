#include "services/naru/time_text.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "common/clock/duration.h"
#include "common/clock/rfc3339.h"
#include "common/status/status.h"

namespace naru::cli {
namespace {

absl::TimeZone Zone(absl::string_view name) {
  absl::TimeZone zone = absl::UTCTimeZone();
  absl::LoadTimeZone(name, &zone);
  return zone;
}

absl::Status MomentError(absl::string_view text) {
  return MakeError(
      absl::StatusCode::kInvalidArgument, "TIME",
      absl::StrCat("`", text, "` is not a time: take RFC 3339 (2026-11-22T09:00:00Z), a date, `now`, `today`, ",
                   "`yesterday`, or how long ago (30m, 2h, 7d)"));
}

}  // namespace

absl::Status CheckTimeZone(absl::string_view name) {
  absl::TimeZone zone;
  if (absl::LoadTimeZone(name, &zone)) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, "TIME_ZONE",
                   absl::StrCat("`", name, "` is not a time zone: take an IANA name such as Asia/Seoul or UTC"));
}

int64_t StartOfDay(int64_t time_us, absl::string_view time_zone) {
  const absl::TimeZone zone = Zone(time_zone);
  const absl::CivilDay day = absl::ToCivilDay(absl::FromUnixMicros(time_us), zone);
  return absl::ToUnixMicros(absl::FromCivil(day, zone));
}

absl::StatusOr<int64_t> ParseMoment(absl::string_view text, absl::string_view time_zone, int64_t now_us) {
  NARU_RETURN_IF_ERROR(CheckTimeZone(time_zone));
  text = absl::StripAsciiWhitespace(text);
  if (text == "now") return now_us;
  if (text == "today") return StartOfDay(now_us, time_zone);
  const absl::TimeZone zone = Zone(time_zone);
  if (text == "yesterday") {
    const absl::CivilDay today = absl::ToCivilDay(absl::FromUnixMicros(now_us), zone);
    return absl::ToUnixMicros(absl::FromCivil(today - 1, zone));
  }
  if (absl::StatusOr<int64_t> exact = ParseRfc3339(text); exact.ok()) return exact;
  absl::Time parsed;
  std::string error;
  for (const char* layout :
       {"%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%E*S", "%Y-%m-%dT%H:%M:%E*S"}) {
    if (absl::ParseTime(layout, text, zone, &parsed, &error)) return absl::ToUnixMicros(parsed);
  }
  const absl::string_view ago = !text.empty() && text[0] == '-' ? text.substr(1) : text;
  if (absl::StatusOr<std::chrono::microseconds> length = ParseDuration(ago); length.ok() && length->count() >= 0) {
    return now_us - length->count();
  }
  return MomentError(text);
}

std::string FormatLocal(int64_t time_us, absl::string_view time_zone) {
  const absl::Time time = absl::FromUnixMicros(time_us);
  const bool whole = time_us % 1'000'000 == 0;
  return absl::FormatTime(whole ? "%Y-%m-%d %H:%M:%S" : "%Y-%m-%d %H:%M:%E3S", time, Zone(time_zone));
}

}  // namespace naru::cli
