#include "common/cel/zone_offset.h"

#include <algorithm>
#include <limits>

#include "absl/time/civil_time.h"

namespace naru::cel {
namespace {

/// Civil times this close to a change of the offset are looked up exactly; no zone ever jumped further.
constexpr int64_t kMargin = 26 * 3600;

int64_t InstantOf(const absl::TimeZone& zone, const absl::TimeZone::CivilTransition& transition) {
  return absl::ToUnixSeconds(zone.At(transition.from).trans);
}

}  // namespace

void ZoneOffset::Refresh(const absl::TimeZone& zone, int64_t seconds) {
  const absl::Time time = absl::FromUnixSeconds(seconds);
  offset_ = zone.At(time).offset;
  // A year at most: the library computes far transitions from a rule, and older data has stretches without any.
  from_ = seconds - 366 * 86400;
  until_ = seconds + 366 * 86400;
  absl::TimeZone::CivilTransition transition;
  if (zone.NextTransition(time, &transition)) until_ = std::min(until_, InstantOf(zone, transition));
  if (zone.PrevTransition(time + absl::Seconds(1), &transition)) from_ = std::max(from_, InstantOf(zone, transition));
  if (seconds < from_ || seconds >= until_) {
    from_ = seconds;
    until_ = seconds + 1;
  }
}

int64_t ZoneOffset::FromCivil(const absl::TimeZone& zone, int64_t civil_seconds) {
  const int64_t guess = civil_seconds - offset_;
  if (guess - kMargin >= from_ && guess + kMargin < until_) return guess;
  const absl::CivilSecond civil = absl::CivilSecond(1970, 1, 1) + civil_seconds;
  const int64_t exact = absl::ToUnixSeconds(zone.At(civil).pre);
  Refresh(zone, exact);
  return exact;
}

}  // namespace naru::cel
