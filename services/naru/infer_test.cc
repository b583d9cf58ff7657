#include "services/naru/infer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/catalog/resource_checks.h"
#include "common/catalog/resource_file.h"
#include "common/status/status.h"
#include "common/testing/testing.h"

namespace naru::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

/// The YAML of all resources; checks that it can be applied as it is.
std::string Yaml(const Inference& inference) {
  std::string yaml = catalog::ToYaml(inference.format);
  for (const auto& type : inference.types) absl::StrAppend(&yaml, "---\n", catalog::ToYaml(type));
  catalog::ResourceSet set = catalog::LoadText("inferred.yaml", yaml);
  catalog::TestRunners runners;
  catalog::RegisterResourceChecks(&runners);
  catalog::CheckOffline(&runners, &set);
  for (const auto& problem : set.problems) ADD_FAILURE() << problem.ToString() << "\n" << yaml;
  EXPECT_EQ(set.resources.size(), 1 + inference.types.size()) << yaml;
  return yaml;
}

Inference Infer(const std::string& text, InferOptions options = {}) {
  const auto inference = InferEvents(text, options);
  EXPECT_TRUE(inference.ok()) << inference.status();
  if (!inference.ok()) return {};
  EXPECT_EQ(inference->rejected_count, 0) << inference->first_rejection;
  EXPECT_GT(inference->event_count, 0);
  return *inference;
}

std::string Repeat(int count, const std::function<std::string(int)>& line) {
  std::string text;
  for (int i = 0; i < count; ++i) absl::StrAppend(&text, line(i), "\n");
  return text;
}

TEST(Infer, LinesOfJson) {
  const Inference inference = Infer(Repeat(100, [](int i) {
    return absl::StrCat(R"({"user_id":)", i % 7, R"(,"created_at":"2024-05-01T09:)", 10 + i % 50,
                        R"(:00+09:00","plan":")", i % 2 == 0 ? "free" : "team", R"(","price":)",
                        i % 3 == 0 ? "1.5" : "2", R"(,"place":{"city":"c)", i, R"("},"tags":["a"])",
                        i == 0 ? R"(,"note":null)" : R"(,"note":"x")", "}");
  }));
  const std::string yaml = Yaml(inference);
  EXPECT_THAT(yaml, HasSubstr("parser: {type: json}"));
  EXPECT_THAT(yaml, HasSubstr("time: {field: created_at}"));
  EXPECT_THAT(yaml, HasSubstr("subject: user_id"));
  EXPECT_THAT(yaml, HasSubstr("type: {const: Events}"));
  EXPECT_THAT(yaml, HasSubstr("plan: {type: string, enum: [free, team]}"));
  EXPECT_THAT(yaml, HasSubstr("price: {type: number}"));
  EXPECT_THAT(yaml, HasSubstr("note: {type: string, enum: [x], nullable: true}"));
  EXPECT_THAT(yaml, HasSubstr("tags: {type: array}"));
  EXPECT_THAT(yaml, HasSubstr("required: [place, plan, price, tags]"));
  ASSERT_EQ(inference.events.size(), 10u);
  EXPECT_THAT(inference.events[0], HasSubstr(R"("time":"2024-05-01T00:10:00Z")"));
  EXPECT_THAT(inference.events[0], HasSubstr(R"("subject":"0")"));
}

TEST(Infer, TypesOfTheirOwnWhereAFieldNamesThem) {
  const Inference inference = Infer(Repeat(60, [](int i) {
    return absl::StrCat(R"({"event":")", i % 3 == 0 ? "Bought" : "Looked", R"(","ts":)", 1700000000 + i,
                        R"(,"session_id":"s)", i, "\"", i % 3 == 0 ? R"(,"price":3)" : "", "}");
  }));
  const std::string yaml = Yaml(inference);
  EXPECT_THAT(yaml, HasSubstr("time: {field: ts, layout: unix}"));
  EXPECT_THAT(yaml, HasSubstr("type: event"));
  EXPECT_THAT(yaml, HasSubstr("session: session_id"));
  ASSERT_EQ(inference.types.size(), 2u);
  EXPECT_THAT(catalog::ToYaml(inference.types[0]), HasSubstr("required: [price]"));
  EXPECT_THAT(catalog::ToYaml(inference.types[1]), Not(HasSubstr("price")));
}

TEST(Infer, EventsThatCarryTheirDataInAnObject) {
  const std::string yaml = Yaml(Infer(Repeat(30, [](int i) {
    return absl::StrCat(R"({"id":"e)", i,
                        R"(","source":"shop","type":"Bought","time":"2024-05-01T09:30:00Z","subject":"u","data":{"n":)",
                        i, "}}");
  })));
  EXPECT_THAT(yaml, HasSubstr("data_from: data"));
  EXPECT_THAT(yaml, HasSubstr("id: id"));
  EXPECT_THAT(yaml, HasSubstr("source: source"));
  EXPECT_THAT(yaml, HasSubstr("'n': {type: integer}"));
}

TEST(Infer, AnIdThatComesTwiceIsNoId) {
  const std::string text = Repeat(30, [](int i) { return absl::StrCat(R"({"id":)", i / 2, R"(,"n":1})"); });
  EXPECT_THAT(Yaml(Infer(text)), Not(HasSubstr("id: id")));
}

TEST(Infer, LinesThatHoldAListOfEvents) {
  const Inference inference = Infer(Repeat(20, [](int i) {
    return absl::StrCat(R"({"session":)", i, R"(,"shop":"north","events":[{"aid":)", i,
                        R"(,"ts":1659304800025,"type":"clicks"},)",
                        R"({"aid":7,"ts":1659304904511,"type":"orders"}]})");
  }));
  const std::string yaml = Yaml(inference);
  EXPECT_THAT(yaml, HasSubstr("explode: events"));
  EXPECT_THAT(yaml, HasSubstr("time: {field: ts, layout: unix_ms}"));
  EXPECT_THAT(yaml, HasSubstr("session: session"));
  EXPECT_EQ(inference.types.size(), 2u);
  EXPECT_EQ(inference.line_count, 20);
  EXPECT_EQ(inference.event_count, 40);
  EXPECT_THAT(inference.events[1], HasSubstr(R"("data":{"aid":7,"shop":"north"})"));
}

TEST(Infer, CsvWithAHeader) {
  const Inference inference = Infer(
      absl::StrCat("Order No,pickup_datetime,fare,passengers,paid,zip,remark\r\n",
                   Repeat(40,
                          [](int i) {
                            return absl::StrCat(
                                "A", i, ",2011-01-28 20:42:", 10 + i, " UTC,", i % 5 == 0 ? "" : absl::StrCat(i, ".5"),
                                ",", i % 4 == 0 ? "NULL" : absl::StrCat(i), ",", i % 2 == 0 ? "true" : "false", ",0",
                                100 + i, ",\"a \"\"b\"\", c\n\"\r");
                          })),
      {.name = "taxi-rides", .event_type = ""});
  const std::string yaml = Yaml(inference);
  EXPECT_THAT(yaml, HasSubstr("parser: {type: csv, header: true}"));
  EXPECT_THAT(yaml, HasSubstr("%Y-%m-%d %H:%M:%E*S %Z"));
  EXPECT_THAT(yaml, HasSubstr("null_values: ['NULL']"));
  EXPECT_THAT(yaml, HasSubstr("type: {const: TaxiRides}"));
  EXPECT_THAT(yaml, HasSubstr("fare: {type: number, nullable: true}"));
  EXPECT_THAT(yaml, HasSubstr("passengers: {type: integer, nullable: true}"));
  EXPECT_THAT(yaml, HasSubstr("paid: {type: boolean}"));
  EXPECT_THAT(yaml, HasSubstr("zip: {type: string}"));  // a number that begins with 0 is a name
  EXPECT_EQ(inference.line_count, 40);
}

TEST(Infer, ColumnsWithoutNames) {
  const std::string yaml = Yaml(Infer(Repeat(20, [](int i) { return absl::StrCat(i, ".5;x", i, ";", 2 * i); })));
  EXPECT_THAT(yaml, HasSubstr("delimiter: ';'"));
  EXPECT_THAT(yaml, HasSubstr("columns: [column1, column2, column3]"));
  EXPECT_THAT(yaml, Not(HasSubstr("time:")));
  EXPECT_THAT(yaml, HasSubstr("column3: {type: integer}"));
}

TEST(Infer, ColumnsOfWhichTheLastIsJson) {
  const Inference inference = Infer(Repeat(20, [](int i) {
    return absl::StrCat(1700000000000 + i, "|u", i, R"(|view|{"user_id":"u)", i, R"(","text":"a|b","price":)", i, "}");
  }));
  const std::string yaml = Yaml(inference);
  EXPECT_THAT(yaml, HasSubstr("type: delimited"));
  EXPECT_THAT(yaml, HasSubstr("json_columns: [payload]"));
  EXPECT_THAT(yaml, HasSubstr("time: {field: column1, layout: unix_ms}"));
  EXPECT_THAT(yaml, HasSubstr("subject: payload.user_id"));
  EXPECT_THAT(yaml, HasSubstr("price: payload.price"));
}

TEST(Infer, AccessLogs) {
  const auto inference =
      InferEvents(absl::StrCat(Repeat(30,
                                      [](int i) {
                                        return absl::StrCat("203.0.113.", i, " - - [17/May/2015:10:05:", 10 + i,
                                                            " +0000] \"GET /a HTTP/1.1\" 200 ", i, " \"-\" \"curl\"");
                                      }),
                               "broken\n"),
                  {.name = "access"});
  ASSERT_TRUE(inference.ok()) << inference.status();
  EXPECT_EQ(inference->event_count, 30);
  EXPECT_EQ(inference->rejected_count, 1);
  EXPECT_THAT(inference->first_rejection, HasSubstr("line 31: PARSE"));
  const std::string yaml = Yaml(*inference);
  EXPECT_THAT(yaml, HasSubstr("parser: {type: apache_combined}"));
  EXPECT_THAT(yaml, HasSubstr("type: {const: HttpRequest}"));
  EXPECT_THAT(yaml, HasSubstr("status: {type: integer}"));
  EXPECT_THAT(yaml, Not(HasSubstr("clientip:")));
  for (const std::string& remark : inference->remarks) EXPECT_THAT(remark, Not(HasSubstr("time")));
}

TEST(Infer, SaysWhatToDoWithWhatItDoesNotKnow) {
  const auto message = [](const std::string& text) { return std::string(InferEvents(text, {}).status().message()); };
  EXPECT_THAT(message(""), HasSubstr("no lines"));
  EXPECT_THAT(message("[\n  {\"a\": 1},\n  {\"a\": 2}\n]\n"), HasSubstr("jq -c"));
  EXPECT_THAT(message("Dear reader\nthis is\na letter\n"), HasSubstr("type: regex"));
}

TEST(Infer, RealFiles) {
  const std::vector<std::pair<const char*, int64_t>> files = {{"weblog/apache_logs", 9'999},
                                                              {"clickstream/otto_train.jsonl", 862},
                                                              {"catalog/queries_rated_dev.csv", -1},
                                                              {"taxi/gcp_serverlessml_taxi-train.csv", 7'333},
                                                              {"taxi/gcp_taxi-traffic-valid.csv", 31'820}};
  for (const auto& [file, events] : files) {
    const auto path = testing::SharedDataPath(file);
    if (!path.has_value()) GTEST_SKIP() << "example data is not on this machine: " << file;
    const auto inference = InferEvents(testing::ReadFile(*path), {.name = "real"});
    ASSERT_TRUE(inference.ok()) << file << ": " << inference.status();
    if (events >= 0) {
      EXPECT_EQ(inference->event_count, events) << file;
    }
    EXPECT_EQ(inference->rejected_count, std::string(file) == "weblog/apache_logs" ? 1 : 0)
        << file << ": " << inference->first_rejection;
    const std::string yaml = Yaml(*inference);
    if (std::string(file) == "taxi/gcp_serverlessml_taxi-train.csv") {
      EXPECT_THAT(yaml, HasSubstr("field: column2"));
    }
  }
}

}  // namespace
}  // namespace naru::cli
