// google.protobuf.Timestamp and microseconds since 1970 UTC.
#pragma once

#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/clock/clock.h"
#include "common/clock/rfc3339.h"
#include "common/status/status.h"
#include "services/naru/time_text.h"

namespace naru::cli {

inline int64_t ToMicros(const google::protobuf::Timestamp& time) {
  return time.seconds() * 1'000'000 + time.nanos() / 1000;
}

inline void SetMicros(int64_t time_us, google::protobuf::Timestamp* time) {
  int64_t seconds = time_us / 1'000'000;
  if (time_us % 1'000'000 < 0) --seconds;
  time->set_seconds(seconds);
  time->set_nanos(static_cast<int32_t>((time_us - seconds * 1'000'000) * 1000));
}

inline std::string TimeText(const google::protobuf::Timestamp& time) { return FormatRfc3339(ToMicros(time)); }

/// Puts what --from and --to say, where they say something, into from_time and to_time of a request. Moments without a
/// zone are in `time_zone`. Errors: INVALID_ARGUMENT names the flag and what would be right.
template <typename Request>
absl::Status FillTimeRange(absl::string_view from, absl::string_view to, absl::string_view time_zone,
                           Request* request) {
  const int64_t now_us = Clock::System()->NowMicros();
  NARU_RETURN_IF_ERROR(CheckTimeZone(time_zone));
  if (!from.empty()) {
    const absl::StatusOr<int64_t> from_us = ParseMoment(from, time_zone, now_us);
    if (!from_us.ok()) return Annotate(from_us.status(), "--from");
    SetMicros(*from_us, request->mutable_from_time());
  }
  if (!to.empty()) {
    const absl::StatusOr<int64_t> to_us = ParseMoment(to, time_zone, now_us);
    if (!to_us.ok()) return Annotate(to_us.status(), "--to");
    SetMicros(*to_us, request->mutable_to_time());
  }
  return absl::OkStatus();
}

}  // namespace naru::cli
