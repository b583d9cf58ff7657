#include "common/clock/clock.h"

#include <gtest/gtest.h>

#include <ctime>
#include <set>
#include <thread>

#include "common/clock/duration.h"
#include "common/clock/rfc3339.h"

namespace naru {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;

TEST(ClockTest, TheSystemClockTellsTheTimeAndNeverGoesBack) {
  EXPECT_NEAR(static_cast<double>(Clock::System()->NowMicros()), static_cast<double>(std::time(nullptr)) * 1e6, 2e6);
  int64_t last = Clock::System()->MonotonicMicros();
  for (int i = 0; i < 1000; ++i) {
    const int64_t now = Clock::System()->MonotonicMicros();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(ClockTest, AFakeClockMovesOnlyWhenTold) {
  FakeClock clock(1000);
  EXPECT_EQ(clock.NowMicros(), 1000);
  clock.Advance(microseconds(5));
  EXPECT_EQ(clock.NowMicros(), 1005);
  EXPECT_EQ(clock.MonotonicMicros(), 5);
  clock.SetNowMicros(1);
  EXPECT_EQ(clock.MonotonicMicros(), 5);
}

TEST(RandomTest, SystemNumbersDoNotRepeatAcrossThreads) {
  std::vector<std::vector<uint64_t>> drawn(4);
  std::vector<std::thread> threads;
  for (auto& numbers : drawn) {
    threads.emplace_back([&numbers] {
      for (int i = 0; i < 1000; ++i) numbers.push_back(Random::System()->Next());
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<uint64_t> all;
  for (const auto& numbers : drawn) all.insert(numbers.begin(), numbers.end());
  EXPECT_EQ(all.size(), 4000u);
}

TEST(RandomTest, ASeedRepeatsItsNumbers) {
  SeededRandom a(7), b(7), c(8);
  const uint64_t first = a.Next();
  EXPECT_EQ(first, b.Next());
  EXPECT_NE(first, c.Next());
}

TEST(UuidTest, HasTheVersionTheVariantAndTheTime) {
  FakeClock clock(0x0123456789ABll * 1000 + 999);
  SeededRandom random(1);
  const std::string id = MakeUuidV7(clock, random);
  ASSERT_EQ(id.size(), 36u);
  EXPECT_EQ(id.substr(0, 15), "01234567-89ab-7");
  EXPECT_NE(std::string("89ab").find(id[19]), std::string::npos) << id;
  for (const size_t dash : {8, 13, 18, 23}) EXPECT_EQ(id[dash], '-');
}

TEST(UuidTest, SortsByTimeAndDoesNotRepeat) {
  FakeClock clock(1'700'000'000'000'000);
  SeededRandom random(1);
  std::set<std::string> seen;
  std::string last;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = MakeUuidV7(clock, random);
    EXPECT_TRUE(seen.insert(id).second);
    EXPECT_LT(last, id);
    last = id;
    clock.Advance(std::chrono::milliseconds(1));
  }
}

TEST(Rfc3339Test, PrintsTheShortestExactForm) {
  EXPECT_EQ(FormatRfc3339(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(FormatRfc3339(1'714'555'800'000'000), "2024-05-01T09:30:00Z");
  EXPECT_EQ(FormatRfc3339(1'714'555'800'120'000), "2024-05-01T09:30:00.120Z");
  EXPECT_EQ(FormatRfc3339(1'714'555'800'000'007), "2024-05-01T09:30:00.000007Z");
  EXPECT_EQ(FormatRfc3339(-1), "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(FormatRfc3339(-62'135'596'800'000'000), "0001-01-01T00:00:00Z");
}

TEST(Rfc3339Test, ReadsZonesFractionsAndOddForms) {
  EXPECT_EQ(ParseRfc3339("2024-05-01T09:30:00Z").value(), 1'714'555'800'000'000);
  EXPECT_EQ(ParseRfc3339("2024-05-01 18:30:00+09:00").value(), 1'714'555'800'000'000);
  EXPECT_EQ(ParseRfc3339("2024-04-30t23:30:00-10:00").value(), 1'714'555'800'000'000);
  EXPECT_EQ(ParseRfc3339("2024-05-01T09:30:00.1234567899z").value(), 1'714'555'800'123'456);
  EXPECT_EQ(ParseRfc3339("2016-12-31T23:59:60Z").value(), ParseRfc3339("2017-01-01T00:00:00Z").value());
  EXPECT_TRUE(ParseRfc3339("2024-02-29T00:00:00Z").ok());
  EXPECT_TRUE(ParseRfc3339("2000-02-29T00:00:00Z").ok());
}

TEST(Rfc3339Test, RefusesWhatIsNotATime) {
  for (const char* text : {"",
                           "2024",
                           "2024-05-01",
                           "2024-05-01T09:30:00",
                           "2024-05-01T09:30Z",
                           "2024-13-01T00:00:00Z",
                           "2024-00-01T00:00:00Z",
                           "2024-04-31T00:00:00Z",
                           "2023-02-29T00:00:00Z",
                           "1900-02-29T00:00:00Z",
                           "2024-05-01T24:00:00Z",
                           "2024-05-01T09:60:00Z",
                           "2024-05-01T09:30:61Z",
                           "2024-05-01T09:30:00.Z",
                           "2024-05-01T09:30:00+0900",
                           "2024-05-01T09:30:00+24:00",
                           "2024-05-01T09:30:00Zx",
                           " 2024-05-01T09:30:00Z",
                           "2024-5-01T09:30:00Z",
                           "-024-05-01T09:30:00Z",
                           "2024-05-01T09:30:00\xef\xbc\x9aZ"}) {
    EXPECT_FALSE(ParseRfc3339(text).ok()) << text;
  }
}

TEST(Rfc3339Test, EveryTimeOfAllYearsComesBack) {
  SeededRandom random(3);
  const int64_t first = ParseRfc3339("0000-01-01T00:00:00Z").value();
  const int64_t last = ParseRfc3339("9999-12-31T23:59:59.999999Z").value();
  for (int i = 0; i < 200'000; ++i) {
    int64_t time = first + static_cast<int64_t>(random.Next() % static_cast<uint64_t>(last - first));
    if (i % 3 == 0) time -= time % 1'000'000;
    ASSERT_EQ(ParseRfc3339(FormatRfc3339(time)).value_or(-1), time) << FormatRfc3339(time);
  }
}

TEST(CivilTest, AgreesWithTheCLibraryOnEveryDayOfEightHundredYears) {
  for (int64_t day = -150'000; day < 150'000; ++day) {
    const CivilDate date = CivilFromDays(day);
    const time_t seconds = day * 86'400;
    tm expected{};
    gmtime_r(&seconds, &expected);
    ASSERT_EQ(date.year, expected.tm_year + 1900);
    ASSERT_EQ(date.month, expected.tm_mon + 1);
    ASSERT_EQ(date.day, expected.tm_mday);
    ASSERT_EQ(DaysFromCivil(date.year, date.month, date.day), day);
  }
}

TEST(DurationTest, ReadsUnitsAndTheirSums) {
  EXPECT_EQ(ParseDuration("1h30m").value(), hours(1) + std::chrono::minutes(30));
  EXPECT_EQ(ParseDuration("250ms").value(), std::chrono::milliseconds(250));
  EXPECT_EQ(ParseDuration("7us").value(), microseconds(7));
  EXPECT_EQ(ParseDuration("2d").value(), hours(48));
  EXPECT_EQ(ParseDuration("1.5h").value(), std::chrono::minutes(90));
  EXPECT_EQ(ParseDuration("-10s").value(), std::chrono::seconds(-10));
  EXPECT_EQ(ParseDuration("0").value(), microseconds(0));
}

TEST(DurationTest, RefusesWhatIsNotADuration) {
  for (const char* text : {"", "5", "s", "5 s", "5S", "5x", "1h-3m", "1..5s", ".s", "0.1us", "1e3s", "--5s", "-",
                           "99999999999999999999s", "300000y", "9999999999d", "1h 30m"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
  }
}

TEST(DurationTest, WhatIsPrintedReadsBackTheSame) {
  SeededRandom random(5);
  for (int i = 0; i < 100'000; ++i) {
    const microseconds value(static_cast<int64_t>(random.Next() >> (random.Next() % 62 + 1)) * (i % 2 == 0 ? 1 : -1));
    ASSERT_EQ(ParseDuration(FormatDuration(value)).value_or(microseconds(-7)), value) << FormatDuration(value);
  }
  EXPECT_EQ(FormatDuration(std::chrono::seconds(90)), "1m30s");
  EXPECT_EQ(FormatDuration(microseconds(0)), "0s");
  EXPECT_EQ(FormatDuration(hours(24)), "1d");
  EXPECT_EQ(FormatDuration(microseconds::min()).front(), '-');
}

}  // namespace
}  // namespace naru
