#include "common/catalog/resource_file.h"

#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/catalog/builtin.h"
#include "common/testing/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string Problems(const ResourceSet& set) {
  return absl::StrJoin(set.problems, "\n",
                       [](std::string* out, const FileProblem& problem) { absl::StrAppend(out, problem.ToString()); });
}

v1::Resource LoadOne(const std::string& text) {
  const ResourceSet set = LoadText("a.yaml", text);
  EXPECT_THAT(set.problems, IsEmpty()) << Problems(set);
  EXPECT_THAT(set.resources, SizeIs(1));
  return set.resources.empty() ? v1::Resource() : *set.resources[0].resource;
}

constexpr char kType[] = R"(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: UserClickMenu, labels: {team: web}}
spec:
  description: A visitor chose a menu.
  schema:
    required: [selected_menu]
    properties:
      selected_menu: {type: string, enum: [ecopoint1, nolabel], minLength: 1}
      user_age:      {type: integer, minimum: 0, maximum: 150}
      member_id:     {type: string, x-personal: true}
  unknown_fields: keep
tests:
  - {event: {data: {selected_menu: nolabel}}, accepted: true}
  - {event: {data: {selected_menu: 3}}, rejected: FIELD_KIND}
)";

TEST(ResourceFile, ReadsAnEventType) {
  const v1::Resource resource = LoadOne(kType);
  EXPECT_EQ(resource.api_version(), "naru.dev/v1");
  EXPECT_EQ(resource.kind(), "EventType");
  EXPECT_EQ(resource.metadata().labels().at("team"), "web");
  const v1::Schema& schema = resource.event_type().schema();
  EXPECT_THAT(schema.required(), ElementsAre("selected_menu"));
  EXPECT_EQ(schema.properties().at("selected_menu").min_length(), 1);
  EXPECT_EQ(schema.properties().at("selected_menu").enum_(0).string_value(), "ecopoint1");
  EXPECT_EQ(schema.properties().at("user_age").maximum(), 150);
  EXPECT_TRUE(schema.properties().at("member_id").x_personal());
  EXPECT_TRUE(resource.tests(0).accepted());
  EXPECT_FALSE(resource.tests(1).has_accepted());
  EXPECT_EQ(resource.tests(1).event().fields().at("data").struct_value().fields().at("selected_menu").number_value(),
            3);
}

TEST(ResourceFile, ReportsEveryProblemWithLineAndColumn) {
  const ResourceSet set = LoadText("hot.yaml", R"(apiVersion: naru.dev/v2
kind: Metric
metadata: {nme: hot}
spec:
  topik: events
  window: {type: hopping, size: [60m]}
  max_groups: many
  measures:
    - {name: logins, agg: count, k: 1.5}
    - count
)");
  std::vector<std::string> lines;
  for (const FileProblem& problem : set.problems) lines.push_back(problem.ToString());
  EXPECT_THAT(lines, ElementsAre(HasSubstr("hot.yaml:3:12: metadata: unknown key \"nme\"; did you mean \"name\"?"),
                                 HasSubstr("hot.yaml:5:3: spec: unknown key \"topik\"; did you mean \"topic\"?"),
                                 "hot.yaml:6:33: spec.window.size: expected a string, found a list",
                                 "hot.yaml:7:15: spec.max_groups: expected an integer, found `many`",
                                 "hot.yaml:9:37: spec.measures[0].k: expected an integer, found `1.5`",
                                 HasSubstr("hot.yaml:10:7: spec.measures[1]: expected a map with name, agg"),
                                 "hot.yaml:1:13: apiVersion: must be naru.dev/v1, found `naru.dev/v2`",
                                 HasSubstr("hot.yaml:3:11: metadata.name: missing")));
  EXPECT_THAT(set.resources, IsEmpty());
}

TEST(ResourceFile, CountsColumnsInCharacters) {
  const ResourceSet set = LoadText("a.yaml",
                                   "apiVersion: naru.dev/v1\nkind: Metric\nmetadata: {name: a}\n"
                                   "spec: {description: '나루', topik: x}\n");
  EXPECT_THAT(Problems(set), HasSubstr("a.yaml:4:27: spec: unknown key"));
}

TEST(ResourceFile, KeepsWordsThatOtherReadersTakeForBooleansAndTimes) {
  const v1::Resource resource = LoadOne(R"(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: "1"}
spec: {description: 0123}
tests:
  - event: {a: no, b: yes, c: on, d: 2022-11-01, e: 2022-11-01T09:00:00+09:00, f: 0x10, g: 0o10, h: 010, i: .5, j: 1e3,
            k: true, l: "true", m: ~, n: '', o: 1_000, p: 0b1, q: !!str 5, r: -0, s: +7}
)");
  EXPECT_EQ(resource.metadata().name(), "1");
  EXPECT_EQ(resource.event_type().description(), "0123");
  const auto& fields = resource.tests(0).event().fields();
  for (const char* key : {"a", "b", "c", "d", "e", "l", "n", "o", "p", "q"}) {
    EXPECT_TRUE(fields.at(key).has_string_value()) << key;
  }
  EXPECT_EQ(fields.at("e").string_value(), "2022-11-01T09:00:00+09:00");
  EXPECT_EQ(fields.at("f").number_value(), 16);
  EXPECT_EQ(fields.at("g").number_value(), 8);
  EXPECT_EQ(fields.at("h").number_value(), 10);
  EXPECT_EQ(fields.at("i").number_value(), 0.5);
  EXPECT_EQ(fields.at("j").number_value(), 1000);
  EXPECT_TRUE(fields.at("k").bool_value());
  EXPECT_TRUE(fields.at("m").has_null_value());
  EXPECT_EQ(fields.at("s").number_value(), 7);
}

TEST(ResourceFile, RefusesNumbersThatDataCannotHoldExactly) {
  const ResourceSet set = LoadText("a.yaml",
                                   "apiVersion: naru.dev/v1\nkind: EventType\nmetadata: {name: a}\nspec: {}\n"
                                   "tests:\n- event: {a: 9007199254740992, b: 9007199254740993,\n"
                                   "  c: 99999999999999999999, d: .inf, e: .nan}\n");
  EXPECT_THAT(set.problems, SizeIs(4)) << Problems(set);
  EXPECT_THAT(Problems(set), HasSubstr("a.yaml:6:35: tests[0].event.b"));
}

TEST(ResourceFile, TakesAPlainStringAsThePathOfAMapping) {
  const v1::Resource resource = LoadOne(R"(apiVersion: naru.dev/v1
kind: InputFormat
metadata: {name: envelope}
spec:
  parser: {type: json}
  null_values: ["none"]
  event: {type: fields.event, source: {const: ciao-labella}}
  data:
    selected_menu: {from: fields.menu, type: string}
    age: fields.age
    "odd key.x": 5
)");
  EXPECT_EQ(resource.input_format().event().type().from(), "fields.event");
  EXPECT_EQ(resource.input_format().event().source().const_().string_value(), "ciao-labella");
  EXPECT_EQ(resource.input_format().data().at("age").from(), "fields.age");
  EXPECT_EQ(resource.input_format().data().at("odd key.x").from(), "5");
}

TEST(ResourceFile, FollowsAnchors) {
  const v1::Resource resource = LoadOne(R"(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: a}
spec:
  schema:
    properties:
      a: &age {type: integer, minimum: 0}
      b: *age
)");
  EXPECT_EQ(resource.event_type().schema().properties().at("b").type(), "integer");
}

TEST(ResourceFile, GoesOnAfterADocumentThatIsNotYaml) {
  const ResourceSet set = LoadText("a.yaml", absl::StrCat("a: [1\n---\n", kType, "---\n# only a comment\n...\n---\n",
                                                          "kind: Nothing\n--- \nplain text\n"));
  EXPECT_THAT(set.resources, SizeIs(1));
  EXPECT_EQ(set.resources[0].position.line, 3);
  EXPECT_EQ(set.resources[0].positions.at("spec.schema.properties.user_age.minimum").line, 12);
  EXPECT_THAT(Problems(set), HasSubstr("not YAML"));
  EXPECT_THAT(Problems(set), HasSubstr("there is no kind \"Nothing\""));
  EXPECT_THAT(Problems(set), HasSubstr("a.yaml:24:1: expected a resource"));
}

TEST(ResourceFile, RefusesKeysGivenTwice) {
  const ResourceSet set = LoadText("a.yaml",
                                   "apiVersion: naru.dev/v1\nkind: EventType\nmetadata: {name: a, name: b}\n"
                                   "spec: {unknown_fields: keep, unknownFields: drop, schema: {properties: {a: "
                                   "{type: string}, a: {type: string}}}}\nspec: {}\n");
  EXPECT_THAT(set.problems, SizeIs(4)) << Problems(set);
}

TEST(ResourceFile, RefusesAliasBombsDepthAndSize) {
  const std::string head =
      "apiVersion: naru.dev/v1\nkind: EventType\nmetadata: {name: a}\nspec: {}\ntests:\n- event:\n";
  std::string bomb = head + "    a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    absl::StrAppend(&bomb, "    a", i, ": &a", i, " [*a", i - 1);
    for (int j = 0; j < 9; ++j) absl::StrAppend(&bomb, ", *a", i - 1);
    absl::StrAppend(&bomb, "]\n");
  }
  EXPECT_THAT(Problems(LoadText("a.yaml", bomb)), HasSubstr("with aliases followed"));
  EXPECT_THAT(Problems(LoadText("a.yaml", head + "    a: &a [*a]\n")), HasSubstr("itself part of"));
  EXPECT_THAT(Problems(LoadText("a.yaml", head + "    a: " + std::string(100'000, '['))), HasSubstr("deeper than 64"));
  EXPECT_THAT(Problems(LoadText("a.yaml", head + "    a: " + std::string(100'000, '{'))), HasSubstr("deeper than 64"));
  std::string steep = "";
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&steep, std::string(i, ' '), "a:\n");
  EXPECT_THAT(Problems(LoadText("a.yaml", steep)), HasSubstr("deeper than 64"));
  EXPECT_THAT(Problems(LoadText("a.yaml", std::string(kMaxDocumentBytes + 1, 'x'))), HasSubstr("at most 1048576"));
  std::string wide = head + "    a: [";
  for (int i = 0; i < kMaxYamlNodes; ++i) wide += "1,";
  EXPECT_THAT(Problems(LoadText("a.yaml", wide + "1]\n")), HasSubstr("at most 100000 values"));
}

TEST(ResourceFile, RefusesBytesThatAreNotText) {
  EXPECT_THAT(Problems(LoadText("a.yaml", "a: b\nc: \xff\n")), HasSubstr("a.yaml:2:1: this line is not UTF-8"));
  EXPECT_THAT(Problems(LoadText("a.yaml", absl::string_view("a: \0b", 5))), HasSubstr("control character (byte 0)"));
  EXPECT_THAT(Problems(LoadText("a.yaml",
                                "\xff\xfe"
                                "a")),
              HasSubstr("not UTF-8"));
  EXPECT_THAT(LoadText("a.yaml", "").problems, IsEmpty());
  EXPECT_THAT(LoadText("a.yaml", "\xEF\xBB\xBF# nothing\r\n").problems, IsEmpty());
  EXPECT_EQ(LoadOne(absl::StrCat("\xEF\xBB\xBF", kType)).kind(), "EventType");
}

TEST(ResourceFile, ReadsFilesWithDosLineEnds) {
  std::string text = kType;
  for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2) text.replace(at, 1, "\r\n");
  EXPECT_EQ(ToYaml(LoadOne(text)), ToYaml(LoadOne(kType)));
}

TEST(ResourceFile, SurvivesOddYaml) {
  for (const char* text : {"- a",
                           "? [a, b]\n: c",
                           "{? {a: b} : c}",
                           "!!binary aGk=",
                           "&a",
                           "*a",
                           "!<x> y",
                           "|",
                           ">",
                           "@",
                           "`",
                           "%",
                           "a: b: c",
                           "\t",
                           "a:\n\t- b",
                           "'",
                           "\"\\xZZ\"",
                           "[",
                           "}",
                           "? ",
                           "- - - -",
                           ": a",
                           "a: *b",
                           "&a &b c",
                           "--- - a\n",
                           "--- a\nb",
                           "<<: {a: b}",
                           "!!str",
                           "? !!map {}",
                           "{a, b: }",
                           "kind: [a]",
                           "kind: {a: b}",
                           "metadata: 5",
                           "spec: 5\nkind: Metric",
                           "a: b\n'c'\n",
                           "%TAG ! a\n--- !b c\n",
                           "%YAML 9.9\n---\na\n",
                           "\"\\uD800\"",
                           "a: \"\\0\""}) {
    const ResourceSet set = LoadText("a.yaml", text);
    EXPECT_THAT(set.resources, IsEmpty()) << text;
  }
}

TEST(ResourceFile, LooksThroughDirectoriesInOrder) {
  const testing::TempDir dir;
  const auto resource = [](const char* name) {
    return absl::StrCat("apiVersion: naru.dev/v1\nkind: EventType\nmetadata: {name: ", name, "}\nspec: {}\n");
  };
  dir.Write("b.yaml", absl::StrCat(resource("two"), "---\n", resource("three")));
  dir.Write("a.yml", resource("one"));
  dir.Write("notes.txt", "not: [yaml");
  dir.Write(".hidden.yaml", "not: [yaml");
  const ResourceSet set = LoadPath(dir.path());
  EXPECT_THAT(set.problems, IsEmpty()) << Problems(set);
  ASSERT_THAT(set.resources, SizeIs(3));
  EXPECT_EQ(set.resources[0].resource->metadata().name(), "one");
  EXPECT_EQ(set.resources[2].resource->metadata().name(), "three");
}

TEST(ResourceFile, SaysWhatIsWrongWithPaths) {
  const testing::TempDir dir;
  EXPECT_THAT(Problems(LoadPath(dir.path())), HasSubstr("no *.yaml or *.yml file"));
  EXPECT_THAT(Problems(LoadPath(dir.File("missing"))), HasSubstr("cannot read the file: No such file"));
  const std::string a = dir.Write("a.yaml", kType);
  const std::string b = dir.Write("b.yaml", absl::StrCat("# again\n", kType));
  const ResourceSet set = LoadPaths({a, b});
  EXPECT_THAT(set.resources, SizeIs(1));
  EXPECT_THAT(Problems(set), HasSubstr(absl::StrCat(b,
                                                    ":4:12: metadata.name: EventType UserClickMenu is given twice; "
                                                    "the first is at ",
                                                    a, ":1")));
}

TEST(ResourceFile, LocatesViolationsOfAServer) {
  ResourceSet set = LoadText("a.yaml", absl::StrCat("---\n", kType));
  EXPECT_EQ(set.Locate({"resources[0].spec.schema.properties.user_age.minimum", "bad"}).ToString(),
            "a.yaml:11:38: spec.schema.properties.user_age.minimum: bad");
  EXPECT_EQ(set.Locate({"resources[0].spec.retention", "bad"}).ToString(), "a.yaml:5:1: spec.retention: bad");
  EXPECT_EQ(set.Locate({"resources[0].tests[1].event", "bad"}).ToString(), "a.yaml:16:6: tests[1].event: bad");
  EXPECT_EQ(set.Locate({"resources[7].spec", "bad"}).ToString(), ": resources[7].spec: bad");
  EXPECT_EQ(set.Locate({"page_size", "bad"}).ToString(), ": page_size: bad");
}

TEST(ResourceFile, WritesWhatPeopleWouldWrite) {
  EXPECT_EQ(ToYaml(LoadOne(kType)), R"(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: UserClickMenu, labels: {team: web}}
spec:
  description: A visitor chose a menu.
  schema:
    required: [selected_menu]
    properties:
      member_id: {type: string, x-personal: true}
      selected_menu: {type: string, enum: [ecopoint1, nolabel], minLength: 1}
      user_age: {type: integer, minimum: 0, maximum: 150}
  unknown_fields: keep
tests:
  - event: {data: {selected_menu: nolabel}}
    accepted: true
  - event: {data: {selected_menu: 3}}
    rejected: FIELD_KIND
)");
}

TEST(ResourceFile, HasBuiltInFormatsThatReadBack) {
  std::vector<std::string> names;
  for (const auto& resource : BuiltinResources()) {
    names.push_back(resource->metadata().name());
    EXPECT_EQ(ToYaml(LoadOne(ToYaml(*resource))), ToYaml(*resource));
  }
  EXPECT_THAT(names, ElementsAre("apache-combined", "cloudevents", "ndjson"));
}

TEST(Explain, SaysWhatKindsAndFieldsAre) {
  EXPECT_THAT(*Explain(""), HasSubstr("EventType\n      What events of one type look like."));
  EXPECT_THAT(*Explain("metric"), HasSubstr("  window  <Window>\n      How time is cut."));
  EXPECT_THAT(*Explain("Metric.measures.agg"), HasSubstr("FIELD  Metric.measures.agg  <string>\n\n  `count`, `sum`"));
  EXPECT_THAT(*Explain("EventType.spec.schema.properties"), HasSubstr("  x-personal  <boolean>"));
  EXPECT_THAT(*Explain("EventType.metadata.name"), HasSubstr("Unique within its kind"));
  EXPECT_THAT(*Explain("EventType.tests"), HasSubstr("  event  <object>"));
  EXPECT_THAT(Explain("Metrik").status().message(), HasSubstr("did you mean \"Metric\"?"));
  EXPECT_THAT(Explain("Metric.measure").status().message(), HasSubstr("did you mean \"measures\"?"));
  EXPECT_THAT(Explain("Metric.topic.name").status().message(), HasSubstr("Metric.topic is a string"));
}

TEST(Diff, NamesWhatChanged) {
  const std::string before = R"(apiVersion: naru.dev/v1
kind: Metric
metadata: {name: hot, version: 3, etag: x}
spec:
  filter: a
  window: {type: tumbling, size: 1h}
  measures: [{name: logins, agg: count}, {name: points, agg: sum, expr: data.p}]
)";
  const std::string after = R"(apiVersion: naru.dev/v1
kind: Metric
metadata: {name: hot, labels: {a: b}}
spec:
  window: {type: tumbling, size: 1d}
  measures: [{name: points, agg: sum, expr: data.q}, {name: logins, agg: count}, {name: users, agg: count}]
)";
  std::vector<std::string> lines;
  for (const Difference& d : Diff(LoadOne(before), LoadOne(after))) {
    lines.push_back(absl::StrCat(d.field, ": ", d.before, " -> ", d.after));
  }
  EXPECT_THAT(lines, ElementsAre("metadata.labels:  -> {a: b}", "spec.filter: a -> ", "spec.window.size: 1h -> 1d",
                                 "spec.measures[points].expr: data.p -> data.q",
                                 "spec.measures[users]:  -> {name: users, agg: count}",
                                 "spec.measures (order): logins, points -> points, logins"));
  EXPECT_THAT(Diff(LoadOne(after), LoadOne(after)), IsEmpty());
}

}  // namespace
}  // namespace naru::catalog
