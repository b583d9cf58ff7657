#include "services/aggregator/window_grid.h"

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "common/clock/rfc3339.h"
#include "common/status/status.h"
#include "gtest/gtest.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::aggregator {
namespace {

catalog::v1::Window MakeWindow(const std::string& type, const std::string& size, const std::string& slide = "") {
  catalog::v1::Window window;
  window.set_type(type);
  window.set_size(size);
  window.set_slide(slide);
  return window;
}

catalog::v1::Window MakeCumulative(const std::string& size, const std::string& step) {
  catalog::v1::Window window = MakeWindow("cumulative", size);
  window.set_step(step);
  return window;
}

WindowGrid Compile(const std::string& type, const std::string& size, const std::string& slide = "",
                   const std::string& zone = "") {
  const bool cumulative = type == "cumulative";
  auto grid = WindowGrid::Compile(cumulative ? MakeCumulative(size, slide) : MakeWindow(type, size, slide), zone);
  EXPECT_TRUE(grid.ok()) << grid.status();
  return *grid;
}

int64_t T(const std::string& text) { return *ParseRfc3339(text); }

std::string Show(const TimeSpan& span) { return FormatRfc3339(span.start_us) + "/" + FormatRfc3339(span.end_us); }

constexpr int64_t kHour = 3'600'000'000;

TEST(WindowGridTest, FixedPanesAlignToTheEpochAlsoBeforeIt) {
  const WindowGrid grid = Compile("tumbling", "5m");
  EXPECT_EQ(Show(grid.PaneOf(T("2024-05-01T09:03:00Z"))), "2024-05-01T09:00:00Z/2024-05-01T09:05:00Z");
  EXPECT_EQ(Show(grid.PaneOf(-1)), "1969-12-31T23:55:00Z/1970-01-01T00:00:00Z");
  EXPECT_EQ(Show(grid.PaneOf(0)), "1970-01-01T00:00:00Z/1970-01-01T00:05:00Z");
}

TEST(WindowGridTest, DaysAreThoseOfTheZone) {
  const WindowGrid grid = Compile("tumbling", "1d", "", "Asia/Seoul");
  EXPECT_EQ(Show(grid.PaneOf(T("2024-05-01T15:00:00Z"))), "2024-05-01T15:00:00Z/2024-05-02T15:00:00Z");
  EXPECT_EQ(Show(grid.PaneOf(T("2024-05-01T14:59:59.999999Z"))), "2024-04-30T15:00:00Z/2024-05-01T15:00:00Z");
}

TEST(WindowGridTest, DaysOfAClockChangeHave23And25Hours) {
  const WindowGrid grid = Compile("tumbling", "1d", "", "America/New_York");
  const TimeSpan spring = grid.PaneOf(T("2024-03-10T12:00:00Z"));
  EXPECT_EQ(spring.end_us - spring.start_us, 23 * kHour);
  const TimeSpan autumn = grid.PaneOf(T("2024-11-03T12:00:00Z"));
  EXPECT_EQ(autumn.end_us - autumn.start_us, 25 * kHour);
}

TEST(WindowGridTest, ADayWithoutMidnightBeginsWhereTheClocksGo) {
  // On 2018-11-04 Brazil's clocks went from 00:00 to 01:00.
  const WindowGrid grid = Compile("tumbling", "1d", "", "America/Sao_Paulo");
  const TimeSpan day = grid.PaneOf(T("2018-11-04T12:00:00Z"));
  EXPECT_EQ(Show(day), "2018-11-04T03:00:00Z/2018-11-05T02:00:00Z");
  EXPECT_EQ(grid.PaneOf(day.start_us - 1).end_us, day.start_us);
}

TEST(WindowGridTest, WeeksBeginOnMondayAndMonthsOnTheFirst) {
  EXPECT_EQ(Show(Compile("tumbling", "1w").PaneOf(T("2024-05-01T00:00:00Z"))),
            "2024-04-29T00:00:00Z/2024-05-06T00:00:00Z");
  EXPECT_EQ(Show(Compile("tumbling", "1mo", "", "Asia/Seoul").PaneOf(T("2024-02-29T16:00:00Z"))),
            "2024-02-29T15:00:00Z/2024-03-31T15:00:00Z");
  EXPECT_EQ(Show(Compile("tumbling", "3mo").PaneOf(T("2024-05-17T00:00:00Z"))),
            "2024-04-01T00:00:00Z/2024-07-01T00:00:00Z");
}

TEST(WindowGridTest, HoppingWindowsShareFixedPanes) {
  const WindowGrid grid = Compile("hopping", "60m", "5m");
  EXPECT_FALSE(grid.tumbling());
  std::vector<TimeSpan> windows;
  grid.AppendWindowsOf(T("2024-05-01T09:00:00Z"), &windows);
  ASSERT_EQ(windows.size(), 12u);
  EXPECT_EQ(Show(windows.front()), "2024-05-01T09:00:00Z/2024-05-01T10:00:00Z");
  EXPECT_EQ(Show(windows.back()), "2024-05-01T08:05:00Z/2024-05-01T09:05:00Z");
}

TEST(WindowGridTest, PanesAreTheGreatestCommonDivisor) {
  const WindowGrid grid = Compile("hopping", "10m", "4m");
  const TimeSpan pane = grid.PaneOf(T("1970-01-01T00:07:00Z"));
  EXPECT_EQ(pane.end_us - pane.start_us, 120'000'000);
  std::vector<TimeSpan> windows;
  grid.AppendWindowsOf(pane.start_us, &windows);
  ASSERT_EQ(windows.size(), 2u);
  EXPECT_EQ(Show(windows[0]), "1970-01-01T00:04:00Z/1970-01-01T00:14:00Z");
  EXPECT_EQ(Show(windows[1]), "1970-01-01T00:00:00Z/1970-01-01T00:10:00Z");
}

TEST(WindowGridTest, ADayThatHopsByHoursEndsAtTheSameTimeOfDay) {
  const WindowGrid grid = Compile("hopping", "1d", "1h", "America/New_York");
  // Across the spring change: 2024-03-09T05:00 to 2024-03-10T05:00 local is 23 hours.
  const TimeSpan window = grid.WindowAt(T("2024-03-09T10:00:00Z"));
  EXPECT_EQ(Show(window), "2024-03-09T10:00:00Z/2024-03-10T09:00:00Z");
  std::vector<TimeSpan> windows;
  grid.AppendWindowsOf(T("2024-03-10T09:00:00Z"), &windows);
  EXPECT_EQ(windows.size(), 23u);
}

TEST(WindowGridTest, CumulativeWindowsBeginTogetherAndEachEndsAStepLater) {
  const WindowGrid grid = Compile("cumulative", "1d", "6h", "Asia/Seoul");
  EXPECT_TRUE(grid.cumulative());
  EXPECT_EQ(Show(grid.PaneOf(T("2024-05-01T22:00:00Z"))), "2024-05-01T21:00:00Z/2024-05-02T03:00:00Z");
  std::vector<TimeSpan> windows;
  grid.AppendWindowsOf(T("2024-05-01T21:00:00Z"), &windows);
  ASSERT_EQ(windows.size(), 3u);
  EXPECT_EQ(Show(windows[0]), "2024-05-01T15:00:00Z/2024-05-02T15:00:00Z");
  EXPECT_EQ(Show(windows[1]), "2024-05-01T15:00:00Z/2024-05-02T09:00:00Z");
  EXPECT_EQ(Show(windows[2]), "2024-05-01T15:00:00Z/2024-05-02T03:00:00Z");
  EXPECT_EQ(grid.LastWindowEnd(windows[2].start_us), windows[0].end_us);
  // A step as long as the window is a tumbling window.
  EXPECT_TRUE(Compile("cumulative", "1w", "7d").tumbling());
}

TEST(WindowGridTest, StepsOfADayFollowTheClocks) {
  const WindowGrid grid = Compile("cumulative", "1d", "6h", "America/New_York");
  // On 2024-03-10 the first six hours of the clocks take five.
  EXPECT_EQ(Show(grid.PaneOf(T("2024-03-10T05:00:00Z"))), "2024-03-10T05:00:00Z/2024-03-10T10:00:00Z");
  EXPECT_EQ(Show(grid.PaneOf(T("2024-11-03T05:00:00Z"))), "2024-11-03T04:00:00Z/2024-11-03T11:00:00Z");
  // The hour that comes twice is two steps of an hour.
  std::vector<TimeSpan> windows;
  const WindowGrid hours = Compile("cumulative", "1d", "1h", "America/New_York");
  hours.AppendWindowsOf(T("2024-11-03T04:00:00Z"), &windows);
  EXPECT_EQ(windows.size(), 25u);
}

TEST(WindowGridTest, AGlobalWindowHoldsAllTime) {
  const WindowGrid grid = Compile("global", "");
  const TimeSpan pane = grid.PaneOf(T("2024-05-01T00:00:00Z"));
  EXPECT_EQ(Show(pane), "0001-01-01T00:00:00Z/9999-12-31T23:59:59.999999Z");
  std::vector<TimeSpan> windows;
  grid.AppendWindowsOf(pane.start_us, &windows);
  ASSERT_EQ(windows.size(), 1u);
  EXPECT_EQ(windows[0], pane);
  EXPECT_TRUE(grid.tumbling());
}

TEST(WindowGridTest, AMonthThatHopsByDaysEndsOnTheSameDayOrTheLast) {
  const WindowGrid grid = Compile("hopping", "1mo", "1d");
  EXPECT_EQ(Show(grid.WindowAt(T("2024-02-10T00:00:00Z"))), "2024-02-10T00:00:00Z/2024-03-10T00:00:00Z");
  EXPECT_EQ(Show(grid.WindowAt(T("2024-01-31T00:00:00Z"))), "2024-01-31T00:00:00Z/2024-02-29T00:00:00Z");
}

TEST(WindowGridTest, MakesWindowsOfAnotherSizeOrSaysWhichItCanMake) {
  const auto with = [](const WindowGrid& grid, const std::string& size, const std::string& time) {
    const auto derived = grid.WithSize(size);
    EXPECT_TRUE(derived.ok()) << derived.status();
    if (!derived.ok()) return std::string();
    EXPECT_TRUE(derived->derived());
    std::vector<TimeSpan> windows;
    derived->AppendWindowsOf(grid.PaneOf(T(time)).start_us, &windows);
    EXPECT_EQ(windows.size(), 1u);
    return Show(windows[0]);
  };
  const WindowGrid five = Compile("tumbling", "5m", "", "Asia/Seoul");
  EXPECT_EQ(with(five, "1h", "2024-05-01T09:03:00Z"), "2024-05-01T09:00:00Z/2024-05-01T10:00:00Z");
  EXPECT_EQ(with(five, "1d", "2024-05-01T09:03:00Z"), "2024-04-30T15:00:00Z/2024-05-01T15:00:00Z");
  EXPECT_EQ(with(five, "1w", "2024-05-01T09:03:00Z"), "2024-04-28T15:00:00Z/2024-05-05T15:00:00Z");
  EXPECT_EQ(with(five, "1mo", "2024-05-01T09:03:00Z"), "2024-04-30T15:00:00Z/2024-05-31T15:00:00Z");
  const WindowGrid hopping = Compile("hopping", "60m", "5m");
  EXPECT_EQ(with(hopping, "10m", "2024-05-01T09:13:00Z"), "2024-05-01T09:10:00Z/2024-05-01T09:20:00Z");
  const WindowGrid steps = Compile("cumulative", "1d", "15m", "Asia/Kolkata");
  EXPECT_EQ(with(steps, "1h", "2024-05-01T09:13:00Z"), "2024-05-01T08:30:00Z/2024-05-01T09:30:00Z") << "of the clocks";
  EXPECT_EQ(with(steps, "6h", "2024-05-01T09:13:00Z"), "2024-05-01T06:30:00Z/2024-05-01T12:30:00Z");
  EXPECT_EQ(with(Compile("tumbling", "1d"), "1mo", "2024-05-17T00:00:00Z"),
            "2024-05-01T00:00:00Z/2024-06-01T00:00:00Z");
  EXPECT_EQ(with(Compile("tumbling", "1mo"), "3mo", "2024-05-17T00:00:00Z"),
            "2024-04-01T00:00:00Z/2024-07-01T00:00:00Z");
  EXPECT_FALSE(five.WithSize("5m")->derived()) << "its own";

  const auto refused = [](const WindowGrid& grid, const std::string& size, const std::string& part) {
    const auto derived = grid.WithSize(size);
    ASSERT_FALSE(derived.ok()) << size;
    EXPECT_NE(std::string(derived.status().message()).find(part), std::string::npos) << derived.status();
    ASSERT_EQ(GetErrorDetails(derived.status()).violations.size(), 1u);
    EXPECT_EQ(GetErrorDetails(derived.status()).violations[0].field, "window_size");
  };
  refused(five, "7m", "panes of 5m");
  refused(five, "1m", "panes of 5m");
  refused(five, "soon", "not a length of time");
  refused(five, "1y", "not a length of time");
  refused(Compile("tumbling", "1h", "", "Asia/Kolkata"), "1d", "midnights");
  refused(Compile("tumbling", "7s"), "1d", "midnights");
  refused(Compile("tumbling", "1d"), "12h", "panes of 1d");
  refused(Compile("tumbling", "2d"), "1w", "panes of 2d");
  refused(Compile("tumbling", "1w"), "1mo", "panes of 1w");
  refused(Compile("tumbling", "1mo"), "1d", "panes of 1mo");
  refused(Compile("global", ""), "1d", "one pane of all time");
  refused(Compile("tumbling", "1s"), "1d", "90000 panes");
  refused(steps, "90m", "of the zone's clocks");
}

// The slow and obvious reference: walks minute by minute, asking only what the zone's clocks show.
class ClockWalk {
 public:
  explicit ClockWalk(const std::string& zone) { EXPECT_TRUE(absl::LoadTimeZone(zone, &zone_)); }
  const absl::TimeZone& zone() const { return zone_; }

  // What all minutes of one part of time have in common: `1d`, `1w`, `1mo`, or so many minutes of the day.
  std::string Label(int64_t time_us, const std::string& unit, int minutes) const {
    const absl::TimeZone::CivilInfo info = zone_.At(absl::FromUnixMicros(time_us));
    const absl::CivilDay day(info.cs);
    if (unit == "1mo") return absl::StrCat(day.year(), " ", day.month());
    if (unit == "1w") return absl::StrCat(absl::PrevWeekday(day + 1, absl::Weekday::monday) - absl::CivilDay());
    std::string label = absl::StrCat(day - absl::CivilDay());
    if (unit == "1d") return label;
    absl::StrAppend(&label, " ", (info.cs.hour() * 60 + info.cs.minute()) / minutes);
    // What the clocks show twice is told apart where parts are not longer than what they are changed by.
    if (minutes <= 60) absl::StrAppend(&label, " ", info.offset);
    return label;
  }
  TimeSpan Part(int64_t time_us, const std::string& unit, int minutes) const {
    constexpr int64_t kMinute = 60'000'000;
    const std::string label = Label(time_us, unit, minutes);
    TimeSpan span{time_us / kMinute * kMinute, time_us / kMinute * kMinute + kMinute};
    while (Label(span.start_us - kMinute, unit, minutes) == label) span.start_us -= kMinute;
    while (Label(span.end_us, unit, minutes) == label) span.end_us += kMinute;
    return span;
  }

 private:
  absl::TimeZone zone_;
};

class ClockReferenceTest : public ::testing::TestWithParam<std::tuple<const char*, const char*, const char*>> {};

TEST_P(ClockReferenceTest, PanesAndWindowsAreWhatTheClocksShowAlsoWhereTheyChange) {
  const auto [zone, size, step] = GetParam();
  const ClockWalk walk(zone);
  const WindowGrid grid = Compile("cumulative", size, step, zone);
  const std::string unit = step;
  const int minutes = unit.back() == 'd' ? 0 : std::atoi(step) * (unit.back() == 'h' ? 60 : 1);
  std::mt19937_64 random(3);
  // Around changes of the clocks, and anywhere.
  std::vector<int64_t> times;
  absl::Time at = absl::FromUnixMicros(T("1987-01-01T00:00:00Z"));
  absl::TimeZone::CivilTransition change;
  while (walk.zone().NextTransition(at, &change) && at < absl::FromUnixMicros(T("2024-12-31T00:00:00Z"))) {
    const absl::TimeZone::TimeInfo to = walk.zone().At(change.to);
    at = to.kind == absl::TimeZone::TimeInfo::UNIQUE ? to.pre : to.trans;
    for (int i = 0; i < (random() % 8 == 0 ? 2 : 1); ++i)
      times.push_back(absl::ToUnixMicros(at) + (static_cast<int64_t>(random() % 1600) - 800) * 60'000'000);
  }
  if (times.size() > 40) times.erase(times.begin(), times.end() - 40);
  for (int i = 0; i < 10; ++i)
    times.push_back(T("2020-01-01T00:00:00Z") + static_cast<int64_t>(random() % 100'000'000'000'000));
  for (const int64_t time : times) {
    const TimeSpan pane = walk.Part(time, step, minutes), period = walk.Part(time, size, 0);
    ASSERT_EQ(Show(grid.PaneOf(time)), Show(pane)) << FormatRfc3339(time);
    std::vector<TimeSpan> expected, windows;
    for (TimeSpan part = pane;; part = walk.Part(part.end_us, step, minutes)) {
      expected.insert(expected.begin(), {period.start_us, part.end_us});
      if (part.end_us >= period.end_us) break;
    }
    grid.AppendWindowsOf(pane.start_us, &windows);
    ASSERT_EQ(windows, expected) << FormatRfc3339(time);
    // And put together again, the panes are the days, weeks and months of the calendar.
    const auto whole = grid.WithSize(size);
    ASSERT_TRUE(whole.ok()) << whole.status();
    ASSERT_EQ(Show(whole->WindowAt(whole->LastWindowStart(pane.start_us))), Show(period));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Clocks, ClockReferenceTest,
    ::testing::Combine(::testing::Values("Asia/Seoul", "America/New_York", "Europe/London", "Australia/Lord_Howe"),
                       ::testing::Values("1d", "1w"), ::testing::Values("15m", "30m", "1h", "2h", "6h", "1d")));
INSTANTIATE_TEST_SUITE_P(Months, ClockReferenceTest,
                         ::testing::Combine(::testing::Values("America/New_York", "Australia/Lord_Howe"),
                                            ::testing::Values("1mo"), ::testing::Values("1h", "12h", "1d")));

TEST(WindowGridTest, RefusesWhatItCannotDoAndSaysWhatItCan) {
  const auto refused = [](const catalog::v1::Window& window, const std::string& zone, const std::string& part) {
    const auto grid = WindowGrid::Compile(window, zone);
    ASSERT_FALSE(grid.ok()) << part;
    EXPECT_NE(std::string(grid.status().message()).find(part), std::string::npos) << grid.status();
    EXPECT_EQ(GetErrorDetails(grid.status()).violations.size(), 1u);
  };
  refused(MakeWindow("session", "5m"), "", "tumbling, hopping");
  refused(MakeWindow("tumbling", ""), "", "spec.window.size");
  refused(MakeWindow("tumbling", "5 minutes"), "", "spec.window.size");
  refused(MakeWindow("tumbling", "0s"), "", "spec.window.size");
  refused(MakeWindow("tumbling", "0d"), "", "spec.window.size");
  refused(MakeWindow("tumbling", "1d12h"), "", "spec.window.size");
  refused(MakeWindow("tumbling", "99999999999d"), "", "spec.window.size");
  refused(MakeWindow("tumbling", "5m", "1m"), "", "only for hopping");
  refused(MakeWindow("hopping", "5m", ""), "", "spec.window.slide");
  refused(MakeWindow("hopping", "5m", "10m"), "", "not be longer");
  refused(MakeWindow("hopping", "1d", "30m"), "", "hours");
  refused(MakeWindow("hopping", "1mo", "1w"), "", "months");
  refused(MakeWindow("hopping", "1mo", "1h"), "", "months");
  refused(MakeWindow("global", "1d"), "", "spec.window.size");
  refused(MakeCumulative("1d", ""), "", "spec.window.step");
  refused(MakeCumulative("90s", "60s"), "", "must divide");
  refused(MakeCumulative("1d", "90m"), "", "hours that divide a day");
  refused(MakeCumulative("1d", "2d"), "", "must divide");
  refused(MakeCumulative("1d", "1mo"), "", "longer");
  refused(MakeCumulative("1mo", "2d"), "", "1d or shorter");
  refused(MakeCumulative("24h", "1d"), "", "civil");
  refused(MakeCumulative("1d", "40s"), "", "2250 panes");
  refused(MakeCumulative("1mo", "20m"), "", "2235 panes");
  refused(MakeWindow("hopping", "36h", "1d"), "", "civil");
  refused(MakeWindow("hopping", "1h", "1s"), "", "3600 panes");
  refused(MakeWindow("tumbling", "5m"), "Asia/Soul", "Asia/Soul");
}

// Every instant lies in exactly one pane, panes meet, and a window is made of whole panes.
class GridPropertyTest
    : public ::testing::TestWithParam<std::tuple<const char*, const char*, const char*, const char*>> {};

TEST_P(GridPropertyTest, PanesTileTimeAndWindowsAreWholePanes) {
  const auto [type, size, slide, zone] = GetParam();
  const WindowGrid grid = Compile(type, size, slide, zone);
  std::mt19937_64 random(7);
  const int64_t from = T("1985-01-01T00:00:00Z"), to = T("2030-01-01T00:00:00Z");
  PaneFinder finder(&grid);
  for (int i = 0; i < 3000; ++i) {
    const int64_t time = from + static_cast<int64_t>(random() % static_cast<uint64_t>(to - from));
    const TimeSpan pane = grid.PaneOf(time);
    ASSERT_TRUE(pane.Contains(time)) << FormatRfc3339(time) << " " << Show(pane);
    ASSERT_EQ(grid.PaneOf(pane.start_us), pane);
    ASSERT_EQ(grid.PaneOf(pane.end_us - 1), pane);
    ASSERT_EQ(grid.PaneOf(pane.end_us).start_us, pane.end_us) << Show(pane);
    ASSERT_EQ(finder.Find(time), pane);
    std::vector<TimeSpan> windows;
    grid.AppendWindowsOf(pane.start_us, &windows);
    ASSERT_FALSE(windows.empty());
    ASSERT_EQ(grid.LastWindowEnd(pane.start_us), windows.front().end_us);
    for (const TimeSpan& window : windows) {
      ASSERT_LE(window.start_us, pane.start_us);
      ASSERT_GE(window.end_us, pane.end_us) << Show(window) << " " << Show(pane);
      ASSERT_EQ(grid.PaneOf(window.start_us).start_us, window.start_us) << Show(window);
      ASSERT_EQ(grid.PaneOf(window.end_us).start_us, window.end_us) << Show(window);
      if (!grid.cumulative()) {
        ASSERT_EQ(grid.WindowAt(window.start_us), window);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Grids, GridPropertyTest,
    ::testing::Values(
        std::make_tuple("tumbling", "7s", "", ""), std::make_tuple("tumbling", "1d", "", "Asia/Seoul"),
        std::make_tuple("tumbling", "1d", "", "America/Sao_Paulo"),
        std::make_tuple("tumbling", "1d", "", "America/Havana"), std::make_tuple("tumbling", "3d", "", "Europe/Berlin"),
        std::make_tuple("tumbling", "2w", "", "Australia/Lord_Howe"),
        std::make_tuple("tumbling", "1mo", "", "Pacific/Apia"), std::make_tuple("hopping", "60m", "5m", "Asia/Seoul"),
        std::make_tuple("hopping", "10m", "4m", ""), std::make_tuple("hopping", "1d", "1h", "America/New_York"),
        std::make_tuple("hopping", "1d", "1h", "Australia/Lord_Howe"),
        std::make_tuple("hopping", "2d", "6h", "Asia/Kolkata"), std::make_tuple("hopping", "1d", "1h", "Asia/Seoul"),
        std::make_tuple("hopping", "7d", "1d", "America/New_York"),
        std::make_tuple("hopping", "1w", "1d", "Europe/Lisbon"),
        std::make_tuple("hopping", "3mo", "1mo", "America/Sao_Paulo"),
        std::make_tuple("hopping", "1mo", "1d", "America/New_York"), std::make_tuple("cumulative", "1h", "5m", ""),
        std::make_tuple("cumulative", "1d", "15m", "Australia/Lord_Howe"),
        std::make_tuple("cumulative", "2d", "6h", "America/Sao_Paulo"),
        std::make_tuple("cumulative", "1w", "1d", "Pacific/Apia"),
        std::make_tuple("cumulative", "1mo", "1h", "Europe/London"),
        std::make_tuple("cumulative", "1mo", "1d", "America/Havana")));

}  // namespace
}  // namespace naru::aggregator
