// Real input through the whole platform, against counts made from the same bytes by code of its own: slow, obvious, and
// sharing nothing with what it checks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "tests/e2e/naru_process.h"

namespace naru::e2e {
namespace {

using ::naru::testing::ProcessResult;
using ::naru::testing::TempDir;

/// The text between `"key":"` and the next quote.
std::string JsonText(const std::string& json, const std::string& key) {
  const std::string label = absl::StrCat("\"", key, "\":\"");
  const size_t at = json.find(label);
  if (at == std::string::npos) return "";
  const size_t begin = at + label.size();
  return json.substr(begin, json.find('"', begin) - begin);
}

class RealInputTest : public ::testing::Test {
 protected:
  void Start(const std::string& pack) {
    auto started = Platform::Start(dir_.File("data"), {pack});
    ASSERT_TRUE(started.ok()) << started.status();
    platform_ = *std::move(started);
  }
  std::vector<std::string> Rows(std::vector<std::string> args) {
    args.insert(args.begin(), "query");
    args.insert(args.end(), {"--output", "json", "--limit", "0"});
    const ProcessResult result = platform_->Naru(std::move(args));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return Lines(result.out);
  }
  TempDir dir_;
  std::unique_ptr<Platform> platform_;
};

struct Hour {
  int64_t requests = 0;
  int64_t bytes = 0;
  std::set<std::string> visitors;
  int64_t errors = 0;
};

// `[17/May/2015:10:05:03 +0000]` as `2015-05-17T10:00:00Z`; the example log is in UTC.
std::string HourOf(const std::string& line) {
  const size_t at = line.find('[');
  char month[4] = {};
  int day = 0, year = 0, hour = 0;
  if (std::sscanf(line.c_str() + at, "[%d/%3s/%d:%d", &day, month, &year, &hour) != 4) return "";
  EXPECT_STREQ(month, "May");
  return absl::StrFormat("%04d-05-%02dT%02d:00:00Z", year, day, hour);
}

TEST_F(RealInputTest, TheAccessLogsHoursAreWhatItsLinesSay) {
  const auto log = testing::SharedDataPath("weblog/apache_logs");
  if (!log.has_value()) GTEST_SKIP() << "the example access log is not on this machine";
  std::map<std::string, Hour> hours;
  int64_t lines = 0;
  for (const std::string& line : Lines(testing::ReadFile(*log))) {
    if (line.back() != '"') continue;  // the one that was cut off
    ++lines;
    // ADDRESS - - [TIME] "REQUEST" STATUS BYTES "REFERRER" "AGENT", no quotes escaped inside the last one.
    const size_t agent = line.rfind('"', line.size() - 2);
    const size_t request_end = line.find("\" ", line.find('"') + 1);
    int status = 0;
    char bytes[32] = {};
    ASSERT_EQ(std::sscanf(line.c_str() + request_end, "\" %d %31s", &status, bytes), 2) << line;
    Hour& hour = hours[HourOf(line)];
    ++hour.requests;
    hour.bytes += bytes[0] == '-' ? 0 : std::stoll(bytes);
    hour.errors += status >= 400;
    hour.visitors.insert(line.substr(0, line.find(' ')) + " " + line.substr(agent));
  }
  ASSERT_EQ(lines, 9999);
  Start("weblog");
  ASSERT_EQ(
      JsonNumber(platform_->Naru({"import", *log, "--format", "apache-combined", "--output", "json"}).out, "accepted"),
      9999);
  const auto requests = Rows({"requests", "--group_by", "none"});
  ASSERT_EQ(requests.size(), hours.size());
  for (const std::string& row : requests) {
    const Hour& hour = hours[JsonText(row, "window_start")];
    EXPECT_EQ(JsonNumber(row, "requests"), hour.requests) << row;
    EXPECT_EQ(JsonNumber(row, "bytes"), hour.bytes) << row;
  }
  const auto visitors = Rows({"visitors"});
  ASSERT_EQ(visitors.size(), hours.size());
  for (const std::string& row : visitors) {
    const Hour& hour = hours[JsonText(row, "window_start")];
    EXPECT_EQ(JsonNumber(row, "visitors"), static_cast<int64_t>(hour.visitors.size())) << row;
    EXPECT_EQ(JsonNumber(row, "requests"), hour.requests) << row;
    EXPECT_EQ(JsonNumber(row, "errors"), hour.errors) << row;
  }
  int64_t sessions = 0, in_sessions = 0;
  for (const std::string& row : Rows({"visits"})) {
    sessions += JsonNumber(row, "visits");
    in_sessions += JsonNumber(row, "requests");
  }
  EXPECT_EQ(sessions, 3223) << "at a gap of 30 minutes, over address and user agent";
  EXPECT_EQ(in_sessions, 9999);
}

constexpr char kOtto[] = R"(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: clicks}
spec: {schema: {required: [aid], properties: {aid: {type: integer}}}}
---
apiVersion: naru.dev/v1
kind: EventType
metadata: {name: carts}
spec: {schema: {required: [aid], properties: {aid: {type: integer}}}}
---
apiVersion: naru.dev/v1
kind: EventType
metadata: {name: orders}
spec: {schema: {required: [aid], properties: {aid: {type: integer}}}}
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
kind: Metric
metadata: {name: days}
spec:
  time_zone: Asia/Seoul
  window: {type: tumbling, size: 1d}
  dimensions: [{name: kind, expr: type}]
  measures:
    - {name: events, agg: count}
    - {name: articles, agg: count_distinct, expr: data.aid}
    - {name: sessions, agg: count_distinct, expr: subject}
)";

TEST_F(RealInputTest, OttosSessionsAreEventsOneByOne) {
  const auto data = testing::SharedDataPath("clickstream/otto_train.jsonl");
  if (!data.has_value()) GTEST_SKIP() << "OTTO's example sessions are not on this machine";
  struct Day {
    int64_t events = 0;
    std::set<int64_t> articles, sessions;
  };
  std::map<std::string, Day> days;  // by day and kind
  absl::TimeZone seoul;
  ASSERT_TRUE(absl::LoadTimeZone("Asia/Seoul", &seoul));
  int64_t events = 0;
  for (const std::string& line : Lines(testing::ReadFile(*data))) {
    for (size_t at = line.find("{\"aid\""); at != std::string::npos; at = line.find("{\"aid\"", at + 1)) {
      const std::string event = line.substr(at, line.find('}', at) - at);
      const absl::Time time = absl::FromUnixMillis(JsonNumber(event, "ts"));
      const std::string start = absl::FormatTime(
          "%Y-%m-%dT%H:%M:%SZ", absl::FromCivil(absl::ToCivilDay(time, seoul), seoul), absl::UTCTimeZone());
      Day& day = days[absl::StrCat(start, " ", JsonText(event, "type"))];
      ++day.events;
      day.articles.insert(JsonNumber(event, "aid"));
      day.sessions.insert(JsonNumber(line, "session"));
      ++events;
    }
  }
  ASSERT_EQ(events, 862);
  TempDir pack;
  pack.Write("otto.yaml", kOtto);
  Start(pack.path());
  const ProcessResult imported = platform_->Naru({"import", *data, "--format", "otto", "--output", "json"});
  ASSERT_EQ(JsonNumber(imported.out, "accepted"), 862) << imported.out << imported.err;
  EXPECT_EQ(JsonNumber(platform_->Naru({"import", *data, "--format", "otto", "--output", "json"}).out, "duplicate"),
            862);
  const auto rows = Rows({"days"});
  ASSERT_EQ(rows.size(), days.size());
  std::map<std::string, int64_t> kinds;
  for (const std::string& row : rows) {
    const std::string kind = JsonText(row, "kind");
    const Day& day = days[absl::StrCat(JsonText(row, "window_start"), " ", kind)];
    EXPECT_EQ(JsonNumber(row, "events"), day.events) << row;
    EXPECT_EQ(JsonNumber(row, "articles"), static_cast<int64_t>(day.articles.size())) << row;
    EXPECT_EQ(JsonNumber(row, "sessions"), static_cast<int64_t>(day.sessions.size())) << row;
    kinds[kind] += JsonNumber(row, "events");
  }
  EXPECT_EQ(kinds, (std::map<std::string, int64_t>{{"clicks", 800}, {"carts", 52}, {"orders", 10}}));
}

// Messages as Ciao laBella's site sends them: Korean times that end with Z, `none` for everything about a stranger.
TEST_F(RealInputTest, MessagesOfCiaoLabellaBecomeItsThirteenSums) {
  struct Kind {
    const char* event;
    const char* fields;
    const char* sum;
    int64_t add;
  };
  const Kind kinds[] = {
      {"UserLogin", R"("login_time":"x")", "login", 1},
      {"UserLogout", R"("logout_method":"ButtonClicked")", "logout", 1},
      {"UserClickMenu", R"("selected_menu":"nolabel")", "menu_nolabel", 1},
      {"UserClickMenu", R"("selected_menu":"ecopoint1")", "menu_eco1", 1},
      {"UserClickMenu", R"("selected_menu":"ecopoint2")", "menu_eco2", 1},
      {"UserClickMenu", R"("selected_menu":"lesswaste")", "menu_lesswaste", 1},
      {"UserUsedEcopoint1", R"("save_point":"30","photo_id":7)", "save_ecopoint1", 30},
      {"UserUsedEcopoint2", R"("save_point":50)", "save_ecopoint2", 50},
      {"UserSearchLesswaste", R"("radius_km":10,"searchclick_location":[37.5,127.0])", "lesswaste_click", 1},
      {"UserSearchProduct", R"("search_word":"생수")", "nolabel_search", 1},
      {"UserClickProduct", R"("product_name":"샘물","product_unitprice":"480.5")", "nolabel_click", 1}};
  std::string lines;
  std::map<std::string, int64_t> expected;  // of 09:00 to 10:00 in Seoul
  for (int i = 0; i < 3000; ++i) {
    const Kind& kind = kinds[i % 11];
    const bool member = i % 3 != 0;
    const int minute = i % 97;  // from 08:40 on
    const std::string who = member
                                ? absl::StrCat(R"("member_id":"m)", i % 40, R"(","user_gender":"F","user_age":)",
                                               20 + i % 40, R"(,"user_region":"경기도")")
                                : R"("member_id":"none","user_gender":"none","user_age":"none","user_region":"none")";
    absl::StrAppend(&lines, R"({"messageType":"log","timestamp":"2022-11-01T)",
                    absl::StrFormat("%02d:%02d:%02d", 8 + (40 + minute) / 60, (40 + minute) % 60, i % 60),
                    R"(Z","fields":{"event":")", kind.event, R"(","topic":"t","key":"k","fields":{)", who, ",",
                    kind.fields, "}}}\n");
    if (minute < 20 || minute >= 80) continue;
    expected[kind.sum] += kind.add;
    if (kind.add == 30) ++expected["ecopoint1_click"];
    if (kind.add == 50) ++expected["ecopoint2_click"];
  }
  Start("ciao_labella");
  const ProcessResult imported =
      platform_->Naru({"import", "-", "--format", "ciao-labella-envelope", "--output", "json"}, lines);
  ASSERT_EQ(JsonNumber(imported.out, "accepted"), 3000) << imported.out << imported.err;
  const auto rows =
      Rows({"hot-activity", "--group_by", "none", "--from", "2022-11-01T00:00:00Z", "--to", "2022-11-01T00:05:00Z"});
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(expected.size(), 13u);
  for (const auto& [sum, value] : expected) EXPECT_EQ(JsonNumber(rows[0], sum), value) << sum << " " << rows[0];
}

TEST_F(RealInputTest, LinesOfZigbangAreWhatTheirColumnsSay) {
  const ProcessResult printed = RunNaru({"simulate", "--pack", "zigbang", "--as_lines", "--from", "2022-11-07",
                                         "--days", "2", "--events", "8000", "--seed", "3"});
  ASSERT_EQ(printed.exit_code, 0) << printed.err;
  struct Counts {
    int64_t events = 0;
    std::set<std::string> users, sessions;
  };
  std::map<std::string, Counts> hours;
  std::map<std::string, int64_t> types;
  int64_t good = 0, bad = 0;
  for (const std::string& line : Lines(printed.out)) {
    const std::vector<std::string> columns = absl::StrSplit(line, absl::MaxSplits('|', 9));
    ASSERT_EQ(columns.size(), 10u) << line;
    if (columns[0] == "yesterday" || columns[9].back() != '}') {
      ++bad;
      continue;
    }
    ++good;
    const int64_t ms = std::stoll(columns[0]);
    Counts& hour = hours[absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixMillis(ms / 3'600'000 * 3'600'000),
                                          absl::UTCTimeZone())];
    ++hour.events;
    if (columns[1] != "null") hour.users.insert(columns[1]);
    hour.sessions.insert(columns[2]);
    ++types[columns[3]];
  }
  ASSERT_GT(good, 7500);
  EXPECT_GT(bad, 0);
  Start("zigbang");
  const std::string file = dir_.Write("app.log", printed.out);
  const ProcessResult imported = platform_->Naru({"import", file, "--format", "zigbang-lines", "--output", "json"});
  EXPECT_EQ(JsonNumber(imported.out, "accepted"), good) << imported.out << imported.err;
  EXPECT_EQ(JsonNumber(imported.out, "rejected"), bad);
  const auto rows = Rows({"hourly-activity"});
  ASSERT_EQ(rows.size(), hours.size());
  for (const std::string& row : rows) {
    const Counts& hour = hours[JsonText(row, "window_start")];
    EXPECT_EQ(JsonNumber(row, "events"), hour.events) << row;
    EXPECT_EQ(JsonNumber(row, "users"), static_cast<int64_t>(hour.users.size())) << row;
    EXPECT_EQ(JsonNumber(row, "sessions"), static_cast<int64_t>(hour.sessions.size())) << row;
  }
  // Phones write 서울, 서울시, 서울특별시; there are 17 provinces, and each has one name.
  std::set<std::string> provinces;
  for (const std::string& row : Rows({"regions", "--group_by", "local1"})) provinces.insert(JsonText(row, "local1"));
  EXPECT_LE(provinces.size(), 17u);
  EXPECT_GT(provinces.size(), 10u);
  for (const std::string& province : provinces) {
    EXPECT_TRUE(absl::EndsWith(province, "시") || absl::EndsWith(province, "도")) << province;
    EXPECT_GT(province.size(), 8u) << province;
  }
  int64_t purchases = 0;
  for (const std::string& row : Rows({"homes", "--group_by", "none"})) purchases += JsonNumber(row, "contracts");
  EXPECT_EQ(purchases, types["purchase"]);
}

}  // namespace
}  // namespace naru::e2e
