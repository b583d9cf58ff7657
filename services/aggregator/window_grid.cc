#include "services/aggregator/window_grid.h"

#include <cctype>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "common/clock/duration.h"
#include "common/status/status.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::aggregator {
namespace {

constexpr int64_t kHourUs = 3'600'000'000;
constexpr int64_t kMondayAfterEpoch = 4;  // 1970-01-05

int64_t FloorDivide(int64_t value, int64_t by) { return value / by - (value % by != 0 && (value < 0) != (by < 0)); }

int64_t ToMicros(absl::Time time) { return absl::ToUnixMicros(time); }

// When the clocks changed. Told by where they were put: the time that they were put away from may exist elsewhere.
int64_t InstantOf(const absl::TimeZone::CivilTransition& transition, const absl::TimeZone& zone) {
  const absl::TimeZone::TimeInfo info = zone.At(transition.to);
  return ToMicros(info.kind == absl::TimeZone::TimeInfo::UNIQUE ? info.pre : info.trans);
}

// Start of the hour that the zone's clocks show; a change of the clocks starts a new one too, so that no pane holds two
// meanings of the same time.
int64_t HourFloor(int64_t time_us, const absl::TimeZone& zone) {
  const absl::Time time = absl::FromUnixMicros(time_us);
  const absl::CivilSecond local = absl::ToCivilSecond(time, zone);
  const int64_t second = FloorDivide(time_us, 1'000'000);
  int64_t start = (second - local.minute() * 60 - local.second()) * 1'000'000;
  absl::TimeZone::CivilTransition transition;
  if (zone.PrevTransition(time + absl::Seconds(1), &transition)) {
    const int64_t changed = InstantOf(transition, zone);
    if (changed > start && changed <= time_us) start = changed;
  }
  return start;
}

int64_t HourNext(int64_t start_us, const absl::TimeZone& zone) {
  const absl::Time time = absl::FromUnixMicros(start_us);
  const absl::CivilSecond local = absl::ToCivilSecond(time, zone);
  int64_t next = start_us + kHourUs - (local.minute() * 60 + local.second()) * int64_t{1'000'000};
  absl::TimeZone::CivilTransition transition;
  if (zone.NextTransition(time, &transition)) {
    const int64_t changes = InstantOf(transition, zone);
    if (changes > start_us && changes < next) next = changes;
  }
  return next;
}

// Which group of `count` hours of its day an hour belongs to.
int64_t HourBucket(int64_t hour_start_us, int64_t count, const absl::TimeZone& zone) {
  const absl::CivilHour hour = absl::ToCivilHour(absl::FromUnixMicros(hour_start_us), zone);
  return FloorDivide(hour - absl::CivilHour(1970, 1, 1), count);
}

int64_t DayStart(int64_t day, const absl::TimeZone& zone) {
  return ToMicros(absl::FromCivil(absl::CivilDay(1970, 1, 1) + day, zone));
}

int64_t MonthStart(int64_t month, const absl::TimeZone& zone) {
  return ToMicros(absl::FromCivil(absl::CivilMonth(1970, 1) + month, zone));
}

// A length as written: `5m`, `1d`, `2w`, `1mo`.
struct Length {
  enum class Unit : uint8_t { kFixed, kDays, kWeeks, kMonths } unit = Unit::kFixed;
  int64_t count = 0;
};

absl::Status WindowError(absl::string_view field, absl::string_view description) {
  ErrorDetails details;
  details.reason = "METRIC_WINDOW";
  details.violations.push_back({absl::StrCat("spec.", field), std::string(description)});
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("spec.", field, ": ", description), details);
}

absl::StatusOr<Length> ParseLength(absl::string_view field, absl::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits]))) ++digits;
  const absl::string_view unit = text.substr(digits);
  Length length;
  if (unit == "d" || unit == "w" || unit == "mo") {
    length.unit = unit == "d" ? Length::Unit::kDays : unit == "w" ? Length::Unit::kWeeks : Length::Unit::kMonths;
    if (!absl::SimpleAtoi(text.substr(0, digits), &length.count) || length.count < 1 || length.count > 10'000) {
      return WindowError(field, absl::StrCat("`", text, "` must be between 1 and 10000 ", unit));
    }
    return length;
  }
  const absl::StatusOr<std::chrono::microseconds> fixed = ParseDuration(text);
  if (!fixed.ok() || text.empty()) {
    return WindowError(field, absl::StrCat("`", text, "` is not a length of time such as 30s, 5m, 1h, 1d, 1w or 1mo"));
  }
  if (*fixed < std::chrono::milliseconds(1) || *fixed > std::chrono::hours(24 * 366 * 10)) {
    return WindowError(field, absl::StrCat("`", text, "` must be between 1ms and 10 years"));
  }
  for (const char c : text) {
    if (c == 'd') return WindowError(field, absl::StrCat("`", text, "` mixes civil days with other units"));
  }
  length.count = fixed->count();
  return length;
}

CalendarStep StepOf(const Length& length) {
  switch (length.unit) {
    case Length::Unit::kFixed:
      return {CalendarStep::Unit::kFixed, length.count, 0};
    case Length::Unit::kDays:
      return {CalendarStep::Unit::kCivilDays, length.count, 0};
    case Length::Unit::kWeeks:
      return {CalendarStep::Unit::kCivilDays, length.count * 7, kMondayAfterEpoch};
    case Length::Unit::kMonths:
      return {CalendarStep::Unit::kCivilMonths, length.count, 0};
  }
  return {};
}

}  // namespace

int64_t CalendarStep::Floor(int64_t time_us, const absl::TimeZone& zone) const {
  switch (unit) {
    case Unit::kFixed:
      return FloorDivide(time_us, count) * count;
    case Unit::kCivilHours: {
      int64_t start = HourFloor(time_us, zone);
      if (count == 1) return start;
      const int64_t bucket = HourBucket(start, count, zone);
      for (;;) {
        const int64_t before = HourFloor(start - 1, zone);
        if (HourBucket(before, count, zone) != bucket) return start;
        start = before;
      }
    }
    case Unit::kCivilDays: {
      const int64_t day = absl::ToCivilDay(absl::FromUnixMicros(time_us), zone) - absl::CivilDay(1970, 1, 1);
      return DayStart(FloorDivide(day - anchor_day, count) * count + anchor_day, zone);
    }
    case Unit::kCivilMonths: {
      const int64_t month = absl::ToCivilMonth(absl::FromUnixMicros(time_us), zone) - absl::CivilMonth(1970, 1);
      return MonthStart(FloorDivide(month, count) * count, zone);
    }
  }
  return time_us;
}

int64_t CalendarStep::Next(int64_t start_us, const absl::TimeZone& zone) const {
  const absl::Time start = absl::FromUnixMicros(start_us);
  switch (unit) {
    case Unit::kFixed:
      return start_us + count;
    case Unit::kCivilHours: {
      int64_t next = HourNext(start_us, zone);
      if (count == 1) return next;
      const int64_t bucket = HourBucket(start_us, count, zone);
      while (HourBucket(next, count, zone) == bucket) next = HourNext(next, zone);
      return next;
    }
    case Unit::kCivilDays:
      return DayStart(absl::ToCivilDay(start, zone) - absl::CivilDay(1970, 1, 1) + count, zone);
    case Unit::kCivilMonths:
      return MonthStart(absl::ToCivilMonth(start, zone) - absl::CivilMonth(1970, 1) + count, zone);
  }
  return start_us;
}

namespace {

using Unit = CalendarStep::Unit;

// Chooses the panes of hopping windows: the greatest step that both the size and the slide are made of.
absl::Status ChoosePanes(const CalendarStep& size, CalendarStep* slide, CalendarStep* pane, int64_t* panes) {
  if (size.unit == slide->unit) {
    *pane = *slide;
    pane->count = std::gcd(size.count, slide->count);
    *panes = size.count / pane->count;
    if (size.count < slide->count) return WindowError("window.slide", "must not be longer than `size`");
    return absl::OkStatus();
  }
  // Civil days (or weeks) that start every few hours: the hours must be those of the zone's clocks too.
  const bool whole_hours =
      slide->unit == Unit::kFixed && slide->count % kHourUs == 0 && 24 % (slide->count / kHourUs) == 0;
  if (size.unit == Unit::kCivilDays && whole_hours) {
    *slide = {Unit::kCivilHours, slide->count / kHourUs, 0};
    *pane = *slide;
    *panes = size.count * 24 / slide->count;
    return absl::OkStatus();
  }
  if (size.unit == Unit::kCivilDays) {
    return WindowError("window.slide",
                       "of windows of days or weeks must be days, weeks, or 1, 2, 3, 4, 6, 8, 12 or 24 hours");
  }
  if (size.unit == Unit::kCivilMonths) return WindowError("window.slide", "of windows of months must be months");
  return WindowError("window.slide", "must not be civil (d, w, mo) where `size` is not");
}

}  // namespace

absl::StatusOr<WindowGrid> WindowGrid::Compile(const catalog::v1::Window& window, absl::string_view time_zone) {
  WindowGrid grid;
  if (!time_zone.empty() && !absl::LoadTimeZone(std::string(time_zone), &grid.zone_)) {
    return WindowError("time_zone",
                       absl::StrCat("`", time_zone, "` is not a time zone of the IANA database, such as Asia/Seoul"));
  }
  if (window.type() != "tumbling" && window.type() != "hopping") {
    return WindowError("window.type",
                       absl::StrCat("`", window.type(), "` is not supported: must be tumbling or hopping"));
  }
  NARU_ASSIGN_OR_RETURN(const Length size, ParseLength("window.size", window.size()));
  grid.size_ = StepOf(size);
  if (window.type() == "tumbling") {
    if (!window.slide().empty()) return WindowError("window.slide", "is only for hopping windows");
    grid.pane_ = grid.slide_ = grid.size_;
    return grid;
  }
  NARU_ASSIGN_OR_RETURN(const Length slide, ParseLength("window.slide", window.slide()));
  grid.slide_ = StepOf(slide);
  int64_t panes = 1;
  NARU_RETURN_IF_ERROR(ChoosePanes(grid.size_, &grid.slide_, &grid.pane_, &panes));
  if (panes > kMaxPanesPerWindow) {
    return WindowError("window.slide",
                       absl::StrCat("makes windows of ", panes, " panes; at most ", kMaxPanesPerWindow));
  }
  grid.tumbling_ = panes == 1;
  return grid;
}

TimeSpan WindowGrid::PaneOf(int64_t time_us) const {
  TimeSpan pane;
  pane.start_us = pane_.Floor(time_us, zone_);
  pane.end_us = pane_.Next(pane.start_us, zone_);
  return pane;
}

int64_t WindowGrid::EndOf(int64_t start_us) const {
  if (tumbling_) return pane_.Next(start_us, zone_);
  const absl::Time start = absl::FromUnixMicros(start_us);
  switch (size_.unit) {
    case Unit::kFixed:
      return start_us + size_.count;
    case Unit::kCivilDays: {
      const absl::CivilSecond local = absl::ToCivilSecond(start, zone_);
      if (slide_.unit == Unit::kCivilDays)
        return DayStart(absl::CivilDay(local) - absl::CivilDay(1970, 1, 1) + size_.count, zone_);
      // The same hour of the day, that many days later.
      const absl::CivilDay day = absl::CivilDay(local) + size_.count;
      return ToMicros(absl::FromCivil(absl::CivilSecond(day.year(), day.month(), day.day(), local.hour()), zone_));
    }
    case Unit::kCivilMonths:
      return MonthStart(absl::ToCivilMonth(start, zone_) - absl::CivilMonth(1970, 1) + size_.count, zone_);
    case Unit::kCivilHours:
      break;  // sizes are never in civil hours
  }
  return start_us;
}

void WindowGrid::AppendWindowsOf(int64_t pane_start_us, std::vector<TimeSpan>* windows) const {
  int64_t start = slide_.Floor(pane_start_us, zone_);
  for (int i = 0; i <= kMaxPanesPerWindow; ++i) {
    const int64_t end = EndOf(start);
    if (end <= pane_start_us) return;
    windows->push_back({start, end});
    if (tumbling_) return;
    start = slide_.Floor(start - 1, zone_);
  }
}

int64_t WindowGrid::LastWindowEnd(int64_t pane_start_us) const { return EndOf(slide_.Floor(pane_start_us, zone_)); }

}  // namespace naru::aggregator
