#include "common/catalog/validate.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/catalog/builtin.h"
#include "common/catalog/nearest.h"
#include "common/catalog/resource_file.h"
#include "common/catalog/sink_table_name.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

v1::Resource Load(const std::string& text) {
  const ResourceSet set = LoadText("a.yaml", text);
  for (const FileProblem& problem : set.problems) ADD_FAILURE() << problem.ToString();
  return set.resources.empty() ? v1::Resource() : *set.resources[0].resource;
}

v1::Resource Make(const std::string& kind, const std::string& spec) {
  return Load(absl::StrCat("apiVersion: naru.dev/v1\nkind: ", kind, "\nmetadata: {name: a}\nspec:\n  ",
                           absl::StrReplaceAll(spec, {{"\n", "\n  "}}), "\n"));
}

std::string Join(const std::vector<FieldViolation>& violations) {
  return absl::StrJoin(violations, "\n", [](std::string* out, const FieldViolation& violation) {
    absl::StrAppend(out, violation.field, ": ", violation.description);
  });
}

const v1::Resource* FindBuiltinOnly(absl::string_view kind, absl::string_view name) {
  return FindBuiltin(kind, name).get();
}

std::string Problems(const v1::Resource& resource) { return Join(Validate(resource, FindBuiltinOnly)); }
std::string Problems(const std::string& kind, const std::string& spec) { return Problems(Make(kind, spec)); }

// A metric that is right, with more lines added.
std::string MetricProblems(const std::string& more, const std::string& window = "{type: tumbling, size: 1h}",
                           const std::string& measures = "[{name: n, agg: count}]") {
  return Problems("Metric", absl::StrCat("window: ", window, "\nmeasures: ", measures, "\n", more));
}

std::string WindowProblems(const std::string& window) { return MetricProblems("", window); }
std::string MeasureProblems(const std::string& measures) {
  return MetricProblems("", "{type: tumbling, size: 1h}", measures);
}

// A metric with a filter, a dimension and a measure, checked against three event types.
std::string TypedProblems(const std::string& spec) {
  std::vector<v1::Resource> types;
  for (const char* text :
       {"{required: [name], properties: {name: {type: string}, age: {type: integer}, at: {type: timestamp}, tags: "
        "{type: array}, "
        "place: {type: object, properties: {city: {type: string}}}, free: {type: object}}}\nunknown_fields: reject",
        "{properties: {name: {type: number}, other: {type: boolean}}}\nunknown_fields: drop",
        "{properties: {name: {type: string}}}"}) {
    types.push_back(Make("EventType", absl::StrCat("schema: ", text)));
  }
  const ResourceLookup lookup = [&](absl::string_view kind, absl::string_view name) -> const v1::Resource* {
    if (kind != "EventType" || name.size() != 1 || name[0] < 'A' || name[0] > 'C') return nullptr;
    return &types[name[0] - 'A'];
  };
  const v1::Resource metric = Make("Metric", absl::StrCat("window: {type: tumbling, size: 1h}\n", spec));
  return Join(Validate(metric, lookup));
}
std::string FilterProblems(const std::string& filter) {
  return TypedProblems(absl::StrCat("measures: [{name: n, agg: count}]\nfilter: |-\n  ", filter));
}

TEST(Validate, ChecksExpressionsAgainstTheTypesThatTheirFiltersSelect) {
  EXPECT_EQ(FilterProblems("type == 'A' && data.age > 3 && data.place.city == 'x' && data.free.any == 1"), "");
  EXPECT_EQ(
      FilterProblems("type == 'A' && data.agee > 3"),
      "spec.filter: line 1, column 21: there is no field data.agee in A, which keeps no other fields; did you mean "
      "\"age\"?");
  EXPECT_THAT(FilterProblems("type == 'A' && data.place.ctiy == 'x'"), HasSubstr("data.place.ctiy in A"));
  EXPECT_THAT(FilterProblems("type == 'A' && data.place.ctiy == 'x'"), HasSubstr("did you mean \"city\"?"));
  EXPECT_THAT(FilterProblems("type == 'A' && data.name == 3"),
              HasSubstr("`==` does not take string data.name and int"));
  EXPECT_THAT(FilterProblems("type == 'A' && data.at > time"), HasSubstr("convert the text with timestamp()"));
  EXPECT_THAT(FilterProblems("type == 'A' && data.tags.startsWith('a')"), HasSubstr("not with (list, string)"));
  EXPECT_THAT(FilterProblems("type == 'A' && data.place == 'x'"), HasSubstr("map data.place and string"));
  EXPECT_THAT(FilterProblems("type == 'B' && data.gone"), HasSubstr("no field data.gone in B"));
  // What types say differently, or do not say, is known when events come.
  EXPECT_EQ(FilterProblems("type in ['A', 'B'] && data.name == 3 && data.age == 'x'"),
            "spec.filter: line 1, column 50: `==` does not take number data.age and string; write the literal as the "
            "field is, "
            "or convert with string() or double()");
  EXPECT_EQ(FilterProblems("type in ['A', 'B'] && data.name == 3"), "");
  EXPECT_THAT(FilterProblems("type in ['A', 'B'] && data.gone"), HasSubstr("no field data.gone in A, B"));
  EXPECT_EQ(FilterProblems("type in ['A', 'C'] && data.gone"), "");
  EXPECT_EQ(FilterProblems("type == 'C' && data.gone && data.name == 'x'"), "");
  EXPECT_EQ(FilterProblems("type in ['A', 'unregistered'] && data.gone"), "");
  EXPECT_EQ(FilterProblems("data.gone"), "");
}

TEST(Validate, MeasuresAndDimensionsAreCheckedAgainstWhatTheirFiltersLeave) {
  const auto problems = [](const std::string& more) {
    return TypedProblems(absl::StrCat("filter: type in [\"A\", \"B\"]\n", more));
  };
  EXPECT_EQ(problems("measures: [{name: n, agg: sum, expr: data.name, filter: type == \"B\"}]"), "");
  EXPECT_EQ(problems("measures: [{name: n, agg: sum, expr: data.name, filter: type == \"A\"}]"),
            "spec.measures[0].expr: is never a number, which sum needs");
  EXPECT_THAT(problems("measures: [{name: n, agg: sum, expr: data.age, filter: 'type == \"B\"'}]"),
              HasSubstr("spec.measures[0].expr: line 1, column 6: there is no field data.age in B"));
  EXPECT_THAT(problems("measures: [{name: n, agg: count, filter: 'data.none'}]"),
              HasSubstr("spec.measures[0].filter: line 1, column 6: there is no field data.none in A, B"));
  EXPECT_THAT(problems("dimensions: [{name: d, expr: data.none}]\nmeasures: [{name: n, agg: count}]"),
              HasSubstr("spec.dimensions[0].expr: line 1, column 6: there is no field data.none in A, B"));
  EXPECT_THAT(problems("dimensions: [{name: none}]\nmeasures: [{name: n, agg: count}]"),
              HasSubstr("spec.dimensions[0].name: there is no field data.none in A, B"));
}

TEST(Validate, ExcludeIsCheckedAgainstItsOwnType) {
  const std::string schema = "schema: {properties: {agent: {type: string}}}\n";
  EXPECT_EQ(Problems("EventType", schema + "exclude: data.agent.contains(\"bot\") || data.more"), "");
  EXPECT_THAT(Problems("EventType", schema + "exclude: data.agent > 3"), HasSubstr("string data.agent and int"));
  EXPECT_THAT(
      Problems("EventType", schema + "unknown_fields: reject\nexclude: data.agnt == \"x\""),
      HasSubstr("there is no field data.agnt in this type, which rejects other fields; did you mean \"agent\"?"));
  EXPECT_EQ(Problems("EventType", schema + "unknown_fields: drop\nexclude: data.more == 1"), "");
}

TEST(Validate, TakesBuiltInFormats) {
  for (const auto& resource : BuiltinResources()) EXPECT_EQ(Problems(*resource), "") << resource->metadata().name();
}

TEST(Validate, RefusesWhatIsNoResource) {
  EXPECT_THAT(Problems(v1::Resource()),
              AllOf(HasSubstr("apiVersion: must be naru.dev/v1"), HasSubstr("metadata.name: missing"),
                    HasSubstr("kind: there is no kind")));
  v1::Resource resource = Make("EventType", "description: x");
  resource.set_kind("Metric");
  EXPECT_THAT(Problems(resource), HasSubstr("spec: missing, or of another kind than Metric"));
  resource = Make("EventType", "description: x");
  for (const char* name : {"a b", "a/b", "나루", "a\n"}) {
    resource.mutable_metadata()->set_name(name);
    EXPECT_THAT(Problems(resource), HasSubstr("is not a name")) << name;
  }
  resource.mutable_metadata()->set_name(std::string(128, 'x'));
  EXPECT_EQ(Problems(resource), "");
  resource.mutable_metadata()->set_name(std::string(129, 'x'));
  EXPECT_THAT(Problems(resource), HasSubstr("is not a name"));
  resource.mutable_metadata()->set_name("a");
  (*resource.mutable_metadata()->mutable_labels())["k"] = std::string(257, 'v');
  EXPECT_THAT(Problems(resource), HasSubstr("metadata.labels.k: the value has 257 bytes"));
}

TEST(ValidateEventType, NamesEveryProblem) {
  const std::string problems = Problems("EventType", R"(schema:
  properties:
    a: {type: strin}
    b: {type: integer, minimum: 5, maximum: 1}
    c: {type: string, pattern: "("}
    d: {type: integer, enum: [one]}
unknown_fields: ignore
partition_by: user
compatibility: full
deduplication_window: 8d
retention: forever
exclude: data.agent.contains()");
  for (const char* part : {"spec.schema.properties.a.type: unknown type `strin`", "spec.schema.properties.b.minimum",
                           "spec.schema.properties.c.pattern", "spec.schema.properties.d.enum",
                           "spec.unknown_fields: `ignore`", "spec.partition_by: `user` is not one of subject, session",
                           "spec.compatibility", "spec.deduplication_window: `8d` is outside 1s to 7d",
                           "spec.retention: `forever` is not a duration", "spec.exclude: line 1, column"}) {
    EXPECT_THAT(problems, HasSubstr(part));
  }
}

TEST(ValidateEventType, TakesEverythingThatIsDocumented) {
  EXPECT_EQ(Problems("EventType", R"(schema:
  required: [a]
  properties:
    a: {type: string, enum: [x, y], x-personal: true, nullable: true}
    b: {type: array, maxItems: 2, items: {type: number}}
    c: {type: object, required: [d], properties: {d: {type: timestamp}}}
unknown_fields: reject
partition_by: session
deduplication_window: 7d
retention: 90d
compatibility: none
exclude: data.a.contains("bot"))"),
            "");
}

TEST(ValidateWindow, CountsPanes) {
  for (const char* good : {"{type: tumbling, size: 5m}", "{type: tumbling, size: 1d}", "{type: tumbling, size: 3mo}",
                           "{type: hopping, size: 60m, slide: 5m}", "{type: hopping, size: 2000s, slide: 1s}",
                           "{type: hopping, size: 7d, slide: 1d}", "{type: hopping, size: 1w, slide: 1d}",
                           "{type: hopping, size: 1d, slide: 1h}", "{type: hopping, size: 1mo, slide: 1d}",
                           "{type: cumulative, size: 1d, step: 1m}", "{type: hopping, size: 90s, slide: 60s}",
                           "{type: cumulative, size: 1mo, step: 6h}", "{type: cumulative, size: 1w, step: 1d}",
                           "{type: global}", "{type: session, gap: 30m, entity: subject, report: 1h}"}) {
    EXPECT_EQ(WindowProblems(good), "") << good;
  }
  EXPECT_THAT(WindowProblems("{type: hopping, size: 2001s, slide: 1s}"), HasSubstr("made of 2001 panes; at most 2000"));
  EXPECT_THAT(WindowProblems("{type: hopping, size: 2d, slide: 1m}"), HasSubstr("does not divide"));
  EXPECT_THAT(WindowProblems("{type: hopping, size: 1000003ms, slide: 1000ms}"), HasSubstr("made of 1000003 panes"));
  EXPECT_THAT(WindowProblems("{type: hopping, size: 1d, slide: 7m}"), HasSubstr("spec.window.slide: does not divide"));
  EXPECT_THAT(WindowProblems("{type: hopping, size: 1mo, slide: 1w}"), HasSubstr("does not divide"));
  EXPECT_THAT(WindowProblems("{type: hopping, size: 1d, slide: 30m}"), HasSubstr("spec.window.slide: does not divide"));
  EXPECT_THAT(WindowProblems("{type: hopping, size: 1mo, slide: 6h}"), HasSubstr("spec.window.slide: does not divide"));
  EXPECT_THAT(WindowProblems("{type: hopping, size: 24h, slide: 1d}"), HasSubstr("spec.window.slide"));
  EXPECT_THAT(WindowProblems("{type: cumulative, size: 90s, step: 60s}"),
              HasSubstr("spec.window.step: does not divide"));
  EXPECT_THAT(WindowProblems("{type: cumulative, size: 1d, step: 90m}"),
              HasSubstr("spec.window.step: does not divide"));
  EXPECT_THAT(WindowProblems("{type: cumulative, size: 1mo, step: 1w}"),
              HasSubstr("spec.window.step: does not divide"));
  EXPECT_THAT(WindowProblems("{type: cumulative, size: 1mo, step: 20m}"), HasSubstr("made of 2235 panes"));
  EXPECT_THAT(WindowProblems("{type: hopping, size: 5m, slide: 10m}"), HasSubstr("longer than the window"));
  EXPECT_THAT(WindowProblems("{type: hopping, size: 5m}"), HasSubstr("spec.window.slide: missing"));
  EXPECT_THAT(WindowProblems("{type: tumbling}"), HasSubstr("spec.window.size: missing"));
  EXPECT_THAT(WindowProblems("{type: tumbling, size: 5m, gap: 1m}"), HasSubstr("spec.window.gap: is for session"));
  EXPECT_THAT(WindowProblems("{type: sliding, size: 5m}"), HasSubstr("`sliding` is not one of tumbling"));
  EXPECT_THAT(WindowProblems("{type: session}"), HasSubstr("spec.window.gap: missing"));
  for (const char* bad : {"0s", "-5m", "5", "1.5d", "1d12h", "5 m", "99999999d", "1y", "0d", "-1d", "d"}) {
    EXPECT_THAT(WindowProblems(absl::StrCat("{type: tumbling, size: \"", bad, "\"}")), HasSubstr("spec.window.size"))
        << bad;
  }
}

TEST(ValidateMetric, ChecksSettings) {
  EXPECT_EQ(MetricProblems("topic: events\ntime_zone: Asia/Seoul\nallowed_lateness: unlimited\nstart: latest\n"
                           "out_of_orderness: 0s\nidle_timeout: 30s\nretention: 7d\nmax_groups: 10"),
            "");
  EXPECT_EQ(MetricProblems("start: 2022-11-01T00:00:00+09:00\nallowed_lateness: 1h"), "");
  EXPECT_THAT(MetricProblems("topic: event"), HasSubstr("spec.topic: `event` is not one of events"));
  EXPECT_THAT(MetricProblems("time_zone: Asia/Soul"), HasSubstr("spec.time_zone"));
  EXPECT_THAT(MetricProblems("time_zone: ../../etc/passwd"), HasSubstr("spec.time_zone"));
  EXPECT_THAT(MetricProblems("out_of_orderness: -1s"), HasSubstr("spec.out_of_orderness"));
  EXPECT_THAT(MetricProblems("allowed_lateness: never"), HasSubstr("spec.allowed_lateness"));
  EXPECT_THAT(MetricProblems("start: yesterday"), HasSubstr("spec.start"));
  EXPECT_THAT(MetricProblems("max_groups: -1"), HasSubstr("spec.max_groups"));
  EXPECT_THAT(MetricProblems("filter: 1 + 1"), HasSubstr("spec.filter"));
  EXPECT_THAT(MetricProblems("filter: typ == \"a\""), HasSubstr("spec.filter: line 1, column 1"));
  EXPECT_THAT(MetricProblems("dimensions: [{name: a b}, {name: n}, {name: window_start}, {name: c, expr: \"1 +\"}]"),
              AllOf(HasSubstr("spec.dimensions[0].name: `a b` is not a name"),
                    HasSubstr("spec.measures[0].name: `n` is the name of another"),
                    HasSubstr("spec.dimensions[2].name: `window_start` is a column"),
                    HasSubstr("spec.dimensions[3].expr: line 1, column")));
}

TEST(ValidateMetric, ChecksMeasures) {
  EXPECT_EQ(MeasureProblems(R"([{name: a, agg: count, filter: 'type == "x"'}, {name: b, agg: sum, expr: data.x},
    {name: c, agg: percentile, percentile: 95, expr: data.x}, {name: d, agg: top_k, k: 5, expr: data.w},
    {name: e, agg: ratio, numerator: b, denominator: a}, {name: f, agg: histogram, expr: data.x, bounds: [1, 2, 3]},
    {name: g, agg: count_distinct, expr: subject}, {name: h, agg: last, expr: data.w}])"),
            "");
  EXPECT_THAT(MeasureProblems("[]"), HasSubstr("spec.measures: missing"));
  EXPECT_THAT(MeasureProblems("[{name: a, agg: total}]"), HasSubstr("spec.measures[0].agg: `total` is not one of"));
  EXPECT_THAT(MeasureProblems("[{name: a}]"), HasSubstr("spec.measures[0].agg: missing"));
  EXPECT_THAT(MeasureProblems("[{name: a, agg: sum}]"), HasSubstr("spec.measures[0].expr: missing"));
  EXPECT_THAT(MeasureProblems("[{name: a, agg: count, expr: data.x}]"), HasSubstr("spec.measures[0].expr: is not for"));
  EXPECT_THAT(MeasureProblems("[{name: a, agg: sum, expr: type}]"), HasSubstr("is never a number"));
  EXPECT_THAT(MeasureProblems("[{name: a, agg: top_k, expr: type}]"), HasSubstr("spec.measures[0].k: 0 is outside"));
  EXPECT_THAT(MeasureProblems("[{name: a, agg: count, k: 3}]"), HasSubstr("spec.measures[0].k: is for top_k only"));
  EXPECT_THAT(MeasureProblems("[{name: a, agg: percentile, expr: data.x, percentile: 101}]"), HasSubstr(".percentile"));
  EXPECT_THAT(MeasureProblems("[{name: logins, agg: count}, {name: r, agg: ratio, numerator: login, denominator: r}]"),
              AllOf(HasSubstr("numerator: there is no measure `login`; did you mean \"logins\"?"),
                    HasSubstr("denominator: `r` is a ratio")));
  EXPECT_THAT(MeasureProblems("[{name: a, agg: histogram, expr: data.x, bounds: [1, 1]}]"), HasSubstr("bounds"));
  EXPECT_THAT(MeasureProblems("[{name: a, agg: count}, {name: a, agg: count}]"), HasSubstr("spec.measures[1].name"));
}

TEST(ValidateInputFormat, ChecksParsers) {
  const std::string type = "event: {type: {const: x}}\n";
  EXPECT_EQ(Problems("InputFormat", type + "parser: {type: csv, header: true, delimiter: '\\t'}"), "");
  EXPECT_EQ(Problems("InputFormat", type + "parser: {type: delimited, columns: [a, b], json_columns: [b]}\n"
                                           "data: {x: b.c.d, y: {template: '{a}-{b.c}', hash: true}}"),
            "");
  EXPECT_THAT(Problems("InputFormat", "description: x"),
              AllOf(HasSubstr("spec.parser.type: missing"), HasSubstr("spec.event.type")));
  EXPECT_THAT(Problems("InputFormat", type + "parser: {type: xml}"), HasSubstr("`xml` is not one of json"));
  EXPECT_THAT(Problems("InputFormat", type + "parser: {type: csv}"), HasSubstr("spec.parser.columns: missing"));
  EXPECT_THAT(Problems("InputFormat", type + "parser: {type: csv, columns: [a, a, b.c], delimiter: ';;'}"),
              AllOf(HasSubstr("columns[1]: `a` is given twice"), HasSubstr("columns[2]: `b.c`"),
                    HasSubstr("spec.parser.delimiter")));
  EXPECT_THAT(Problems("InputFormat", type + "parser: {type: delimited, columns: [alpha], json_columns: [alfa]}"),
              HasSubstr("there is no column `alfa`; did you mean \"alpha\"?"));
  EXPECT_THAT(Problems("InputFormat", type + "parser: {type: regex, pattern: '(a'}"), HasSubstr("not an RE2"));
  EXPECT_THAT(Problems("InputFormat", type + "parser: {type: regex, pattern: '(a)'}"), HasSubstr("no named group"));
  EXPECT_THAT(Problems("InputFormat", type + "parser: {type: regex, pattern: '(?P<user>a)'}\ndata: {u: usr}"),
              HasSubstr("a line has no field `usr`; did you mean \"user\"?"));
  EXPECT_THAT(Problems("InputFormat", type + "parser: {type: apache_combined}\ndata: {u: {expr: int(stats) > 1}}"),
              HasSubstr("spec.data.u.expr: a line has no field `stats`; did you mean \"status\"?"));
  EXPECT_THAT(
      Problems("InputFormat", type + "parser: {type: json, pattern: x, header: true, columns: [a]}"),
      AllOf(HasSubstr("pattern: is for regex"), HasSubstr("header: is for csv"), HasSubstr("columns: are for")));
}

TEST(ValidateInputFormat, ChecksMappings) {
  const std::string head = "parser: {type: json}\nevent: {type: t}\n";
  EXPECT_THAT(Problems("InputFormat", head + "data: {a: {}}"), HasSubstr("spec.data.a: needs exactly one of"));
  EXPECT_THAT(Problems("InputFormat", head + "data: {a: {from: x, const: 1}}"), HasSubstr("needs exactly one of"));
  EXPECT_THAT(Problems("InputFormat", head + "data: {a: {const: [1]}}"), HasSubstr("spec.data.a.const"));
  EXPECT_THAT(Problems("InputFormat", head + "data: {a: {from: x, type: int}}"), HasSubstr("spec.data.a.type"));
  EXPECT_THAT(Problems("InputFormat", head + "data: {a: {from: x, layout: unix}}"), HasSubstr("spec.data.a.layout"));
  EXPECT_THAT(Problems("InputFormat", head + "data: {a: {expr: 'x +'}}"), HasSubstr("spec.data.a.expr: line 1"));
  EXPECT_THAT(Problems("InputFormat", head + "data: {a: .x}"), HasSubstr("is not a path"));
  for (const char* bad : {"{a", "a}", "{{a}}", "{a}{", "{}", "plain", "{a..b}"}) {
    EXPECT_THAT(Problems("InputFormat", absl::StrCat(head, "data: {a: {template: \"", bad, "\"}}")),
                HasSubstr("spec.data.a.template"))
        << bad;
  }
  EXPECT_THAT(Problems("InputFormat", head + "data_from: d\ndata: {a: x}"), HasSubstr("spec.data_from"));
  EXPECT_THAT(Problems("InputFormat", head + "time: {time_zone: Mars/Base}"),
              AllOf(HasSubstr("spec.time.field: missing"), HasSubstr("spec.time.time_zone")));
}

TEST(ValidateSource, ChecksReferencesAndBrokers) {
  EXPECT_EQ(Problems("Source",
                     "kafka: {brokers: ['broker:9092'], topics: [log_menuclick], start: latest,\n"
                     "  properties: {sasl.password: '${env:PASSWORD}', security.protocol: SASL_SSL}}\n"
                     "format: ndjson"),
            "");
  EXPECT_THAT(Problems("Source", "paused: true"),
              AllOf(HasSubstr("spec.kafka: missing"), HasSubstr("spec.format: miss")));
  EXPECT_THAT(Problems("Source",
                       "kafka: {brokers: [broker, 'a:0', ':1'], topics: ['a b', x, x], start: now,\n"
                       "  properties: {group.id: x, sasl.password: hunter2}}\nformat: nothing"),
              AllOf(HasSubstr("brokers[0]"), HasSubstr("brokers[1]"), HasSubstr("brokers[2]"), HasSubstr("topics[0]"),
                    HasSubstr("topics[2]: `x` is given twice"), HasSubstr("spec.kafka.start"),
                    HasSubstr("properties.group.id: cannot be set"), HasSubstr("properties.sasl.password: would be"),
                    HasSubstr("there is no InputFormat `nothing`"), ::testing::Not(HasSubstr("hunter2"))));
}

// A sink whose metrics all exist.
std::string SinkProblems(const std::string& spec) {
  const auto lookup = [](absl::string_view kind, absl::string_view name) -> const v1::Resource* {
    static const v1::Resource metric;
    if (kind == "Funnel") return name == "purchase" ? &metric : nullptr;
    if (kind == "Retention") return name == "weekly-return" ? &metric : nullptr;
    static const std::set<std::string> kNone = {"nothing", "purchase", "weekly-return", "Funnel/purchase"};
    return kind == "Metric" && kNone.count(std::string(name)) == 0 ? &metric : nullptr;
  };
  return Join(Validate(Make("Sink", spec), lookup));
}

TEST(ValidateSink, TakesEachKind) {
  for (const char* good : {
           "redis: {address: 'redis:6379', key_prefix: ciao}\nmetrics: [hot-activity]\npassword: {secret: "
           "redis-password}",
           "redis: {address: 'redis:6379', username: naru, database: 3}\nmetrics: [a]\npassword: {secret: "
           "p}\ninterval: 5s",
           "postgres: {dsn: 'postgresql://naru@db:5432/marts?sslmode=require', schema: live}\nmetrics: [a, b]",
           "postgres: {dsn: 'host=db dbname=passwords user=naru'}\nmetrics: [a]",
           "postgres: {host: db, database: marts, user: naru}\nmetrics: [a]\npassword: {secret: p}",
           "topic: {name: hot, format: json, partitions: 4}\nmetrics: [a]",
       }) {
    EXPECT_EQ(SinkProblems(good), "") << good;
  }
}

TEST(ValidateSink, NamesEachMistake) {
  const char* const bad[][2] = {
      {"metrics: [a]", "spec: says nothing about where to"},
      {"redis: {address: redis}\nmetrics: [a]", "spec.redis.address: `redis` is not HOST:PORT"},
      {"redis: {address: 'redis:6379'}", "spec.metrics: missing"},
      {"redis: {address: 'redis:6379'}\nmetrics: [a, a]", "spec.metrics[1]: `a` is given twice"},
      {"redis: {address: 'redis:6379'}\nmetrics: [nothing]", "spec.metrics[0]: there is no Metric `nothing`"},
      {"redis: {address: 'redis:6379'}\nmetrics: [a, purchase]", "spec.metrics[1]: `purchase` is a Funnel"},
      {"redis: {address: 'redis:6379'}\nmetrics: [weekly-return]", "spec.metrics[0]: `weekly-return` is a Retention"},
      {"redis: {address: 'redis:6379'}\nmetrics: [Funnel/purchase]", "spec.metrics[0]: `purchase` is a Funnel"},
      {"redis: {address: 'redis:6379', key_prefix: 'a b'}\nmetrics: [a]", "spec.redis.key_prefix"},
      {"redis: {address: 'redis:6379', database: -1}\nmetrics: [a]", "spec.redis.database: -1"},
      {"redis: {address: 'redis:6379', username: u}\nmetrics: [a]", "spec.password: missing"},
      {"redis: {address: 'redis:6379'}\nmetrics: [a]\npassword: {secret: ../x}", "spec.password.secret: `../x`"},
      {"redis: {address: 'redis:6379'}\nmetrics: [a]\ninterval: 1us", "spec.interval"},
      {"postgres: {schema: live}\nmetrics: [a]", "spec.postgres: needs a dsn"},
      {"postgres: {dsn: 'host=db', host: db}\nmetrics: [a]", "spec.postgres.dsn: says everything"},
      {"postgres: {host: 'a b', database: d, user: u}\nmetrics: [a]", "spec.postgres.host: `a b`"},
      {"postgres: {host: db}\nmetrics: [a]", "spec.postgres.database: missing"},
      {"postgres: {dsn: 'host=db', schema: pg_x}\nmetrics: [a]", "spec.postgres.schema"},
      {"postgres: {dsn: 'host=db'}\nmetrics: [a-b, a_b]", "spec.metrics[1]: its table would be `a_b`"},
      {"topic: {name: events.late}\nmetrics: [a]", "spec.topic.name: `events.late` is a topic of Naru's own"},
      {"topic: {name: 'a b'}\nmetrics: [a]", "spec.topic.name: `a b` is not the name"},
      {"topic: {name: x, format: xml, partitions: 1000}\nmetrics: [a]", "spec.topic.format"},
      {"topic: {name: x}\nmetrics: [a]\npassword: {secret: p}", "spec.password: is not for topics"},
  };
  for (const auto& [spec, why] : bad) EXPECT_THAT(SinkProblems(spec), HasSubstr(why)) << spec;
}

TEST(ValidateSink, APasswordInADsnIsRefusedAndNotRepeated) {
  for (const char* dsn : {"postgresql://naru:hunter2@db/marts", "host=db password=hunter2",
                          "host=db PassWord = 'hunter2'", "postgresql://naru@db/marts?password=hunter2"}) {
    EXPECT_THAT(SinkProblems(absl::StrCat("postgres: {dsn: \"", dsn, "\"}\nmetrics: [a]")),
                AllOf(HasSubstr("spec.postgres.dsn: holds a password"), ::testing::Not(HasSubstr("hunter2"))))
        << dsn;
  }
}

TEST(SinkTableName, IsAnIdentifierOfItsOwn) {
  EXPECT_EQ(SinkTableName("hot-activity"), "hot_activity");
  EXPECT_EQ(SinkTableName("Hot.Activity"), "hot_activity");
  EXPECT_EQ(SinkTableName("5min"), "_5min");
  const std::string a = SinkTableName(std::string(128, 'a')), b = SinkTableName(std::string(127, 'a'));
  EXPECT_EQ(a.size(), 52);
  EXPECT_EQ(b.size(), 52);
  EXPECT_NE(a, b);
}

// What changes from one schema to another.
std::string ChangeProblems(const std::string& before, const std::string& after) {
  return Join(CheckChange(Make("EventType", before), Make("EventType", after)));
}

TEST(EventTypeChange, TakesWhatAcceptsMore) {
  const char* const good[][2] = {
      {"schema: {properties: {a: {type: integer}}}", "schema: {properties: {a: {type: number}}}"},
      {"schema: {properties: {a: {type: timestamp}}}", "schema: {properties: {a: {type: string}}}"},
      {"schema: {properties: {a: {type: string}}}", "schema: {properties: {a: {type: string}, b: {type: integer}}}"},
      {"schema: {required: [a], properties: {a: {type: string}}}", "schema: {properties: {a: {type: string}}}"},
      {"schema: {properties: {a: {type: string, enum: [x]}}}",
       "schema: {properties: {a: {type: string, enum: [y, x]}}}"},
      {"schema: {properties: {a: {type: string, enum: [x]}}}", "schema: {properties: {a: {type: string}}}"},
      {"schema: {properties: {a: {type: integer, minimum: 0, maximum: 9}}}",
       "schema: {properties: {a: {type: integer, minimum: -1, maximum: 10}}}"},
      {"schema: {properties: {a: {type: string, pattern: x}}}", "schema: {properties: {a: {type: string}}}"},
      {"schema: {properties: {a: {type: string}}}", "unknown_fields: drop"},
      {"unknown_fields: reject", "unknown_fields: keep"},
      {"retention: 1d", "retention: 2d\nexclude: data.x == 1"},
      {"partition_by: subject", "description: the default is the same"},
      {"schema: {properties: {a: {type: string, maxLength: 5}}}",
       "schema: {properties: {a: {type: string, maxLength: 6, minLength: 0}}}"},
  };
  for (const auto& [before, after] : good) EXPECT_EQ(ChangeProblems(before, after), "") << after;
}

TEST(EventTypeChange, RefusesWhatAcceptsLess) {
  const char* const bad[][3] = {
      {"schema: {properties: {a: {type: number}}}", "schema: {properties: {a: {type: integer}}}",
       "a.type: changes from"},
      {"schema: {properties: {a: {type: string}}}", "schema: {required: [a], properties: {a: {type: string}}}",
       "`a` becomes required"},
      {"schema: {properties: {a: {type: string, enum: [x, y]}}}",
       "schema: {properties: {a: {type: string, enum: [x]}}}", "`y` is no longer allowed"},
      {"schema: {properties: {a: {type: string}}}", "schema: {properties: {a: {type: string, enum: [x]}}}", "a.enum"},
      {"schema: {properties: {a: {type: integer, minimum: 0}}}",
       "schema: {properties: {a: {type: integer, minimum: 1}}}", "rises from 0 to 1"},
      {"schema: {properties: {a: {type: integer}}}", "schema: {properties: {a: {type: integer, maximum: 1}}}",
       "there was no limit, now it is 1"},
      {"schema: {properties: {a: {type: string}}}", "schema: {properties: {a: {type: string, minLength: 1}}}",
       "minLength"},
      {"schema: {properties: {a: {type: string, maxLength: 9}}}",
       "schema: {properties: {a: {type: string, maxLength: 8}}}", "falls from 9 to 8"},
      {"schema: {properties: {a: {type: string, pattern: a}}}", "schema: {properties: {a: {type: string, pattern: b}}}",
       "pattern"},
      {"schema: {properties: {a: {type: string}}}", "unknown_fields: reject", "unknown_fields"},
      {"unknown_fields: reject\nschema: {properties: {a: {type: string}}}", "unknown_fields: reject",
       "`a` is no longer there"},
      {"schema: {properties: {a: {type: array}}}", "schema: {properties: {a: {type: array, items: {type: string}}}}",
       "items.type: changes from anything to string"},
      {"schema: {properties: {a: {type: object, properties: {b: {type: string}}}}}",
       "schema: {properties: {a: {type: object, properties: {b: {type: number}}}}}", "a.properties.b.type"},
      {"schema: {properties: {a: {type: object}}}", "schema: {properties: {a: {type: object, required: [b]}}}",
       "`b` becomes required"},
      {"schema: {properties: {a: {type: array, maxItems: 3}}}", "schema: {properties: {a: {type: array, maxItems: 2}}}",
       "maxItems"},
  };
  for (const auto& [before, after, why] : bad) {
    EXPECT_THAT(ChangeProblems(before, after), AllOf(HasSubstr(why), HasSubstr("`compatibility: none`"))) << after;
    EXPECT_EQ(ChangeProblems(before, absl::StrCat("compatibility: none\n", after)), "") << after;
  }
}

TEST(EventTypeChange, NeverMovesPartitions) {
  EXPECT_THAT(ChangeProblems("description: a", "partition_by: session\ncompatibility: none"),
              HasSubstr("spec.partition_by: stays subject for ever"));
}

TEST(Nearest, MeansWordsThatAreNear) {
  const std::vector<std::string> words = {"minimum", "maximum", "minLength", "type", "x-personal"};
  EXPECT_EQ(Nearest("minimun", words), "minimum");
  EXPECT_EQ(Nearest("MINLENGTH", words), "minLength");
  EXPECT_EQ(Nearest("tpye", words), "type");
  EXPECT_EQ(Nearest("zzz", words), "");
  EXPECT_EQ(Nearest("", words), "");
  EXPECT_EQ(Nearest(std::string(100'000, 'x'), words), "");
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
  EXPECT_EQ(EditDistance("", "abc"), 3);
  EXPECT_EQ(EditDistance("ab", "ba"), 1);
  EXPECT_EQ(EditDistance("A", "a"), 0.25);
}

}  // namespace
}  // namespace naru::catalog
