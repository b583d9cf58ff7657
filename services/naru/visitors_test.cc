#include "services/naru/visitors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "common/clock/rfc3339.h"
#include "common/event/event_view.h"
#include "naru/event/v1/event.pb.h"

namespace naru::cli {
namespace {

int64_t At(absl::string_view rfc3339) { return *ParseRfc3339(rfc3339); }

SimulationOptions OneDay() {
  SimulationOptions options;
  options.seed = 7;
  options.from_us = At("2022-11-01T00:00:00+09:00");
  options.to_us = At("2022-11-02T00:00:00+09:00");
  options.visits_per_day = 400;
  return options;
}

std::vector<SimulatedEvent> Simulate(const Site& site, const SimulationOptions& options) {
  VisitorStream stream(site, options);
  std::vector<SimulatedEvent> events;
  SimulatedEvent event;
  while (stream.Next(&event)) events.push_back(event);
  return events;
}

class SitesTest : public ::testing::TestWithParam<const char*> {
 protected:
  SitesTest() : site_(*MakeSite(GetParam())) {}
  std::unique_ptr<Site> site_;
};
INSTANTIATE_TEST_SUITE_P(AllSites, SitesTest, ::testing::Values("ciao_labella", "weblog", "zigbang"));

TEST_P(SitesTest, TheSameSeedGivesTheSameEvents) {
  const auto first = Simulate(*site_, OneDay());
  const auto second = Simulate(*site_, OneDay());
  ASSERT_GT(first.size(), 1000);
  ASSERT_EQ(first.size(), second.size());
  for (size_t i = 0; i < first.size(); ++i) {
    ASSERT_EQ(first[i].bytes, second[i].bytes);
    ASSERT_EQ(first[i].send_us, second[i].send_us);
  }
  SimulationOptions other = OneDay();
  other.seed = 8;
  const auto third = Simulate(*site_, other);
  ASSERT_FALSE(third.empty());
  EXPECT_NE(first[0].bytes, third[0].bytes);
}

TEST_P(SitesTest, EveryEventThatIsNotBrokenIsValidAndInTheSpan) {
  const SimulationOptions options = OneDay();
  for (const SimulatedEvent& event : Simulate(*site_, options)) {
    if (event.twist == Twist::kBroken) continue;
    event::EventView view;
    event::ParseProblem problem;
    ASSERT_EQ(event::ParseEvent(event.bytes, event::Limits(), &view, &problem), event::ParseError::kOk)
        << problem.field;
    ASSERT_GE(view.time_us, options.from_us);
    ASSERT_LT(view.time_us, options.to_us);
    ASSERT_FALSE(view.type.empty());
    ASSERT_FALSE(view.session.empty());
  }
}

TEST_P(SitesTest, EventsComeInTheOrderTheyAreSent) {
  int64_t last = INT64_MIN;
  for (const SimulatedEvent& event : Simulate(*site_, OneDay())) {
    ASSERT_GE(event.send_us, last);
    last = event.send_us;
  }
}

TEST_P(SitesTest, TwistsComeAsOftenAsAsked) {
  SimulationOptions options = OneDay();
  options.late_share = 0.1;
  options.duplicate_share = 0.2;
  options.broken_share = 0.05;
  std::map<Twist, int> count;
  std::set<std::string> seen;
  int repeated = 0;
  const auto events = Simulate(*site_, options);
  for (const SimulatedEvent& event : events) {
    ++count[event.twist];
    event::EventView view;
    event::ParseEvent(event.bytes, event::Limits(), &view);
    if (event.twist != Twist::kBroken) repeated += !seen.insert(std::string(view.id)).second;
    if (event.twist == Twist::kLate) {
      EXPECT_GE(event.send_us - event.time_us, 60 * kSecond);
    }
  }
  const double base = count[Twist::kNone] + count[Twist::kLate];
  EXPECT_NEAR(count[Twist::kLate] / base, 0.1, 0.03);
  EXPECT_NEAR(count[Twist::kDuplicate] / base, 0.2, 0.03);
  EXPECT_NEAR(count[Twist::kBroken] / base, 0.05, 0.02);
  EXPECT_EQ(repeated, count[Twist::kDuplicate]) << "duplicates carry the id of the first";
}

TEST_P(SitesTest, WithoutTwistsEveryIdIsUsedOnce) {
  SimulationOptions options = OneDay();
  options.late_share = options.duplicate_share = options.broken_share = 0;
  std::set<std::string> ids;
  for (const SimulatedEvent& event : Simulate(*site_, options)) {
    event::EventView view;
    ASSERT_EQ(event::ParseEvent(event.bytes, event::Limits(), &view), event::ParseError::kOk);
    ASSERT_EQ(event.twist, Twist::kNone);
    ASSERT_TRUE(ids.insert(std::string(view.id)).second);
  }
}

TEST_P(SitesTest, VisitorsFollowTheHoursOfTheDayInTheSitesZone) {
  SimulationOptions options = OneDay();
  options.visits_per_day = 3000;
  options.late_share = 0;
  absl::TimeZone zone;
  ASSERT_TRUE(absl::LoadTimeZone(site_->time_zone(), &zone));
  std::array<int, 24> by_hour{};
  for (const SimulatedEvent& event : Simulate(*site_, options)) {
    ++by_hour[absl::ToCivilHour(absl::FromUnixMicros(event.time_us), zone).hour()];
  }
  const auto weights = site_->hour_weights();
  const auto busiest = std::max_element(weights.begin(), weights.end()) - weights.begin();
  const auto quietest = std::min_element(weights.begin(), weights.end()) - weights.begin();
  EXPECT_GT(by_hour[busiest], 1.5 * by_hour[quietest]);
  EXPECT_GT(by_hour[quietest], 0);
}

TEST_P(SitesTest, PeopleComeBack) {
  SimulationOptions options = OneDay();
  options.to_us = At("2022-11-08T00:00:00+09:00");
  std::map<std::string, std::set<std::string>> sessions;
  for (const SimulatedEvent& event : Simulate(*site_, options)) {
    event::EventView view;
    if (event::ParseEvent(event.bytes, event::Limits(), &view) != event::ParseError::kOk || view.subject.empty())
      continue;
    sessions[std::string(view.subject)].insert(std::string(view.session));
  }
  int returning = 0;
  for (const auto& [subject, visits] : sessions) returning += visits.size() > 1;
  EXPECT_GT(returning, static_cast<int>(sessions.size()) / 4);
  EXPECT_LT(returning, static_cast<int>(sessions.size()));
}

TEST_P(SitesTest, GoingOnWhereARunStoppedLeavesNothingOut) {
  SimulationOptions options = OneDay();
  const auto whole = Simulate(*site_, options);
  std::multiset<std::string> expected;
  const int64_t cut = whole[whole.size() / 3].send_us;
  for (const SimulatedEvent& event : whole) {
    if (event.send_us >= cut) expected.insert(event.bytes);
  }
  options.resume_us = cut;
  std::multiset<std::string> resumed;
  for (const SimulatedEvent& event : Simulate(*site_, options)) resumed.insert(event.bytes);
  EXPECT_EQ(resumed, expected);
}

TEST_P(SitesTest, APartOfTheSpanHasTheSameEventsAsTheWhole) {
  SimulationOptions options = OneDay();
  std::set<std::string> whole;
  for (const SimulatedEvent& event : Simulate(*site_, options)) whole.insert(event.bytes);
  options.from_us = At("2022-11-01T12:00:00+09:00");
  options.to_us = At("2022-11-01T14:00:00+09:00");
  const auto part = Simulate(*site_, options);
  ASSERT_GT(part.size(), 50);
  for (const SimulatedEvent& event : part) EXPECT_EQ(whole.count(event.bytes), 1);
}

TEST_P(SitesTest, ANumberOfEventsFillsTheSpan) {
  for (const int64_t wanted : {100, 5000, 60000}) {
    SimulationOptions options = OneDay();
    options.max_events = wanted;
    options.visits_per_day = VisitsForEvents(*site_, wanted, options.from_us, options.to_us);
    const auto events = Simulate(*site_, options);
    ASSERT_EQ(events.size(), wanted);
    if (wanted < 5000) continue;
    EXPECT_GT(events.back().send_us, At(wanted < 50000 ? "2022-11-01T19:30:00+09:00" : "2022-11-01T22:00:00+09:00"))
        << wanted;
  }
}

TEST_P(SitesTest, BrokenEventsNeverShareAnIdWithGoodOnes) {
  SimulationOptions options = OneDay();
  options.broken_share = 0.3;
  std::set<std::string> good, broken;
  for (const SimulatedEvent& event : Simulate(*site_, options)) {
    event::EventView view;
    event::ParseEvent(event.bytes, event::Limits(), &view);
    (event.twist == Twist::kBroken ? broken : good).insert(std::string(view.id));
  }
  EXPECT_GT(broken.size(), 100);
  for (const std::string& id : broken) EXPECT_EQ(good.count(id), 0);
}

TEST(ZigbangTest, EachStepOfTheFunnelLosesPeople) {
  const auto site = *MakeSite("zigbang");
  SimulationOptions options = OneDay();
  options.visits_per_day = 4000;
  options.broken_share = options.duplicate_share = 0;
  std::map<std::string, std::set<std::string>> users;
  for (const SimulatedEvent& event : Simulate(*site, options)) {
    event::EventView view;
    ASSERT_EQ(event::ParseEvent(event.bytes, event::Limits(), &view), event::ParseError::kOk);
    if (!view.subject.empty()) users[std::string(view.type)].insert(std::string(view.subject));
  }
  const auto count = [&](const char* type) { return users[type].size(); };
  EXPECT_GT(count("session_start"), count("view_item"));
  EXPECT_GT(2 * count("view_item"), 3 * count("add_to_wishlist"));
  EXPECT_GT(2 * count("add_to_wishlist"), 3 * count("add_to_cart"));
  EXPECT_GT(2 * count("add_to_cart"), 3 * count("begin_checkout"));
  EXPECT_GT(count("begin_checkout"), count("purchase"));
  EXPECT_GT(count("purchase"), 0);
}

TEST(ZigbangTest, LinesHaveTenColumns) {
  const auto site = *MakeSite("zigbang");
  Dice dice({1});
  for (const SimulatedEvent& simulated : Simulate(*site, OneDay())) {
    if (simulated.twist == Twist::kBroken) continue;
    event::v1::Event event;
    ASSERT_TRUE(event.ParseFromString(simulated.bytes));
    const auto line = site->Line(event, false, dice);
    ASSERT_TRUE(line.has_value());
    ASSERT_EQ(std::count(line->begin(), line->end(), '|'), 9) << *line;
    ASSERT_EQ(line->find('\n'), std::string::npos);
    ASSERT_EQ(line->back(), '}');
  }
  EXPECT_FALSE((*MakeSite("weblog"))->Line({}, false, dice).has_value());
}

TEST(SitesByNameTest, PathsAndNamesAreFoundAndOthersNamed) {
  EXPECT_TRUE(MakeSite("weblog").ok());
  EXPECT_TRUE(MakeSite("deploy/packs/ciao_labella/").ok());
  const absl::Status missing = MakeSite("upbit").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), ::testing::HasSubstr("weblog"));
}

TEST(DiceTest, ThrowsStayInRange) {
  Dice dice({1, 2, 3});
  std::map<size_t, int> picked;
  for (int i = 0; i < 10000; ++i) {
    EXPECT_LT(dice.Unit(), 1.0);
    const int64_t throw_of_six = dice.Between(1, 6);
    EXPECT_TRUE(throw_of_six >= 1 && throw_of_six <= 6);
    ++picked[dice.Pick(std::array<double, 3>{1, 0, 3})];
    EXPECT_GE(dice.Exponential(5), 0);
  }
  EXPECT_EQ(picked.count(1), 0) << "a weight of nothing is never picked";
  EXPECT_NEAR(picked[2] / 10000.0, 0.75, 0.03);
}

}  // namespace
}  // namespace naru::cli
