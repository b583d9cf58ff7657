#include "services/aggregator/cohort.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "common/status/status.h"

namespace naru::aggregator {
namespace {

constexpr int64_t kMondayBeforeEpoch = -3;  // 1969-12-29
constexpr int64_t kDaysPerWeek = 7;

int64_t FloorDivide(int64_t value, int64_t by) { return value / by - (value % by != 0 && (value < 0) != (by < 0)); }

}  // namespace

absl::StatusOr<CohortCalendar> CohortCalendar::Create(absl::string_view unit, absl::TimeZone zone) {
  if (unit == "1d") return CohortCalendar(Unit::kDay, zone);
  if (unit == "1w") return CohortCalendar(Unit::kWeek, zone);
  if (unit == "1mo") return CohortCalendar(Unit::kMonth, zone);
  return MakeError(absl::StatusCode::kInvalidArgument, "RETENTION_UNIT",
                   absl::StrCat("`", unit, "` must be 1d, 1w or 1mo"));
}

int64_t CohortCalendar::UnitOf(int64_t time_us) const {
  const absl::Time time = absl::FromUnixMicros(time_us);
  if (unit_ == Unit::kMonth) return absl::ToCivilMonth(time, zone_) - absl::CivilMonth(1970, 1);
  const int64_t day = absl::ToCivilDay(time, zone_) - absl::CivilDay(1970, 1, 1);
  return unit_ == Unit::kDay ? day : FloorDivide(day - kMondayBeforeEpoch, kDaysPerWeek);
}

int64_t CohortCalendar::StartOf(int64_t unit) const {
  if (unit_ == Unit::kMonth) return absl::ToUnixMicros(absl::FromCivil(absl::CivilMonth(1970, 1) + unit, zone_));
  const int64_t day = unit_ == Unit::kDay ? unit : unit * kDaysPerWeek + kMondayBeforeEpoch;
  return absl::ToUnixMicros(absl::FromCivil(absl::CivilDay(1970, 1, 1) + day, zone_));
}

void CohortCounter::Add(const CohortUser& user, bool truncated) {
  auto first = std::lower_bound(user.first.begin(), user.first.end(), from_unit_);
  auto returned = user.returned.begin();
  for (; first != user.first.end() && *first < to_unit_; ++first) {
    Cohort& cohort = cohorts_[*first];
    cohort.returned.resize(count_ + 1);
    ++cohort.users;
    cohort.truncated_users += truncated;
    while (returned != user.returned.end() && *returned < *first) ++returned;
    for (auto later = returned; later != user.returned.end() && *later - *first <= count_; ++later) {
      ++cohort.returned[*later - *first];
    }
  }
}

}  // namespace naru::aggregator
