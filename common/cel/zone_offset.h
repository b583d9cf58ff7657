// Offsets of a time zone, remembered between calls: times that come one after the other mostly share one.
#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace naru::cel {

/// Not thread-safe; cheap to make. A lookup within the stretch between two changes of the offset costs two comparisons.
class ZoneOffset {
 public:
  /// Returns seconds east of UTC at `seconds` since 1970 UTC.
  int64_t At(const absl::TimeZone& zone, int64_t seconds) {
    if (seconds < from_ || seconds >= until_) Refresh(zone, seconds);
    return offset_;
  }

  /// Returns the UTC seconds of a civil time given as if it were UTC. A time that the zone skips moves on by the gap;
  /// of one that happens twice the first is taken.
  int64_t FromCivil(const absl::TimeZone& zone, int64_t civil_seconds);

 private:
  void Refresh(const absl::TimeZone& zone, int64_t seconds);

  int64_t from_ = 0;
  int64_t until_ = 0;  ///< the offset holds in [from_, until_)
  int64_t offset_ = 0;
};

}  // namespace naru::cel
