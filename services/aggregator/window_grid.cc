#include "services/aggregator/window_grid.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstddef>
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

constexpr int64_t kHourSeconds = 3600;
constexpr int64_t kHourUs = kHourSeconds * 1'000'000;
constexpr int64_t kDayUs = 24 * kHourUs;
constexpr int64_t kMondayAfterEpoch = 4;  // 1970-01-05

int64_t FloorDivide(int64_t value, int64_t by) { return value / by - (value % by != 0 && (value < 0) != (by < 0)); }

int64_t ToMicros(absl::Time time) { return absl::ToUnixMicros(time); }

// When the clocks changed. Told by where they were put: the time that they were put away from may exist elsewhere.
int64_t InstantOf(const absl::TimeZone::CivilTransition& transition, const absl::TimeZone& zone) {
  const absl::TimeZone::TimeInfo info = zone.At(transition.to);
  return ToMicros(info.kind == absl::TimeZone::TimeInfo::UNIQUE ? info.pre : info.trans);
}

// Start of the part of an hour (`part_s` seconds long) that the zone's clocks show; a change of the clocks starts a new
// one too, so that no pane holds two meanings of the same time.
int64_t ClockFloor(int64_t time_us, int64_t part_s, const absl::TimeZone& zone) {
  const absl::Time time = absl::FromUnixMicros(time_us);
  const absl::CivilSecond local = absl::ToCivilSecond(time, zone);
  const int64_t second = FloorDivide(time_us, 1'000'000);
  int64_t start = (second - (local.minute() * 60 + local.second()) % part_s) * 1'000'000;
  absl::TimeZone::CivilTransition transition;
  if (zone.PrevTransition(time + absl::Seconds(1), &transition)) {
    const int64_t changed = InstantOf(transition, zone);
    if (changed > start && changed <= time_us) start = changed;
  }
  return start;
}

int64_t ClockNext(int64_t start_us, int64_t part_s, const absl::TimeZone& zone) {
  const absl::Time time = absl::FromUnixMicros(start_us);
  const absl::CivilSecond local = absl::ToCivilSecond(time, zone);
  int64_t next = start_us + (part_s - (local.minute() * 60 + local.second()) % part_s) * 1'000'000;
  absl::TimeZone::CivilTransition transition;
  if (zone.NextTransition(time, &transition)) {
    const int64_t changes = InstantOf(transition, zone);
    if (changes > start_us && changes < next) next = changes;
  }
  return next;
}

int64_t HourFloor(int64_t time_us, const absl::TimeZone& zone) { return ClockFloor(time_us, kHourSeconds, zone); }
int64_t HourNext(int64_t start_us, const absl::TimeZone& zone) { return ClockNext(start_us, kHourSeconds, zone); }

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
    case Unit::kCivilSeconds:
      return ClockFloor(time_us, count, zone);
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
    case Unit::kAllTime:
      return kMinTimeUs;
  }
  return time_us;
}

int64_t CalendarStep::Next(int64_t start_us, const absl::TimeZone& zone) const {
  const absl::Time start = absl::FromUnixMicros(start_us);
  switch (unit) {
    case Unit::kFixed:
      return start_us + count;
    case Unit::kCivilSeconds:
      return ClockNext(start_us, count, zone);
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
    case Unit::kAllTime:
      return kMaxTimeUs;
  }
  return start_us;
}

namespace {

using Unit = CalendarStep::Unit;

// A part of the hours that a zone's clocks show: whole seconds that divide an hour, or hours that divide a day.
bool ToClockStep(int64_t length_us, CalendarStep* step) {
  if (length_us % 1'000'000 == 0 && kHourUs % length_us == 0 && length_us < kHourUs) {
    *step = {Unit::kCivilSeconds, length_us / 1'000'000, 0};
    return true;
  }
  if (length_us % kHourUs != 0 || kDayUs % length_us != 0) return false;
  *step = {Unit::kCivilHours, length_us / kHourUs, 0};
  return true;
}

// How many panes of these fit into the longest step of that size: days of 25 hours and months of 31 days are counted.
// Fixed panes in fixed steps, civil panes in civil steps, or fixed panes in civil steps.
int64_t MostPanes(const CalendarStep& size, const CalendarStep& pane) {
  const auto days = [](const CalendarStep& step) {
    return step.unit == Unit::kCivilMonths ? step.count * 31 : step.count;
  };
  const auto pane_us = [&pane] {
    return pane.unit == Unit::kCivilHours     ? pane.count * kHourUs
           : pane.unit == Unit::kCivilSeconds ? pane.count * 1'000'000
                                              : pane.count;
  };
  switch (pane.unit) {
    case Unit::kCivilMonths:
      return size.count / pane.count;
    case Unit::kCivilDays:
      return days(size) / pane.count;
    default:
      break;
  }
  int64_t size_us = size.count;
  if (size.unit == Unit::kCivilHours) size_us = size.count * kHourUs;
  if (size.unit == Unit::kCivilSeconds) size_us = size.count * 1'000'000;
  if (size.unit == Unit::kCivilDays || size.unit == Unit::kCivilMonths) size_us = days(size) * kDayUs + kHourUs;
  return (size_us + pane_us() - 1) / pane_us();
}

// Whether every midnight of the zone, since 1970, is a multiple of `step_us`.
bool MidnightsAreMultiples(int64_t step_us, const absl::TimeZone& zone) {
  if (kDayUs % step_us != 0) return false;
  absl::Time time = absl::UnixEpoch();
  const absl::Time end = absl::FromCivil(absl::CivilDay(2100, 1, 1), absl::UTCTimeZone());
  absl::TimeZone::CivilTransition transition;
  for (;;) {
    if (zone.At(time).offset * int64_t{1'000'000} % step_us != 0) return false;
    if (!zone.NextTransition(time, &transition)) return true;
    time = absl::FromUnixMicros(InstantOf(transition, zone));
    if (time > end) return true;
  }
}

absl::Status TooManyPanes(absl::string_view field, int64_t panes) {
  return WindowError(field, absl::StrCat("makes windows of ", panes, " panes; at most ", kMaxPanesPerWindow));
}

absl::Status SizeError(absl::string_view description) {
  ErrorDetails details;
  details.reason = "QUERY_INVALID";
  details.violations.push_back({"window_size", std::string(description)});
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("window_size: ", description), details);
}

}  // namespace

absl::StatusOr<WindowGrid> WindowGrid::Compile(const catalog::v1::Window& window, absl::string_view time_zone) {
  WindowGrid grid;
  if (!time_zone.empty() && !absl::LoadTimeZone(std::string(time_zone), &grid.zone_)) {
    return WindowError("time_zone",
                       absl::StrCat("`", time_zone, "` is not a time zone of the IANA database, such as Asia/Seoul"));
  }
  const std::string& type = window.type();
  if (type != "tumbling" && type != "hopping" && type != "cumulative" && type != "global") {
    return WindowError(
        "window.type",
        absl::StrCat("`", type, "` is not supported: must be tumbling, hopping, cumulative ", "or global"));
  }
  if (type != "hopping" && !window.slide().empty()) return WindowError("window.slide", "is only for hopping windows");
  if (type != "cumulative" && !window.step().empty())
    return WindowError("window.step", "is only for cumulative windows");
  if (type == "global") {
    if (!window.size().empty()) return WindowError("window.size", "is not for global windows, which hold all time");
    grid.pane_ = grid.slide_ = grid.size_ = {Unit::kAllTime, 1, 0};
    return grid;
  }
  NARU_ASSIGN_OR_RETURN(const Length size, ParseLength("window.size", window.size()));
  grid.size_ = StepOf(size);
  grid.pane_ = grid.slide_ = grid.size_;
  if (type == "hopping") NARU_RETURN_IF_ERROR(grid.CompileHopping(window));
  if (type == "cumulative") NARU_RETURN_IF_ERROR(grid.CompileCumulative(window));
  return grid;
}

// The panes of hopping windows are the greatest step that both the size and the slide are made of.
absl::Status WindowGrid::CompileHopping(const catalog::v1::Window& window) {
  NARU_ASSIGN_OR_RETURN(const Length length, ParseLength("window.slide", window.slide()));
  slide_ = StepOf(length);
  int64_t panes = 1;
  if (size_.unit == slide_.unit) {
    pane_ = slide_;
    pane_.count = std::gcd(size_.count, slide_.count);
    panes = size_.count / pane_.count;
    if (size_.count < slide_.count) return WindowError("window.slide", "must not be longer than `size`");
  } else if (size_.unit == Unit::kCivilDays) {
    // Civil days that start every few hours: the hours must be those of the zone's clocks too.
    if (slide_.unit != Unit::kFixed || slide_.count < kHourUs || !ToClockStep(slide_.count, &slide_)) {
      return WindowError("window.slide",
                         "of windows of days or weeks must be days, weeks, or 1, 2, 3, 4, 6, 8, 12 or 24 hours");
    }
    pane_ = slide_;
    panes = MostPanes(size_, pane_);
  } else if (size_.unit == Unit::kCivilMonths) {
    if (slide_.unit != Unit::kCivilDays || slide_.count != 1)
      return WindowError("window.slide", "of windows of months must be months or 1d");
    pane_ = slide_;
    panes = MostPanes(size_, pane_);
  } else {
    return WindowError("window.slide", "must not be civil (d, w, mo) where `size` is not");
  }
  if (panes > kMaxPanesPerWindow) return TooManyPanes("window.slide", panes);
  tumbling_ = panes == 1;
  return absl::OkStatus();
}

// The panes of cumulative windows are their steps, which begin anew with each window.
absl::Status WindowGrid::CompileCumulative(const catalog::v1::Window& window) {
  constexpr char kField[] = "window.step";
  NARU_ASSIGN_OR_RETURN(const Length length, ParseLength(kField, window.step()));
  pane_ = StepOf(length);
  const bool calendar = size_.unit == Unit::kCivilDays || size_.unit == Unit::kCivilMonths;
  if (size_.unit == pane_.unit) {
    if (size_.count % pane_.count != 0) return WindowError(kField, "must divide `size`");
    pane_.anchor_day = size_.anchor_day;
  } else if (calendar && pane_.unit == Unit::kFixed) {
    if (!ToClockStep(pane_.count, &pane_)) {
      return WindowError(kField,
                         "of windows of days, weeks or months must be whole seconds that divide an hour, hours that "
                         "divide a day, or days");
    }
  } else if (size_.unit == Unit::kCivilMonths && pane_.unit == Unit::kCivilDays) {
    if (pane_.count != 1) return WindowError(kField, "of windows of months must be months, 1d or shorter");
  } else if (calendar) {
    return WindowError(kField, "must not be longer than `size`");
  } else {
    return WindowError(kField, "must not be civil (d, w, mo) where `size` is not");
  }
  const int64_t panes = MostPanes(size_, pane_);
  if (panes > kMaxPanesPerWindow) return TooManyPanes(kField, panes);
  slide_ = size_;
  tumbling_ = size_ == pane_;
  cumulative_ = !tumbling_;
  return absl::OkStatus();
}

std::string WindowGrid::DescribePane() const {
  switch (pane_.unit) {
    case Unit::kFixed:
      return absl::StrCat("panes of ", FormatDuration(std::chrono::microseconds(pane_.count)),
                          ": multiples of that, and d, w, mo where the zone's midnights are multiples of it");
    case Unit::kCivilSeconds:
      return absl::StrCat("panes of ", pane_.count,
                          "s of the zone's clocks: multiples of that which divide 1h or 1d, and d, w, mo");
    case Unit::kCivilHours:
      return absl::StrCat("panes of ", pane_.count,
                          "h of the zone's clocks: multiples of that which divide 1d, and d, w, mo");
    case Unit::kCivilDays:
      if (pane_.anchor_day != 0) return absl::StrCat("panes of ", pane_.count / 7, "w: multiples of that");
      return absl::StrCat("panes of ", pane_.count, "d: multiples of that", pane_.count == 1 ? ", w and mo" : "");
    case Unit::kCivilMonths:
      return absl::StrCat("panes of ", pane_.count, "mo: multiples of that");
    case Unit::kAllTime:
      break;
  }
  return "one pane of all time, which cannot be cut";
}

absl::Status WindowGrid::CheckPanesFitInto(const CalendarStep& size, absl::string_view text) const {
  bool fits = false;
  const bool calendar = size.unit == Unit::kCivilDays || size.unit == Unit::kCivilMonths;
  switch (pane_.unit) {
    case Unit::kFixed:
      fits = calendar ? MidnightsAreMultiples(pane_.count, zone_)
                      : size.unit == Unit::kFixed && size.count % pane_.count == 0;
      break;
    case Unit::kCivilSeconds:
      fits = calendar || size.unit == Unit::kCivilHours ||
             (size.unit == Unit::kCivilSeconds && size.count % pane_.count == 0);
      break;
    case Unit::kCivilHours:
      fits = calendar || (size.unit == Unit::kCivilHours && size.count % pane_.count == 0);
      break;
    case Unit::kCivilDays:
      fits = size.unit == Unit::kCivilMonths ? pane_.count == 1
                                             : size.unit == Unit::kCivilDays && size.count % pane_.count == 0 &&
                                                   (size.anchor_day - pane_.anchor_day) % pane_.count == 0;
      break;
    case Unit::kCivilMonths:
      fits = size.unit == Unit::kCivilMonths && size.count % pane_.count == 0;
      break;
    case Unit::kAllTime:
      break;
  }
  if (!fits) {
    return SizeError(
        absl::StrCat("`", text, "` cannot be made of what is kept; this metric is kept in ", DescribePane()));
  }
  if (MostPanes(size, pane_) <= kMaxPanesPerDerivedWindow) return absl::OkStatus();
  return SizeError(absl::StrCat("`", text, "` would be made of ", MostPanes(size, pane_), " panes; at most ",
                                kMaxPanesPerDerivedWindow));
}

absl::StatusOr<WindowGrid> WindowGrid::WithSize(absl::string_view text) const {
  const absl::StatusOr<Length> length = ParseLength("window_size", text);
  if (!length.ok()) return SizeError(GetErrorDetails(length.status()).violations[0].description);
  WindowGrid grid = *this;
  grid.size_ = StepOf(*length);
  // Hours are those of the clocks where the panes are.
  const bool clock_panes = pane_.unit == Unit::kCivilHours || pane_.unit == Unit::kCivilSeconds;
  if (clock_panes && grid.size_.unit == Unit::kFixed) ToClockStep(grid.size_.count, &grid.size_);
  NARU_RETURN_IF_ERROR(CheckPanesFitInto(grid.size_, text));
  if (tumbling_ && size_ == grid.size_) return *this;
  grid.slide_ = grid.size_;
  grid.tumbling_ = grid.size_ == grid.pane_;
  grid.cumulative_ = false;
  grid.derived_ = true;
  return grid;
}

TimeSpan WindowGrid::PaneOf(int64_t time_us) const {
  TimeSpan pane;
  pane.start_us = pane_.Floor(time_us, zone_);
  pane.end_us = pane_.Next(pane.start_us, zone_);
  return pane;
}

int64_t WindowGrid::EndOf(int64_t start_us) const {
  if (slide_ == size_) return size_.Next(start_us, zone_);
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
    case Unit::kCivilMonths: {
      const absl::CivilDay day = absl::ToCivilDay(start, zone_);
      const absl::CivilMonth month = absl::CivilMonth(day) + size_.count;
      if (slide_.unit == Unit::kCivilMonths) return MonthStart(month - absl::CivilMonth(1970, 1), zone_);
      // The same day of the month, that many months later; the last where there is none.
      const absl::CivilDay last = absl::CivilDay(month + 1) - 1;
      return ToMicros(absl::FromCivil(std::min(absl::CivilDay(month) + (day.day() - 1), last), zone_));
    }
    case Unit::kCivilSeconds:
    case Unit::kCivilHours:
    case Unit::kAllTime:
      break;  // as long as their slides
  }
  return start_us;
}

void WindowGrid::AppendWindowsOf(int64_t pane_start_us, std::vector<TimeSpan>* windows) const {
  int64_t start = slide_.Floor(pane_start_us, zone_);
  if (cumulative_) {
    const auto before = static_cast<std::ptrdiff_t>(windows->size());
    const int64_t last = size_.Next(start, zone_);
    for (int64_t end = pane_.Next(pane_start_us, zone_); end < last; end = pane_.Next(end, zone_))
      windows->push_back({start, end});
    windows->push_back({start, last});
    std::reverse(windows->begin() + before, windows->end());
    return;
  }
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
