// QueryWindows and WatchWindows through a stub.
#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
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

const char kSales[] = R"({
  "window": {"type": "tumbling", "size": "1m"},
  "out_of_orderness": "0s",
  "retention": "1h",
  "dimensions": [{"name": "city"}, {"name": "age"}],
  "measures": [{"name": "sales", "agg": "count"}, {"name": "money", "agg": "sum", "expr": "data.money"},
               {"name": "users", "agg": "count_distinct", "expr": "subject"}]
})";

TestEvent Sale(int64_t time_us, const std::string& city, double age, double money, const std::string& user = "u") {
  return {"sale", user, time_us, {{"age", age}, {"money", money}}, {{"city", city}}};
}

v1::QueryWindowsRequest Request() {
  v1::QueryWindowsRequest request;
  request.set_metric("sales");
  return request;
}

std::vector<std::string> Show(const v1::QueryWindowsResponse& response, bool with_final = false) {
  std::vector<std::string> rows;
  // Without the date: 09:00:00Z/09:01:00Z becomes 0.
  for (const v1::WindowRow& row : response.rows()) {
    const int64_t minute = (row.window_start_time().seconds() / 60) % 60;
    const std::string text = ShowRow(row, with_final);
    rows.push_back(absl::StrCat(minute, text.substr(text.find(' '))));
  }
  return rows;
}

class QueryTest : public ::testing::Test {
 protected:
  QueryTest() : t0(cluster.clock().NowMicros()) {
    cluster.Apply(MakeMetric("sales", 1, kSales));
    node = cluster.StartNode();
    cluster.Publish(0, {Sale(t0, "Seoul", 20, 5, "a"), Sale(t0, "Busan", 30, 1, "b"), Sale(t0, "Seoul", 30, 2, "a")});
    cluster.Publish(1, {Sale(t0, "Seoul", 20, 7, "c"), Sale(t0 + kMinute, "Busan", 20, 9, "a")});
  }
  absl::StatusOr<v1::QueryWindowsResponse> Query(const v1::QueryWindowsRequest& request) {
    return node->Query(request);
  }
  void ExpectInvalid(const v1::QueryWindowsRequest& request, const std::string& part) {
    const auto response = Query(request);
    EXPECT_TRUE(absl::IsInvalidArgument(response.status())) << response.status();
    EXPECT_THAT(std::string(response.status().message()), HasSubstr(part));
  }

  Cluster cluster{2};
  const int64_t t0;
  std::unique_ptr<Node> node;
};

TEST_F(QueryTest, FiltersByDimensions) {
  v1::QueryWindowsRequest request = Request();
  request.set_filter("city == \"Seoul\" && age < 30");
  EXPECT_THAT(Show(*Query(request)), ElementsAre("0 {age=20,city=Seoul} money=12 sales=2 users=2"));
  request.set_filter("city in [\"Jeju\"]");
  EXPECT_THAT(Show(*Query(request)), IsEmpty());
}

TEST_F(QueryTest, GroupsByFewerDimensionsAndUnitesSketches) {
  v1::QueryWindowsRequest request = Request();
  request.add_group_by("city");
  EXPECT_THAT(Show(*Query(request)),
              ElementsAre("0 {city=Busan} money=1 sales=1 users=1", "0 {city=Seoul} money=14 sales=3 users=2",
                          "1 {city=Busan} money=9 sales=1 users=1"));
  request.clear_group_by();
  request.add_group_by("age");
  request.add_group_by("city");
  EXPECT_THAT(Show(*Query(request))[0], HasSubstr("{age=20,city=Seoul}"));
  request.clear_group_by();
  request.set_group_by_none(true);
  EXPECT_THAT(Show(*Query(request)), ElementsAre("0 {} money=15 sales=4 users=3", "1 {} money=9 sales=1 users=1"));
}

TEST_F(QueryTest, TakesOnlyTheMeasuresAndTimesAskedFor) {
  v1::QueryWindowsRequest request = Request();
  request.add_measures("sales");
  request.set_group_by_none(true);
  request.mutable_from_time()->set_seconds(t0 / 1'000'000 + 60);
  EXPECT_THAT(Show(*Query(request)), ElementsAre("1 {} sales=1"));
  request.clear_from_time();
  request.mutable_to_time()->set_seconds(t0 / 1'000'000 + 60);
  EXPECT_THAT(Show(*Query(request)), ElementsAre("0 {} sales=4"));
  request.mutable_from_time()->set_seconds(t0 / 1'000'000 + 60);
  EXPECT_THAT(Show(*Query(request)), IsEmpty());
}

TEST_F(QueryTest, OrdersByMeasureDimensionAndTime) {
  v1::QueryWindowsRequest request = Request();
  request.add_measures("money");
  request.set_order_by("money desc");
  EXPECT_THAT(Show(*Query(request)), ElementsAre("0 {age=20,city=Seoul} money=12", "1 {age=20,city=Busan} money=9",
                                                 "0 {age=30,city=Seoul} money=2", "0 {age=30,city=Busan} money=1"));
  request.set_order_by("age");
  EXPECT_THAT(Show(*Query(request)),
              ElementsAre(HasSubstr("0 {age=20,city=Seoul}"), HasSubstr("1 {age=20"),
                          HasSubstr("0 {age=30,city=Busan}"), HasSubstr("0 {age=30,city=Seoul}")));
  request.set_order_by("window_start desc");
  EXPECT_THAT(Show(*Query(request))[0], HasSubstr("1 {age=20,city=Busan}"));
  EXPECT_THAT(Show(*Query(request))[1], HasSubstr("0 {age=30,city=Busan}"));
}

TEST_F(QueryTest, PagesGiveEachRowOnceInAnyOrder) {
  for (int minute = 0; minute < 7; ++minute) {
    std::vector<TestEvent> events;
    for (int i = 0; i < 13; ++i)
      events.push_back(Sale(t0 + minute * kMinute, absl::StrCat("city", i % 6), i, (i * 37) % 11));
    cluster.Publish(minute % 2, events);
  }
  for (const char* order : {"", "window_start desc", "money", "money desc", "city desc", "age"}) {
    for (const bool none : {false, true}) {
      if (none && (order[0] == 'c' || order[0] == 'a')) continue;
      v1::QueryWindowsRequest request = Request();
      request.set_order_by(order);
      request.set_group_by_none(none);
      request.set_page_size(10'000);
      const std::vector<std::string> all = Show(*Query(request));
      for (const int size : {1, 3, 50}) {
        std::vector<std::string> paged;
        request.set_page_size(size);
        do {
          const auto page = Query(request);
          ASSERT_TRUE(page.ok()) << page.status();
          for (const std::string& row : Show(*page)) paged.push_back(row);
          request.set_page_token(page->next_page_token());
        } while (!request.page_token().empty() && paged.size() <= all.size());
        EXPECT_EQ(paged, all) << order << " " << size;
        request.clear_page_token();
      }
    }
  }
}

TEST_F(QueryTest, TheLatestWindowIsTheNewestThatHasRows) {
  v1::QueryWindowsRequest request = Request();
  request.set_latest_window(true);
  EXPECT_THAT(Show(*Query(request)), ElementsAre(HasSubstr("1 {age=20,city=Busan}")));
  request.set_filter("city == \"Seoul\"");
  EXPECT_THAT(Show(*Query(request)), ElementsAre(HasSubstr("0 {age=20"), HasSubstr("0 {age=30")));
}

TEST_F(QueryTest, FinalOnlyLeavesRunningWindowsOut) {
  v1::QueryWindowsRequest request = Request();
  request.set_final_only(true);
  EXPECT_THAT(Show(*Query(request)), IsEmpty());
  cluster.clock().Advance(std::chrono::seconds(65));
  cluster.Publish(0, {Sale(t0 + kMinute, "Jeju", 1, 1)});
  EXPECT_THAT(Show(*Query(request)), ElementsAre(HasSubstr("0 "), HasSubstr("0 "), HasSubstr("0 ")));
}

TEST_F(QueryTest, WaitsForAGivenPositionOrSaysHowFarItIs) {
  v1::QueryWindowsRequest request = Request();
  v1::Position* after = request.add_after();
  after->set_partition(1);
  after->set_offset(1);
  EXPECT_EQ(Query(request)->rows_size(), 4);
  after->set_offset(100);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  v1::QueryWindowsResponse response;
  const absl::Status status = FromGrpcStatus(node->stub().QueryWindows(&context, request, &response));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  after->set_partition(7);
  ExpectInvalid(request, "partition 7");
}

TEST_F(QueryTest, SaysWhatIsWrongWithAQuery) {
  const auto with = [](auto change) {
    v1::QueryWindowsRequest request = Request();
    change(request);
    return request;
  };
  ExpectInvalid(with([](auto& r) { r.add_group_by("cty"); }), "did you mean `city`?");
  ExpectInvalid(with([](auto& r) {
                  r.add_group_by("city");
                  r.add_group_by("city");
                }),
                "twice");
  ExpectInvalid(with([](auto& r) {
                  r.add_group_by("city");
                  r.set_group_by_none(true);
                }),
                "group_by");
  ExpectInvalid(with([](auto& r) { r.add_measures("sale"); }), "did you mean `sales`?");
  ExpectInvalid(with([](auto& r) { r.set_order_by("nothing"); }), "order_by");
  ExpectInvalid(with([](auto& r) { r.set_order_by("money down"); }), "asc or desc");
  ExpectInvalid(with([](auto& r) {
                  r.add_group_by("age");
                  r.set_order_by("city");
                }),
                "not in group_by");
  ExpectInvalid(with([](auto& r) { r.set_filter("city == "); }), "filter");
  ExpectInvalid(with([](auto& r) { r.set_filter("town == \"Seoul\""); }), "town");
  ExpectInvalid(with([](auto& r) { r.set_page_size(10'001); }), "page_size");
  ExpectInvalid(with([](auto& r) { r.set_page_size(-1); }), "page_size");
  ExpectInvalid(with([](auto& r) { r.set_page_token("x"); }), "page_token");
  ExpectInvalid(with([](auto& r) {
                  r.mutable_from_time()->set_seconds(100);
                  r.mutable_to_time()->set_seconds(50);
                }),
                "to_time");
  v1::QueryWindowsRequest request = Request();
  request.set_page_size(1);
  request.set_page_token(Query(request)->next_page_token());
  request.set_order_by("money");
  ExpectInvalid(request, "another query");
}

// A watch in a test: reads messages into what a client would hold.
class Watcher {
 public:
  Watcher(Node& node, const std::string& token = "", bool latest = false) {
    v1::WatchWindowsRequest request;
    request.mutable_query()->set_metric("sales");
    request.mutable_query()->set_latest_window(latest);
    request.set_max_rate_hz(50);
    request.set_version_token(token);
    reader_ = node.stub().WatchWindows(&context_, request);
  }
  ~Watcher() {
    context_.TryCancel();
    reader_->Finish();
  }
  bool Read() {
    v1::WatchWindowsResponse message;
    if (!reader_->Read(&message)) return false;
    if (message.reset()) rows.clear();
    resets += message.reset();
    for (const v1::WindowRow& row : message.rows()) {
      const std::string text = ShowRow(row, true);
      rows[text.substr(0, text.find('}'))] = text.substr(text.find('}') + 2);
      ++received;
    }
    removed += message.removed_window_start_times_size();
    if (!message.version_token().empty()) token = message.version_token();
    return true;
  }
  bool ReadUntil(const std::function<bool()>& condition) {
    while (!condition()) {
      if (!Read()) return false;
    }
    return true;
  }
  absl::Status Finish() { return FromGrpcStatus(reader_->Finish()); }

  std::map<std::string, std::string> rows;
  int resets = 0, received = 0, removed = 0;
  std::string token;

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchWindowsResponse>> reader_;
};

class WatchTest : public QueryTest {
 protected:
  WatchTest() { EXPECT_EQ(Query(Request())->rows_size(), 4); }
};

TEST_F(WatchTest, GivesTheCurrentRowsThenOnlyWhatChanges) {
  Watcher watcher(*node);
  ASSERT_TRUE(watcher.Read());
  EXPECT_EQ(watcher.rows.size(), 4u);
  EXPECT_EQ(watcher.resets, 1);
  cluster.Publish(0, {Sale(t0, "Seoul", 20, 100, "z")});
  const std::string key = "2024-05-01T00:00:00Z/2024-05-01T00:01:00Z {age=20,city=Seoul";
  ASSERT_TRUE(
      watcher.ReadUntil([&] { return watcher.rows[key].find("money=112 sales=3 users=3") != std::string::npos; }));
  EXPECT_EQ(watcher.received, 5);
  cluster.Publish(1, {Sale(t0 + 5 * kMinute, "Jeju", 1, 1)});
  ASSERT_TRUE(watcher.ReadUntil([&] { return watcher.rows.size() == 5; }));
  EXPECT_EQ(watcher.received, 6);
  EXPECT_EQ(watcher.resets, 1);
}

TEST_F(WatchTest, ResumesWithWhatChangedSinceTheToken) {
  std::string token;
  {
    Watcher watcher(*node);
    ASSERT_TRUE(watcher.Read());
    token = watcher.token;
  }
  cluster.Publish(0, {Sale(t0, "Seoul", 20, 100, "z")});
  ASSERT_TRUE(Query(Request()).ok());
  Watcher resumed(*node, token);
  ASSERT_TRUE(resumed.Read());
  EXPECT_EQ(resumed.resets, 0);
  EXPECT_EQ(resumed.received, 1);
  EXPECT_THAT(resumed.rows.begin()->second, HasSubstr("money=112"));
}

TEST_F(WatchTest, SaysWhenRowsBecomeFinalAndWhenWindowsGo) {
  Watcher watcher(*node);
  ASSERT_TRUE(watcher.Read());
  cluster.clock().Advance(std::chrono::minutes(3));
  ASSERT_TRUE(watcher.ReadUntil([&] {
    int final = 0;
    for (const auto& [key, row] : watcher.rows) final += row.find("final r1") != std::string::npos;
    return final == 4;
  }));
  cluster.clock().Advance(std::chrono::hours(2));
  EXPECT_TRUE(watcher.ReadUntil([&] { return watcher.removed == 2; }));
}

TEST_F(WatchTest, TheLatestWindowMovesOn) {
  Watcher watcher(*node, "", true);
  ASSERT_TRUE(watcher.Read());
  EXPECT_EQ(watcher.rows.size(), 1u);
  cluster.Publish(0, {Sale(t0, "Seoul", 20, 100, "z"), Sale(t0 + 2 * kMinute, "Jeju", 5, 5, "z")});
  ASSERT_TRUE(watcher.ReadUntil([&] { return watcher.rows.size() == 2; }));
  EXPECT_THAT(watcher.rows.rbegin()->first, HasSubstr("00:02:00Z"));
}

TEST_F(WatchTest, AReaderThatTakesNothingHoldsNobodyUpAndGetsTheNewestRow) {
  Watcher slow(*node), quick(*node);
  ASSERT_TRUE(quick.Read());
  for (int i = 0; i < 200; ++i) cluster.Publish(0, {Sale(t0, "Seoul", 20, 1, "z")});
  const std::string key = "2024-05-01T00:00:00Z/2024-05-01T00:01:00Z {age=20,city=Seoul";
  ASSERT_TRUE(quick.ReadUntil([&] { return quick.rows[key].find("sales=202 ") != std::string::npos; }));
  ASSERT_TRUE(slow.ReadUntil([&] { return slow.rows[key].find("sales=202 ") != std::string::npos; }));
}

TEST_F(WatchTest, RefusesWhatItCannotWatch) {
  v1::WatchWindowsRequest request;
  request.mutable_query()->set_metric("sale");
  const auto refused = [&] {
    grpc::ClientContext context;
    auto reader = node->stub().WatchWindows(&context, request);
    v1::WatchWindowsResponse message;
    EXPECT_FALSE(reader->Read(&message));
    return FromGrpcStatus(reader->Finish());
  };
  EXPECT_TRUE(absl::IsNotFound(refused()));
  request.mutable_query()->set_metric("sales");
  request.set_version_token("nonsense");
  EXPECT_TRUE(absl::IsInvalidArgument(refused()));
  request.clear_version_token();
  request.set_max_rate_hz(-1);
  EXPECT_TRUE(absl::IsInvalidArgument(refused()));
  request.clear_max_rate_hz();
  request.mutable_query()->set_filter("nope == 1");
  EXPECT_TRUE(absl::IsInvalidArgument(refused()));
}

TEST_F(WatchTest, EndsWithTheServiceAndWithTheMetric) {
  Watcher watcher(*node);
  ASSERT_TRUE(watcher.Read());
  cluster.Delete("sales", 1);
  while (watcher.Read()) {
  }
  node->Stop();
}

}  // namespace
}  // namespace naru::aggregator
