#include "services/aggregator/cohort.h"

#include <random>
#include <set>

#include "common/clock/rfc3339.h"
#include "gtest/gtest.h"

namespace naru::aggregator {
namespace {

absl::TimeZone Zone(const char* name) {
  absl::TimeZone zone;
  EXPECT_TRUE(absl::LoadTimeZone(name, &zone)) << name;
  return zone;
}

int64_t Time(const char* text) { return ParseRfc3339(text).value(); }

TEST(CohortCalendarTest, NumbersTheDaysOfTheZone) {
  const auto days = CohortCalendar::Create("1d", Zone("Asia/Seoul"));
  ASSERT_TRUE(days.ok());
  EXPECT_EQ(days->UnitOf(Time("1970-01-01T00:00:00+09:00")), 0);
  EXPECT_EQ(days->UnitOf(Time("1969-12-31T23:59:59+09:00")), -1);
  EXPECT_EQ(days->UnitOf(Time("2022-11-01T14:59:59Z")) + 1, days->UnitOf(Time("2022-11-01T15:00:00Z")));
  EXPECT_EQ(days->StartOf(days->UnitOf(Time("2022-11-01T20:00:00Z"))), Time("2022-11-01T15:00:00Z"));
}

TEST(CohortCalendarTest, ADayOfTwentyThreeHoursIsADay) {
  const auto days = CohortCalendar::Create("1d", Zone("Europe/Berlin"));
  ASSERT_TRUE(days.ok());
  const TimeSpan spring = days->SpanOf(days->UnitOf(Time("2024-03-31T12:00:00Z")));
  EXPECT_EQ(spring.end_us - spring.start_us, int64_t{23} * 3'600'000'000);
  const TimeSpan autumn = days->SpanOf(days->UnitOf(Time("2024-10-27T12:00:00Z")));
  EXPECT_EQ(autumn.end_us - autumn.start_us, int64_t{25} * 3'600'000'000);
}

TEST(CohortCalendarTest, WeeksBeginOnMondayAndMonthsOnTheFirst) {
  const auto weeks = CohortCalendar::Create("1w", Zone("UTC"));
  ASSERT_TRUE(weeks.ok());
  EXPECT_EQ(weeks->StartOf(weeks->UnitOf(Time("2024-05-05T23:59:59Z"))), Time("2024-04-29T00:00:00Z"));  // a Sunday
  EXPECT_EQ(weeks->StartOf(weeks->UnitOf(Time("2024-05-06T00:00:00Z"))), Time("2024-05-06T00:00:00Z"));
  EXPECT_EQ(weeks->UnitOf(0), 0);
  EXPECT_EQ(weeks->UnitOf(Time("1969-12-28T23:59:59Z")), -1);
  const auto months = CohortCalendar::Create("1mo", Zone("UTC"));
  ASSERT_TRUE(months.ok());
  EXPECT_EQ(months->SpanOf(months->UnitOf(Time("2024-02-29T12:00:00Z"))),
            (TimeSpan{Time("2024-02-01T00:00:00Z"), Time("2024-03-01T00:00:00Z")}));
}

TEST(CohortCalendarTest, RefusesOtherUnits) {
  for (const char* unit : {"", "d", "2d", "1h", "7d", "1y"}) {
    EXPECT_FALSE(CohortCalendar::Create(unit, Zone("UTC")).ok()) << unit;
  }
}

TEST(CohortCounterTest, CountsThoseWhoCameBackOnTheSameDayAndLater) {
  CohortCounter counter(10, 13, 2);
  counter.Add({{9, 10, 12}, {8, 10, 11, 14}});
  counter.Add({{10}, {13}});
  counter.Add({{13}, {13}});
  ASSERT_EQ(counter.cohorts().size(), 2u);
  EXPECT_EQ(counter.cohorts().at(10).users, 2);
  EXPECT_EQ(counter.cohorts().at(10).returned, (std::vector<int64_t>{1, 1, 0}));
  EXPECT_EQ(counter.cohorts().at(12).users, 1);
  EXPECT_EQ(counter.cohorts().at(12).returned, (std::vector<int64_t>{0, 0, 1}));
}

TEST(CohortCounterTest, EqualsCountingEachCellAnew) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; ++round) {
    const int count = static_cast<int>(random() % 6);
    std::vector<std::pair<std::set<int64_t>, std::set<int64_t>>> users(random() % 8);
    CohortCounter counter(-5, 15, count);
    for (auto& [first, returned] : users) {
      for (int i = random() % 9; i > 0; --i) first.insert(static_cast<int64_t>(random() % 30) - 10);
      for (int i = random() % 9; i > 0; --i) returned.insert(static_cast<int64_t>(random() % 30) - 10);
      counter.Add({{first.begin(), first.end()}, {returned.begin(), returned.end()}});
    }
    for (int64_t unit = -10; unit < 20; ++unit) {
      for (int n = 0; n <= count; ++n) {
        int64_t members = 0, back = 0;
        for (const auto& [first, returned] : users) {
          members += first.count(unit);
          back += first.count(unit) * returned.count(unit + n);
        }
        const auto found = counter.cohorts().find(unit);
        if (members == 0 || unit < -5 || unit >= 15) {
          EXPECT_TRUE(found == counter.cohorts().end());
        } else {
          EXPECT_EQ(found->second.users, members);
          EXPECT_EQ(found->second.returned.at(n), back) << unit << " + " << n;
        }
      }
    }
  }
}

}  // namespace
}  // namespace naru::aggregator
