// Funnels and retentions with a log, crashes and a server; random ones against slow, obvious references.
#include <algorithm>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/catalog/resource_file.h"
#include "common/clock/rfc3339.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/aggregator/funnel_reference.h"
#include "services/aggregator/testing_cluster.h"
#include "services/aggregator/user_evaluator.h"
#include "services/aggregator/user_state.h"

namespace naru::aggregator {
namespace {

using testing::Cluster;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MakeResource;
using testing::Node;
using testing::TestEvent;
using testing::Time;

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kDay = 86'400 * kSecond;
constexpr int kEntityKind = 5;  // of records in `aggregates`

std::string GroupText(const google::protobuf::Map<std::string, google::protobuf::Value>& group) {
  std::map<std::string, std::string> values;
  for (const auto& [name, value] : group) values[name] = value.has_string_value() ? value.string_value() : "null";
  std::string text;
  for (const auto& [name, value] : values) absl::StrAppend(&text, name, "=", value, " ");
  return text;
}

absl::StatusOr<std::vector<std::string>> AskFunnel(Node& node, v1::QueryFunnelRequest request) {
  std::vector<std::string> rows;
  do {
    grpc::ClientContext context;
    v1::QueryFunnelResponse response;
    const absl::Status status = FromGrpcStatus(node.stub().QueryFunnel(&context, request, &response));
    if (!status.ok()) return status;
    for (const v1::FunnelRow& row : response.rows()) {
      std::string text;
      if (row.has_interval_start_time()) {
        text = absl::StrCat(FormatRfc3339(row.interval_start_time().seconds() * kSecond), " ");
      }
      absl::StrAppend(&text, GroupText(row.group()));
      for (const auto& step : row.steps()) {
        absl::StrAppend(&text, step.name(), ":", step.user_count(), " ");
        if (step.has_median_from_first_us()) {
          absl::StrAppend(&text, "(", step.median_from_previous_us(), " ", step.median_from_first_us(), ") ");
        }
      }
      if (row.truncated_user_count() > 0) absl::StrAppend(&text, "truncated:", row.truncated_user_count(), " ");
      if (row.final()) absl::StrAppend(&text, "final ");
      text.pop_back();
      rows.push_back(std::move(text));
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return rows;
}

std::vector<std::string> Funnel(Node& node, const std::string& name,
                                const std::function<void(v1::QueryFunnelRequest*)>& change = nullptr) {
  v1::QueryFunnelRequest request;
  request.set_funnel(name);
  if (change != nullptr) change(&request);
  const auto rows = AskFunnel(node, request);
  EXPECT_TRUE(rows.ok()) << rows.status();
  return rows.ok() ? *rows : std::vector<std::string>();
}

std::vector<std::string> Cohorts(Node& node, const std::string& name) {
  v1::QueryRetentionRequest request;
  request.set_retention(name);
  grpc::ClientContext context;
  v1::QueryRetentionResponse response;
  const absl::Status status = FromGrpcStatus(node.stub().QueryRetention(&context, request, &response));
  EXPECT_TRUE(status.ok()) << status;
  std::vector<std::string> rows;
  for (const v1::CohortRow& row : response.rows()) {
    std::string text = absl::StrCat(FormatRfc3339(row.start_time().seconds() * kSecond), " ", row.user_count(), " |");
    for (const int64_t count : row.returned_counts()) absl::StrAppend(&text, " ", count);
    rows.push_back(std::move(text));
  }
  return rows;
}

constexpr char kPurchase[] = R"({"within": "1h",
    "steps": [{"name": "search", "filter": "type == \"search\""}, {"name": "view", "filter": "type == \"view\""},
              {"name": "buy", "filter": "type == \"buy\" && data.price > 0"}],
    "dimensions": [{"name": "region"}]})";
constexpr char kReturn[] = R"({"first": "type == \"search\"", "returned": "type in [\"search\", \"view\"]",
    "unit": "1d", "count": 3, "timeZone": "Asia/Seoul"})";

class UserTest : public ::testing::Test {
 protected:
  TestEvent Event(const std::string& type, const std::string& user, int64_t seconds, const std::string& region = "") {
    TestEvent event;
    event.type = type;
    event.subject = user;
    event.time_us = t0 + seconds * kSecond;
    event.numbers["price"] = 5;
    if (!region.empty()) event.strings["region"] = region;
    return event;
  }
  const int64_t t0 = Time("2024-05-01T00:00:00Z");
};

TEST_F(UserTest, AFunnelCountsUsersOverAllPartitions) {
  Cluster cluster(2);
  cluster.Apply(MakeResource("Funnel", "purchase", 1, kPurchase));
  auto node = cluster.StartNode();
  cluster.Publish(
      0, {Event("search", "a", 0, "Seoul"), Event("view", "a", 10), Event("buy", "a", 30), Event("search", "c", 5)});
  cluster.Publish(1, {Event("view", "b", 7), Event("search", "b", 3, "Busan"), Event("buy", "b", 3'604)});
  EXPECT_THAT(Funnel(*node, "purchase"), ElementsAre("search:3 view:2 (4000000 4000000) buy:1 (20000000 30000000)"));
  EXPECT_THAT(Funnel(*node, "purchase", [](auto* r) { r->add_group_by("region"); }),
              ElementsAre("region=null search:1 view:0 buy:0", "region=Busan search:1 view:1 (4000000 4000000) buy:0",
                          "region=Seoul search:1 view:1 (10000000 10000000) buy:1 (20000000 30000000)"));
  const v1::MetricStatus status = node->Status("purchase");
  EXPECT_EQ(status.kind(), "Funnel");
  EXPECT_EQ(status.state(), "RUNNING");
  EXPECT_EQ(status.matched_count(), 7);
  EXPECT_EQ(status.lag(), 0);
}

TEST_F(UserTest, QuestionsAboutWhatIsNotThereSayWhatIs) {
  Cluster cluster(1);
  cluster.Apply(MakeResource("Funnel", "purchase", 1, kPurchase));
  cluster.Apply(MakeResource("Retention", "return", 1, kReturn));
  auto node = cluster.StartNode();
  v1::QueryFunnelRequest request;
  request.set_funnel("purchas");
  EXPECT_THAT(AskFunnel(*node, request).status().ToString(),
              HasSubstr("there is no funnel `purchas`; did you mean `purchase`?"));
  request.set_funnel("return");
  EXPECT_EQ(AskFunnel(*node, request).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(AskFunnel(*node, request).status().ToString(), HasSubstr("`return`; it is a Retention"));
  request.set_funnel("purchase");
  request.add_group_by("city");
  EXPECT_THAT(AskFunnel(*node, request).status().ToString(), HasSubstr("`city` is not a dimension of the funnel"));
  // Their plans are no metrics.
  v1::QueryWindowsRequest windows;
  windows.set_metric("Funnel/purchase");
  EXPECT_EQ(node->Query(windows).status().code(), absl::StatusCode::kNotFound);
  windows.set_metric("purchase");
  EXPECT_EQ(node->Query(windows).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(node->Query(windows).status().ToString(), HasSubstr("there is no metric `purchase`; it is a Funnel"));
}

TEST_F(UserTest, MetricFunnelAndRetentionMayHaveOneName) {
  Cluster cluster(1);
  cluster.Apply(MakeResource("Funnel", "x", 1, kPurchase));
  cluster.Apply(MakeResource("Retention", "x", 4, kReturn));
  cluster.Apply(testing::MakeMetric("x", 2, R"({"window": {"type": "tumbling", "size": "1h"},
                                              "measures": [{"name": "n", "agg": "count"}]})"));
  auto node = cluster.StartNode();
  cluster.Publish(0, {Event("search", "a", 0), Event("view", "a", 1)});
  EXPECT_THAT(Funnel(*node, "x"), ElementsAre("search:1 view:1 (1000000 1000000) buy:0"));
  EXPECT_THAT(Cohorts(*node, "x"), ElementsAre("2024-04-30T15:00:00Z 1 | 1 0 0 0"));
  EXPECT_EQ(node->AllRows("x").size(), 1u);
}

TEST_F(UserTest, LateAndImportedEventsCountLikeOthers) {
  Cluster cluster(1);
  cluster.Apply(MakeResource("Funnel", "purchase", 1, kPurchase));
  auto node = cluster.StartNode();
  cluster.Publish(0, {Event("buy", "a", 100), Event("search", "z", 50'000)});
  TestEvent imported = Event("view", "a", 50);
  imported.timeline = "import-1";
  TestEvent end;
  end.timeline = "import-1";
  end.ends_timeline = true;
  cluster.Publish(0, {imported, end, Event("search", "a", 1)});
  EXPECT_THAT(Funnel(*node, "purchase"), ElementsAre("search:2 view:1 (49000000 49000000) buy:1 (50000000 99000000)"));
}

TEST_F(UserTest, ARowIsFinalWhenTheLastStepCanNoLongerCome) {
  Cluster cluster(1);
  cluster.clock().SetNowMicros(t0 + kDay);
  cluster.Apply(MakeResource("Funnel", "purchase", 1, kPurchase));
  auto node = cluster.StartNode();
  cluster.Publish(0, {Event("search", "a", 0), Event("search", "b", 4'000)});
  const auto until = [&](int64_t seconds) {
    return [this, seconds](v1::QueryFunnelRequest* r) { r->mutable_to_time()->set_seconds(t0 / kSecond + seconds); };
  };
  // The watermark is 4,000 s less ten; within is 3,600 s.
  EXPECT_THAT(Funnel(*node, "purchase", until(390)), ElementsAre("search:1 view:0 buy:0 final"));
  EXPECT_THAT(Funnel(*node, "purchase", until(391)), ElementsAre("search:1 view:0 buy:0"));
}

TEST_F(UserTest, OfManyEventsTheNewestAreKeptAndTheUserIsCountedAsTruncated) {
  Cluster cluster(1);
  cluster.Apply(MakeResource("Funnel", "purchase", 1, kPurchase));
  auto node = cluster.StartNode();
  std::vector<TestEvent> events = {Event("search", "a", -1'000'000), Event("view", "a", -999'999)};
  for (int i = 0; i < static_cast<int>(kMaxStepEvents); ++i) events.push_back(Event("search", "a", i));
  events.push_back(Event("search", "b", 1));
  std::mt19937_64 random(1);
  std::shuffle(events.begin(), events.end(), random);
  for (size_t i = 0; i < events.size(); i += 100) {
    cluster.Publish(0, {events.begin() + static_cast<std::ptrdiff_t>(i),
                        events.begin() + static_cast<std::ptrdiff_t>(std::min(i + 100, events.size()))});
  }
  EXPECT_THAT(Funnel(*node, "purchase"), ElementsAre("search:2 view:0 buy:0 truncated:1"));
}

TEST_F(UserTest, AChangedFunnelIsRebuiltBesideTheOldAndADeletedOneLeavesNothing) {
  Cluster cluster(1);
  cluster.Apply(MakeResource("Funnel", "purchase", 1, kPurchase));
  auto node = cluster.StartNode();
  cluster.Publish(0, {Event("search", "a", 0), Event("view", "a", 10), Event("search", "b", 0)});
  EXPECT_THAT(Funnel(*node, "purchase"), ElementsAre("search:2 view:1 (10000000 10000000) buy:0"));
  EXPECT_EQ(cluster.LiveRecords()[kEntityKind], 2);
  cluster.Apply(MakeResource("Funnel", "purchase", 2, R"({"within": "1h", "steps": [
      {"name": "view", "filter": "type == \"view\""}]})"));
  EXPECT_TRUE(naru::testing::WaitUntil([&] {
    const auto rows = Funnel(*node, "purchase");
    return rows == std::vector<std::string>{"view:1"};
  }));
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return cluster.LiveRecords()[kEntityKind] == 1; }));
  node->Stop();
  node = cluster.StartNode();
  EXPECT_THAT(Funnel(*node, "purchase"), ElementsAre("view:1"));
  cluster.DeleteResource("Funnel", "purchase", 2);
  EXPECT_TRUE(naru::testing::WaitUntil([&] {
    auto records = cluster.LiveRecords();
    return records[kEntityKind] == 0 && records[1] == 0 && records[2] == 0;
  }));
  v1::QueryFunnelRequest request;
  request.set_funnel("purchase");
  EXPECT_EQ(AskFunnel(*node, request).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(UserTest, UsersWithoutEventsForTheRetentionAreForgotten) {
  Cluster cluster(1);
  std::string spec = kPurchase;
  spec.insert(1, R"("retention": "2h", )");
  cluster.Apply(MakeResource("Funnel", "purchase", 1, spec));
  auto node = cluster.StartNode();
  cluster.Publish(0, {Event("search", "a", 0), Event("search", "b", 0)});
  EXPECT_THAT(Funnel(*node, "purchase"), ElementsAre("search:2 view:0 buy:0"));
  cluster.clock().Advance(std::chrono::minutes(110));
  cluster.Publish(0, {Event("view", "b", 5)});
  cluster.clock().Advance(std::chrono::minutes(25));
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return cluster.LiveRecords()[kEntityKind] == 1; }));
  EXPECT_THAT(Funnel(*node, "purchase"), ElementsAre("search:1 view:1 (5000000 5000000) buy:0"));
}

// Random events of few users, so that chains come about; times are whole seconds, so many are the same.
struct RandomLog {
  explicit RandomLog(uint64_t seed) : random(seed) {}
  TestEvent Next(int64_t from_us, int span_seconds) {
    static const char* const kTypes[] = {"search", "view", "buy", "other"};
    static const char* const kRegions[] = {"Seoul", "Busan"};
    TestEvent event;
    event.type = kTypes[random() % 4];
    if (random() % 20 != 0) event.subject = absl::StrCat("user", random() % 40);
    event.time_us = from_us + static_cast<int64_t>(random() % static_cast<uint64_t>(span_seconds)) * kSecond;
    event.numbers["price"] = static_cast<double>(random() % 3);
    if (random() % 4 != 0) event.strings["region"] = kRegions[random() % 2];
    event.id = absl::StrCat("e", next_id++);
    return event;
  }
  std::mt19937_64 random;
  int next_id = 0;
};

// One funnel, as a resource and as code.
struct FunnelCase {
  std::string modes;  // as in the resource
  FunnelModes flags;
  int64_t within_s;
};

uint32_t StepsOf(const TestEvent& event) {
  uint32_t steps = 0;
  if (event.type == "search") steps |= 1;
  if (event.type == "view") steps |= 2;
  if (event.type == "buy" && event.numbers.at("price") > 0) steps |= 4;
  if (event.type == "view" && event.numbers.at("price") > 1) steps |= 4;
  return steps;
}

std::string RegionOf(const TestEvent& event) {
  const auto region = event.strings.find("region");
  return region == event.strings.end() ? "null" : region->second;
}

// What the service should say, as AskFunnel prints it: every user anew, every group anew.
std::vector<std::string> FunnelReferenceRows(const std::vector<TestEvent>& log, const FunnelCase& c, bool by_region) {
  std::map<std::string, std::vector<TestEvent>> users;
  for (const TestEvent& event : log) {
    if (!event.subject.empty()) users[event.subject].push_back(event);
  }
  std::vector<std::string> rows;
  for (const char* region :
       by_region ? std::vector<const char*>{"null", "Busan", "Seoul"} : std::vector<const char*>{""}) {
    std::vector<std::vector<int64_t>> previous(3), first(3);
    int64_t reached[3] = {0, 0, 0};
    for (const auto& [user, events] : users) {
      std::vector<FunnelEvent> steps;
      for (const TestEvent& event : events) {
        const bool may_start = !by_region || RegionOf(event) == region;
        steps.push_back({event.time_us, StepsOf(event), may_start});
      }
      std::stable_sort(steps.begin(), steps.end(),
                       [](const FunnelEvent& a, const FunnelEvent& b) { return a.time_us < b.time_us; });
      const FunnelMatch match = FunnelReference(3, c.within_s * kSecond, c.flags).Match(steps);
      for (int i = 0; i < match.steps; ++i) {
        ++reached[i];
        if (i == 0) continue;
        previous[i].push_back(match.times_us[i] - match.times_us[i - 1]);
        first[i].push_back(match.times_us[i] - match.times_us[0]);
      }
    }
    if (reached[0] == 0) continue;
    std::string text = by_region ? absl::StrCat("region=", region, " ") : "";
    static const char* const kNames[] = {"search", "view", "buy"};
    for (int i = 0; i < 3; ++i) {
      absl::StrAppend(&text, kNames[i], ":", reached[i], " ");
      if (i == 0 || reached[i] == 0) continue;
      const size_t middle = (static_cast<size_t>(reached[i]) - 1) / 2;
      std::sort(previous[i].begin(), previous[i].end());
      std::sort(first[i].begin(), first[i].end());
      absl::StrAppend(&text, "(", previous[i][middle], " ", first[i][middle], ") ");
    }
    text.pop_back();
    rows.push_back(std::move(text));
  }
  return rows;
}

std::vector<std::string> CohortReferenceRows(const std::vector<TestEvent>& log) {
  // Seoul has no summer time.
  const auto day = [](int64_t time_us) { return (time_us + 9 * 3'600 * kSecond) / kDay; };
  std::map<std::string, std::pair<std::set<int64_t>, std::set<int64_t>>> users;
  std::set<int64_t> days;
  for (const TestEvent& event : log) {
    if (event.subject.empty()) continue;
    if (event.type == "search") users[event.subject].first.insert(day(event.time_us));
    if (event.type == "search") days.insert(day(event.time_us));
    if (event.type == "search" || event.type == "view") users[event.subject].second.insert(day(event.time_us));
  }
  std::vector<std::string> rows;
  for (const int64_t d : days) {
    int64_t members = 0, back[4] = {0, 0, 0, 0};
    for (const auto& [user, units] : users) {
      if (units.first.count(d) == 0) continue;
      ++members;
      for (int n = 0; n <= 3; ++n) back[n] += static_cast<int64_t>(units.second.count(d + n));
    }
    std::string text = absl::StrCat(FormatRfc3339(d * kDay - 9 * 3'600 * kSecond), " ", members, " |");
    for (const int64_t count : back) absl::StrAppend(&text, " ", count);
    rows.push_back(std::move(text));
  }
  return rows;
}

class UserReferenceTest : public ::testing::TestWithParam<int> {
 protected:
  // A crash, a restart, a crash of the machine, or a loss of power.
  static void Disturb(uint64_t how, Cluster* cluster, std::unique_ptr<Node>* node) {
    if (how == 3) cluster->CutPower();
    if (how == 1) {
      (*node)->Stop();
    } else {
      (*node)->Crash();
    }
    if (how >= 2) cluster->Reopen();
    *node = cluster->StartNode();
  }
};

TEST_P(UserReferenceTest, AnswersEqualThoseOfTheReferenceWhateverHappensOnTheWay) {
  const int seed = GetParam();
  RandomLog log(static_cast<uint64_t>(seed));
  std::mt19937_64& random = log.random;
  const FunnelCase cases[] = {
      {"[]", {}, 600},
      {R"(["strict_increase"])", {false, false, true}, 300},
      {R"(["strict_deduplication"])", {false, true, false}, 900},
      {R"(["strict_order"])", {true, false, false}, 600},
      {R"(["strict_order", "strict_deduplication", "strict_increase"])", {true, true, true}, 600}};
  const int partitions = 1 + static_cast<int>(random() % 4);
  Cluster cluster(partitions);
  const int64_t from_us = Time("2024-05-01T12:00:00Z");
  const int span_seconds = random() % 2 == 0 ? 1'800 : 5 * 86'400;
  cluster.clock().SetNowMicros(from_us + 6 * kDay);
  std::vector<std::string> names;
  const auto apply = [&](size_t i) {
    names.push_back(absl::StrCat("f", i));
    cluster.Apply(MakeResource(
        "Funnel", names.back(), 1,
        absl::StrCat(R"json({"within": ")json", cases[i].within_s, R"json(s", "modes": )json", cases[i].modes,
                     R"json(, "steps": [
            {"name": "search", "filter": "type == \"search\""}, {"name": "view", "filter": "type == \"view\""},
            {"name": "buy",
             "filter": "(type == \"buy\" && data.price > 0.0) || (type == \"view\" && data.price > 1.0)"}],
            "dimensions": [{"name": "region"}]})json")));
  };
  apply(0);
  cluster.Apply(MakeResource("Retention", "return", 1, kReturn));
  std::vector<TestEvent> events;
  auto node = cluster.StartNode();
  for (int step = 0; step < 25; ++step) {
    std::map<int, std::vector<TestEvent>> batches;
    for (int i = static_cast<int>(random() % (step % 7 == 0 ? 60 : 12)); i > 0; --i) {
      const TestEvent event = log.Next(from_us, span_seconds);
      batches[static_cast<int>(std::hash<std::string>()(event.subject) % static_cast<size_t>(partitions))].push_back(
          event);
      events.push_back(event);
    }
    for (const auto& [partition, batch] : batches) cluster.Publish(partition, batch);
    const uint64_t action = random() % 10;
    if (action < 4) Disturb(action, &cluster, &node);
    if (action == 4) {
      ASSERT_EQ(Funnel(*node, names[0]), FunnelReferenceRows(events, cases[0], false));
      ASSERT_EQ(Cohorts(*node, "return"), CohortReferenceRows(events));
    }
    if (action == 5 && names.size() < std::size(cases)) apply(names.size());
  }
  for (size_t i = 0; i < names.size(); ++i) {
    SCOPED_TRACE(absl::StrCat("seed ", seed, " ", cases[i].modes));
    EXPECT_EQ(Funnel(*node, names[i]), FunnelReferenceRows(events, cases[i], false));
    EXPECT_EQ(Funnel(*node, names[i], [](auto* r) { r->add_group_by("region"); }),
              FunnelReferenceRows(events, cases[i], true));
  }
  EXPECT_EQ(Cohorts(*node, "return"), CohortReferenceRows(events));
}

INSTANTIATE_TEST_SUITE_P(Seeds, UserReferenceTest, ::testing::Range(1, 25));

std::vector<std::string> TestFailures(const std::string& yaml) {
  const catalog::ResourceSet set = catalog::LoadText("a.yaml", yaml);
  for (const auto& problem : set.problems) ADD_FAILURE() << problem.ToString();
  catalog::TestRunners runners;
  RegisterUserTests(&runners);
  std::vector<std::string> failures;
  for (const FieldViolation& failure : runners.Run(*set.resources.at(0).resource, nullptr)) {
    failures.push_back(absl::StrCat(failure.field, ": ", failure.description));
  }
  return failures;
}

TEST(UserEvaluatorTest, RunsTheTestsOfFunnels) {
  const std::string funnel = R"(apiVersion: naru.dev/v1
kind: Funnel
metadata: {name: purchase}
spec:
  within: 1h
  steps:
    - {name: search, filter: 'type == "s"'}
    - {name: detail, filter: 'type == "d"'}
  dimensions: [{name: region}]
tests:
  - events:
      - {time: 2024-05-01T00:00:00Z, type: s, subject: a, data: {region: Seoul}}
      - {time: 2024-05-01T00:00:03Z, type: d, subject: a}
      - {time: 2024-05-01T00:00:00Z, type: s, subject: b, data: {region: Busan}}
    rows:
)";
  EXPECT_THAT(TestFailures(funnel + R"(
      - {steps: [{name: search, users: 2}, {name: detail, users: 1, from_previous: 0.5, median_from_previous_s: 3}]}
      - {group: {region: Seoul}, steps: [{users: 1}, {users: 1}], final: false}
)"),
              IsEmpty());
  EXPECT_THAT(TestFailures(funnel + "      - {steps: [{users: 2}, {users: 2}]}\n"),
              ElementsAre(HasSubstr("tests[0].rows[0]: expected ")));
  EXPECT_THAT(TestFailures(funnel + "      - {group: {region: Jeju}}\n"),
              ElementsAre(HasSubstr("but there is no such row; there are 2: ")));
  EXPECT_THAT(TestFailures(funnel + "      - {users: 2}\n"),
              ElementsAre(HasSubstr("tests[0].rows[0].users: rows have group, steps, final, truncated_users")));
}

TEST(UserEvaluatorTest, RunsTheTestsOfRetentions) {
  const std::string retention = R"(apiVersion: naru.dev/v1
kind: Retention
metadata: {name: back}
spec: {first: 'type == "s"', returned: 'type == "s"', unit: 1w, count: 2, time_zone: Asia/Seoul}
tests:
  - events:
      - {time: 2024-05-01T00:00:00+09:00, type: s, subject: a}
      - {time: 2024-05-13T00:00:00+09:00, type: s, subject: a}
    rows:
)";
  EXPECT_THAT(TestFailures(retention + "      - {start: 2024-04-29T00:00:00+09:00, users: 1, returned: [1, 0, 1]}\n"),
              IsEmpty());
  EXPECT_THAT(TestFailures(retention + "      - {start: 2024-05-06T00:00:00+09:00, users: 1}\n"),
              ElementsAre(HasSubstr("but there is no such row; there are 2")));
}

}  // namespace
}  // namespace naru::aggregator
