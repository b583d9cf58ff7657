#include "services/aggregator/window_grid.h"

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
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

WindowGrid Compile(const std::string& type, const std::string& size, const std::string& slide = "",
                   const std::string& zone = "") {
  auto grid = WindowGrid::Compile(MakeWindow(type, size, slide), zone);
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

TEST(WindowGridTest, RefusesWhatItCannotDoAndSaysWhatItCan) {
  const auto refused = [](const catalog::v1::Window& window, const std::string& zone, const std::string& part) {
    const auto grid = WindowGrid::Compile(window, zone);
    ASSERT_FALSE(grid.ok()) << part;
    EXPECT_NE(std::string(grid.status().message()).find(part), std::string::npos) << grid.status();
    EXPECT_EQ(GetErrorDetails(grid.status()).violations.size(), 1u);
  };
  refused(MakeWindow("session", "5m"), "", "tumbling or hopping");
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
  refused(MakeWindow("hopping", "1mo", "1d"), "", "months");
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
      ASSERT_EQ(grid.WindowAt(window.start_us), window);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Grids, GridPropertyTest,
                         ::testing::Values(std::make_tuple("tumbling", "7s", "", ""),
                                           std::make_tuple("tumbling", "1d", "", "Asia/Seoul"),
                                           std::make_tuple("tumbling", "1d", "", "America/Sao_Paulo"),
                                           std::make_tuple("tumbling", "1d", "", "America/Havana"),
                                           std::make_tuple("tumbling", "3d", "", "Europe/Berlin"),
                                           std::make_tuple("tumbling", "2w", "", "Australia/Lord_Howe"),
                                           std::make_tuple("tumbling", "1mo", "", "Pacific/Apia"),
                                           std::make_tuple("hopping", "60m", "5m", "Asia/Seoul"),
                                           std::make_tuple("hopping", "10m", "4m", ""),
                                           std::make_tuple("hopping", "1d", "1h", "America/New_York"),
                                           std::make_tuple("hopping", "1d", "1h", "Australia/Lord_Howe"),
                                           std::make_tuple("hopping", "2d", "6h", "Asia/Kolkata"),
                                           std::make_tuple("hopping", "1d", "1h", "Asia/Seoul"),
                                           std::make_tuple("hopping", "7d", "1d", "America/New_York"),
                                           std::make_tuple("hopping", "1w", "1d", "Europe/Lisbon"),
                                           std::make_tuple("hopping", "3mo", "1mo", "America/Sao_Paulo")));

}  // namespace
}  // namespace naru::aggregator
