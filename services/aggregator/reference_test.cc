// Random events, batches, orders and crashes: whatever happens, the windows equal those of a slow, obvious reference
// that counts all events anew.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "common/clock/rfc3339.h"
#include "gtest/gtest.h"
#include "services/aggregator/testing_cluster.h"

namespace naru::aggregator {
namespace {

using testing::Cluster;
using testing::MakeMetric;
using testing::Node;
using testing::ShowRow;
using testing::TestEvent;
using testing::Time;

constexpr int64_t kSecond = 1'000'000;

// How the reference cuts time: every window that an instant lies in, found by looking at many candidates.
struct Cutting {
  std::string json;
  std::string zone;
  int64_t size_s = 0, slide_s = 0;  // fixed
  int days = 0;                     // civil: whole days
  bool hourly = false;              // civil days that start at each hour

  std::vector<std::pair<int64_t, int64_t>> WindowsOf(int64_t time_us) const {
    std::vector<std::pair<int64_t, int64_t>> windows;
    if (days == 0) {
      const int64_t slide = slide_s * kSecond;
      for (int64_t start = time_us / slide * slide; time_us < start + size_s * kSecond; start -= slide) {
        windows.emplace_back(start, start + size_s * kSecond);
      }
      return windows;
    }
    absl::TimeZone tz;
    EXPECT_TRUE(absl::LoadTimeZone(zone, &tz));
    const absl::Time time = absl::FromUnixMicros(time_us);
    const absl::CivilDay today = absl::ToCivilDay(time, tz);
    std::set<int64_t> seen;
    for (absl::CivilDay day = today - days - 1; day <= today; ++day) {
      for (int hour = 0; hour < (hourly ? 24 : 1); ++hour) {
        // A civil hour that comes twice starts two windows; one that does not exist starts none.
        const absl::CivilSecond local(day.year(), day.month(), day.day(), hour, 0, 0);
        const absl::TimeZone::TimeInfo info = tz.At(local);
        if (hourly && info.kind == absl::TimeZone::TimeInfo::SKIPPED) continue;
        const absl::CivilDay last = day + days;
        const absl::Time end =
            absl::FromCivil(absl::CivilSecond(last.year(), last.month(), last.day(), hour, 0, 0), tz);
        std::vector<absl::Time> starts = {absl::FromCivil(local, tz)};
        if (hourly && info.kind == absl::TimeZone::TimeInfo::REPEATED) starts.push_back(info.post);
        for (const absl::Time start : starts) {
          if (start <= time && time < end && seen.insert(absl::ToUnixMicros(start)).second) {
            windows.emplace_back(absl::ToUnixMicros(start), absl::ToUnixMicros(end));
          }
        }
      }
    }
    return windows;
  }
};

const char kMeasures[] = R"json(
  "filter": "type in [\"click\", \"buy\"] && data.band != 3",
  "dimensions": [{"name": "gender"}, {"name": "band", "expr": "bucket(data.band, 2, 8)"}],
  "measures": [
    {"name": "clicks", "agg": "count", "filter": "type == \"click\""},
    {"name": "big", "agg": "count", "filter": "data.points > 50"},
    {"name": "points", "agg": "sum", "expr": "data.points"},
    {"name": "price", "agg": "sum", "expr": "data.price", "filter": "type == \"buy\" && data.price > 0.0"},
    {"name": "low", "agg": "min", "expr": "data.points"},
    {"name": "high", "agg": "max", "expr": "data.price"},
    {"name": "mean", "agg": "avg", "expr": "data.points"},
    {"name": "users", "agg": "count_distinct", "expr": "subject"},
    {"name": "words", "agg": "top_k", "k": 2, "expr": "data.word"},
    {"name": "per_click", "agg": "ratio", "numerator": "points", "denominator": "clicks"},
    {"name": "opened", "agg": "first", "expr": "data.word"},
    {"name": "closed", "agg": "last", "expr": "data.points"},
    {"name": "p90", "agg": "percentile", "percentile": 90, "expr": "data.price"},
    {"name": "spans", "agg": "histogram", "bounds": [20, 50], "expr": "data.points"},
    {"name": "spread", "agg": "variance", "expr": "data.points"}
  ])json";

struct Totals {
  int64_t clicks = 0, big = 0, points = 0, with_points = 0;
  double price = 0;
  bool has_price_sum = false;
  std::set<int64_t> all_points;
  std::set<double> prices;
  std::set<std::string> users;
  std::map<std::string, int64_t> words;
  std::vector<double> every_price;
  std::vector<int64_t> every_point;
  std::map<std::pair<int64_t, std::string>, std::string> word_by_time;
  std::map<std::pair<int64_t, std::string>, int64_t> points_by_time;
};

std::string Number(double value) { return absl::StrFormat("%.9g", value); }

// Of the events at the first time the one with the greatest id.
std::string First(const std::map<std::pair<int64_t, std::string>, std::string>& by_time) {
  if (by_time.empty()) return "null";
  auto end = by_time.begin();
  while (end != by_time.end() && end->first.first == by_time.begin()->first.first) ++end;
  return std::prev(end)->second;
}

std::string Percentile90(std::vector<double> values) {
  if (values.empty()) return "null";
  std::sort(values.begin(), values.end());
  EXPECT_LE(values.size(), 64u) << "beyond, percentiles are estimates";
  return Number(values[static_cast<size_t>(std::ceil(static_cast<double>(values.size()) * 0.9)) - 1]);
}

std::string Variance(const std::vector<int64_t>& values) {
  if (values.size() < 2) return "null";
  long double mean = 0, squares = 0;
  for (const int64_t value : values) mean += static_cast<long double>(value);
  mean /= static_cast<long double>(values.size());
  for (const int64_t value : values)
    squares += (static_cast<long double>(value) - mean) * (static_cast<long double>(value) - mean);
  return Number(static_cast<double>(squares / static_cast<long double>(values.size() - 1)));
}

std::string Spans(const std::vector<int64_t>& values) {
  int counts[3] = {0, 0, 0};
  for (const int64_t value : values) ++counts[value <= 20 ? 0 : value <= 50 ? 1 : 2];
  return absl::StrCat("<", counts[0], " ", counts[1], " ", counts[2], " >");
}

// The rows as ShowRow prints them, by the order of the service's answers.
std::vector<std::string> Reference(const std::vector<TestEvent>& events, const Cutting& cutting) {
  std::map<std::tuple<int64_t, int64_t, std::string, int>, Totals> rows;
  for (const TestEvent& event : events) {
    if (event.type != "click" && event.type != "buy") continue;
    const int band = static_cast<int>(event.numbers.at("band"));
    if (band == 3) continue;
    const auto gender = event.strings.find("gender");
    for (const auto& [start, end] : cutting.WindowsOf(event.time_us)) {
      // "" sorts before all genders, as null does.
      Totals& row = rows[{start, end, gender == event.strings.end() ? "" : gender->second, std::min(band / 2 * 2, 8)}];
      const auto points = event.numbers.find("points");
      const auto price = event.numbers.find("price");
      if (event.type == "click") ++row.clicks;
      if (points != event.numbers.end()) {
        if (points->second > 50) ++row.big;
        row.points += static_cast<int64_t>(points->second);
        ++row.with_points;
        row.all_points.insert(static_cast<int64_t>(points->second));
        row.every_point.push_back(static_cast<int64_t>(points->second));
        row.points_by_time[{event.time_us, event.id}] = static_cast<int64_t>(points->second);
      }
      if (price != event.numbers.end()) {
        row.prices.insert(price->second);
        row.every_price.push_back(price->second);
        if (event.type == "buy" && price->second > 0) {
          row.price += price->second;
          row.has_price_sum = true;
        }
      }
      row.users.insert(event.subject);
      const auto word = event.strings.find("word");
      if (word != event.strings.end()) {
        ++row.words[word->second];
        row.word_by_time[{event.time_us, event.id}] = word->second;
      }
    }
  }
  std::vector<std::string> texts;
  for (const auto& [key, row] : rows) {
    const auto& [start, end, gender, band] = key;
    std::vector<std::pair<int64_t, std::string>> words;
    for (const auto& [word, count] : row.words) words.emplace_back(-count, word);
    std::sort(words.begin(), words.end());
    if (words.size() > 2) words.resize(2);
    std::string top = "[";
    for (const auto& [count, word] : words) absl::StrAppend(&top, word, ":", -count, " ");
    texts.push_back(absl::StrCat(
        FormatRfc3339(start), "/", FormatRfc3339(end), " {band=", band, ",gender=", gender.empty() ? "null" : gender,
        "}", " big=", row.big, " clicks=", row.clicks,
        " closed=", row.points_by_time.empty() ? "null" : absl::StrCat(std::prev(row.points_by_time.end())->second),
        " high=", row.prices.empty() ? "null" : Number(*row.prices.rbegin()),
        " low=", row.all_points.empty() ? "null" : absl::StrCat(*row.all_points.begin()), " mean=",
        row.with_points == 0 ? "null" : Number(static_cast<double>(row.points) / static_cast<double>(row.with_points)),
        " opened=", First(row.word_by_time), " p90=", Percentile90(row.every_price), " per_click=",
        row.with_points == 0 || row.clicks == 0
            ? "null"
            : Number(static_cast<double>(row.points) / static_cast<double>(row.clicks)),
        " points=", row.with_points == 0 ? "null" : absl::StrCat(row.points),
        " price=", row.has_price_sum ? Number(row.price) : "null", " spans=", Spans(row.every_point),
        " spread=", Variance(row.every_point), " users=", row.users.size(), " words=", top, "]"));
  }
  return texts;
}

TestEvent RandomEvent(std::mt19937_64& random, int64_t from_us, int64_t span_us) {
  static const char* const kTypes[] = {"click", "buy", "view"};
  static const char* const kWords[] = {"물", "탄산수", "cup", "bag", ""};
  TestEvent event;
  event.type = kTypes[random() % 3];
  event.id = absl::StrFormat("%016x", random());
  event.subject = absl::StrCat("user", random() % 40);
  event.time_us = from_us + static_cast<int64_t>(random() % static_cast<uint64_t>(span_us));
  if (random() % 2 == 0) event.time_us = event.time_us / (60 * kSecond) * (60 * kSecond);  // at the same time as others
  event.numbers["band"] = static_cast<double>(random() % 12);
  if (random() % 4 != 0) event.numbers["points"] = static_cast<double>(random() % 100);
  // Never a whole number, so that its sum is a double; a multiple of 1/64, so that the sum is exact in any order.
  if (random() % 3 != 0)
    event.numbers["price"] = static_cast<double>(random() % 1000) + static_cast<double>(random() % 63 + 1) / 64 - 100;
  if (random() % 5 != 0) event.strings["gender"] = random() % 2 == 0 ? "F" : "M";
  if (random() % 2 == 0) event.strings["word"] = kWords[random() % 5];
  return event;
}

std::vector<std::string> Actual(Node& node, const std::string& metric) {
  std::vector<std::string> texts;
  for (const v1::WindowRow& row : node.AllRows(metric)) texts.push_back(ShowRow(row));
  return texts;
}

class ReferenceTest : public ::testing::TestWithParam<int> {};

TEST_P(ReferenceTest, WindowsEqualThoseOfTheReferenceWhateverHappensOnTheWay) {
  const int seed = GetParam();
  std::mt19937_64 random(static_cast<uint64_t>(seed));
  const int partitions = 1 + static_cast<int>(random() % 4);
  const std::vector<Cutting> cuttings = {
      {R"("window": {"type": "tumbling", "size": "90s"})", "", 90, 90, 0, false},
      {R"("window": {"type": "hopping", "size": "10m", "slide": "4m"})", "", 600, 240, 0, false},
      {R"("window": {"type": "tumbling", "size": "1d"}, "time_zone": "America/New_York")", "America/New_York", 0, 0, 1,
       false},
      {R"("window": {"type": "hopping", "size": "2d", "slide": "1d"}, "time_zone": "Asia/Seoul")", "Asia/Seoul", 0, 0,
       2, false},
      {R"("window": {"type": "hopping", "size": "1d", "slide": "1h"}, "time_zone": "America/New_York")",
       "America/New_York", 0, 0, 1, true},
  };
  // Across a change of New York's clocks, in one half of the cases in autumn.
  const int64_t from_us = Time(seed % 2 == 0 ? "2024-03-09T20:00:00Z" : "2024-11-02T20:00:00Z");
  const int64_t span_us = (random() % 2 == 0 ? 2 : 40) * 3600 * kSecond;
  Cluster cluster(partitions);
  cluster.clock().SetNowMicros(from_us + span_us);
  const size_t metrics = 1 + random() % cuttings.size();
  std::vector<std::string> names;
  const auto apply = [&](size_t i) {
    names.push_back(absl::StrCat("m", i));
    cluster.Apply(MakeMetric(names.back(), 1, absl::StrCat("{", cuttings[i].json, ",", kMeasures, "}")));
  };
  for (size_t i = 0; i < metrics; ++i) apply(i);
  std::vector<TestEvent> events;
  auto node = cluster.StartNode();
  for (int step = 0; step < 30; ++step) {
    std::vector<TestEvent> batch;
    const int size = static_cast<int>(random() % (step % 7 == 0 ? 200 : 12));
    for (int i = 0; i < size; ++i) batch.push_back(RandomEvent(random, from_us, span_us));
    cluster.Publish(static_cast<int>(random() % static_cast<uint64_t>(partitions)), batch);
    events.insert(events.end(), batch.begin(), batch.end());
    switch (random() % 11) {
      case 0:
        node->Crash();
        node = cluster.StartNode();
        break;
      case 1:
        node->Stop();
        node = cluster.StartNode();
        break;
      case 2:
        node->Crash();
        cluster.Reopen();
        node = cluster.StartNode();
        break;
      case 3:
        ASSERT_EQ(Actual(*node, names[0]), Reference(events, cuttings[0]));
        break;
      case 4:
        cluster.clock().Advance(std::chrono::seconds(random() % 60));
        break;
      case 5:
        if (names.size() < cuttings.size()) apply(names.size());
        break;
      case 6:
        cluster.CutPower();
        node->Crash();
        cluster.Reopen();
        node = cluster.StartNode();
        break;
      default:
        break;
    }
  }
  for (size_t i = 0; i < names.size(); ++i) {
    ASSERT_EQ(Actual(*node, names[i]), Reference(events, cuttings[i])) << "seed " << seed << " " << cuttings[i].json;
    EXPECT_EQ(node->Status(names[i]).matched_count() + node->Status(names[i]).not_matched_count(),
              static_cast<int64_t>(events.size()));
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ReferenceTest, ::testing::Range(1, 25));

}  // namespace
}  // namespace naru::aggregator
