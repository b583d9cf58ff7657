// google.protobuf.Timestamp and microseconds since 1970 UTC.
#pragma once

#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>

#include "common/clock/rfc3339.h"

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

}  // namespace naru::cli
