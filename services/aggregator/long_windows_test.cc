// Cumulative and global windows, windows of another size, how long windows are kept, explanations, late events counted
// after all: through a stub.
#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
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

constexpr int64_t kMinute = 60'000'000;
constexpr int64_t kHour = 60 * kMinute;

std::string Spec(const std::string& window, const std::string& more = "") {
  return absl::StrCat(R"({"window": )", window, R"(, "out_of_orderness": "0s", "dimensions": [{"name": "city"}],
    "measures": [{"name": "n", "agg": "count"}, {"name": "sum", "agg": "sum", "expr": "data.x"}])",
                      more, "}");
}

TestEvent Event(int64_t time_us, double x, const std::string& city = "Seoul") {
  return {"sale", "u", time_us, {{"x", x}}, {{"city", city}}};
}

// `09:00/10:00 {city=Seoul} n=1 sum=2`.
std::string Short(const v1::WindowRow& row, bool with_final = false) {
  const std::string text = ShowRow(row, with_final);
  const std::vector<std::string> ends = {text.substr(11, 5), text.substr(text.find('/') + 12, 5)};
  return absl::StrCat(ends[0], "/", ends[1], text.substr(text.find(' ')));
}

std::vector<std::string> Show(const v1::QueryWindowsResponse& response, bool with_final = false) {
  std::vector<std::string> rows;
  for (const v1::WindowRow& row : response.rows()) rows.push_back(Short(row, with_final));
  return rows;
}

class LongWindowsTest : public ::testing::Test {
 protected:
  LongWindowsTest() : t0(cluster.clock().NowMicros()) {}
  v1::QueryWindowsRequest Request(const std::string& size = "") {
    v1::QueryWindowsRequest request;
    request.set_metric("m");
    request.set_window_size(size);
    return request;
  }
  std::vector<std::string> Rows(const v1::QueryWindowsRequest& request, bool with_final = false) {
    const auto response = node->Query(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? Show(*response, with_final) : std::vector<std::string>();
  }
  Cluster cluster{2};
  const int64_t t0;  // 2024-05-01T00:00:00Z
  std::unique_ptr<Node> node;
};

TEST_F(LongWindowsTest, CumulativeWindowsShowHowFarEachStepIs) {
  cluster.Apply(MakeMetric("m", 1, Spec(R"({"type": "cumulative", "size": "6h", "step": "1h"})")));
  node = cluster.StartNode();
  cluster.clock().Advance(std::chrono::hours(3));
  cluster.Publish(0, {Event(t0 + 10 * kMinute, 1), Event(t0 + kHour, 2)});
  cluster.Publish(1, {Event(t0 + 2 * kHour, 4, "Busan"), Event(t0 + 2 * kHour, 8)});
  // 01:00 is the watermark of partition 0; the steps that have begun in the data are there, later ones are not.
  EXPECT_THAT(
      Rows(Request(), true),
      ElementsAre("00:00/01:00 {city=Seoul} n=1 sum=1 final r1", "00:00/02:00 {city=Seoul} n=2 sum=3 running r0",
                  "00:00/03:00 {city=Busan} n=1 sum=4 running r0", "00:00/03:00 {city=Seoul} n=3 sum=11 running r0"));
  v1::QueryWindowsRequest latest = Request();
  latest.set_latest_window(true);
  latest.set_group_by_none(true);
  EXPECT_THAT(Rows(latest), ElementsAre("00:00/03:00 {} n=4 sum=15"));
  // Silence goes on being counted: steps that pass without events say the same.
  cluster.clock().Advance(std::chrono::hours(2));
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return Rows(latest)[0] == "00:00/06:00 {} n=4 sum=15"; }));
  v1::QueryWindowsRequest desc = Request();
  desc.set_order_by("window_start desc");
  desc.set_group_by_none(true);
  EXPECT_THAT(Rows(desc, true),
              ElementsAre("00:00/06:00 {} n=4 sum=15 running r0", "00:00/05:00 {} n=4 sum=15 final r1",
                          "00:00/04:00 {} n=4 sum=15 final r1", "00:00/03:00 {} n=4 sum=15 final r1",
                          "00:00/02:00 {} n=2 sum=3 final r1", "00:00/01:00 {} n=1 sum=1 final r1"));
  // A late event revises the windows that were final, and no other.
  cluster.Publish(0, {Event(t0 + kHour + 1, 100)});
  EXPECT_TRUE(naru::testing::WaitUntil([&] {
    cluster.clock().Advance(std::chrono::seconds(31));
    return Rows(desc, true).size() == 6 && Rows(desc, true)[1] == "00:00/05:00 {} n=5 sum=115 final r2";
  }));
  EXPECT_THAT(Rows(desc, true),
              ElementsAre("00:00/06:00 {} n=5 sum=115 running r0", "00:00/05:00 {} n=5 sum=115 final r2",
                          "00:00/04:00 {} n=5 sum=115 final r2", "00:00/03:00 {} n=5 sum=115 final r2",
                          "00:00/02:00 {} n=3 sum=103 final r2", "00:00/01:00 {} n=1 sum=1 final r1"));
}

TEST_F(LongWindowsTest, PagesOfCumulativeWindowsGiveEachRowOnce) {
  cluster.Apply(
      MakeMetric("m", 1, Spec(R"({"type": "cumulative", "size": "1d", "step": "30m"}, "time_zone": "Asia/Seoul")")));
  node = cluster.StartNode();
  for (int i = 0; i < 60; ++i)
    cluster.Publish(i % 2, {Event(t0 + (i * 37 % 60) * 25 * kMinute, i, absl::StrCat(i % 7))});
  for (const char* order : {"", "window_start desc", "sum desc"}) {
    v1::QueryWindowsRequest request = Request();
    request.set_order_by(order);
    request.set_page_size(10'000);
    const std::vector<std::string> all = Rows(request);
    EXPECT_GT(all.size(), 100u);
    request.set_page_size(13);
    std::vector<std::string> paged;
    do {
      const auto page = node->Query(request);
      ASSERT_TRUE(page.ok()) << page.status();
      for (const std::string& row : Show(*page)) paged.push_back(row);
      request.set_page_token(page->next_page_token());
    } while (!request.page_token().empty() && paged.size() <= all.size());
    EXPECT_EQ(paged, all) << order;
  }
}

TEST_F(LongWindowsTest, AGlobalWindowHoldsEverythingAndIsNeverFinal) {
  cluster.Apply(MakeMetric("m", 1, Spec(R"({"type": "global"})", R"(, "retention": "1h")")));
  node = cluster.StartNode();
  cluster.Publish(0, {Event(Time("1969-01-01T00:00:00Z"), 1), Event(t0, 2)});
  cluster.Publish(1, {Event(Time("2015-05-17T00:00:00Z"), 4, "Busan")});
  const auto rows = [&] {
    std::vector<std::string> texts;
    for (const v1::WindowRow& row : node->AllRows("m")) texts.push_back(ShowRow(row, true));
    return texts;
  };
  const auto expected =
      ElementsAre("0001-01-01T00:00:00Z/9999-12-31T23:59:59.999999Z {city=Busan} n=1 sum=4 running r0",
                  "0001-01-01T00:00:00Z/9999-12-31T23:59:59.999999Z {city=Seoul} n=2 sum=3 running r0");
  EXPECT_THAT(rows(), expected);
  cluster.clock().Advance(std::chrono::hours(5));
  node->Stop();
  node = cluster.StartNode();
  cluster.Apply(MakeMetric("other", 1, Spec(R"({"type": "tumbling", "size": "1m"})", R"(, "retention": "1h")")));
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return node->AllRows("other").empty(); }));
  EXPECT_THAT(rows(), expected) << "a window that is not over is kept";
}

TEST_F(LongWindowsTest, CoarserWindowsAreMadeOfFinerPanes) {
  cluster.Apply(MakeMetric("m", 1, Spec(R"({"type": "tumbling", "size": "5m"}, "time_zone": "Asia/Seoul")")));
  node = cluster.StartNode();
  for (int i = 0; i < 48; ++i)
    cluster.Publish(i % 2, {Event(t0 + i * 30 * kMinute, i, i % 2 == 0 ? "Busan" : "Seoul")});
  v1::QueryWindowsRequest day = Request("1d");
  EXPECT_THAT(Rows(day), ElementsAre("15:00/15:00 {city=Busan} n=15 sum=210", "15:00/15:00 {city=Seoul} n=15 sum=225",
                                     "15:00/15:00 {city=Busan} n=9 sum=342", "15:00/15:00 {city=Seoul} n=9 sum=351"));
  day.set_group_by_none(true);
  EXPECT_THAT(Rows(day), ElementsAre("15:00/15:00 {} n=30 sum=435", "15:00/15:00 {} n=18 sum=693"));
  day.set_order_by("n");
  day.set_filter("city == \"Seoul\"");
  EXPECT_THAT(Rows(day), ElementsAre("15:00/15:00 {} n=9 sum=351", "15:00/15:00 {} n=15 sum=225"));
  v1::QueryWindowsRequest hours = Request("6h");
  hours.set_group_by_none(true);
  hours.mutable_from_time()->set_seconds(t0 / 1'000'000 + 6 * 3600);
  hours.mutable_to_time()->set_seconds(t0 / 1'000'000 + 18 * 3600);
  EXPECT_THAT(Rows(hours), ElementsAre("06:00/12:00 {} n=12 sum=210", "12:00/18:00 {} n=12 sum=354"));
  hours.set_page_size(1);
  hours.set_page_token(node->Query(hours)->next_page_token());
  EXPECT_THAT(Rows(hours), ElementsAre("12:00/18:00 {} n=12 sum=354"));
  v1::QueryWindowsRequest refused = Request("7m");
  const auto status = node->Query(refused).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("window_size: `7m` cannot be made of what is kept; this metric is kept in panes of 5m"));
}

TEST_F(LongWindowsTest, CoarserWindowsAreFinalAndRevisedAndWatched) {
  cluster.Apply(MakeMetric("m", 1, Spec(R"({"type": "tumbling", "size": "5m"})")));
  node = cluster.StartNode();
  cluster.clock().Advance(std::chrono::minutes(30));
  cluster.Publish(0, {Event(t0 + kMinute, 1), Event(t0 + 20 * kMinute, 2)});
  EXPECT_THAT(Rows(Request("1h"), true), ElementsAre("00:00/01:00 {city=Seoul} n=2 sum=3 running r0"));
  v1::WatchWindowsRequest watch;
  *watch.mutable_query() = Request("1h");
  watch.set_max_rate_hz(50);
  grpc::ClientContext context;
  auto reader = node->stub().WatchWindows(&context, watch);
  v1::WatchWindowsResponse message;
  ASSERT_TRUE(reader->Read(&message));
  ASSERT_EQ(message.rows_size(), 1);
  EXPECT_EQ(Short(message.rows(0), true), "00:00/01:00 {city=Seoul} n=2 sum=3 running r0");
  cluster.clock().Advance(std::chrono::hours(1));
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(Short(message.rows(0), true), "00:00/01:00 {city=Seoul} n=2 sum=3 final r1");
  cluster.Publish(1, {Event(t0 + kMinute, 4)});
  std::string last;
  while (last.find("sum=7 final r2") == std::string::npos && reader->Read(&message)) {
    for (const v1::WindowRow& row : message.rows()) last = Short(row, true);
    cluster.clock().Advance(std::chrono::seconds(31));
  }
  EXPECT_EQ(last, "00:00/01:00 {city=Seoul} n=3 sum=7 final r2");
  context.TryCancel();
  reader->Finish();
}

TEST_F(LongWindowsTest, RowFiltersAndOrdersTakeRatios) {
  const std::string spec = R"({"window": {"type": "tumbling", "size": "1h"}, "dimensions": [{"name": "city"}],
    "measures": [{"name": "mean", "agg": "ratio", "numerator": "sum", "denominator": "big"},
                 {"name": "sum", "agg": "sum", "expr": "data.x"},
                 {"name": "big", "agg": "count", "filter": "data.x > 10.0"}]})";
  cluster.Apply(MakeMetric("m", 1, spec));
  node = cluster.StartNode();
  cluster.Publish(0, {Event(t0, 11, "a"), Event(t0, 3, "a"), Event(t0, 20, "b"), Event(t0, 5, "c")});
  cluster.Publish(1, {Event(t0, 40, "b"), Event(t0, 12, "d")});
  v1::QueryWindowsRequest request = Request();
  request.set_order_by("mean desc");
  EXPECT_THAT(Rows(request),
              ElementsAre("00:00/01:00 {city=b} big=2 mean=30 sum=60", "00:00/01:00 {city=a} big=1 mean=14 sum=14",
                          "00:00/01:00 {city=d} big=1 mean=12 sum=12", "00:00/01:00 {city=c} big=0 mean=null sum=5"));
  request.set_row_filter("mean > 12.5 && city != \"x\"");
  EXPECT_THAT(Rows(request), ElementsAre(HasSubstr("city=b"), HasSubstr("city=a")));
  request.set_order_by("");
  request.set_row_filter("mean < 20.0");
  request.set_page_size(1);
  EXPECT_THAT(Rows(request), ElementsAre(HasSubstr("city=a")));
  request.set_page_token(node->Query(request)->next_page_token());
  EXPECT_THAT(Rows(request), ElementsAre(HasSubstr("city=d")));
  request.clear_page_token();
  request.add_measures("sum");
  EXPECT_THAT(std::string(node->Query(request).status().message()), HasSubstr("row_filter"));
  request.set_row_filter("sum == ");
  EXPECT_TRUE(absl::IsInvalidArgument(node->Query(request).status()));
}

// Of a window of many panes none may go before the window does: its numbers would fall.
TEST_F(LongWindowsTest, APaneIsKeptAsLongAsAnyWindowThatItIsPartOf) {
  cluster.Apply(
      MakeMetric("hopping", 1, Spec(R"({"type": "hopping", "size": "1mo", "slide": "1d"})", R"(, "retention": "2d")")));
  cluster.Apply(
      MakeMetric("month", 1, Spec(R"({"type": "cumulative", "size": "1mo", "step": "1d"})", R"(, "retention": "2d")")));
  cluster.Apply(MakeMetric("short", 1, Spec(R"({"type": "tumbling", "size": "1d"})", R"(, "retention": "2d")")));
  node = cluster.StartNode();
  const auto total = [&](const std::string& metric, const char* end) {
    int64_t n = -1;
    for (const v1::WindowRow& row : node->AllRows(metric)) {
      const std::string text = ShowRow(row);
      if (text.substr(0, 10) == "2024-05-01" && text.find(std::string("/") + end) != std::string::npos)
        n = row.measures().at("n").integer();
    }
    return n;
  };
  for (int day = 0; day < 31; ++day) {
    cluster.Publish(day % 2, {Event(cluster.clock().NowMicros(), 1)});
    cluster.clock().Advance(std::chrono::hours(24));
    // What is kept for two days only is there to see that what is too old is removed at all.
    ASSERT_TRUE(naru::testing::WaitUntil([&] { return node->AllRows("short").size() <= 3; })) << day;
  }
  EXPECT_EQ(total("hopping", "2024-06-01"), 31);
  EXPECT_EQ(total("month", "2024-06-01"), 31);
  EXPECT_EQ(total("month", "2024-05-04"), 3);
  // Two days after its last change, May goes, whole.
  cluster.clock().Advance(std::chrono::hours(49));
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return node->AllRows("month").empty(); }));
}

TEST_F(LongWindowsTest, AWindowGoesInAllPartitionsTogether) {
  cluster.Apply(MakeMetric("m", 1, Spec(R"({"type": "tumbling", "size": "10m"})", R"(, "retention": "1h")")));
  cluster.Apply(MakeMetric("short", 1, Spec(R"({"type": "tumbling", "size": "10m"})", R"(, "retention": "1h")")));
  node = cluster.StartNode();
  cluster.Publish(0, {Event(t0, 1), Event(t0 - 20 * kMinute, 1)});
  cluster.clock().Advance(std::chrono::minutes(50));
  cluster.Publish(1, {Event(t0, 2)});
  EXPECT_EQ(node->AllRows("m").size(), 2u);  // waits until it is counted: only then can it keep anything
  cluster.clock().Advance(std::chrono::minutes(20));
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return node->AllRows("m").size() == 1; }));
  EXPECT_THAT(Rows(Request()), ElementsAre("00:00/00:10 {city=Seoul} n=2 sum=3")) << "partition 1 changed it lately";
  cluster.clock().Advance(std::chrono::minutes(50));
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return node->AllRows("m").empty(); }));
}

TEST_F(LongWindowsTest, ExplainsHowANumberCameAbout) {
  cluster.Apply(MakeMetric("m", 1,
                           Spec(R"({"type": "hopping", "size": "10m", "slide": "5m"})",
                                R"(, "filter": "data.x > 0", "max_groups": 2, "allowed_lateness": "1h")")));
  node = cluster.StartNode();
  cluster.clock().Advance(std::chrono::minutes(9));
  cluster.Publish(0, {Event(t0, 1), Event(t0 + 6 * kMinute, 2, "Busan"), Event(t0 + 6 * kMinute, 4), Event(t0, -1)});
  cluster.Publish(1, {Event(t0 + 7 * kMinute, 8, "Jeju"), Event(t0 - 2 * kHour, 1), {"x", "u", t0, {}, {{"x", "?"}}}});
  v1::ExplainWindowRequest request;
  request.set_metric("m");
  request.mutable_window_start_time()->set_seconds(t0 / 1'000'000);
  const auto explain = [&](v1::ExplainWindowResponse* response) {
    grpc::ClientContext context;
    response->Clear();
    return FromGrpcStatus(node->stub().ExplainWindow(&context, request, response));
  };
  v1::ExplainWindowResponse response;
  ASSERT_TRUE(explain(&response).ok());
  EXPECT_EQ(Short(response.row()), "00:00/00:10 {} n=4 sum=15");
  EXPECT_EQ(response.group_count(), 3);
  EXPECT_EQ(response.metric_version(), 1);
  EXPECT_EQ(response.state(), "RUNNING");
  EXPECT_EQ(response.filter(), "data.x > 0");
  ASSERT_EQ(response.partials_size(), 3);
  std::map<std::string, int64_t> partials;
  for (const v1::PanePartial& partial : response.partials()) {
    partials[absl::StrCat(partial.partition(), " ", (partial.pane_start_time().seconds() / 60) % 60)] =
        partial.measures().at("sum").integer();
    EXPECT_EQ(partial.last_change_time().seconds(), t0 / 1'000'000 + 540);
    EXPECT_EQ(partial.pane_end_time().seconds(), partial.pane_start_time().seconds() + 300);
  }
  EXPECT_EQ(partials, (std::map<std::string, int64_t>{{"0 0", 1}, {"0 5", 6}, {"1 5", 8}}));
  ASSERT_EQ(response.partitions_size(), 2);
  const v1::PartitionExplanation& first = response.partitions(0);
  EXPECT_EQ(first.next_offset(), 4);
  EXPECT_EQ(first.end_offset(), 4);
  EXPECT_EQ(first.matched_count(), 3);
  EXPECT_EQ(first.not_matched_count(), 1);
  EXPECT_EQ(first.frontier_time().seconds(), t0 / 1'000'000 + 360);
  ASSERT_EQ(first.timelines_size(), 1);
  EXPECT_EQ(first.timelines(0).state(), "OPEN");
  EXPECT_EQ(response.partitions(1).late_count(), 1);
  EXPECT_EQ(response.partitions(1).failed_expression_count(), 1);
  EXPECT_EQ(response.frontier_time().seconds(), t0 / 1'000'000 + 360) << "the least of the partitions'";
  request.set_filter("city == \"Seoul\"");
  ASSERT_TRUE(explain(&response).ok());
  EXPECT_EQ(Short(response.row()), "00:00/00:10 {} n=2 sum=5");
  EXPECT_EQ(response.group_count(), 1);
  request.clear_window_start_time();
  ASSERT_TRUE(explain(&response).ok());
  EXPECT_EQ(Short(response.row()), "00:05/00:15 {} n=1 sum=4") << "the newest";
  cluster.clock().Advance(std::chrono::minutes(1));
  ASSERT_TRUE(explain(&response).ok());
  EXPECT_EQ(response.partitions(0).timelines(0).state(), "IDLE");
  request.set_filter("city == \"Nowhere\"");
  EXPECT_TRUE(absl::IsNotFound(explain(&response)));
  request.set_filter("town == 1");
  EXPECT_TRUE(absl::IsInvalidArgument(explain(&response)));
  request.set_metric("n");
  EXPECT_TRUE(absl::IsNotFound(explain(&response)));
}

class LateTest : public LongWindowsTest {
 protected:
  void SetUp() override {
    cluster.Apply(MakeMetric("m", 1, Spec(R"({"type": "tumbling", "size": "1h"})", R"(, "allowed_lateness": "10m")")));
    cluster.Apply(MakeMetric("all", 1, Spec(R"({"type": "tumbling", "size": "1h"})")));
    node = cluster.StartNode();
    cluster.clock().Advance(std::chrono::hours(2));
    cluster.Publish(0, {Event(t0 + 2 * kHour, 1), Event(t0, 2), Event(t0, 4, "Busan"), Event(t0 + 115 * kMinute, 8)});
    cluster.Publish(1, {Event(t0, 16), Event(t0 + 2 * kHour, 32), Event(t0 + kMinute, 64)});
  }
  v1::ListLateEventsResponse List(int page_size = 0, const std::string& token = "") {
    v1::ListLateEventsRequest request;
    request.set_metric("m");
    request.set_page_size(page_size);
    request.set_page_token(token);
    grpc::ClientContext context;
    v1::ListLateEventsResponse response;
    EXPECT_TRUE(FromGrpcStatus(node->stub().ListLateEvents(&context, request, &response)).ok());
    return response;
  }
  absl::StatusOr<v1::ReplayLateEventsResponse> Replay(const std::vector<std::string>& names = {},
                                                      bool dry_run = false) {
    v1::ReplayLateEventsRequest request;
    request.set_metric("m");
    for (const std::string& name : names) request.add_names(name);
    request.set_dry_run(dry_run);
    grpc::ClientContext context;
    v1::ReplayLateEventsResponse response;
    const absl::Status status = FromGrpcStatus(node->stub().ReplayLateEvents(&context, request, &response));
    if (!status.ok()) return status;
    return response;
  }
  std::string Counts(const v1::ReplayLateEventsResponse& r) {
    return absl::StrCat(r.read_count(), " read ", r.replayed_count(), " replayed ", r.duplicate_count(), " duplicate ",
                        r.skipped_count(), " skipped");
  }
  const std::vector<std::string> before = {"00:00/01:00 {city=Seoul} n=1 sum=16", "01:00/02:00 {city=Seoul} n=1 sum=8",
                                           "02:00/03:00 {city=Seoul} n=2 sum=33"};
  const std::vector<std::string> after = {"00:00/01:00 {city=Busan} n=1 sum=4", "00:00/01:00 {city=Seoul} n=3 sum=82",
                                          "01:00/02:00 {city=Seoul} n=1 sum=8", "02:00/03:00 {city=Seoul} n=2 sum=33"};
};

TEST_F(LateTest, LateEventsAreListedWithWhyTheyWereLate) {
  EXPECT_EQ(Rows(Request()), before);
  const v1::ListLateEventsResponse late = List();
  ASSERT_EQ(late.events_size(), 3);
  EXPECT_EQ(late.events(0).name(), "0/1");
  EXPECT_EQ(late.events(1).name(), "0/2");
  EXPECT_EQ(late.events(2).name(), "1/2");
  EXPECT_EQ(late.events(0).event().data().fields().at("x").number_value(), 2);
  EXPECT_EQ(late.events(0).event().lateness().timeline_time().seconds(), t0 / 1'000'000 + 7200);
  EXPECT_EQ(late.events(0).event().received_time().seconds(), t0 / 1'000'000 + 7200);
  EXPECT_FALSE(late.events(0).replayed());
  std::vector<std::string> names;
  std::string token;
  do {
    const v1::ListLateEventsResponse page = List(1, token);
    for (const auto& event : page.events()) names.push_back(event.name());
    token = page.next_page_token();
  } while (!token.empty() && names.size() < 10);
  EXPECT_THAT(names, ElementsAre("0/1", "0/2", "1/2"));
}

TEST_F(LateTest, AReplayCountsEachOnceInItsMetricOnly) {
  const std::vector<std::string> others = Rows([] {
    v1::QueryWindowsRequest request;
    request.set_metric("all");
    return request;
  }());
  EXPECT_EQ(Rows(Request()), before);
  EXPECT_EQ(Counts(*Replay({}, /*dry_run=*/true)), "3 read 3 replayed 0 duplicate 0 skipped");
  EXPECT_EQ(Rows(Request()), before);
  EXPECT_EQ(Counts(*Replay({"0/2"})), "1 read 1 replayed 0 duplicate 0 skipped");
  EXPECT_EQ(Rows(Request())[0], after[0]);
  const auto rest = Replay();
  EXPECT_EQ(Counts(*rest), "3 read 2 replayed 1 duplicate 0 skipped");
  v1::QueryWindowsRequest waiting = Request();
  *waiting.mutable_after() = rest->after();
  EXPECT_EQ(Rows(waiting), after);
  EXPECT_EQ(node->Status("m").late_count(), 0);
  EXPECT_EQ(node->Status("m").matched_count(), 7);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(Counts(*Replay()), "3 read 0 replayed 3 duplicate 0 skipped");
    EXPECT_EQ(Rows(Request()), after);
    node->Crash();
    cluster.Reopen();
    node = cluster.StartNode();
  }
  const v1::ListLateEventsResponse listed = List();
  for (const auto& event : listed.events()) EXPECT_TRUE(event.replayed());
  EXPECT_EQ(Rows([] {
              v1::QueryWindowsRequest request;
              request.set_metric("all");
              return request;
            }()),
            others)
      << "who counted them already does not count them again";
  EXPECT_TRUE(absl::IsNotFound(Replay({"0/77"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Replay({"first"}).status()));
}

// A version that is built anew meets both the event and its replay, and must count it once, whatever it allows.
TEST_F(LateTest, LaterVersionsCountAReplayedEventOnceWhateverTheyAllow) {
  EXPECT_EQ(Rows(Request()), before);
  EXPECT_EQ(Counts(*Replay()), "3 read 3 replayed 0 duplicate 0 skipped");
  int32_t version = 1;
  for (const char* lateness : {"unlimited", "10m", "3h", "0s"}) {
    cluster.Apply(MakeMetric(
        "m", ++version,
        Spec(R"({"type": "tumbling", "size": "1h"})", absl::StrCat(R"(, "allowed_lateness": ")", lateness, "\""))));
    EXPECT_TRUE(naru::testing::WaitUntil([&] { return node->Query(Request())->metric_version() == version; }));
    std::vector<std::string> expected = after;
    // 115 minutes came after 120 minutes: late where nothing is allowed, and not replayed.
    if (std::string(lateness) == "0s") expected.erase(expected.begin() + 2);
    EXPECT_EQ(Rows(Request()), expected) << lateness;
  }
  // It was found late again, by other versions.
  EXPECT_EQ(Replay()->replayed_count(), 1);
  EXPECT_EQ(Rows(Request()), after);
}

TEST_F(LongWindowsTest, ARebuildShowsItsProgressAndRowsSayFromWhenOnTheyAreValid) {
  cluster.Apply(MakeMetric("m", 1, Spec(R"({"type": "tumbling", "size": "1h"})")));
  node = cluster.StartNode();
  cluster.Publish(0, {Event(t0, 1)});
  EXPECT_EQ(Rows(Request()).size(), 1u);
  EXPECT_EQ(node->Status("m").progress_percent(), 100);
  EXPECT_EQ(node->Status("m").answering_version(), 1);
  EXPECT_FALSE(node->Status("m").has_valid_from_time());
  EXPECT_FALSE(node->Query(Request())->rows(0).has_valid_from_time());
  // Counts from its beginning only.
  cluster.clock().Advance(std::chrono::minutes(90));
  cluster.Apply(MakeMetric("m", 2, Spec(R"({"type": "tumbling", "size": "1h"})", R"(, "start": "latest")")));
  cluster.Publish(0, {Event(t0 + kHour, 2), Event(t0 + 2 * kHour, 2)});
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return node->Query(Request())->metric_version() == 2; }));
  const auto response = node->Query(Request());
  ASSERT_EQ(response->rows_size(), 2);
  EXPECT_EQ(response->valid_from_time().seconds(), t0 / 1'000'000 + 5400);
  EXPECT_EQ(response->rows(0).valid_from_time().seconds(), t0 / 1'000'000 + 5400) << "began before";
  EXPECT_FALSE(response->rows(1).has_valid_from_time()) << "began after";
  EXPECT_EQ(node->Status("m").valid_from_time().seconds(), t0 / 1'000'000 + 5400);
}

}  // namespace
}  // namespace naru::aggregator
