// Session windows through the calls: rows, finality, revisions, single sessions, watches, restarts, expiry; what their
// expressions may say; and the sessions of a real access log.
#include "services/aggregator/session.h"

#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "common/clock/rfc3339.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "common/testing/testing.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "services/aggregator/metric_evaluator.h"
#include "services/aggregator/session_plan.h"
#include "services/aggregator/testing_cluster.h"

namespace naru::aggregator {
namespace {

using ::testing::AllOf;
using testing::Cluster;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MakeMetric;
using testing::Node;
using testing::ShowRow;
using testing::TestEvent;
using testing::Time;

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kMinute = 60 * kSecond;

const char kVisits[] = R"({
  "filter": "type == \"view\"",
  "window": {"type": "session", "gap": "10m"},
  "out_of_orderness": "0s",
  "dimensions": [{"name": "page", "expr": "data.entry.page"}],
  "measures": [{"name": "n", "agg": "count"}, {"name": "ms", "agg": "avg", "expr": "data.duration_ms"}]
})";

TestEvent View(int64_t time_us, const std::string& user, const std::string& page, const std::string& timeline = "") {
  return {"view", user, time_us, {}, {{"page", page}}, timeline};
}

std::vector<std::string> Rows(Node& node, bool with_final = true) {
  std::vector<std::string> texts;
  for (const v1::WindowRow& row : node.AllRows("visits")) {
    // Only the hour and what follows.
    const std::string text = ShowRow(row, with_final);
    texts.push_back(absl::StrCat(text.substr(11, 2), text.substr(text.find(' '))));
  }
  return texts;
}

std::string Show(const v1::Session& session) {
  const int64_t start = session.start_time().seconds() / 60 % (24 * 60),
                end = session.end_time().seconds() / 60 % (24 * 60);
  return absl::StrCat(session.entity(), " ", start, "-", end, " n=", session.event_count(),
                      session.bounce() ? " bounce" : "", session.running() ? " running" : "",
                      session.counted() ? " counted" : "", " ", session.entry().fields().at("page").string_value(), ">",
                      session.exit().fields().at("type").string_value());
}

std::vector<std::string> Sessions(Node& node, const std::string& entity = "") {
  std::vector<std::string> texts;
  for (const v1::Session& session : node.AllSessions("visits", entity)) texts.push_back(Show(session));
  return texts;
}

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() : t0(cluster.clock().NowMicros()) {
    cluster.clock().Advance(std::chrono::hours(3));  // events of t0 are not in the future
    cluster.Apply(MakeMetric("visits", 1, kVisits));
    node = cluster.StartNode();
  }
  Cluster cluster{1};
  const int64_t t0;  // 2024-05-01T00:00:00Z
  std::unique_ptr<Node> node;
};

TEST_F(SessionTest, EventsCloserThanTheGapAreOneSessionInTheWindowOfItsStart) {
  cluster.Publish(0, {View(t0 + 55 * kMinute, "a", "/"),
                      View(t0 + 64 * kMinute, "a", "/x"),
                      View(t0 + 74 * kMinute, "a", "/y"),  // exactly a gap later
                      View(t0 + 60 * kMinute, "b", "/"),
                      {"other", "a", t0 + 66 * kMinute}});
  EXPECT_THAT(Rows(*node, false),
              ElementsAre("00 {page=/} ms=540000 n=1", "01 {page=/} ms=0 n=1", "01 {page=/y} ms=0 n=1"));
  EXPECT_THAT(Sessions(*node), ElementsAre("a 55-64 n=2 counted />view", "b 60-60 n=1 bounce counted />view",
                                           "a 74-74 n=1 bounce running /y>view"));
  EXPECT_THAT(Sessions(*node, "a").size(), 2u);
  EXPECT_EQ(node->Status("visits").matched_count(), 4);
  EXPECT_EQ(node->Status("visits").not_matched_count(), 1);
}

TEST_F(SessionTest, AnEventBetweenTwoRunningSessionsMakesThemOne) {
  cluster.Publish(0,
                  {View(t0 + 20 * kMinute, "a", "/late", "import"), View(t0 + 5 * kMinute, "a", "/early", "import")});
  // The watermark of the import has passed neither end: 20 min is its greatest time.
  EXPECT_THAT(Sessions(*node),
              ElementsAre("a 5-5 n=1 bounce counted /early>view", "a 20-20 n=1 bounce running /late>view"));
  cluster.Publish(0, {View(t0 + 100 * kMinute, "c", "/", "other"), View(t0 + 91 * kMinute, "c", "/0", "other"),
                      View(t0 + 110 * kMinute, "c", "/9", "third")});
  EXPECT_THAT(Sessions(*node, "c"),
              ElementsAre("c 91-100 n=2 running /0>view", "c 110-110 n=1 bounce running /9>view"));
  cluster.Publish(0, {View(t0 + 105 * kMinute, "c", "/5", "third")});
  EXPECT_THAT(Sessions(*node, "c"), ElementsAre("c 91-110 n=4 running /0>view"));
}

TEST_F(SessionTest, RowsAreFinalWhenTheWatermarkHasPassedTheWindowAndItsSessions) {
  cluster.clock().SetNowMicros(t0 + 58 * kMinute);
  cluster.Publish(0, {View(t0 + 58 * kMinute, "a", "/")});
  cluster.clock().SetNowMicros(t0 + 60 * kMinute);
  cluster.Publish(0, {View(t0 + 60 * kMinute, "b", "/b")});
  EXPECT_THAT(Rows(*node), ElementsAre(HasSubstr("{page=/} ms=0 n=1 running r0"), HasSubstr("{page=/b}")));
  cluster.clock().SetNowMicros(t0 + 67 * kMinute);
  cluster.Publish(0, {View(t0 + 67 * kMinute, "a", "/")});  // goes on beyond the window's end
  EXPECT_THAT(Rows(*node)[0], HasSubstr("ms=540000 n=1 running r0"));
  cluster.clock().SetNowMicros(t0 + 76 * kMinute);
  cluster.Publish(0, {View(t0 + 76 * kMinute, "b", "/b")});
  EXPECT_THAT(Rows(*node)[0], HasSubstr("n=1 running r0"));
  cluster.clock().SetNowMicros(t0 + 77 * kMinute);
  cluster.Publish(0, {View(t0 + 77 * kMinute, "b", "/b")});
  EXPECT_THAT(Rows(*node)[0], HasSubstr("n=1 final r1"));
  EXPECT_THAT(Sessions(*node, "a"), ElementsAre(HasSubstr("counted")));
}

TEST_F(SessionTest, ALateEventRevisesTheSessionThatItExtends) {
  cluster.Publish(
      0, {View(t0 + 10 * kMinute, "a", "/"), View(t0 + 12 * kMinute, "b", "/"), View(t0 + 100 * kMinute, "c", "/")});
  EXPECT_THAT(Rows(*node), ElementsAre(HasSubstr("{page=/} ms=0 n=2 final r1"), HasSubstr("n=1")));
  cluster.Publish(0, {View(t0 + 14 * kMinute, "a", "/z")});
  EXPECT_THAT(Rows(*node)[0], HasSubstr("{page=/} ms=120000 n=2 final r2"));
  // An earlier first event moves it to another group; what it leaves is computed anew.
  cluster.Publish(0, {View(t0 + 9 * kMinute, "a", "/first")});
  EXPECT_THAT(Rows(*node), ElementsAre(HasSubstr("{page=/} ms=0 n=1 final r3"),
                                       HasSubstr("{page=/first} ms=300000 n=1 final"), HasSubstr("n=1")));
  // A row that has lost its last session is no row.
  cluster.Publish(0, {View(t0 + 8 * kMinute, "b", "/first")});
  EXPECT_THAT(Rows(*node),
              ElementsAre(HasSubstr("{page=/first} ms=270000 n=2 final"), HasSubstr("01 {page=/} ms=0 n=1")));
  EXPECT_EQ(node->Status("visits").late_count(), 0);
  EXPECT_EQ(node->AllSessions("visits", "a")[0].late_event_count(), 2);
  node->Crash();
  node = cluster.StartNode();
  EXPECT_THAT(Rows(*node)[0], HasSubstr("{page=/first} ms=270000 n=2 final"));
}

TEST_F(SessionTest, ALateEventBetweenTwoCountedSessionsIsLate) {
  cluster.Publish(
      0, {View(t0 + 10 * kMinute, "a", "/1"), View(t0 + 25 * kMinute, "a", "/2"), View(t0 + 100 * kMinute, "c", "/")});
  const std::vector<std::string> before = Rows(*node);
  cluster.Publish(0, {View(t0 + 17 * kMinute, "a", "/between"), View(t0 + 200 * kMinute, "d", "/")});
  EXPECT_EQ(node->AllSessions("visits", "a").size(), 2u);
  EXPECT_THAT(Rows(*node), Contains(before[0]));
  EXPECT_EQ(node->Status("visits").late_count(), 1);
  EXPECT_THAT(cluster.LateKeys(), ElementsAre("visits"));
}

TEST_F(SessionTest, AReopenedSessionRunsAgainUntilItsTimelineHasPassed) {
  cluster.Publish(0, {View(t0 + 50 * kMinute, "a", "/"), View(t0 + 60 * kMinute, "c", "/c")});
  EXPECT_THAT(Sessions(*node, "a"), ElementsAre("a 50-50 n=1 bounce counted />view"));
  // Closer than a gap to the counted one, and its own end + gap is still to come.
  cluster.Publish(0, {View(t0 + 55 * kMinute, "a", "/x")});
  EXPECT_THAT(Sessions(*node, "a"), ElementsAre("a 50-55 n=2 running />view"));
  EXPECT_THAT(Rows(*node), Contains("00 {page=/} ms=300000 n=1 running r0"));
  cluster.Publish(0, {View(t0 + 65 * kMinute, "c", "/c")});
  EXPECT_THAT(Sessions(*node, "a"), ElementsAre("a 50-55 n=2 counted />view"));
}

TEST_F(SessionTest, AnEndMarkerCountsWhatRunsOnItsTimelineOnly) {
  cluster.Publish(0, {View(t0 + 5 * kMinute, "a", "/", "import"), View(t0 + 5 * kMinute, "b", "/"),
                      View(t0 + 5 * kMinute, "both", "/"), View(t0 + 6 * kMinute, "both", "/", "import")});
  TestEvent end;
  end.timeline = "import";
  end.ends_timeline = true;
  cluster.Publish(0, {end});
  EXPECT_THAT(Sessions(*node), ElementsAre(HasSubstr("a 5-5 n=1 bounce counted"), "b 5-5 n=1 bounce running />view",
                                           "both 5-6 n=2 running />view"));
  // After a restart, too, each knows what it waits for.
  node->Crash();
  node = cluster.StartNode();
  cluster.Publish(0, {View(t0 + 16 * kMinute, "c", "/")});
  EXPECT_THAT(Sessions(*node), ElementsAre(HasSubstr("a 5-5 n=1 bounce counted"), HasSubstr("b 5-5 n=1 bounce counted"),
                                           HasSubstr("both 5-6 n=2 counted"), HasSubstr("c 16-16")));
}

TEST_F(SessionTest, ASessionShownAsFinalThatGoesOnIsARevision) {
  cluster.clock().SetNowMicros(t0 + 30 * kMinute);
  cluster.Publish(0, {View(t0 + 30 * kMinute, "a", "/")});
  cluster.clock().SetNowMicros(t0 + 90 * kMinute);
  EXPECT_THAT(Rows(*node), ElementsAre(HasSubstr("n=1 final r1")));
  // By its own timeline it is on time; the clock had thought otherwise.
  cluster.Publish(0, {View(t0 + 39 * kMinute, "a", "/"), View(t0 + 89 * kMinute, "z", "/z")});
  EXPECT_THAT(Rows(*node)[0], HasSubstr("ms=540000 n=1 final r2"));
}

TEST_F(SessionTest, SessionsOfOtherEntitiesAndWithoutOneDoNotMix) {
  cluster.Apply(MakeMetric("by_session", 1, R"({
      "window": {"type": "session", "gap": "10m", "entity": "session", "report": "1d"}, "time_zone": "Asia/Seoul",
      "measures": [{"name": "n", "agg": "count"}, {"name": "who", "agg": "count_distinct", "expr": "session"},
                   {"name": "users", "agg": "count_distinct", "expr": "subject"}]})"));
  TestEvent one = View(t0, "a", "/"), two = View(t0 + kMinute, "a", "/"), none = View(t0, "a", "/");
  one.session = "s1";
  two.session = "s2";
  cluster.Publish(0, {one, two, none});
  const std::vector<v1::WindowRow> rows = node->AllRows("by_session");
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(ShowRow(rows[0]), "2024-04-30T15:00:00Z/2024-05-01T15:00:00Z {} n=2 users=0 who=2");
  EXPECT_EQ(node->Status("by_session").not_matched_count(), 1);
}

TEST_F(SessionTest, OldSessionsGoWithTheirWindowsAndLeaveNothing) {
  std::string spec = kVisits;
  spec.insert(1, "\"retention\": \"2h\",");
  cluster.Apply(MakeMetric("visits", 2, spec));
  cluster.clock().SetNowMicros(t0);
  for (int i = 0; i < 50; ++i) cluster.Publish(0, {View(t0, absl::StrCat("u", i), "/")});
  cluster.clock().SetNowMicros(t0 + 20 * kMinute);
  cluster.Publish(0, {View(t0 + 20 * kMinute, "a", "/")});
  EXPECT_EQ(Sessions(*node).size(), 51u);
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return cluster.LiveRecords()[1] == 1; }));  // only version 2
  EXPECT_EQ(cluster.LiveRecords()[5], 1);
  EXPECT_EQ(cluster.LiveRecords()[6], 101);  // two a session, and how late they end
  cluster.clock().SetNowMicros(t0 + 150 * kMinute);
  cluster.Publish(0, {View(t0 + 150 * kMinute, "b", "/")});
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return cluster.LiveRecords()[6] <= 3; }));
  EXPECT_EQ(Sessions(*node, "u7").size(), 0u);
  node->Stop();
  node = cluster.StartNode();
  EXPECT_THAT(Sessions(*node, "b"), ElementsAre(HasSubstr("b 150-150")));
  cluster.Delete("visits", 2);
  EXPECT_TRUE(naru::testing::WaitUntil([&] {
    const auto live = cluster.LiveRecords();
    return live.count(5) == 0 && live.count(6) == 0 && live.count(1) == 0;
  }));
}

TEST_F(SessionTest, AMetricAppliedMidwayHasTheSameSessions) {
  for (int i = 0; i < 200; ++i) {
    cluster.Publish(0, {View(t0 + (i * 37 % 180) * kMinute, absl::StrCat("u", i % 7), absl::StrCat("/", i % 3))});
  }
  const std::vector<std::string> first = Rows(*node, false);
  cluster.Apply(MakeMetric("visits", 2, kVisits));
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return node->Status("visits").version() == 2; }));
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return node->Status("visits").state() == "RUNNING"; }));
  EXPECT_EQ(Rows(*node, false), first);
}

TEST_F(SessionTest, MoreSessionsThanOneCommitHoldsAreCountedInSlices) {
  TestEvent end;
  end.timeline = "import";
  end.ends_timeline = true;
  const int users = 30'000;
  // A sanitizer takes its time: longer than a query waits.
  const auto taken = [&](int64_t events) {
    return naru::testing::WaitUntil([&] { return node->aggregator().stats().events >= events; },
                                    std::chrono::seconds(120));
  };
  const int64_t before = node->aggregator().stats().events;
  std::vector<TestEvent> batch;
  for (int i = 0; i < users; ++i) {
    batch.push_back(View(t0 + i * kSecond / 100, absl::StrCat("user-with-a-long-name-", i), "/", "import"));
    if (batch.size() == 5000) {
      cluster.Publish(0, batch);
      batch.clear();
    }
  }
  ASSERT_TRUE(taken(before + users));
  EXPECT_THAT(Rows(*node, false), ElementsAre(HasSubstr(absl::StrCat(" n=", users))));
  const int64_t commits = node->aggregator().stats().commits;
  // What follows in the same batch must find all of them counted, and none twice.
  cluster.Publish(0, {end, View(t0 + kMinute, "user-with-a-long-name-7", "/x"), View(t0, "new", "/new", "import")});
  ASSERT_TRUE(taken(before + users + 2));
  EXPECT_THAT(Rows(*node, false),
              ElementsAre(HasSubstr(absl::StrCat(" n=", users)), HasSubstr("{page=/new} ms=0 n=1")));
  EXPECT_GE(node->aggregator().stats().commits, commits + 3);
  int64_t counted = 0, extended = 0;
  for (const v1::Session& session : node->AllSessions("visits")) {
    counted += session.counted() ? 1 : 0;
    extended += session.late_event_count();
  }
  EXPECT_EQ(counted, users - 1);
  EXPECT_EQ(extended, 1);
}

TEST_F(SessionTest, OneSessionEachOfManyUsersStaysWithinTheMemoryBudget) {
  node->Stop();
  const int64_t budget = int64_t{8} << 20;
  node = cluster.StartNode("a", budget);
  const int users = 60'000;
  int64_t most = 0;
  for (int i = 0; i < users;) {
    std::vector<TestEvent> batch;
    for (; batch.size() < 2000; ++i) batch.push_back(View(t0 + i * kSecond / 50, absl::StrCat("user", i), "/"));
    cluster.Publish(0, batch);
    EXPECT_EQ(Rows(*node, false).size(), 1u);
    most = std::max(most, node->aggregator().stats().state_bytes);
  }
  EXPECT_THAT(Rows(*node, false), ElementsAre(HasSubstr(absl::StrCat(" n=", users))));
  EXPECT_LE(node->aggregator().stats().state_bytes, budget);
  EXPECT_LT(most, 2 * budget);
  cluster.Publish(0, {View(t0 + 60 * kMinute, "last", "/last")});
  EXPECT_THAT(Rows(*node, false), Contains(HasSubstr(absl::StrCat("00 {page=/} ms=0 n=", users))));
  EXPECT_THAT(Sessions(*node, "user17"), ElementsAre("user17 0-0 n=1 bounce counted />view"));
}

// Follows a watch until `done` holds of the rows known; every row by its window and group, with its values.
TEST_F(SessionTest, AWatchShowsRunningSessionsAsTheyChange) {
  v1::WatchWindowsRequest request;
  request.mutable_query()->set_metric("visits");
  request.set_max_rate_hz(50);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  auto reader = node->stub().WatchWindows(&context, request);
  std::map<std::string, std::string> rows;
  const auto read_until = [&](const std::function<bool()>& done) {
    v1::WatchWindowsResponse message;
    while (!done()) {
      if (!reader->Read(&message)) return false;
      for (const v1::WindowRow& row : message.rows()) {
        const std::string text = ShowRow(row, true);
        rows[text.substr(11, 2) + text.substr(text.find('{'), text.find('}') - text.find('{') + 1)] =
            text.substr(text.find('}') + 2);
      }
    }
    return true;
  };
  cluster.clock().SetNowMicros(t0 + 5 * kMinute);
  cluster.Publish(0, {View(t0 + 5 * kMinute, "a", "/x")});
  ASSERT_TRUE(read_until([&] { return rows["00{page=/x}"] == "ms=0 n=1 running r0"; }));
  cluster.clock().SetNowMicros(t0 + 7 * kMinute);
  cluster.Publish(0, {View(t0 + 7 * kMinute, "a", "/y")});
  ASSERT_TRUE(read_until([&] { return rows["00{page=/x}"] == "ms=120000 n=1 running r0"; }));
  // Its first event is another one now: the row that it was in loses it.
  cluster.Publish(0, {View(t0 + 4 * kMinute, "a", "/first")});
  ASSERT_TRUE(read_until([&] { return rows["00{page=/first}"] == "ms=180000 n=1 running r0"; }));
  ASSERT_TRUE(read_until([&] { return rows["00{page=/x}"] == "ms=null n=0 running r0"; }));
  cluster.clock().SetNowMicros(t0 + 75 * kMinute);
  cluster.Publish(0, {View(t0 + 75 * kMinute, "b", "/b")});
  ASSERT_TRUE(read_until([&] { return rows["00{page=/first}"] == "ms=180000 n=1 final r1"; }));
  context.TryCancel();
}

TEST_F(SessionTest, AnExplanationHasTheRunningSessionsToo) {
  cluster.Publish(0, {View(t0 + 5 * kMinute, "a", "/"), View(t0 + 58 * kMinute, "b", "/x"),
                      View(t0 + 60 * kMinute, "c", "/"), View(t0 + 61 * kMinute, "b", "/y")});
  v1::ExplainWindowRequest request;
  request.set_metric("visits");
  request.mutable_window_start_time()->set_seconds(t0 / kSecond);
  v1::ExplainWindowResponse response;
  const auto explain = [&] {
    grpc::ClientContext context;
    response.Clear();
    return FromGrpcStatus(node->stub().ExplainWindow(&context, request, &response));
  };
  ASSERT_TRUE(explain().ok());
  EXPECT_THAT(ShowRow(response.row(), true), HasSubstr("ms=90000 n=2 running r0"));
  EXPECT_EQ(response.group_count(), 2);
  ASSERT_EQ(response.partials_size(), 1);
  EXPECT_EQ(response.partials(0).measures().at("n").integer(), 2);
  EXPECT_TRUE(response.partials(0).has_last_change_time());
  // Nothing is counted yet in the next hour.
  request.mutable_window_start_time()->set_seconds(t0 / kSecond + 3600);
  ASSERT_TRUE(explain().ok());
  EXPECT_EQ(response.row().measures().at("n").integer(), 1);
  ASSERT_EQ(response.partials_size(), 1);
  EXPECT_FALSE(response.partials(0).has_last_change_time());
}

TEST_F(SessionTest, AWatchGoesOnAfresh) {
  cluster.Publish(0, {View(t0 + 5 * kMinute, "a", "/")});
  v1::WatchWindowsRequest request;
  request.mutable_query()->set_metric("visits");
  for (int turn = 0; turn < 2; ++turn) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    auto reader = node->stub().WatchWindows(&context, request);
    v1::WatchWindowsResponse message;
    bool any = false;
    while (!any) {
      ASSERT_TRUE(reader->Read(&message));
      any = message.rows_size() > 0;
      EXPECT_TRUE(!any || message.reset() || turn == 0);
    }
    request.set_version_token(message.version_token());
    context.TryCancel();
  }
}

TEST_F(SessionTest, QuerySessionsRefusesWhatItCannotAnswer) {
  cluster.Apply(MakeMetric("clicks", 1, R"({"window": {"type": "tumbling", "size": "1m"},
                                            "measures": [{"name": "n", "agg": "count"}]})"));
  const auto ask = [&](const v1::QuerySessionsRequest& request) {
    grpc::ClientContext context;
    v1::QuerySessionsResponse response;
    return FromGrpcStatus(node->stub().QuerySessions(&context, request, &response));
  };
  v1::QuerySessionsRequest request;
  request.set_metric("clicks");
  EXPECT_THAT(std::string(ask(request).message()), HasSubstr("`clicks` has no session windows"));
  request.set_metric("visit");
  EXPECT_TRUE(absl::IsNotFound(ask(request)));
  request.set_metric("visits");
  EXPECT_TRUE(ask(request).ok());
  request.set_page_size(-1);
  EXPECT_TRUE(absl::IsInvalidArgument(ask(request)));
  request.set_page_size(0);
  request.set_page_token("nonsense");
  EXPECT_TRUE(absl::IsInvalidArgument(ask(request)));
}

// Plans.

std::vector<std::string> Problems(const std::string& json) {
  catalog::v1::Metric metric;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(json, &metric).ok());
  cel::Environment environment = cel::Environment::ForEvents();
  const auto plan = MetricPlan::Compile("m", 1, 0, metric, &environment);
  std::vector<std::string> fields;
  if (plan.ok()) return fields;
  for (const FieldViolation& violation : GetErrorDetails(plan.status()).violations)
    fields.push_back(violation.field + ": " + violation.description);
  return fields;
}

TEST(SessionPlanTest, ExpressionsAreCheckedAgainstWhatASessionHas) {
  EXPECT_THAT(Problems(R"({"window": {"type": "session", "gap": "30m"}, "filter": "data.anything > 3",
                           "dimensions": [{"name": "bounce"}, {"name": "first", "expr": "data.entry.path"}],
                           "measures": [{"name": "n", "agg": "count", "filter": "data.bounce && data.events < 2"},
                                        {"name": "ms", "agg": "avg", "expr": "data.duration_ms / 60000"},
                                        {"name": "users", "agg": "count_distinct", "expr": "subject"}]})"),
              IsEmpty());
  EXPECT_THAT(Problems(R"({"window": {"type": "session", "gap": "30m"},
                           "dimensions": [{"name": "path"}],
                           "measures": [{"name": "n", "agg": "count", "filter": "data.events"},
                                        {"name": "m", "agg": "sum", "expr": "data.duration"},
                                        {"name": "s", "agg": "sum", "expr": "data.bounce + 1"}]})"),
              ElementsAre(AllOf(HasSubstr("spec.dimensions[0].expr:"), HasSubstr("a session has no field data.path")),
                          HasSubstr("spec.measures[0].filter:"),
                          AllOf(HasSubstr("spec.measures[1].expr:"), HasSubstr("a session has no field data.duration"),
                                HasSubstr("data.entry.duration")),
                          HasSubstr("spec.measures[2].expr:")));
  EXPECT_THAT(
      Problems(R"({"window": {"type": "session", "gap": "8d", "entity": "user", "report": "1x"},
                           "measures": [{"name": "n", "agg": "count"}]})"),
      ElementsAre(HasSubstr("spec.window.gap:"), HasSubstr("spec.window.entity:"), HasSubstr("spec.window.report:")));
  EXPECT_THAT(Problems(R"({"window": {"type": "session"}, "measures": [{"name": "n", "agg": "count"}]})"),
              ElementsAre(HasSubstr("spec.window.gap: `` is not a silence such as 30m")));
  EXPECT_THAT(Problems(R"({"window": {"type": "session", "gap": "30m"}, "retention": "10m",
                           "measures": [{"name": "n", "agg": "count"}]})"),
              ElementsAre("spec.retention: must be longer than `window.gap`"));
}

TEST(SessionPlanTest, TheEntityMustBeWhatTheEventTypesArePartitionedBy) {
  const catalog::v1::Resource metric = MakeMetric("visits", 1, kVisits);
  catalog::v1::Resource view;
  view.mutable_metadata()->set_name("view");
  view.mutable_event_type()->set_partition_by("session");
  const catalog::ResourceLookup lookup = [&](absl::string_view kind,
                                             absl::string_view name) -> const catalog::v1::Resource* {
    return kind == "EventType" && name == "view" ? &view : nullptr;
  };
  const std::vector<FieldViolation> problems = CheckSessionEntity(metric, lookup);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].field, "spec.window.entity");
  EXPECT_THAT(problems[0].description,
              HasSubstr("`subject` must be what the event types are partitioned by, and view is by session"));
  view.mutable_event_type()->clear_partition_by();
  EXPECT_THAT(CheckSessionEntity(metric, lookup), IsEmpty());
  // In the service, where all types are known.
  Cluster cluster(1);
  view.set_api_version("naru.dev/v1");
  view.set_kind("EventType");
  view.mutable_metadata()->set_version(1);
  view.mutable_event_type()->set_partition_by("session");
  cluster.Apply(view);
  cluster.Apply(metric);
  auto node = cluster.StartNode();
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return node->Status("visits").state() == "FAILED"; }));
  EXPECT_THAT(node->Status("visits").message(), HasSubstr("view is by session"));
}

TEST(SessionPlanTest, TestsOfResourcesSeeRunningAndCountedSessions) {
  catalog::v1::Resource resource = MakeMetric("visits", 1, kVisits);
  const char test[] =
      R"({"events": [{"type": "view", "time": "2024-05-01T09:00:00Z", "subject": "a", "data": {"page": "/"}},
                                     {"type": "view", "time": "2024-05-01T09:05:00Z", "subject": "a", "data": {"page": "/x"}},
                                     {"type": "view", "time": "2024-05-01T09:30:00Z", "subject": "b", "data": {"page": "/"}}],
                          "rows": [{"window_start": "2024-05-01T09:00:00Z", "group": {"page": "/"}, "measures": {"n": 2, "ms": 150000}}]})";
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(test, resource.add_tests()).ok());
  EXPECT_THAT(RunMetricTests(resource, nullptr), IsEmpty());
}

// Stored forms.

TEST(SessionCodecTest, SessionsKeepTheirBytes) {
  EntitySessions sessions;
  sessions.entity = "alice";
  sessions.next_serial = 3;
  Session session;
  session.start_us = kSecond;
  session.end_us = 3 * kSecond;
  session.events = 2;
  session.late_events = 1;
  session.entry = {"s", "1", "view", "\x01"};
  session.exit = {"s", "2", "buy", ""};
  session.serial = 2;
  session.timelines = {"", "import"};
  session.revisions = {{kMinute, 4}};
  sessions.running = {session};
  std::string bytes;
  EncodeEntitySessions(sessions, &bytes);
  EXPECT_EQ(absl::BytesToHexString(bytes),
            "0105616c6963650301"
            "80897a"
            "80897a"
            "02"
            "01"
            "02"
            "00"
            "0173"
            "0131"
            "0476696577"
            "0101"
            "0173"
            "0132"
            "03627579"
            "00"
            "02"
            "00"
            "06696d706f7274"
            "01"
            "809c9c"
            "3904");
  EntitySessions read;
  ASSERT_TRUE(DecodeEntitySessions(bytes, &read));
  EXPECT_EQ(read.entity, "alice");
  EXPECT_EQ(read.next_serial, 3u);
  ASSERT_EQ(read.running.size(), 1u);
  EXPECT_EQ(read.running[0].end_us, session.end_us);
  EXPECT_EQ(read.running[0].exit, session.exit);
  EXPECT_EQ(read.running[0].timelines, session.timelines);
  EXPECT_EQ(read.running[0].revisions, session.revisions);
  for (size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(DecodeEntitySessions(bytes.substr(0, cut), &read));
  const std::string counted = EncodeCountedSession({"alice", "\x04g", session});
  CountedSession counted_read;
  ASSERT_TRUE(DecodeCountedSession(counted, &counted_read));
  EXPECT_EQ(counted_read.group, "\x04g");
  EXPECT_EQ(counted_read.session.entry, session.entry);
  for (size_t cut = 0; cut < counted.size(); ++cut)
    EXPECT_FALSE(DecodeCountedSession(counted.substr(0, cut), &counted_read));
  const SessionPlace place{EntityIdOf("alice"), -5, 7, -3600, 99};
  SessionPlace place_read;
  ASSERT_TRUE(DecodePlace(EncodePlaceKey(place.entity, place.start_us), EncodePlace(place), &place_read));
  EXPECT_EQ(place_read.end_us, 7);
  EXPECT_EQ(EncodeCountedKey(place_read.counted_key()), EncodeCountedKey(place.counted_key()));
  EXPECT_LT(EncodePlaceKey(place.entity, -5), EncodePlaceKey(place.entity, 5));
  CountedKey key_read;
  ASSERT_TRUE(DecodeCountedKey(EncodeCountedKey({-1, 2, place.entity, -3}), &key_read));
  EXPECT_EQ(key_read.pane_start_us, -1);
  EXPECT_EQ(key_read.start_us, -3);
}

// The sessions of a real access log.

TEST(SessionRealInputTest, TheAccessLogHasItsKnownSessions) {
  const std::optional<std::string> path = naru::testing::SharedDataPath("weblog/apache_logs");
  if (!path.has_value()) GTEST_SKIP() << "the access log weblog/apache_logs of shared/data is not there";
  Cluster cluster(4);
  cluster.Apply(MakeMetric("visits", 1, R"({
      "window": {"type": "session", "gap": "30m", "report": "1d"},
      "measures": [{"name": "n", "agg": "count"}, {"name": "requests", "agg": "sum", "expr": "data.events"}]})"));
  cluster.clock().SetNowMicros(Time("2024-05-01T00:00:00Z"));
  auto node = cluster.StartNode();
  std::ifstream file(*path);
  std::string line;
  std::vector<std::vector<TestEvent>> batches(4);
  std::set<std::string> addresses;
  int64_t requests = 0;
  while (std::getline(file, line)) {
    // address - - [17/May/2015:10:05:03 +0000] "request" status bytes "referrer" "agent"
    const size_t open = line.find('['), close = line.find(']'), agent = line.rfind('"', line.size() - 2);
    if (line.empty() || line.back() != '"' || open == std::string::npos) continue;
    absl::Time time;
    ASSERT_TRUE(absl::ParseTime("%d/%b/%Y:%H:%M:%S %z", line.substr(open + 1, close - open - 1), &time, nullptr));
    TestEvent event;
    event.type = "request";
    const std::string address = line.substr(0, line.find(' '));
    addresses.insert(address);
    event.subject = absl::StrCat(address, "|", line.substr(agent));
    event.time_us = absl::ToUnixMicros(time);
    event.timeline = "import";
    ++requests;
    batches[std::hash<std::string>()(event.subject) % 4].push_back(std::move(event));
  }
  EXPECT_EQ(addresses.size(), 1753u);
  for (int p = 0; p < 4; ++p) {
    TestEvent end;
    end.timeline = "import";
    end.ends_timeline = true;
    batches[static_cast<size_t>(p)].push_back(end);
    cluster.Publish(p, batches[static_cast<size_t>(p)]);
  }
  int64_t sessions = 0, events = 0;
  for (const v1::WindowRow& row : node->AllRows("visits")) {
    sessions += row.measures().at("n").integer();
    events += row.measures().at("requests").integer();
    EXPECT_TRUE(row.final());
  }
  EXPECT_EQ(sessions, 3223);
  EXPECT_EQ(events, requests);
  EXPECT_EQ(node->AllSessions("visits").size(), 3223u);
}

}  // namespace
}  // namespace naru::aggregator
