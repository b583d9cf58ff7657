// Mistakes in resource files, each told by the real command line with file, line, column, field and what would be
// right, and nothing applied.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/e2e/naru_process.h"

namespace naru::e2e {
namespace {

using naru::testing::ProcessResult;

/// What is there before: mistakes refer to it, or try to change it.
constexpr char kCatalog[] = R"(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: Order}
spec:
  schema:
    required: [amount]
    properties:
      amount: {type: number, minimum: 0}
      state: {type: string, enum: [new, paid]}
      at: {type: timestamp}
      place: {type: object, properties: {city: {type: string}}}
  unknown_fields: reject
---
apiVersion: naru.dev/v1
kind: Metric
metadata: {name: orders}
spec:
  filter: type == "Order"
  window: {type: tumbling, size: 1h}
  measures: [{name: orders, agg: count}]
)";

/// A document that is right: it must not be applied when another one is wrong.
constexpr char kGood[] = R"(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: NeverApplied}
spec: {schema: {properties: {n: {type: integer}}}}
---
)";

/// `@@` stands where the mistake must be reported and is not part of the file.
struct Mistake {
  std::string yaml;
  std::string told;  ///< `FIELD: what is wrong and what would be right`, or a part of it
};

std::string Document(const std::string& kind, const std::string& name, const std::string& spec) {
  return absl::StrCat("apiVersion: naru.dev/v1\nkind: ", kind, "\nmetadata: {name: ", name, "}\nspec:\n  ",
                      absl::StrReplaceAll(spec, {{"\n", "\n  "}}), "\n");
}

Mistake InMetric(const std::string& spec, const std::string& told) { return {Document("Metric", "m", spec), told}; }
Mistake InWindow(const std::string& window, const std::string& told) {
  return InMetric(absl::StrCat("window: ", window, "\nmeasures: [{name: n, agg: count}]"), told);
}
Mistake InFilter(const std::string& filter, const std::string& told) {
  return InMetric(
      absl::StrCat("filter: ", filter, "\nwindow: {type: tumbling, size: 1h}\nmeasures: [{name: n, agg: count}]"),
      told);
}
Mistake InMeasures(const std::string& measures, const std::string& told) {
  return InMetric(absl::StrCat("filter: type == 'Order'\nwindow: {type: tumbling, size: 1h}\nmeasures:\n", measures),
                  told);
}
Mistake InType(const std::string& spec, const std::string& told) { return {Document("EventType", "T", spec), told}; }
Mistake InFormat(const std::string& spec, const std::string& told) {
  return {Document("InputFormat", "f", spec), told};
}
Mistake InSource(const std::string& spec, const std::string& told) { return {Document("Source", "s", spec), told}; }

std::vector<Mistake> YamlMistakes() {
  return {
      {"apiVersion: naru.dev/v1\nkind: EventType\nmetadata: {name: a\nspec@@: {}\n", "not YAML: "},
      {"apiVersion: naru.dev/v1\nkind: EventType\n@@\tmetadata: {name: a}\n", "not YAML: "},
      {"apiVersion: naru.dev/v1\nkind: EventType\nmetadata: {name: \xff}\nspec: {}\n", "this line is not UTF-8"},
      {"@@- apiVersion: naru.dev/v1\n", "expected a resource: a map with apiVersion, kind, metadata and spec"},
      {"apiVersion: @@naru.dev/v2\nkind: EventType\nmetadata: {name: a}\nspec: {}\n",
       "apiVersion: must be naru.dev/v1"},
      {"apiVersion: naru.dev/v1\nkind: @@Metrik\nmetadata: {name: a}\nspec: {}\n",
       "kind: there is no kind \"Metrik\"; did you "
       "mean \"Metric\"?"},
      {"apiVersion: naru.dev/v1\nkind: EventType\nmetadata: {name: a}\n@@spce: {}\n",
       "unknown key \"spce\"; did you mean \"spec\"?"},
      {"apiVersion: naru.dev/v1\nkind: EventType\nmetadata: @@{labels: {a: b}}\nspec: {}\n",
       "metadata.name: missing; each resource has a name"},
      {"apiVersion: naru.dev/v1\nkind: EventType\nmetadata: {@@name: my type}\nspec: {}\n",
       "metadata.name: `my type` is not a name: letters, digits, `-`, `_`, `.`"},
      InMetric("@@windw: {type: tumbling, size: 1h}\nmeasures: [{name: n, agg: count}]",
               "spec: unknown key \"windw\"; did you mean \"window\"?"),
      InMetric("window: {type: tumbling, size: 1h}\nmeasures: [{name: n, agg: sum, @@exp: data.x}]",
               "spec.measures[0]: unknown key \"exp\"; did you mean \"expr\"?"),
      InMetric("window: {type: tumbling, size: 1h}\nmeasures: @@count", "spec.measures: expected a list, found "),
      InMetric("window: {type: tumbling, size: 1h}\nmeasures: [{name: n, agg: count}]\nmax_groups: @@many",
               "spec.max_groups: expected an integer, found "),
      InMetric("window: {type: tumbling, size: 1h}\n@@window: {type: global}\nmeasures: [{name: n, agg: count}]",
               "spec: the key \"window\" is given twice"),
      {absl::StrCat(Document("EventType", "Twice", "description: a"), "---\n",
                    "apiVersion: naru.dev/v1\nkind: EventType\nmetadata: {@@name: Twice}\nspec: {}\n"),
       "metadata.name: EventType Twice is given twice; the first is at "},
  };
}

std::vector<Mistake> MetricMistakes() {
  return {
      InMetric("window: {type: tumbling, size: 1h}\nmeasures: [{name: n, agg: count}]\n@@retention: forever",
               "spec.retention: `forever` is not a duration"),
      InMetric("window: {type: tumbling, size: 1h}\nmeasures: [{name: n, agg: count}]\n@@time_zone: Asia/Soul",
               "spec.time_zone: `Asia/Soul` is not an IANA time zone like Asia/Seoul"),
      InMetric("window: {type: tumbling, size: 1h}\nmeasures: [{name: n, agg: count}]\n@@start: yesterday",
               "spec.start: `yesterday` is not earliest, latest or a time like 2022-11-01T00:00:00Z"),
      InMetric("window: {type: tumbling, size: 1h}\nmeasures: [{name: n, agg: count}]\n@@topic: clicks",
               "spec.topic: `clicks` is not one of events"),
      InWindow("{@@type: sliding, size: 1h}",
               "spec.window.type: `sliding` is not one of tumbling, hopping, cumulative, session, global"),
      InMetric("@@window: {type: tumbling}\nmeasures: [{name: n, agg: count}]",
               "spec.window.size: missing; a length like 5m, 1h, 1d, 1w, 1mo"),
      InWindow("{type: tumbling, @@size: an hour}", "spec.window.size: `an hour` is not a length like 30s, 5m"),
      InWindow("{type: hopping, size: 5m, @@slide: 1h}", "spec.window.slide: is longer than the window"),
      InWindow("{type: hopping, size: 1d, @@slide: 7h}", "spec.window.slide: does not divide the calendar of the size"),
      InWindow("{type: hopping, size: 30h, @@slide: 10s}",
               "spec.window.slide: a window would be made of 10800 panes; at most "
               "2000 are allowed"),
      InWindow("{type: tumbling, size: 1h, @@gap: 5m}",
               "spec.window.gap: is for session windows, not for tumbling ones"),
      InMetric("window: {type: tumbling, size: 1h}\ndimensions: [{name: a, expr: source}, {@@name: a, expr: type}]\n"
               "measures: [{name: n, agg: count}]",
               "spec.dimensions[1].name: `a` is the name of another dimension or measure"),
      InMetric("filter: type == 'Order'\nwindow: {type: tumbling, size: 1h}\ndimensions: [{@@name: colour}]\n"
               "measures: [{name: n, agg: count}]",
               "spec.dimensions[0].name: there is no field data.colour in Order"),
      InMeasures("- {@@name: final, agg: count}", "spec.measures[0].name: `final` is a column that every row has"),
      InMeasures("- {name: n, @@agg: medain, expr: data.amount}",
                 "spec.measures[0].agg: `medain` is not one of count, sum, min"),
      InMeasures("- @@{name: n, agg: sum}", "spec.measures[0].expr: missing; sum needs an expression like data.n"),
      InMeasures("- {name: n, agg: top_k, expr: data.state, @@k: 5000}",
                 "spec.measures[0].k: 5000 is outside 1 to 1000"),
      InMeasures("- {name: n, agg: sum, @@expr: data.state}",
                 "spec.measures[0].expr: is never a number, which sum needs"),
      InMeasures("- {name: orders, agg: count}\n- {name: r, agg: ratio, @@numerator: ordres, denominator: orders}",
                 "spec.measures[1].numerator: there is no measure `ordres`; did you mean \"orders\"?"),
  };
}

std::vector<Mistake> ExpressionMistakes() {
  return {
      InFilter("type @@= 'Order'", "spec.filter: `=` does not compare: write `==`"),
      InFilter("'@@typ == \"Order\"'", "spec.filter: `typ` is not known; did you mean `type`?"),
      InFilter("|\n  type == 'Order' &&\n    data.state.@@startswith('n')",
               "spec.filter: there is no function `startswith`; did you mean `startsWith`?"),
      InFilter("\"type == \\\"Order\\\" && data.state @@> 3\"",
               "spec.filter: `>` does not take string data.state and int; write the literal as the field is"),
      InFilter(">-\n  type == 'Order' &&\n  data.place.@@ctiy == 'Seoul'",
               "spec.filter: there is no field data.place.ctiy in Order, which keeps no other fields; did you mean "
               "\"city\"?"),
      InFilter("type == 'Order' && data.at @@> time",
               "spec.filter: `>` does not take string data.at and timestamp; convert the text with timestamp()"),
      InFilter("type == 'Order' && time.@@getHours(9) == 9",
               "spec.filter: `getHours` is written timestamp|duration.getHours() or "
               "timestamp.getHours(string), not with (timestamp, int)"),
      InFilter("size(subject@@", "spec.filter: the expression ends where `,` or `)` was expected"),
      InFilter("type.matches(@@'(')", "spec.filter: the pattern is not valid RE2: missing )"),
      InFilter("@@time", "spec.filter: a filter must be true or false; this is a timestamp"),
  };
}

std::vector<Mistake> OtherMistakes() {
  return {
      InType("schema: {properties: {a: {@@type: text}}}",
             "spec.schema.properties.a.type: unknown type `text`; one of string, "
             "integer, number, boolean, timestamp, array, object"),
      InType("schema: {properties: {a: {type: integer, @@minimum: 5, maximum: 1}}}",
             "spec.schema.properties.a.minimum"),
      InType("schema: {properties: {a: {type: integer, @@enum: [one]}}}", "spec.schema.properties.a.enum"),
      InType("@@deduplication_window: 30d", "spec.deduplication_window: `30d` is outside 1s to 7d"),
      InType("@@partition_by: user", "spec.partition_by: `user` is not one of subject, session"),
      InType("schema: {properties: {agent: {type: string}}}\nunknown_fields: reject\nexclude: data.@@agnet == 'bot'",
             "spec.exclude: there is no field data.agnet in this type, which rejects other fields; did you mean "
             "\"agent\"?"),
      {Document("EventType", "Order", "schema:\n  required: [amount]\n  properties:\n    amount: {@@type: string}"),
       "spec.schema.properties.amount.type: changes from number to string (`compatibility: none` takes the change all "
       "the same)"},
      {Document("EventType", "Order", "schema: {properties: {state: {type: string, @@enum: [new]}}}"),
       "spec.schema.properties.state.enum: `paid` is no longer allowed"},
      {Document("EventType", "Order", "@@partition_by: session\ncompatibility: none"), "spec.partition_by: "},
      InFormat("parser: {@@type: xml}\nevent: {type: {const: a}}",
               "spec.parser.type: `xml` is not one of json, csv, delimited, regex, apache_combined"),
      InFormat("parser: {type: regex, @@pattern: '(?P<a>'}\nevent: {type: a}",
               "spec.parser.pattern: not an RE2 regular "
               "expression: missing )"),
      InFormat("parser: {type: csv, columns: [at, user]}\nevent: {type: {const: a}, @@subject: usr}",
               "spec.event.subject.from: a line has no field `usr`; did you mean \"user\"?"),
      InFormat("parser: {type: json}\ntime: {field: at, @@layout: '%Y-%Q'}\nevent: {type: {const: a}}",
               "spec.time.layout: "),
      InFormat("parser: {type: json}\n@@event: {subject: user}", "spec.event.type: missing; each event has a type"),
      {Document("InputFormat", "ndjson", "parser: {type: json}\nevent: {type: t}"),
       "metadata.name: `ndjson` is built in and "
       "cannot be changed; choose another name"},
      InSource(
          "kafka: {brokers: ['kafka:9092'], topics: [a]}\n@@format: no-such-format",
          "spec.format: there is no InputFormat `no-such-format`; apply it together with this, or use a built-in one"),
      InSource("kafka: {brokers: [@@kafka], topics: [a]}\nformat: ndjson",
               "spec.kafka.brokers[0]: `kafka` is not HOST:PORT"),
      InSource("kafka: {brokers: ['k:1'], topics: [a], properties: {@@sasl.password: x}}\nformat: ndjson",
               "spec.kafka.properties.sasl.password: would be readable by everybody"),
      {absl::StrCat(Document("EventType", "T", "schema: {properties: {price: {type: integer}}}"),
                    "tests:\n  - {event: {data: {price: free}}, @@accepted: true}\n"),
       "tests[0].accepted: the event is rejected with FIELD_KIND (data.price: expected an integer"},
      {absl::StrCat(Document("Metric", "m", "window: {type: tumbling, size: 1h}\nmeasures: [{name: n, agg: count}]"),
                    "tests:\n  - events: [{time: \"2024-05-01T09:00:00Z\", type: a}]\n"
                    "    rows: [@@{measures: {n: 2}}]\n"),
       "tests[0].rows[0]: expected "},
  };
}

class BadResourcesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto platform = Platform::Start(dir_.File("data"), {});
    ASSERT_TRUE(platform.ok()) << platform.status();
    platform_ = *std::move(platform);
    const ProcessResult applied = platform_->Naru({"apply", "-f", files_.Write("catalog.yaml", kCatalog)});
    ASSERT_EQ(applied.exit_code, 0) << applied.err;
    before_ = Stored();
  }

  std::string Stored() const { return platform_->Naru({"get", "--output", "json"}).out; }

  /// Applies a file with the mistake and one resource that is right.
  void Check(const Mistake& mistake) {
    std::string text = absl::StrCat(kGood, mistake.yaml);
    std::string place = "bad.yaml";
    if (const size_t at = text.find("@@"); at != std::string::npos) {
      const auto line = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n') + 1;
      const size_t begin = text.rfind('\n', at) + 1;
      absl::StrAppend(&place, ":", line, ":", at - begin + 1, ": ");
      text.erase(at, 2);
    }
    const std::string file = files_.Write("bad.yaml", text);
    const ProcessResult result = platform_->Naru({"apply", "-f", file});
    EXPECT_EQ(result.exit_code, 2) << text << result.err;
    bool told = false;
    for (const std::string& line : Lines(result.err)) {
      told = told || (absl::StrContains(line, place) && absl::StrContains(line, mistake.told));
    }
    EXPECT_TRUE(told) << text << "must be told as\n  " << place << mistake.told << "\nbut this was said:\n"
                      << result.err;
  }

  naru::testing::TempDir dir_;
  naru::testing::TempDir files_;
  std::unique_ptr<Platform> platform_;
  std::string before_;
};

TEST_F(BadResourcesTest, EachIsToldWithItsPlaceAndNothingIsApplied) {
  size_t count = 0;
  for (const auto& mistakes : {YamlMistakes(), MetricMistakes(), ExpressionMistakes(), OtherMistakes()}) {
    count += mistakes.size();
    for (const Mistake& mistake : mistakes) {
      Check(mistake);
      EXPECT_EQ(Stored(), before_) << "something was applied of\n" << mistake.yaml;
    }
  }
  EXPECT_GE(count, 60u);
  // All of that is refused by what is wrong, not by the good document.
  EXPECT_EQ(platform_->Naru({"apply", "-f", files_.Write("good.yaml", kGood)}).exit_code, 0);
  EXPECT_NE(Stored(), before_);
}

TEST_F(BadResourcesTest, AllMistakesOfAllFilesAreToldAtOnce) {
  files_.Write("many/a.yaml",
               absl::StrCat(kGood, Document("Metric", "m", "windw: {}"), "---\n", Document("Metri", "m", "a: b")));
  files_.Write("many/b.yaml", Document("EventType", "Order", "descripton: x"));
  const ProcessResult result = platform_->Naru({"apply", "-f", files_.File("many")});
  EXPECT_EQ(result.exit_code, 2);
  for (const char* told : {"a.yaml:10:3: spec: unknown key \"windw\"", "a.yaml:13:7: kind: there is no kind \"Metri\"",
                           "b.yaml:5:3: spec: unknown key \"descripton\"", "3 problems; nothing was changed"}) {
    EXPECT_THAT(result.err, ::testing::HasSubstr(told));
  }
  EXPECT_EQ(Stored(), before_);
}

}  // namespace
}  // namespace naru::e2e
