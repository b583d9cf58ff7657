// Compiled metrics, timelines, stored records, groups, repeats; each without a log.
#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/catalog/validate.h"
#include "common/clock/rfc3339.h"
#include "common/event/event_writer.h"
#include "common/status/status.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/aggregate_record.h"
#include "services/aggregator/group_key.h"
#include "services/aggregator/metric_evaluator.h"
#include "services/aggregator/metric_plan.h"
#include "services/aggregator/replay_filter.h"
#include "services/aggregator/timelines.h"

namespace naru::aggregator {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kSecond = 1'000'000;

catalog::v1::Metric FromJson(const std::string& json) {
  catalog::v1::Metric metric;
  const auto status = google::protobuf::util::JsonStringToMessage(json, &metric);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return metric;
}

std::vector<std::string> Problems(const std::string& json) {
  cel::Environment environment = cel::Environment::ForEvents();
  const auto plan = MetricPlan::Compile("m", 1, 0, FromJson(json), &environment);
  std::vector<std::string> fields;
  if (plan.ok()) return fields;
  for (const FieldViolation& violation : GetErrorDetails(plan.status()).violations)
    fields.push_back(violation.field + ": " + violation.description);
  return fields;
}

std::string WithMeasure(const std::string& measure) {
  return absl::StrCat(R"({"window": {"type": "tumbling", "size": "1m"}, "measures": [)", measure, "]}");
}

TEST(MetricPlanTest, TellsEveryMistakeWithItsField) {
  EXPECT_THAT(Problems(WithMeasure(R"({"name": "n", "agg": "count"})")), IsEmpty());
  EXPECT_THAT(Problems(R"({"window": {"type": "tumbling", "size": "1x"}, "topic": "products", "filter": "type ==",
                           "start": "soon", "retention": "-1h", "max_groups": -1,
                           "dimensions": [{"name": "a b"}, {"name": "d"}, {"name": "d"}]})"),
              ElementsAre(HasSubstr("spec.topic"), HasSubstr("spec.window.size"), HasSubstr("spec.filter"),
                          HasSubstr("spec.retention"), HasSubstr("spec.start"), HasSubstr("spec.max_groups"),
                          HasSubstr("spec.dimensions[0].name"), HasSubstr("spec.dimensions[0].expr"),
                          HasSubstr("spec.dimensions[2].name"), HasSubstr("spec.measures")));
  EXPECT_THAT(Problems(WithMeasure(R"({"name": "p", "agg": "median", "expr": "data.x"})")),
              ElementsAre(HasSubstr("must be one of count, sum, min, max, avg, variance, stddev, first, last, "
                                    "count_distinct, percentile, top_k, ratio, histogram")));
  EXPECT_THAT(Problems(WithMeasure(R"({"name": "p", "agg": "percentile", "expr": "data.x"})")),
              ElementsAre(HasSubstr("measures[0].percentile")));
  EXPECT_THAT(Problems(WithMeasure(R"({"name": "n", "agg": "count", "percentile": 5})")),
              ElementsAre(HasSubstr("measures[0].percentile: is only for percentile")));
  EXPECT_THAT(Problems(WithMeasure(R"({"name": "h", "agg": "histogram", "expr": "data.x", "bounds": [2, 1]})")),
              ElementsAre(HasSubstr("measures[0].bounds: must be 1 to 200")));
  EXPECT_THAT(Problems(WithMeasure(R"({"name": "r", "agg": "ratio", "numerator": "a", "denominator": "n"},
                                      {"name": "n", "agg": "count"})")),
              ElementsAre(HasSubstr("measures[0].numerator: `a` must be the name of another measure")));
  EXPECT_THAT(Problems(WithMeasure(R"({"name": "r", "agg": "ratio", "numerator": "n", "denominator": "r",
                                       "expr": "data.x", "filter": "true"}, {"name": "n", "agg": "count"})")),
              ElementsAre(HasSubstr("measures[0].expr"), HasSubstr("measures[0].filter"),
                          HasSubstr("measures[0].denominator: `r` is a ratio")));
  EXPECT_THAT(Problems(WithMeasure(R"({"name": "n", "agg": "count", "denominator": "n"})")),
              ElementsAre(HasSubstr("measures[0].denominator: is only for ratio")));
  EXPECT_THAT(Problems(WithMeasure(R"({"name": "n", "agg": "count", "expr": "data.x"})")),
              ElementsAre(HasSubstr("measures[0].expr")));
  EXPECT_THAT(Problems(WithMeasure(R"({"name": "n", "agg": "sum"})")),
              ElementsAre(HasSubstr("measures[0].expr: is needed for sum")));
  EXPECT_THAT(Problems(WithMeasure(R"({"name": "n", "agg": "top_k", "expr": "data.x", "k": 1001})")),
              ElementsAre(HasSubstr("measures[0].k")));
  EXPECT_THAT(Problems(WithMeasure(R"({"name": "window_start", "agg": "count"})")), ElementsAre(HasSubstr("taken")));
  EXPECT_THAT(Problems(WithMeasure(R"({"name": "n", "agg": "count", "filter": "1 + 1"})")),
              ElementsAre(HasSubstr("measures[0].filter")));
}

// What apply accepts is computed, and what cannot be computed is refused before.
TEST(MetricPlanTest, WindowsAreAcceptedByTheCatalogExactlyWhereTheyCanBeCut) {
  const std::vector<std::string> lengths = {"1ms", "7s",  "40s", "1m",  "5m", "7m", "20m", "30m", "60m", "90m", "3h",
                                            "5h",  "12h", "24h", "36h", "1d", "2d", "10d", "1w",  "2w",  "1mo", "3mo"};
  int accepted = 0;
  for (const char* type : {"tumbling", "hopping", "cumulative", "global"}) {
    for (const std::string& size : lengths) {
      for (const std::string& part : lengths) {
        catalog::v1::Resource resource;
        resource.set_api_version("naru.dev/v1");
        resource.set_kind("Metric");
        resource.mutable_metadata()->set_name("m");
        catalog::v1::Metric& metric = *resource.mutable_metric();
        metric = FromJson(WithMeasure(R"({"name": "n", "agg": "count"})"));
        metric.mutable_window()->set_type(type);
        if (std::string(type) == "global") metric.mutable_window()->clear_size();
        if (std::string(type) != "global") metric.mutable_window()->set_size(size);
        if (std::string(type) == "hopping") metric.mutable_window()->set_slide(part);
        if (std::string(type) == "cumulative") metric.mutable_window()->set_step(part);
        const bool valid = catalog::Validate(resource, nullptr).empty();
        const auto grid = WindowGrid::Compile(metric.window(), "Asia/Seoul");
        ASSERT_EQ(valid, grid.ok()) << type << " " << size << " " << part << " " << grid.status();
        accepted += valid;
      }
    }
  }
  EXPECT_GT(accepted, 100);
}

TEST(TypeConditionTest, FindsWhatTheTypeAloneDecides) {
  const auto find = [](const std::string& source) {
    Condition condition;
    FindTypeCondition(source, &condition);
    if (!condition.types.has_value()) return std::string("none");
    std::string text = condition.types_decide ? "all" : "some";
    for (const std::string& type : *condition.types) absl::StrAppend(&text, " ", type);
    return text;
  };
  EXPECT_EQ(find("type == \"a\""), "all a");
  EXPECT_EQ(find(" type=='a' && data.x > 1"), "some a");
  EXPECT_EQ(find("type in [\"a\", 'b' ]"), "all a b");
  EXPECT_EQ(find("type in [\"a\"] && (data.x || data.y)"), "some a");
  EXPECT_EQ(find("type == \"a\" && data.x == \"p || q\""), "some a");
  for (const char* source :
       {"type == \"a\" || true", "type == \"a\" && x || y", "type == \"a\" ? true : false",
        "type == \"a\" && true ? true : true", "type == \"a\\n\"", "type == \"a\" == false", "types == \"a\"",
        "typein [\"a\"]", "type != \"a\"", "data.x && type == \"a\"", "type in []", "type == \"a\" && x // || y",
        "type == \"a\" + \"b\"", "type == \"a\" && \"\"\"x\"\"\" == data.x || true", "type"}) {
    EXPECT_EQ(find(source), "none") << source;
  }
}

// Routes by type are only a short cut: with them and without them, the same events count.
TEST(TypeConditionTest, ShortCutsChangeNoResult) {
  const std::vector<std::pair<std::string, std::string>> same = {
      {"type == 'a'", "(type == 'a')"},
      {"type in ['a', 'b'] && data.x > 2", "(type in ['a', 'b']) && data.x > 2"},
      {"type == 'b' && has(data.y) && data.y == 'q'", "(type == 'b') && has(data.y) && data.y == 'q'"},
      {"type in ['c'] && data.missing == 1", "(type in ['c']) && data.missing == 1"}};
  std::mt19937_64 random(3);
  for (const auto& [quick, slow] : same) {
    std::unique_ptr<MetricEvaluator> evaluators[2];
    for (int i = 0; i < 2; ++i) {
      const std::string& source = i == 0 ? quick : slow;
      catalog::v1::Metric metric =
          FromJson(WithMeasure(R"({"name": "n", "agg": "count"}, {"name": "f", "agg": "count"})"));
      metric.mutable_measures(0)->set_filter(source);
      evaluators[i] = std::move(*MetricEvaluator::Create("m", metric));
    }
    for (int n = 0; n < 500; ++n) {
      std::string data, bytes;
      event::StructWriter writer(&data);
      if (random() % 2 == 0) writer.AddNumber("x", static_cast<double>(random() % 5));
      if (random() % 2 == 0) writer.AddString("y", random() % 2 == 0 ? "q" : "r");
      const std::string type(1, static_cast<char>('a' + random() % 4));
      event::EventFields fields;
      fields.id = "i";
      fields.source = "s";
      fields.type = type;
      fields.data = data;
      event::AppendEvent(fields, &bytes);
      for (const auto& evaluator : evaluators) ASSERT_TRUE(evaluator->Add(bytes, kSecond).ok());
    }
    const auto a = evaluators[0]->Rows(), b = evaluators[1]->Rows();
    ASSERT_EQ(a->size(), 1u);
    EXPECT_EQ((*a)[0].DebugString(), (*b)[0].DebugString()) << quick;
  }
}

TEST(MetricEvaluatorTest, RunsTheTestsOfAResourceAndSaysWhatCameOut) {
  catalog::v1::Resource resource;
  const auto status = google::protobuf::util::JsonStringToMessage(R"({
    "kind": "Metric", "metadata": {"name": "hot"},
    "metric": {"time_zone": "Asia/Seoul", "window": {"type": "hopping", "size": "60m", "slide": "5m"},
               "dimensions": [{"name": "gender", "expr": "data.user_gender"}],
               "measures": [{"name": "logins", "agg": "count", "filter": "type == \"UserLogin\""},
                            {"name": "words", "agg": "top_k", "k": 2, "expr": "data.word"}]},
    "tests": [
      {"events": [{"time": "2022-11-01T09:00:00+09:00", "type": "UserLogin", "subject": "m1"},
                  {"time": "2022-11-01T09:01:00+09:00", "type": "UserLogin", "data": {"user_gender": "F", "word": "cup"}}],
       "rows": [{"window_start": "2022-11-01T08:05:00+09:00", "group": {"gender": null}, "measures": {"logins": 1}},
                {"window_start": "2022-11-01T00:00:00Z", "window_end": "2022-11-01T01:00:00Z", "group": {"gender": "F"},
                 "measures": {"logins": 1, "words": [{"key": "cup", "count": 1}]}, "final": false}]},
      {"events": [{"time": "2022-11-01T09:00:00+09:00", "type": "UserLogin"}, {"type": "UserLogin"}, {"time": "soon", "type": "x"}],
       "rows": [{"window_start": "2022-11-01T08:05:00+09:00", "measures": {"logins": 2}},
                {"window_start": "2022-11-01T12:00:00+09:00"}, {"windowstart": "2022-11-01T09:00:00+09:00"}]}
    ]})",
                                                                  &resource);
  ASSERT_TRUE(status.ok()) << status.ToString();
  const std::vector<FieldViolation> failures = RunMetricTests(resource, nullptr);
  std::vector<std::string> fields;
  for (const FieldViolation& failure : failures) fields.push_back(failure.field + ": " + failure.description);
  EXPECT_THAT(fields, ElementsAre(HasSubstr("tests[1].events[1]: `time` must be given"),
                                  HasSubstr("tests[1].events[2]"), HasSubstr("tests[1].rows[0]: expected"),
                                  HasSubstr("tests[1].rows[1]: expected"), HasSubstr("tests[1].rows[2].windowstart")));
  EXPECT_THAT(fields[2], HasSubstr("\"logins\":1"));
}

TEST(TimelinesTest, AWatermarkNeverFollowsAClockInTheFuture) {
  Timelines timelines;
  EXPECT_EQ(timelines.Observe("", 100 * kSecond, 50 * kSecond), 50 * kSecond);
  EXPECT_EQ(timelines.Observe("", 10 * kSecond, 60 * kSecond), 50 * kSecond);
  EXPECT_EQ(timelines.Observe("import", 5, 61 * kSecond), 5);
  EXPECT_EQ(LiveWatermark(timelines.all(), kSecond), 49 * kSecond);
}

TEST(TimelinesTest, TheFrontierIsTheLeastOpenWatermark) {
  Timelines timelines;
  const auto frontier = [&](int64_t now_us, bool caught_up = true) {
    return PartitionFrontier(timelines.all(), 10 * kSecond, 30 * kSecond, now_us, caught_up);
  };
  EXPECT_EQ(frontier(1000 * kSecond), 990 * kSecond);  // nothing yet: the wall clock
  EXPECT_EQ(frontier(1000 * kSecond, false), kNever);
  timelines.Observe("", 900 * kSecond, 1000 * kSecond);
  EXPECT_EQ(frontier(1029 * kSecond), 890 * kSecond);
  EXPECT_EQ(frontier(1030 * kSecond), 1020 * kSecond);  // idle
  EXPECT_EQ(frontier(1030 * kSecond, false), 890 * kSecond);
  timelines.Observe("import", 5 * kSecond, 1030 * kSecond);
  EXPECT_EQ(frontier(1031 * kSecond), -5 * kSecond);
  EXPECT_EQ(frontier(1031 * kSecond + kSilentImportUs), 1021 * kSecond + kSilentImportUs);
  timelines.End("import", 1032 * kSecond);
  EXPECT_EQ(frontier(1040 * kSecond), 1030 * kSecond);
}

TEST(TimelinesTest, RemembersABoundedNumberOfTimelinesAndNeverForgetsLive) {
  Timelines timelines;
  timelines.Observe("", 1, 1);
  for (int i = 0; i < 5000; ++i) {
    timelines.Observe(absl::StrCat("import", i), i, i);
    if (i % 2 == 0) timelines.End(absl::StrCat("import", i), i);
  }
  EXPECT_LE(timelines.all().size(), kMaxTimelines);
  EXPECT_GE(timelines.all().size(), kMaxTimelines - 1);
  EXPECT_EQ(timelines.all()[0].id, "");
}

TEST(ReplayFilterTest, DropsRepeatsOfTenMinutesAndNothingElse) {
  ReplayFilter filter;
  const int64_t window = ReplayFilter::kWindowUs;
  EXPECT_FALSE(filter.IsRepeat("s", "1", 0));
  EXPECT_TRUE(filter.IsRepeat("s", "1", window));
  EXPECT_FALSE(filter.IsRepeat("s1", "", window));
  EXPECT_FALSE(filter.IsRepeat("", "s1", window));
  EXPECT_FALSE(filter.IsRepeat("s", "1", window + 1));  // counted from the first, not from its repeat
  std::map<std::string, int64_t> last;
  std::mt19937_64 random(1);
  ReplayFilter checked;
  for (int64_t now = 0; now < 100 * window; now += static_cast<int64_t>(random() % (window / 50))) {
    const std::string id = absl::StrCat(random() % 300);
    const bool repeat = last.count(id) > 0 && now - last[id] <= window;
    if (!repeat) last[id] = now;
    ASSERT_EQ(checked.IsRepeat("s", id, now), repeat);
    ASSERT_LE(checked.size(), 600u);
  }
}

// An id window that begins anywhere up to a window earlier gives the same answers: what a new owner relies on.
TEST(ReplayFilterTest, AnswersTheSameAfterReadingBackOneWindow) {
  std::mt19937_64 random(2);
  std::vector<std::pair<int64_t, std::string>> events;
  for (int64_t now = 0; now < 20 * ReplayFilter::kWindowUs;
       now += static_cast<int64_t>(random() % (ReplayFilter::kWindowUs / 100))) {
    events.emplace_back(now, absl::StrCat(random() % 2000));
  }
  ReplayFilter straight;
  std::vector<bool> answers;
  for (const auto& [now, id] : events) answers.push_back(straight.IsRepeat("s", id, now));
  int differing = 0;
  for (size_t at = events.size() / 2; at < events.size(); at += events.size() / 10) {
    ReplayFilter restored;
    for (size_t i = 0; i < events.size(); ++i) {
      if (events[i].first < events[at].first - ReplayFilter::kWindowUs) continue;
      const bool repeat = restored.IsRepeat("s", events[i].second, events[i].first);
      if (i >= at) differing += repeat != answers[i];
    }
  }
  EXPECT_EQ(differing, 0);
}

cel::Value RandomValue(std::mt19937_64& random, std::string* text) {
  switch (random() % 7) {
    case 0:
      return cel::Value::Null();
    case 1:
      return cel::Value::Bool(random() % 2 == 0);
    case 2:
      return cel::Value::Double(static_cast<double>(static_cast<int64_t>(random())) / 1e6);
    case 3:
      return cel::Value::Int(static_cast<int64_t>(random() % 100) - 50);
    case 4:
      return cel::Value::Timestamp(static_cast<int64_t>(random() % 1'000'000) - 500'000);
    default:
      text->clear();
      for (int i = static_cast<int>(random() % 5); i > 0; --i) text->push_back(static_cast<char>(random() % 3));
      return cel::Value::String(*text);
  }
}

TEST(GroupKeyTest, KeysReadBackAndSortAsTheirValues) {
  std::mt19937_64 random(5);
  const auto rank = [](const GroupValue& v) {
    switch (v.kind) {
      case cel::Kind::kNull:
        return 0;
      case cel::Kind::kBool:
        return 1;
      case cel::Kind::kDouble:
        return 2;
      case cel::Kind::kString:
        return 3;
      default:
        return 4;
    }
  };
  const auto less = [&](const GroupValue& a, const GroupValue& b) {
    if (rank(a) != rank(b)) return rank(a) < rank(b);
    if (a.kind == cel::Kind::kDouble) return a.number < b.number;
    if (a.kind == cel::Kind::kString) return a.text < b.text;
    return a.integer < b.integer;
  };
  for (int i = 0; i < 20'000; ++i) {
    std::string keys[2], text;
    std::vector<GroupValue> values[2];
    for (int k = 0; k < 2; ++k) {
      for (int d = 0; d < 2; ++d) ASSERT_TRUE(AppendGroupValue(RandomValue(random, &text), &keys[k]));
      ASSERT_TRUE(DecodeGroup(keys[k], 2, &values[k]));
      std::vector<absl::string_view> parts;
      ASSERT_TRUE(SplitGroup(keys[k], 2, &parts));
      EXPECT_EQ(absl::StrCat(parts[0], parts[1]), keys[k]);
      std::string again;
      for (const GroupValue& value : values[k]) AppendGroupValue(value.ToCel(), &again);
      ASSERT_EQ(again, keys[k]);
      ASSERT_LT(keys[k], kOtherGroup);
    }
    const bool expected =
        std::lexicographical_compare(values[0].begin(), values[0].end(), values[1].begin(), values[1].end(), less);
    ASSERT_EQ(keys[0] < keys[1], expected);
  }
}

TEST(GroupKeyTest, RefusesWhatCannotBeAGroup) {
  std::string key = "kept";
  EXPECT_FALSE(AppendGroupValue(cel::Value::Double(std::nan("")), &key));
  EXPECT_FALSE(AppendGroupValue(cel::Value::String(std::string(kMaxGroupTextBytes + 1, 'x')), &key));
  EXPECT_FALSE(AppendGroupValue(cel::Value::Struct(""), &key));
  EXPECT_FALSE(AppendGroupValue(cel::Value::Error(cel::ErrorCode::kOverflow), &key));
  EXPECT_EQ(key, "kept");
  std::vector<GroupValue> values;
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes;
    for (int n = static_cast<int>(random() % 12); n > 0; --n) bytes.push_back(static_cast<char>(random() % 10));
    std::vector<absl::string_view> parts;
    EXPECT_EQ(DecodeGroup(bytes, 2, &values), SplitGroup(bytes, 2, &parts));
  }
}

TEST(AggregateRecordTest, KeysSortByMetricVersionPartitionKindAndPane) {
  std::vector<std::string> keys;
  for (const int partition : {0, 1, 300}) {
    for (const RecordKind kind : {RecordKind::kProgress, RecordKind::kSpec, RecordKind::kPane, RecordKind::kRow}) {
      for (const int64_t pane : {int64_t{-5}, int64_t{0}, int64_t{7'000'000}}) {
        RecordKey key;
        key.kind = kind;
        key.metric = "hot-activity";
        key.version = 3;
        key.partition = partition;
        const bool has_pane = kind == RecordKind::kPane || kind == RecordKind::kRow;
        if (!has_pane && pane != 0) continue;
        key.pane_start_us = has_pane ? pane : 0;
        if (kind == RecordKind::kRow) key.group = "g";
        keys.push_back(EncodeKey(key));
        RecordKey decoded;
        ASSERT_TRUE(DecodeKey(keys.back(), &decoded));
        EXPECT_EQ(decoded.metric, "hot-activity");
        EXPECT_EQ(decoded.kind, kind);
        EXPECT_EQ(decoded.partition, partition);
        EXPECT_EQ(decoded.pane_start_us, key.pane_start_us);
        EXPECT_EQ(decoded.group, key.group);
        const std::string prefix = KeyPrefix({"hot-activity", 3}, partition);
        EXPECT_TRUE(keys.back() >= prefix && keys.back() < PrefixEnd(prefix));
      }
    }
  }
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end()));
}

// The bytes of format 1, as the first release wrote them: they must stay readable for ever.
TEST(AggregateRecordTest, GoldenBytesOfTheFirstFormatStayReadable) {
  RecordKey key;
  key.kind = RecordKind::kRow;
  key.metric = "m";
  key.version = 2;
  key.partition = 3;
  key.pane_start_us = 60'000'000;
  std::string group;
  AppendGroupValue(cel::Value::String("F"), &group);
  AppendGroupValue(cel::Value::Int(20), &group);
  key.group = group;
  EXPECT_EQ(absl::BytesToHexString(EncodeKey(key)),
            "0100016d000000020000000304800000000393870006460001"
            "04c034000000000000");
  const CellLayout layout({{MeasureKind::kCount, 0},
                           {MeasureKind::kSum, 0},
                           {MeasureKind::kSum, 0},
                           {MeasureKind::kMin, 0},
                           {MeasureKind::kMax, 0},
                           {MeasureKind::kAvg, 0},
                           {MeasureKind::kCountDistinct, 0},
                           {MeasureKind::kTopK, 3}});
  Cell cell(&layout);
  layout.Increment(0, cell.data());
  layout.Update(1, cell.data(), cel::Value::Int(-7));
  layout.Update(2, cell.data(), cel::Value::Double(1.5));
  layout.Update(3, cell.data(), cel::Value::Int(4));
  layout.Update(4, cell.data(), cel::Value::Double(2.25));
  layout.Update(5, cell.data(), cel::Value::Int(9));
  layout.Update(6, cell.data(), cel::Value::String("a"));
  layout.Update(7, cell.data(), cel::Value::String("a"));
  std::string row;
  EncodeRow({{120'000'000, 2}}, layout, cell.data(), &row);
  const std::string golden =
      "010180b8b87202080100010d0001010000000000000000f83f00000000000000000108020000000000000240000112000b010001fb15a61f"
      "1faf"
      "81b30a01000104066100010100";
  EXPECT_EQ(absl::BytesToHexString(row), golden);
  Cell read(&layout);
  Revisions revisions;
  ASSERT_TRUE(MergeRow(absl::HexStringToBytes(golden), layout, read.data(), &revisions));
  EXPECT_EQ(revisions, (Revisions{{120'000'000, 2}}));
  MeasureResult result;
  layout.Finish(1, read.data(), &result);
  EXPECT_EQ(result.integer, -7);
  layout.Finish(2, read.data(), &result);
  EXPECT_EQ(result.number, 1.5);
  layout.Finish(7, read.data(), &result);
  ASSERT_EQ(result.top.size(), 1u);
  EXPECT_EQ(result.top[0].key.text, "a");
}

TEST(AggregateRecordTest, ProgressAndPanesReadBackAndDamageIsRefused) {
  Progress progress;
  progress.next_offset = 12345;
  progress.joined = true;
  progress.valid_from_us = -5;
  progress.counts = {1, 2, 3, 4};
  progress.timelines = {{"", 10, 20, false}, {"import", kNever, 30, true}};
  const std::string bytes = EncodeProgress(progress);
  Progress read;
  ASSERT_TRUE(DecodeProgress(bytes, &read));
  EXPECT_EQ(read.next_offset, 12345);
  EXPECT_TRUE(read.joined);
  EXPECT_EQ(read.valid_from_us, -5);
  EXPECT_EQ(read.counts.late, 4);
  EXPECT_EQ(read.timelines, progress.timelines);
  for (size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(DecodeProgress(bytes.substr(0, cut), &read));
  PaneRecord pane{7, 8, true, true}, again;
  ASSERT_TRUE(DecodePane(EncodePane(pane), &again));
  EXPECT_EQ(again.last_change_us, 7);
  EXPECT_EQ(again.group_count, 8);
  EXPECT_TRUE(again.truncated && again.first);
}

}  // namespace
}  // namespace naru::aggregator
