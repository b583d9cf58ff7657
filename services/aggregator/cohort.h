// Who came back: the days (weeks, months) of a zone's calendar on which a user did something first, and those on which
// the user returned.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/aggregator/window_grid.h"

namespace naru::aggregator {

/// Most units after the first that a Retention asks for.
inline constexpr int kMaxCohortCount = 400;

/// Numbers the days, weeks (from Monday) or months of a zone: 0 is the one that holds 1970-01-01. Immutable;
/// thread-safe.
class CohortCalendar {
 public:
  /// `unit` is `1d`, `1w` or `1mo`. Errors: INVALID_ARGUMENT for any other.
  static absl::StatusOr<CohortCalendar> Create(absl::string_view unit, absl::TimeZone zone);

  int64_t UnitOf(int64_t time_us) const;
  /// From where to where it lasts.
  TimeSpan SpanOf(int64_t unit) const { return {StartOf(unit), StartOf(unit + 1)}; }
  int64_t StartOf(int64_t unit) const;

 private:
  enum class Unit : uint8_t { kDay, kWeek, kMonth };
  CohortCalendar(Unit unit, absl::TimeZone zone) : unit_(unit), zone_(zone) {}
  Unit unit_;
  absl::TimeZone zone_;
};

/// One user's units, each sorted and without repetition.
struct CohortUser {
  std::vector<int64_t> first;     ///< in which `first` matched
  std::vector<int64_t> returned;  ///< in which `returned` matched
};

/// The users of one unit, and how many of them came back.
struct Cohort {
  int64_t users = 0;
  std::vector<int64_t> returned;  ///< [n]: in the unit n later; [0] in the same
  int64_t truncated_users = 0;    ///< of whom not everything is known any more
};

/// Counts users into the cohorts of units in [from_unit, to_unit): each user once in every unit in which `first`
/// matched.
class CohortCounter {
 public:
  /// `count` is the greatest n.
  CohortCounter(int64_t from_unit, int64_t to_unit, int count)
      : from_unit_(from_unit), to_unit_(to_unit), count_(count) {}

  void Add(const CohortUser& user, bool truncated = false);
  /// By unit; those without users are not there.
  const std::map<int64_t, Cohort>& cohorts() const { return cohorts_; }

 private:
  const int64_t from_unit_;
  const int64_t to_unit_;
  const int count_;
  std::map<int64_t, Cohort> cohorts_;
};

}  // namespace naru::aggregator
