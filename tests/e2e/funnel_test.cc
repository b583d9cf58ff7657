// Real shop sessions as a funnel and a retention: the real program, against a computation of its own from the same
// file.
#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/naru_process.h"

namespace naru::e2e {
namespace {

using google::protobuf::Struct;
using ::testing::HasSubstr;

constexpr char kOttoPack[] = R"(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: clicks}
spec: {description: A look at an article.}
---
apiVersion: naru.dev/v1
kind: EventType
metadata: {name: carts}
spec: {description: An article put into the cart.}
---
apiVersion: naru.dev/v1
kind: EventType
metadata: {name: orders}
spec: {description: An article ordered.}
---
apiVersion: naru.dev/v1
kind: InputFormat
metadata: {name: otto}
spec:
  parser: {type: json}
  explode: events
  time: {field: events.ts, layout: unix_ms}
  event:
    type: events.type
    subject: {from: session, type: string}
    source: {const: otto}
  data:
    aid: {from: events.aid, type: integer}
---
apiVersion: naru.dev/v1
kind: Funnel
metadata: {name: purchase}
spec:
  within: 7d
  steps:
    - {name: clicks, filter: 'type == "clicks"'}
    - {name: carts, filter: 'type == "carts"'}
    - {name: orders, filter: 'type == "orders"'}
  dimensions: [{name: even, expr: data.aid % 2 == 0}]
---
apiVersion: naru.dev/v1
kind: Funnel
metadata: {name: quick}
spec:
  within: 1h
  modes: [strict_increase]
  steps:
    - {name: clicks, filter: 'type == "clicks"'}
    - {name: carts, filter: 'type == "carts"'}
    - {name: orders, filter: 'type == "orders"'}
---
apiVersion: naru.dev/v1
kind: Retention
metadata: {name: back}
spec: {first: 'type == "clicks"', returned: 'type in ["clicks", "carts", "orders"]', unit: 1d, count: 7}
)";

constexpr int64_t kHourMs = 3'600'000;

struct Event {
  int64_t time_ms;
  int step;  // 0 clicks, 1 carts, 2 orders
};
using Users = std::map<int64_t, std::vector<Event>>;

Struct ParseJson(const std::string& text) {
  Struct json;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(text, &json).ok()) << text;
  return json;
}

Users ReadOtto(const std::string& path) {
  static const std::map<std::string, int> kSteps = {{"clicks", 0}, {"carts", 1}, {"orders", 2}};
  Users users;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const Struct session = ParseJson(line);
    auto& events = users[static_cast<int64_t>(session.fields().at("session").number_value())];
    for (const auto& value : session.fields().at("events").list_value().values()) {
      const auto& fields = value.struct_value().fields();
      events.push_back(
          {static_cast<int64_t>(fields.at("ts").number_value()), kSteps.at(fields.at("type").string_value())});
    }
    std::sort(events.begin(), events.end(), [](const Event& a, const Event& b) { return a.time_ms < b.time_ms; });
  }
  return users;
}

// How many users reach each step: from every click on, the next steps as early as they come.
std::vector<int64_t> CountSteps(const Users& users, int64_t within_ms, bool increasing) {
  std::vector<int64_t> reached(3, 0);
  for (const auto& [user, events] : users) {
    int best = 0;
    for (const Event& start : events) {
      if (start.step != 0) continue;
      int steps = 1;
      int64_t at_ms = start.time_ms;
      for (bool more = true; more && steps < 3;) {
        more = false;
        for (const Event& next : events) {
          const bool later = increasing ? next.time_ms > at_ms : next.time_ms >= at_ms;
          if (next.step != steps || !later || next.time_ms > start.time_ms + within_ms) continue;
          at_ms = next.time_ms;
          ++steps;
          more = true;
          break;
        }
      }
      best = std::max(best, steps);
    }
    for (int i = 0; i < best; ++i) ++reached[static_cast<size_t>(i)];
  }
  return reached;
}

std::vector<int64_t> StepsOf(const Struct& row) {
  std::vector<int64_t> users;
  for (const auto& step : row.fields().at("steps").list_value().values()) {
    users.push_back(static_cast<int64_t>(step.struct_value().fields().at("users").number_value()));
  }
  return users;
}

class OttoTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::SharedDataPath("clickstream/otto_train.jsonl");
    if (!path_.has_value()) GTEST_SKIP() << "the example data clickstream/otto_train.jsonl is not on this machine";
    pack_.Write("otto.yaml", kOttoPack);
    auto started = Platform::Start(dir_.File("data"), {pack_.path()});
    ASSERT_TRUE(started.ok()) << started.status();
    platform_ = *std::move(started);
    const testing::ProcessResult imported = platform_->Naru({"import", *path_, "--format", "otto", "--output", "json"});
    ASSERT_EQ(imported.exit_code, 0) << imported.err;
    ASSERT_EQ(JsonNumber(LastLine(imported.out), "accepted"), 862);
  }

  Struct OneRow(std::vector<std::string> args) {
    args.insert(args.end(), {"--output", "json"});
    const testing::ProcessResult result = platform_->Naru(args);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(Lines(result.out).size(), 1u) << result.out;
    return ParseJson(LastLine(result.out));
  }

  std::optional<std::string> path_;
  testing::TempDir dir_, pack_;
  std::unique_ptr<Platform> platform_;
};

TEST_F(OttoTest, FunnelsAndCohortsEqualWhatTheFileSays) {
  const Users users = ReadOtto(*path_);
  ASSERT_EQ(users.size(), 20u);
  const std::vector<int64_t> purchase = CountSteps(users, 7 * 24 * kHourMs, false);
  EXPECT_GT(purchase[2], 0);
  EXPECT_EQ(StepsOf(OneRow({"funnel", "purchase"})), purchase);
  EXPECT_EQ(StepsOf(OneRow({"funnel", "quick"})), CountSteps(users, kHourMs, true));

  const testing::ProcessResult result = platform_->Naru({"retention", "back", "--output", "json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  std::map<int64_t, std::set<int64_t>> first, any;
  for (const auto& [user, events] : users) {
    for (const Event& event : events) {
      if (event.step == 0) first[event.time_ms / (24 * kHourMs)].insert(user);
      any[event.time_ms / (24 * kHourMs)].insert(user);
    }
  }
  const std::vector<std::string> lines = Lines(result.out);
  ASSERT_EQ(lines.size(), first.size());
  size_t at = 0;
  for (const auto& [day, members] : first) {
    const Struct row = ParseJson(lines[at++]);
    EXPECT_EQ(row.fields().at("users").number_value(), static_cast<double>(members.size()));
    const auto& returned = row.fields().at("returned").list_value().values();
    ASSERT_EQ(returned.size(), 8);
    for (int n = 0; n <= 7; ++n) {
      double back = 0;
      for (const int64_t user : members) back += static_cast<double>(any[day + n].count(user));
      EXPECT_EQ(returned[n].number_value(), back) << lines[at - 1] << " + " << n;
    }
  }
}

TEST_F(OttoTest, ATableAndACsvForPeopleAndSpreadsheets) {
  const testing::ProcessResult table = platform_->Naru({"funnel", "purchase", "--group_by", "even"});
  ASSERT_EQ(table.exit_code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("STEP"));
  EXPECT_THAT(table.out, HasSubstr("100.0%"));
  EXPECT_EQ(Lines(table.out).size(), 7u) << table.out;
  const testing::ProcessResult csv = platform_->Naru({"retention", "back", "--output", "csv"});
  ASSERT_EQ(csv.exit_code, 0) << csv.err;
  EXPECT_EQ(Lines(csv.out)[0], "start,users,0,1,2,3,4,5,6,7");
  const testing::ProcessResult status = platform_->Naru({"status", "--output", "json"});
  EXPECT_THAT(status.out, HasSubstr(R"("metric":"purchase","kind":"Funnel")"));
  const testing::ProcessResult unknown = platform_->Naru({"funnel", "purchas"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("did you mean `purchase`?"));
  const testing::ProcessResult gone = platform_->Naru({"delete", "Funnel", "quick"});
  EXPECT_EQ(gone.exit_code, 0) << gone.err;
  EXPECT_TRUE(testing::WaitUntil([this] { return platform_->Naru({"funnel", "quick"}).exit_code == 2; }));
}

TEST_F(OttoTest, AKillLosesNothingAndCountsNothingTwice) {
  const std::vector<int64_t> purchase = StepsOf(OneRow({"funnel", "purchase"}));
  const std::string cohorts = platform_->Naru({"retention", "back", "--output", "json"}).out;
  platform_->Kill();
  auto restarted = Platform::Start(dir_.File("data"), {pack_.path()});
  ASSERT_TRUE(restarted.ok()) << restarted.status();
  platform_ = *std::move(restarted);
  EXPECT_EQ(StepsOf(OneRow({"funnel", "purchase"})), purchase);
  EXPECT_EQ(platform_->Naru({"retention", "back", "--output", "json"}).out, cohorts);
  // The same file again is known line by line.
  EXPECT_EQ(platform_->Naru({"import", *path_, "--format", "otto"}).exit_code, 0);
  EXPECT_EQ(StepsOf(OneRow({"funnel", "purchase"})), purchase);
}

TEST(FunnelApplyTest, RefusesAnotherEntityThanEventsArePartitionedByWithFileAndLine) {
  testing::TempDir dir, files;
  auto platform = Platform::Start(dir.File("data"), {});
  ASSERT_TRUE(platform.ok()) << platform.status();
  const std::string path = files.Write("f.yaml", R"(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: page}
spec: {partition_by: session}
---
apiVersion: naru.dev/v1
kind: Funnel
metadata: {name: visit}
spec:
  within: 1h
  entity: subject
  steps: [{name: page, filter: 'type == "page"'}]
)");
  const testing::ProcessResult refused = (*platform)->Naru({"apply", "-f", path});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("f.yaml:11:"));
  EXPECT_THAT(refused.err, HasSubstr("events of type page are partitioned by session"));
  EXPECT_EQ((*platform)->Naru({"get", "Funnel", "visit"}).exit_code, 2);
}

}  // namespace
}  // namespace naru::e2e
