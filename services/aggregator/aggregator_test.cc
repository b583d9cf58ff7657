// The aggregator as a whole, on an embedded log, through its calls.
#include "services/aggregator/aggregator.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/clock/rfc3339.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/aggregator/testing_cluster.h"

namespace naru::aggregator {
namespace {

using testing::Cluster;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MakeMetric;
using testing::Node;
using testing::ShowRow;
using testing::TestEvent;
using testing::Time;
using ::testing::UnorderedElementsAre;

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kMinute = 60 * kSecond;

const char kClicksByGender[] = R"({
  "filter": "type == \"click\"",
  "window": {"type": "tumbling", "size": "1m"},
  "out_of_orderness": "0s",
  "dimensions": [{"name": "gender"}],
  "measures": [{"name": "clicks", "agg": "count"}, {"name": "points", "agg": "sum", "expr": "data.points"}]
})";

TestEvent Click(int64_t time_us, const std::string& gender, double points) {
  return {"click", "u1", time_us, {{"points", points}}, {{"gender", gender}}};
}

std::vector<std::string> Show(const std::vector<v1::WindowRow>& rows, bool with_final = false) {
  std::vector<std::string> texts;
  for (const v1::WindowRow& row : rows) texts.push_back(ShowRow(row, with_final));
  return texts;
}

std::vector<std::string> Rows(Node& node, const std::string& metric, bool with_final = false) {
  return Show(node.AllRows(metric), with_final);
}

class AggregatorTest : public ::testing::Test {
 protected:
  AggregatorTest() : t0(cluster.clock().NowMicros()) {}
  Cluster cluster{2};
  const int64_t t0;  // 2024-05-01T00:00:00Z
};

// The store is shared with ingest: its identity and counters must outlive everything that happens to the view.
TEST_F(AggregatorTest, AWeekOffAndALostPositionLeaveWhatOthersKeepInTheStore) {
  event_log::LocalStore* store = cluster.log().local_store();
  ASSERT_TRUE(store->EnsureFamily("state").ok());
  ASSERT_TRUE(store->Write({{"state", "id_key", "of ingest"}}, /*sync=*/true).ok());
  cluster.Apply(MakeMetric("clicks", 1, kClicksByGender));
  auto node = cluster.StartNode();
  cluster.Publish(0, {Click(t0, "F", 10)});
  const std::vector<std::string> rows = Rows(*node, "clicks");
  ASSERT_EQ(rows.size(), 1u);
  node.reset();
  cluster.clock().Advance(std::chrono::hours(24 * 7));
  node = cluster.StartNode();
  EXPECT_EQ(Rows(*node, "clicks"), rows);
  node.reset();
  // A position that cannot be read: the view begins again from nothing.
  ASSERT_TRUE(store->Write({{"aggregates_view", std::string(5, '\0'), "damaged"}}, /*sync=*/true).ok());
  node = cluster.StartNode();
  EXPECT_EQ(Rows(*node, "clicks"), rows);
  EXPECT_EQ(*store->Get("state", "id_key"), "of ingest");
}

TEST_F(AggregatorTest, CountsEventsOfAllPartitionsByWindowAndGroup) {
  cluster.Apply(MakeMetric("clicks", 1, kClicksByGender));
  auto node = cluster.StartNode();
  cluster.Publish(0, {Click(t0, "F", 10), Click(t0 + 59 * kSecond, "M", 1), Click(t0 + kMinute, "F", 2)});
  cluster.Publish(1, {Click(t0 + kSecond, "F", 5), {"login", "u1", t0, {}, {{"gender", "F"}}}});
  EXPECT_THAT(Rows(*node, "clicks"),
              ElementsAre("2024-05-01T00:00:00Z/2024-05-01T00:01:00Z {gender=F} clicks=2 points=15",
                          "2024-05-01T00:00:00Z/2024-05-01T00:01:00Z {gender=M} clicks=1 points=1",
                          "2024-05-01T00:01:00Z/2024-05-01T00:02:00Z {gender=F} clicks=1 points=2"));
  const v1::MetricStatus status = node->Status("clicks");
  EXPECT_EQ(status.matched_count(), 4);
  EXPECT_EQ(status.not_matched_count(), 1);
  EXPECT_EQ(status.failed_expression_count(), 0);
  EXPECT_EQ(status.lag(), 0);
  EXPECT_EQ(status.state(), "RUNNING");
  EXPECT_EQ(status.group_count(), 4);
}

TEST_F(AggregatorTest, MissingFieldsAreTheNullGroupAndFailingMeasuresSkipThemselvesOnly) {
  cluster.Apply(MakeMetric("clicks", 1, kClicksByGender));
  auto node = cluster.StartNode();
  cluster.Publish(0, {{"click", "u1", t0, {{"points", 1}}, {}},
                      {"click", "u1", t0, {}, {{"points", "many"}}},
                      {"click", "u1", t0, {}, {}}});
  EXPECT_THAT(Rows(*node, "clicks"),
              ElementsAre("2024-05-01T00:00:00Z/2024-05-01T00:01:00Z {gender=null} clicks=3 points=1"));
  EXPECT_EQ(node->Status("clicks").failed_expression_count(), 2);
}

TEST_F(AggregatorTest, ARestartContinuesWhereItWas) {
  cluster.Apply(MakeMetric("clicks", 1, kClicksByGender));
  auto node = cluster.StartNode();
  cluster.Publish(0, {Click(t0, "F", 1)});
  EXPECT_EQ(Rows(*node, "clicks").size(), 1u);
  for (int round = 0; round < 3; ++round) {
    if (round == 1) {
      node->Crash();
    } else {
      node->Stop();
    }
    cluster.Publish(0, {Click(t0, "F", 1)});
    if (round == 2) cluster.Reopen();
    node = cluster.StartNode();
    EXPECT_THAT(Rows(*node, "clicks"),
                ElementsAre(absl::StrCat("2024-05-01T00:00:00Z/2024-05-01T00:01:00Z {gender=F} clicks=", round + 2,
                                         " points=", round + 2)));
  }
}

TEST_F(AggregatorTest, AMetricAppliedMidwayCountsFromTheBeginning) {
  cluster.Apply(MakeMetric("first", 1, kClicksByGender));
  auto node = cluster.StartNode();
  for (int i = 0; i < 50; ++i)
    cluster.Publish(i % 2, {Click(t0 + i * kSecond, "F", 1), Click(t0 + i * kMinute, "M", 2)});
  const std::vector<std::string> first = Rows(*node, "first");
  cluster.Apply(MakeMetric("second", 1, kClicksByGender));
  for (int i = 0; i < 10; ++i) cluster.Publish(i % 2, {Click(t0 + i * kSecond, "F", 1)});
  EXPECT_EQ(Rows(*node, "second"), Rows(*node, "first"));
  EXPECT_NE(Rows(*node, "first"), first);
}

TEST_F(AggregatorTest, StartLatestCountsOnlyWhatComesAfterTheMetricWasApplied) {
  cluster.Apply(MakeMetric("all", 1, kClicksByGender));
  auto node = cluster.StartNode();
  cluster.Publish(0, {Click(t0, "F", 1), Click(t0, "F", 1)});
  EXPECT_EQ(Rows(*node, "all").size(), 1u);
  cluster.clock().Advance(std::chrono::seconds(5));
  std::string spec = kClicksByGender;
  spec.insert(1, "\"start\": \"latest\",");
  cluster.Apply(MakeMetric("later", 1, spec));
  EXPECT_THAT(Rows(*node, "later"), IsEmpty());
  cluster.Publish(0, {Click(t0, "F", 7)});
  EXPECT_THAT(Rows(*node, "later"), ElementsAre(HasSubstr("clicks=1 points=7")));
}

TEST_F(AggregatorTest, RowsBecomeFinalByWatermarkAndLateEventsReviseThem) {
  cluster.Apply(MakeMetric("clicks", 1, kClicksByGender));
  auto node = cluster.StartNode();
  cluster.Publish(0, {Click(t0, "F", 1)});
  cluster.Publish(1, {Click(t0, "M", 1)});
  EXPECT_THAT(Rows(*node, "clicks", true), ElementsAre(HasSubstr("running r0"), HasSubstr("running r0")));
  cluster.clock().Advance(std::chrono::seconds(70));
  cluster.Publish(0, {Click(t0 + 65 * kSecond, "F", 1)});
  // The other partition is idle by now, so its clock is the wall.
  EXPECT_THAT(Rows(*node, "clicks", true),
              ElementsAre(HasSubstr("{gender=F} clicks=1 points=1 final r1"),
                          HasSubstr("{gender=M} clicks=1 points=1 final r1"), HasSubstr("running r0")));
  cluster.Publish(0, {Click(t0 + 1, "F", 5)});
  EXPECT_THAT(Rows(*node, "clicks", true),
              ElementsAre(HasSubstr("{gender=F} clicks=2 points=6 final r2"),
                          HasSubstr("{gender=M} clicks=1 points=1 final r1"), HasSubstr("running r0")));
  // The idle partition wakes up behind: until it is idle again, its own watermark counts.
  cluster.Publish(1, {Click(t0 + 1, "F", 5), Click(t0 + 1, "X", 5)});
  EXPECT_THAT(Rows(*node, "clicks", true)[0], HasSubstr("{gender=F} clicks=3 points=11 running r0"));
  cluster.clock().Advance(std::chrono::seconds(40));
  cluster.Publish(0, {Click(t0 + 110 * kSecond, "F", 1)});
  EXPECT_THAT(Rows(*node, "clicks", true), ElementsAre(HasSubstr("{gender=F} clicks=3 points=11 final r3"),
                                                       HasSubstr("{gender=M} clicks=1 points=1 final r1"),
                                                       HasSubstr("{gender=X} clicks=1 points=5 final r1"),
                                                       HasSubstr("clicks=2 points=2 running r0")));
  node->Stop();
  node = cluster.StartNode();
  EXPECT_THAT(Rows(*node, "clicks", true)[0], HasSubstr("{gender=F} clicks=3 points=11 final r3"));
}

TEST_F(AggregatorTest, EventsSilenceAndARestartAreFinalInTime) {
  cluster.Apply(MakeMetric("clicks", 1, kClicksByGender));
  auto node = cluster.StartNode();
  cluster.Publish(0, {Click(t0 + kSecond, "F", 1)});
  EXPECT_THAT(Rows(*node, "clicks", true), ElementsAre(HasSubstr("running r0")));
  node->Stop();
  cluster.clock().Advance(std::chrono::minutes(2));
  node = cluster.StartNode();
  EXPECT_THAT(Rows(*node, "clicks", true), ElementsAre(HasSubstr("final r1")));
}

TEST_F(AggregatorTest, OneEventOfTomorrowDelaysAndLosesNothing) {
  std::string spec = kClicksByGender;
  spec.insert(1, "\"allowed_lateness\": \"0s\",");
  cluster.Apply(MakeMetric("clicks", 1, spec));
  auto node = cluster.StartNode();
  cluster.Publish(0, {Click(t0 + 23 * 60 * kMinute, "F", 1)});
  for (int i = 0; i < 100; ++i) {
    cluster.clock().Advance(std::chrono::seconds(1));
    cluster.Publish(0, {Click(cluster.clock().NowMicros(), "M", 1)});
  }
  int64_t clicks = 0;
  for (const v1::WindowRow& row : node->AllRows("clicks")) clicks += row.measures().at("clicks").integer();
  EXPECT_EQ(clicks, 101);
  EXPECT_EQ(node->Status("clicks").late_count(), 0);
}

TEST_F(AggregatorTest, EventsBeyondAllowedLatenessGoToTheLateTopicOnce) {
  std::string spec = kClicksByGender;
  spec.insert(1, "\"allowed_lateness\": \"30s\",");
  cluster.Apply(MakeMetric("clicks", 1, spec));
  auto node = cluster.StartNode();
  cluster.clock().Advance(std::chrono::minutes(5));
  const int64_t now = cluster.clock().NowMicros();
  cluster.Publish(0, {Click(now, "F", 1), Click(now - 30 * kSecond, "F", 1), Click(now - 31 * kSecond, "F", 1)});
  cluster.Publish(1, {Click(now - 60 * kSecond, "F", 1)});  // its partition has no later one
  int64_t clicks = 0;
  for (const v1::WindowRow& row : node->AllRows("clicks")) clicks += row.measures().at("clicks").integer();
  EXPECT_EQ(clicks, 3);
  EXPECT_EQ(node->Status("clicks").late_count(), 1);
  EXPECT_THAT(cluster.LateKeys(), ElementsAre("clicks"));
  node->Stop();
  node = cluster.StartNode();
  EXPECT_EQ(Rows(*node, "clicks").size(), 2u);
  EXPECT_EQ(node->Status("clicks").late_count(), 1);
  EXPECT_THAT(cluster.LateKeys(), ElementsAre("clicks"));
}

TEST_F(AggregatorTest, AnImportIsItsOwnTimelineAndFinalWhenItEnds) {
  std::string spec = kClicksByGender;
  spec.insert(1, "\"allowed_lateness\": \"1s\",");
  cluster.Apply(MakeMetric("clicks", 1, spec));
  auto node = cluster.StartNode();
  const int64_t now = cluster.clock().NowMicros();
  cluster.Publish(0, {Click(now, "F", 1)});
  const int64_t old = Time("2015-05-17T10:00:00Z");
  TestEvent imported = Click(old, "F", 1);
  imported.timeline = "import-1";
  cluster.Publish(0, {imported});
  imported.time_us = old + 5 * kMinute;
  cluster.Publish(0, {imported});
  cluster.clock().Advance(std::chrono::minutes(2));
  EXPECT_THAT(
      Rows(*node, "clicks", true),
      ElementsAre(HasSubstr("2015-05-17T10:01:00Z {gender=F} clicks=1 points=1 final r1"),
                  HasSubstr("2015-05-17T10:06:00Z {gender=F} clicks=1 points=1 running r0"), HasSubstr("running r0")));
  EXPECT_EQ(node->Status("clicks").late_count(), 0);
  TestEvent end;
  end.ends_timeline = true;
  end.timeline = "import-1";
  cluster.Publish(0, {end});
  EXPECT_THAT(Rows(*node, "clicks", true),
              ElementsAre(HasSubstr("final r1"), HasSubstr("final r1"), HasSubstr("final r1")));
}

TEST_F(AggregatorTest, ASilentImportStopsHoldingBackFinal) {
  cluster.Apply(MakeMetric("clicks", 1, kClicksByGender));
  auto node = cluster.StartNode();
  TestEvent imported = Click(Time("2015-05-17T10:00:00Z"), "F", 1);
  imported.timeline = "import-1";
  cluster.Publish(0, {imported});
  EXPECT_THAT(Rows(*node, "clicks", true), ElementsAre(HasSubstr("running r0")));
  cluster.clock().Advance(std::chrono::minutes(11));
  EXPECT_THAT(Rows(*node, "clicks", true), ElementsAre(HasSubstr("final r1")));
}

TEST_F(AggregatorTest, GroupsBeyondTheLimitGoToOtherAndTheWindowSaysSo) {
  std::string spec = kClicksByGender;
  spec.insert(1, "\"max_groups\": 2,");
  cluster.Apply(MakeMetric("clicks", 1, spec));
  auto node = cluster.StartNode();
  for (const char* gender : {"a", "b", "c", "d", "a", "c"}) cluster.Publish(0, {Click(t0, gender, 1)});
  cluster.Publish(0, {Click(t0 + kMinute, "z", 1)});
  EXPECT_THAT(Rows(*node, "clicks"), ElementsAre(HasSubstr("{gender=a} clicks=2 points=2 truncated"),
                                                 HasSubstr("{gender=b} clicks=1 points=1 truncated"),
                                                 HasSubstr("{gender=__other__} clicks=3 points=3 truncated"),
                                                 HasSubstr("{gender=z} clicks=1 points=1")));
  EXPECT_FALSE(absl::StrContains(Rows(*node, "clicks")[3], "truncated"));
  node->Crash();
  node = cluster.StartNode();
  cluster.Publish(0, {Click(t0, "e", 1), Click(t0, "b", 1)});
  EXPECT_THAT(Rows(*node, "clicks"), ElementsAre(HasSubstr("=a} clicks=2"), HasSubstr("=b} clicks=2"),
                                                 HasSubstr("__other__} clicks=4"), HasSubstr("z")));
}

TEST_F(AggregatorTest, OldWindowsGoAfterTheirRetentionAndLeaveNothing) {
  std::string spec = kClicksByGender;
  spec.insert(1, "\"retention\": \"1h\",");
  cluster.Apply(MakeMetric("clicks", 1, spec));
  auto node = cluster.StartNode();
  cluster.Publish(0, {Click(t0, "F", 1), Click(t0, "M", 1)});
  EXPECT_EQ(Rows(*node, "clicks").size(), 2u);
  cluster.clock().Advance(std::chrono::minutes(50));
  cluster.Publish(0, {Click(t0 + 50 * kMinute, "F", 1)});
  EXPECT_EQ(Rows(*node, "clicks").size(), 3u);
  cluster.clock().Advance(std::chrono::minutes(20));
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return Rows(*node, "clicks").size() == 1; }));
  EXPECT_EQ(cluster.LiveRecords()[4], 1);
  EXPECT_EQ(cluster.LiveRecords()[3], 1);
  // What comes for a window that is gone opens it again.
  cluster.Publish(0, {Click(t0, "F", 9)});
  EXPECT_THAT(Rows(*node, "clicks"),
              ElementsAre(HasSubstr("00:01:00Z {gender=F} clicks=1 points=9"), HasSubstr("clicks=1 points=1")));
  node->Stop();
  node = cluster.StartNode();
  EXPECT_EQ(Rows(*node, "clicks").size(), 2u);
}

TEST_F(AggregatorTest, AChangedMetricIsRebuiltAndTheOldVersionLeavesNothing) {
  cluster.Apply(MakeMetric("clicks", 1, kClicksByGender));
  auto node = cluster.StartNode();
  for (int i = 0; i < 20; ++i) cluster.Publish(i % 2, {Click(t0 + i * kSecond, i % 3 == 0 ? "F" : "M", i)});
  EXPECT_EQ(Rows(*node, "clicks").size(), 2u);
  std::string spec = kClicksByGender;
  spec.replace(spec.find("\"size\": \"1m\""), 12, "\"size\": \"5s\"");
  cluster.Apply(MakeMetric("clicks", 2, spec));
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return Rows(*node, "clicks").size() == 8; }));
  v1::QueryWindowsRequest request;
  request.set_metric("clicks");
  EXPECT_EQ(node->Query(request)->metric_version(), 2);
  // One definition and one progress record for each partition: those of version 2 alone.
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return cluster.LiveRecords()[1] == 2 && cluster.LiveRecords()[2] == 2; }));
  node->Stop();
  node = cluster.StartNode();
  EXPECT_EQ(Rows(*node, "clicks").size(), 8u);
}

TEST_F(AggregatorTest, ADeletedMetricIsGoneAndLeavesNothing) {
  cluster.Apply(MakeMetric("clicks", 1, kClicksByGender));
  cluster.Apply(MakeMetric("kept", 1, kClicksByGender));
  auto node = cluster.StartNode();
  cluster.Publish(0, {Click(t0, "F", 1)});
  EXPECT_EQ(Rows(*node, "clicks").size(), 1u);
  cluster.Delete("clicks", 1);
  v1::QueryWindowsRequest request;
  request.set_metric("clicks");
  EXPECT_TRUE(absl::IsNotFound(node->Query(request).status())) << node->Query(request).status();
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return cluster.LiveRecords()[1] == 2; }));
  EXPECT_EQ(cluster.LiveRecords()[4], 1);
  EXPECT_EQ(Rows(*node, "kept").size(), 1u);
  cluster.Apply(MakeMetric("clicks", 2, kClicksByGender));
  EXPECT_EQ(Rows(*node, "clicks").size(), 1u);
}

TEST_F(AggregatorTest, AMetricThatCannotBeComputedSaysWhyAndTheOthersGoOn) {
  cluster.Apply(MakeMetric("good", 1, kClicksByGender));
  std::string spec = kClicksByGender;
  spec.replace(spec.find("\"count\""), 7, "\"median\"");
  cluster.Apply(MakeMetric("bad", 1, spec));
  auto node = cluster.StartNode();
  cluster.Publish(0, {Click(t0, "F", 1)});
  EXPECT_EQ(Rows(*node, "good").size(), 1u);
  EXPECT_EQ(node->Status("bad").state(), "FAILED");
  EXPECT_THAT(node->Status("bad").message(), HasSubstr("count, sum, min, max, avg, variance, stddev,"));
  v1::QueryWindowsRequest request;
  request.set_metric("bad");
  EXPECT_EQ(node->Query(request).status().code(), absl::StatusCode::kFailedPrecondition);
  request.set_metric("god");
  EXPECT_THAT(std::string(node->Query(request).status().message()), HasSubstr("did you mean `good`?"));
}

TEST_F(AggregatorTest, TwoAggregatorsShareTheWorkAndEitherAnswers) {
  cluster.Apply(MakeMetric("clicks", 1, kClicksByGender));
  auto a = cluster.StartNode("a");
  auto b = cluster.StartNode("b");
  int64_t published = 0;
  for (int round = 0; round < 6; ++round) {
    for (int i = 0; i < 20; ++i, ++published) cluster.Publish(i % 2, {Click(t0, "F", 1)});
    const auto rows_a = Rows(*a, "clicks");
    EXPECT_THAT(rows_a, ElementsAre(HasSubstr(absl::StrCat("clicks=", published, " ")))) << round;
    EXPECT_EQ(Rows(*b, "clicks"), rows_a);
    if (round == 2) {
      a->Crash();
      a = cluster.StartNode("a");
    }
    if (round == 4) {
      b->Stop();
      b = cluster.StartNode("b");
    }
  }
}

TEST_F(AggregatorTest, ASuccessorOfTheSameNameFencesTheOldOne) {
  cluster.Apply(MakeMetric("clicks", 1, kClicksByGender));
  auto zombie = cluster.StartNode("same");
  cluster.Publish(0, {Click(t0, "F", 1)});
  cluster.Publish(1, {Click(t0, "F", 1)});
  EXPECT_EQ(Rows(*zombie, "clicks").size(), 1u);
  auto successor = cluster.StartNode("same");
  for (int i = 0; i < 20; ++i) cluster.Publish(i % 2, {Click(t0, "F", 1)});
  EXPECT_TRUE(naru::testing::WaitUntil(
      [&] { return zombie->aggregator().stats().fenced + successor->aggregator().stats().fenced > 0; }));
  zombie->Stop();
  EXPECT_TRUE(naru::testing::WaitUntil([&] {
    const auto rows = Rows(*successor, "clicks");
    return rows.size() == 1 && absl::StrContains(rows[0], "clicks=22 points=22");
  })) << Rows(*successor, "clicks")[0];
}

}  // namespace
}  // namespace naru::aggregator
