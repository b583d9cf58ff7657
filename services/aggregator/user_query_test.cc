#include "services/aggregator/user_query.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/clock/rfc3339.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/group_key.h"
#include "services/aggregator/timelines.h"

namespace naru::aggregator {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kDay = 86'400 * kSecond;

int64_t Time(const std::string& text) { return ParseRfc3339(text).value(); }

catalog::v1::Resource MakeResource(const std::string& kind, const std::string& spec_json) {
  catalog::v1::Resource resource;
  const std::string field = kind == "Funnel" ? "funnel" : "retention";
  const auto status = google::protobuf::util::JsonStringToMessage(
      absl::StrCat("{\"kind\": \"", kind, "\", \"metadata\": {\"name\": \"x\", \"version\": 3}, \"", field,
                   "\": ", spec_json, "}"),
      &resource);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return resource;
}

// Plans belong to an environment.
struct Compiled {
  cel::Environment environment = cel::Environment::ForEvents();
  std::shared_ptr<const MetricPlan> plan;
};
std::shared_ptr<const MetricPlan> Compile(const catalog::v1::Resource& resource) {
  auto compiled = std::make_shared<Compiled>();
  auto plan = CompilePlan(resource, &compiled->environment);
  EXPECT_TRUE(plan.ok()) << plan.status();
  if (!plan.ok()) return nullptr;
  compiled->plan = *plan;
  return std::shared_ptr<const MetricPlan>(compiled, compiled->plan.get());
}

constexpr char kFunnel[] = R"({"within": "10s", "timeZone": "Asia/Seoul",
    "steps": [{"name": "search", "filter": "type == \"s\""}, {"name": "detail", "filter": "type == \"d\""},
              {"name": "buy", "filter": "type == \"b\""}],
    "dimensions": [{"name": "region"}, {"name": "age"}]})";

std::string Group(const char* region, int64_t age) {
  std::string key;
  AppendGroupValue(region == nullptr ? cel::Value::Null() : cel::Value::String(region), &key);
  AppendGroupValue(cel::Value::Int(age), &key);
  return key;
}

struct TestStep {
  int64_t time_us;
  uint32_t steps;
  std::string group;
};
std::string Encode(const std::vector<TestStep>& events) {
  FunnelUser user;
  for (const TestStep& event : events) user.Add({event.time_us, 0, event.steps, -1}, event.group);
  std::string bytes;
  EncodeFunnelUser(user, &bytes);
  return bytes;
}

std::string ShowRow(const v1::FunnelRow& row) {
  std::string text;
  if (row.has_interval_start_time())
    absl::StrAppend(&text, FormatRfc3339(row.interval_start_time().seconds() * kSecond), " ");
  std::map<std::string, std::string> group;
  for (const auto& [name, value] : row.group()) {
    group[name] = value.has_string_value()   ? value.string_value()
                  : value.has_number_value() ? absl::StrCat(value.number_value())
                                             : "null";
  }
  for (const auto& [name, value] : group) absl::StrAppend(&text, name, "=", value, " ");
  for (const auto& step : row.steps()) {
    absl::StrAppend(&text, step.name(), ":", step.user_count());
    if (step.has_median_from_previous_us()) absl::StrAppend(&text, "(", step.median_from_previous_us() / kSecond, "s)");
    absl::StrAppend(&text, " ");
  }
  if (row.final()) absl::StrAppend(&text, "final");
  return text;
}

v1::QueryFunnelResponse Ask(const std::shared_ptr<const MetricPlan>& plan, const v1::QueryFunnelRequest& request,
                            const std::vector<std::string>& users, int64_t frontier_us = kNever) {
  auto query = FunnelQuery::Compile(request, plan);
  EXPECT_TRUE(query.ok()) << query.status();
  uint64_t hash = 0;
  for (const std::string& user : users) {
    EXPECT_TRUE(query->Add(user, hash += 0x9E3779B97F4A7C15).ok());
  }
  v1::QueryFunnelResponse response;
  query->Finish(frontier_us, &response);
  return response;
}

std::vector<std::string> Show(const v1::QueryFunnelResponse& response) {
  std::vector<std::string> rows;
  for (const auto& row : response.rows()) rows.push_back(ShowRow(row));
  return rows;
}

const std::vector<std::string> kUsers = {
    Encode({{10 * kSecond, 1, Group("Seoul", 20)}, {12 * kSecond, 2, ""}, {16 * kSecond, 4, ""}}),
    Encode({{10 * kSecond, 1, Group("Busan", 30)}, {14 * kSecond, 2, ""}}),
    Encode({{10 * kSecond, 1, Group("Seoul", 30)}, {30 * kSecond, 1, Group("Busan", 20)}, {31 * kSecond, 2, ""}}),
    Encode({{12 * kSecond, 2, ""}, {13 * kSecond, 4, ""}}),
};

void SetSeconds(int64_t seconds, google::protobuf::Timestamp* time) { time->set_seconds(seconds); }

TEST(FunnelQueryTest, CountsUsersOfEachStepAndTheirTimes) {
  const auto plan = Compile(MakeResource("Funnel", kFunnel));
  const v1::QueryFunnelResponse response = Ask(plan, {}, kUsers);
  EXPECT_EQ(Show(response), std::vector<std::string>{"search:3 detail:3(2s) buy:1(4s) "});
  EXPECT_EQ(response.funnel_version(), 3);
  const auto& buy = response.rows(0).steps(2);
  EXPECT_DOUBLE_EQ(buy.from_previous_ratio(), 1.0 / 3);
  EXPECT_DOUBLE_EQ(buy.from_first_ratio(), 1.0 / 3);
  EXPECT_EQ(buy.median_from_first_us(), 6 * kSecond);
  EXPECT_DOUBLE_EQ(response.rows(0).steps(1).average_from_previous_us(), 7.0 / 3 * kSecond);
  EXPECT_FALSE(response.rows(0).steps(0).has_median_from_previous_us());
}

TEST(FunnelQueryTest, GroupsByTheFirstStepAsIfEachGroupWereAskedFor) {
  const auto plan = Compile(MakeResource("Funnel", kFunnel));
  v1::QueryFunnelRequest request;
  request.add_group_by("region");
  EXPECT_EQ(Show(Ask(plan, request, kUsers)),
            (std::vector<std::string>{"region=Busan search:2 detail:2(1s) buy:0 ",
                                      "region=Seoul search:2 detail:1(2s) buy:1(4s) "}));
  request.set_filter("age >= 30");
  EXPECT_EQ(Show(Ask(plan, request, kUsers)), (std::vector<std::string>{"region=Busan search:1 detail:1(4s) buy:0 ",
                                                                        "region=Seoul search:1 detail:0 buy:0 "}));
  request.clear_group_by();
  request.set_filter("region == 'Seoul'");
  EXPECT_EQ(Show(Ask(plan, request, kUsers)), std::vector<std::string>{"search:2 detail:1(2s) buy:1(4s) "});
}

TEST(FunnelQueryTest, TheRangeIsOfTheFirstStep) {
  const auto plan = Compile(MakeResource("Funnel", kFunnel));
  v1::QueryFunnelRequest request;
  SetSeconds(11, request.mutable_from_time());
  EXPECT_EQ(Show(Ask(plan, request, kUsers)), std::vector<std::string>{"search:1 detail:1(1s) buy:0 "});
  request.clear_from_time();
  SetSeconds(11, request.mutable_to_time());
  EXPECT_EQ(Show(Ask(plan, request, kUsers, 20 * kSecond)),
            std::vector<std::string>{"search:3 detail:2(2s) buy:1(4s) "});
  // Final when the last step can no longer come.
  EXPECT_EQ(Show(Ask(plan, request, kUsers, 21 * kSecond)),
            std::vector<std::string>{"search:3 detail:2(2s) buy:1(4s) final"});
}

TEST(FunnelQueryTest, IntervalsAreOfTheFunnelsZone) {
  const auto plan = Compile(MakeResource("Funnel", kFunnel));
  const int64_t midnight = Time("2024-05-01T15:00:00Z");  // in Seoul
  v1::QueryFunnelRequest request;
  request.set_interval("1d");
  const std::vector<std::string> users = {
      Encode({{midnight - kSecond, 1, Group("a", 1)},
              {midnight + kSecond, 2, ""},
              {midnight + 2 * kSecond, 1, Group("a", 1)}}),
      Encode({{midnight, 1, Group("a", 1)}}),
  };
  EXPECT_EQ(Show(Ask(plan, request, users, midnight + 10 * kSecond)),
            (std::vector<std::string>{"2024-04-30T15:00:00Z search:1 detail:1(2s) buy:0 final",
                                      "2024-05-01T15:00:00Z search:2 detail:0 buy:0 "}));
}

TEST(FunnelQueryTest, PagesGoOnAfterTheLastRow) {
  const auto plan = Compile(MakeResource("Funnel", kFunnel));
  std::vector<std::string> users;
  for (int i = 0; i < 25; ++i) users.push_back(Encode({{10 * kSecond, 1, Group("r", i)}}));
  v1::QueryFunnelRequest request;
  request.add_group_by("age");
  const std::vector<std::string> all = Show(Ask(plan, request, users));
  ASSERT_EQ(all.size(), 25u);
  request.set_page_size(10);
  std::vector<std::string> paged;
  int pages = 0;
  do {
    const v1::QueryFunnelResponse response = Ask(plan, request, users);
    for (const std::string& row : Show(response)) paged.push_back(row);
    request.set_page_token(response.next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(paged, all);
}

TEST(FunnelQueryTest, SaysWhatIsWrongWithAQuestion) {
  const auto plan = Compile(MakeResource("Funnel", kFunnel));
  const auto problem = [&](const std::function<void(v1::QueryFunnelRequest*)>& change) {
    v1::QueryFunnelRequest request;
    change(&request);
    return FunnelQuery::Compile(request, plan).status().ToString();
  };
  EXPECT_THAT(problem([](auto* r) { r->add_group_by("city"); }),
              HasSubstr("`city` is not a dimension of the funnel; there are: region, age"));
  EXPECT_THAT(problem([](auto* r) { r->add_group_by("age"), r->add_group_by("age"); }),
              HasSubstr("`age` is there twice"));
  EXPECT_THAT(problem([](auto* r) { r->set_interval("2d"); }), HasSubstr("interval: `2d` must be 1d, 1w or 1mo"));
  EXPECT_THAT(problem([](auto* r) { r->set_filter("city == 1"); }), HasSubstr("filter: "));
  EXPECT_THAT(problem([](auto* r) { r->set_page_size(1001); }),
              HasSubstr("page_size: 1001 must be between 0 and 1000"));
  EXPECT_THAT(problem([](auto* r) { r->set_page_token("x"); }), HasSubstr("page_token: is not a token"));
  EXPECT_THAT(problem([](auto* r) { SetSeconds(9, r->mutable_from_time()), SetSeconds(8, r->mutable_to_time()); }),
              HasSubstr("to_time: must not be before from_time"));
  auto query = FunnelQuery::Compile({}, plan);
  ASSERT_TRUE(query.ok());
  EXPECT_EQ(query->Add("?", 1).code(), absl::StatusCode::kDataLoss);
}

TEST(FunnelQueryTest, MediansOverTheLimitAreOfAnEvenSample) {
  const auto plan = Compile(MakeResource("Funnel", kFunnel));
  auto query = FunnelQuery::Compile({}, plan);
  ASSERT_TRUE(query.ok());
  std::mt19937_64 random(1);
  const int users = 1'500'000;  // two times each
  for (int i = 0; i < users; ++i) {
    FunnelUser user;
    const int64_t took = static_cast<int64_t>(random() % 1'000'001);
    user.Add({0, 0, 1, -1}, Group("r", 1));
    user.Add({took, 0, 2, -1}, "");
    std::string bytes;
    EncodeFunnelUser(user, &bytes);
    ASSERT_TRUE(query->Add(bytes, random()).ok());
  }
  v1::QueryFunnelResponse response;
  query->Finish(kNever, &response);
  EXPECT_EQ(response.rows(0).steps(1).user_count(), users);
  EXPECT_NEAR(static_cast<double>(response.rows(0).steps(1).median_from_previous_us()), 500'000, 5'000);
}

constexpr char kRetention[] = R"({"first": "type == \"a\"", "returned": "type == \"b\"", "unit": "1d", "count": 3})";

std::string EncodeUnits(const std::set<int64_t>& first, const std::set<int64_t>& returned) {
  RetentionUser user;
  for (const int64_t unit : first) user.Add(unit, true, false);
  for (const int64_t unit : returned) user.Add(unit, false, true);
  std::string bytes;
  EncodeRetentionUser(user, &bytes);
  return bytes;
}

std::vector<std::string> Show(const v1::QueryRetentionResponse& response) {
  std::vector<std::string> rows;
  for (const auto& row : response.rows()) {
    std::string text = absl::StrCat(row.start_time().seconds() * kSecond / kDay, ": ", row.user_count(), " |");
    for (const int64_t count : row.returned_counts()) absl::StrAppend(&text, " ", count);
    rows.push_back(absl::StrCat(text, " | ", row.final_count()));
  }
  return rows;
}

TEST(RetentionQueryTest, ARowForEachDayWithUsers) {
  const auto plan = Compile(MakeResource("Retention", kRetention));
  const std::vector<std::string> users = {EncodeUnits({10}, {10, 11, 14}), EncodeUnits({10, 12}, {12, 13}),
                                          EncodeUnits({}, {10})};
  v1::QueryRetentionRequest request;
  const auto ask = [&] {
    auto query = RetentionQuery::Compile(request, plan);
    EXPECT_TRUE(query.ok()) << query.status();
    for (const std::string& user : users) EXPECT_TRUE(query->Add(user).ok());
    v1::QueryRetentionResponse response;
    query->Finish(13 * kDay, &response);
    return response;
  };
  EXPECT_EQ(Show(ask()), (std::vector<std::string>{"10: 2 | 1 1 1 1 | 3", "12: 1 | 1 1 0 0 | 1"}));
  request.mutable_from_time()->set_seconds(10 * 86'400 + 1);
  EXPECT_EQ(Show(ask()), std::vector<std::string>{"12: 1 | 1 1 0 0 | 1"});
  request.mutable_to_time()->set_seconds(12 * 86'400);
  EXPECT_EQ(Show(ask()), std::vector<std::string>{});
  request.Clear();
  request.set_page_size(1);
  const v1::QueryRetentionResponse page = ask();
  EXPECT_EQ(Show(page), std::vector<std::string>{"10: 2 | 1 1 1 1 | 3"});
  request.set_page_token(page.next_page_token());
  EXPECT_EQ(Show(ask()), std::vector<std::string>{"12: 1 | 1 1 0 0 | 1"});
  EXPECT_EQ(ask().next_page_token(), "");
}

TEST(UserPlanTest, NamesWhatIsWrongInTheWordsOfTheResource) {
  cel::Environment environment = cel::Environment::ForEvents();
  const auto problem = [&](const char* kind, const char* spec) {
    const absl::Status status = CompilePlan(MakeResource(kind, spec), &environment).status();
    const auto violations = GetErrorDetails(status).violations;
    return violations.empty() ? status.ToString() : violations[0].field;
  };
  EXPECT_EQ(
      problem("Funnel",
              R"({"within": "1d", "steps": [{"name": "a", "filter": "type == 'x'"}, {"name": "b", "filter": "1 +"}]})"),
      "spec.steps[1].filter");
  EXPECT_EQ(
      problem(
          "Funnel",
          R"({"within": "1d", "steps": [{"name": "a", "filter": "true"}], "dimensions": [{"name": "d", "expr": "("}]})"),
      "spec.dimensions[0].expr");
  EXPECT_EQ(problem("Funnel", R"({"steps": [{"name": "a", "filter": "true"}]})"), "spec.within");
  EXPECT_EQ(problem("Retention", R"({"first": "(", "returned": "true", "unit": "1d", "count": 1})"), "spec.first");
  EXPECT_EQ(problem("Retention", R"({"first": "true", "returned": "true", "unit": "1y", "count": 1})"), "spec.unit");
}

TEST(UserPlanTest, WhatIsStoredCompilesToTheSame) {
  for (const auto& [kind, spec] : {std::pair("Funnel", kFunnel), std::pair("Retention", kRetention)}) {
    const auto plan = Compile(MakeResource(kind, spec));
    EXPECT_EQ(plan->name, absl::StrCat(kind, "/x"));
    cel::Environment environment = cel::Environment::ForEvents();
    const auto again = CompileStoredPlan({plan->name, plan->version}, plan->spec, &environment);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ((*again)->spec, plan->spec);
    EXPECT_EQ((*again)->users->within_us, plan->users->within_us);
    EXPECT_EQ((*again)->measures.size(), plan->measures.size());
    EXPECT_EQ((*again)->retention_us, 90 * kDay);
  }
  EXPECT_EQ(SplitPlanName("Funnel/x"), (std::pair<absl::string_view, absl::string_view>("Funnel", "x")));
  EXPECT_EQ(SplitPlanName("x"), (std::pair<absl::string_view, absl::string_view>("Metric", "x")));
}

}  // namespace
}  // namespace naru::aggregator
