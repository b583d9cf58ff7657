#include "services/aggregator/funnel_matcher.h"

#include <algorithm>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/aggregator/funnel_reference.h"

namespace naru::aggregator {
namespace {

using Events = std::vector<FunnelEvent>;

std::string Show(const FunnelMatch& match) {
  std::string text = absl::StrCat(match.steps, ":");
  for (int i = 0; i < match.steps; ++i) absl::StrAppend(&text, " ", match.times_us[i]);
  return text;
}

std::string Show(const Events& events) {
  std::string text;
  for (const FunnelEvent& event : events) {
    absl::StrAppend(&text, "(", event.time_us, " ", event.steps, event.may_start ? "" : " not a start", ") ");
  }
  return text;
}

FunnelMatch Match(int steps, int64_t within_us, FunnelModes modes, const Events& events) {
  return FunnelMatcher(steps, within_us, modes).Match(events);
}

// Random cases: `ties` is how often an event has the time of the one before, in tenths.
struct Case {
  int steps;
  int64_t within_us;
  FunnelModes modes;
  Events events;
};
Case RandomCase(std::mt19937_64* random, int ties) {
  const auto below = [&](int n) { return static_cast<int>((*random)() % n); };
  Case c;
  c.steps = 1 + below(5);
  c.within_us = below(3) == 0 ? 1'000 : below(12);
  c.modes = {below(3) == 0, below(3) == 0, below(3) == 0};
  const bool several = below(2) == 0;  // events that satisfy several steps
  const bool starts = below(4) == 0;   // and some that may not start
  int64_t time_us = below(2) == 0 ? 0 : INT64_MAX - 100;
  const int count = below(9);
  for (int i = 0; i < count; ++i) {
    if (below(10) >= ties) time_us += 1 + below(3);
    const uint32_t mask = several ? (*random)() % (1u << c.steps) : (below(8) == 0 ? 0 : 1u << below(c.steps));
    c.events.push_back({time_us, mask, !starts || below(2) == 0});
  }
  return c;
}

TEST(FunnelMatcherTest, EqualsTryingEverything) {
  std::mt19937_64 random(1);
  int long_ones = 0;
  for (int i = 0; i < 60'000; ++i) {
    const Case c = RandomCase(&random, i % 3 == 0 ? 0 : i % 3 == 1 ? 4 : 8);
    const FunnelMatch expected = FunnelReference(c.steps, c.within_us, c.modes).Match(c.events);
    ASSERT_EQ(Show(Match(c.steps, c.within_us, c.modes, c.events)), Show(expected))
        << i << ": " << c.steps << " steps within " << c.within_us << (c.modes.strict_order ? " strict_order" : "")
        << (c.modes.strict_deduplication ? " strict_deduplication" : "")
        << (c.modes.strict_increase ? " strict_increase" : "") << ", events " << Show(c.events);
    long_ones += expected.steps >= 3;
  }
  EXPECT_GT(long_ones, 3'000);
}

TEST(FunnelMatcherTest, OrderOfEventsOfTheSameTimeChangesNothing) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 20'000; ++i) {
    Case c = RandomCase(&random, 7);
    FunnelMatcher matcher(c.steps, c.within_us, c.modes);
    const std::string first = Show(matcher.Match(c.events));
    for (int shuffle = 0; shuffle < 3; ++shuffle) {
      std::shuffle(c.events.begin(), c.events.end(), random);
      std::stable_sort(c.events.begin(), c.events.end(),
                       [](const FunnelEvent& a, const FunnelEvent& b) { return a.time_us < b.time_us; });
      ASSERT_EQ(Show(matcher.Match(c.events)), first) << Show(c.events);
    }
  }
}

TEST(FunnelMatcherTest, OneEventNeverFillsTwoSteps) {
  EXPECT_EQ(Show(Match(3, 100, {}, {{5, 0b111}})), "1: 5");
  EXPECT_EQ(Show(Match(3, 100, {}, {{5, 0b111}, {5, 0b111}, {5, 0b001}})), "3: 5 5 5");
  // The first step must be left to the only event that can take it, whichever is looked at first.
  EXPECT_EQ(Show(Match(2, 100, {}, {{5, 0b11}, {5, 0b01}})), "2: 5 5");
  EXPECT_EQ(Show(Match(2, 100, {}, {{5, 0b01}, {5, 0b11}})), "2: 5 5");
  EXPECT_EQ(Show(Match(2, 100, {}, {{5, 0b01}, {5, 0b01}})), "1: 5");
}

TEST(FunnelMatcherTest, WithinIsCountedFromTheFirstStepAndIncludesItsEnd) {
  EXPECT_EQ(Show(Match(3, 10, {}, {{0, 1}, {6, 2}, {10, 4}})), "3: 0 6 10");
  EXPECT_EQ(Show(Match(3, 10, {}, {{0, 1}, {6, 2}, {11, 4}})), "2: 0 6");
  // A later start makes it.
  EXPECT_EQ(Show(Match(3, 10, {}, {{0, 1}, {4, 1}, {6, 2}, {11, 4}})), "3: 4 6 11");
}

TEST(FunnelMatcherTest, TheChainThatIsCompleteFirstAndBeganLastGivesTheTimes) {
  EXPECT_EQ(Show(Match(2, 100, {}, {{0, 1}, {5, 1}, {10, 2}, {11, 1}, {12, 2}})), "2: 5 10");
  EXPECT_EQ(Show(Match(3, 100, {}, {{5, 1}, {10, 2}, {11, 2}, {12, 4}})), "3: 5 10 12");
}

TEST(FunnelMatcherTest, AnEventOfNoStepInterruptsStrictOrderOnly) {
  const Events events = {{1, 0}, {2, 1}, {3, 0}, {4, 2}};
  EXPECT_EQ(Match(2, 100, {}, events).steps, 2);
  EXPECT_EQ(Match(2, 100, {.strict_order = true}, events).steps, 1);
  // Of the same time as a step, it comes before it.
  EXPECT_EQ(Match(2, 100, {.strict_order = true}, {{2, 1}, {3, 2}, {3, 0}}).steps, 1);
  EXPECT_EQ(Match(2, 100, {.strict_order = true}, {{2, 1}, {2, 0}, {3, 2}}).steps, 2);
}

TEST(FunnelMatcherTest, ManyEventsOfOneTimeTakeLittleTime) {
  Events events;
  for (int i = 0; i < 1'000; ++i) events.push_back({7, ~0u});
  EXPECT_EQ(Match(kMaxFunnelSteps, 0, {}, events).steps, kMaxFunnelSteps);
  // As many events as steps, less one: no assignment exists, and it is found out without trying them all.
  events.resize(kMaxFunnelSteps - 1);
  EXPECT_EQ(Match(kMaxFunnelSteps, 0, {}, events).steps, kMaxFunnelSteps - 1);
}

TEST(FunnelMatcherTest, NoEventsReachNothing) {
  EXPECT_EQ(Match(3, 10, {}, {}).steps, 0);
  EXPECT_EQ(Match(3, 10, {}, {{1, 2}, {2, 4}}).steps, 0);
}

}  // namespace
}  // namespace naru::aggregator
