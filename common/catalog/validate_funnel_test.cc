#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/catalog/apply_plan.h"
#include "common/catalog/entity_check.h"
#include "common/catalog/resource_file.h"
#include "common/catalog/snapshot.h"
#include "common/catalog/validate.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "naru/catalog/v1/catalog.pb.h"

namespace naru::catalog {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

v1::Resource Make(const std::string& kind, const std::string& name, const std::string& spec) {
  const ResourceSet set =
      LoadText("a.yaml", absl::StrCat("apiVersion: naru.dev/v1\nkind: ", kind, "\nmetadata: {name: ", name,
                                      "}\nspec:\n  ", absl::StrReplaceAll(spec, {{"\n", "\n  "}}), "\n"));
  for (const FileProblem& problem : set.problems) ADD_FAILURE() << problem.ToString();
  return set.resources.empty() ? v1::Resource() : *set.resources[0].resource;
}

std::string Problems(const std::string& kind, const std::string& spec) {
  return absl::StrJoin(Validate(Make(kind, "a", spec), [](absl::string_view, absl::string_view) { return nullptr; }),
                       "\n", [](std::string* out, const FieldViolation& violation) {
                         absl::StrAppend(out, violation.field, ": ", violation.description);
                       });
}

constexpr char kSteps[] = R"(
steps:
  - {name: search, filter: 'type == "view_search_results"'}
  - {name: detail, filter: 'type == "view_item" && data.price > 0'})";
constexpr char kRetention[] = R"(first: 'type == "UserLogin"'
returned: 'type == "UserLogin"')";

std::string FunnelProblems(const std::string& spec) { return Problems("Funnel", absl::StrCat(spec, kSteps)); }
std::string RetentionProblems(const std::string& spec) {
  return Problems("Retention", absl::StrCat(kRetention, "\n", spec));
}

TEST(ValidateFunnel, TakesEverythingThatIsDocumented) {
  EXPECT_EQ(FunnelProblems("within: 7d"), "");
  EXPECT_EQ(FunnelProblems(R"(description: From the search to the purchase.
topic: events
filter: type in ["view_search_results", "view_item"]
time_zone: Asia/Seoul
entity: session
within: 30m
modes: [strict_order, strict_deduplication, strict_increase]
out_of_orderness: 1m
idle_timeout: 10s
retention: 10d
start: 2024-05-01T00:00:00Z
dimensions: [{name: region, expr: data.local1}, {name: price}])"),
            "");
}

TEST(ValidateFunnel, NamesEveryProblem) {
  const std::string problems = Problems("Funnel", R"(topic: clicks
filter: data.a +
time_zone: Asia/Soul
entity: user
modes: [strict, strict_once, strict_order, strict_order]
retention: never
start: tomorrow
steps:
  - {name: a, filter: 'type == "x"'}
  - {name: a, filter: data.b}
  - {name: 1b}
dimensions: [{name: r}, {name: r, expr: foo(1)}])");
  for (const char* part :
       {"spec.topic: `clicks` is not one of events", "spec.filter: line 1, column", "spec.time_zone: `Asia/Soul`",
        "spec.entity: `user` is not one of subject, session", "spec.within: missing",
        "spec.modes[0]: `strict` is not one of", "spec.modes[1]: `strict_once` is always so",
        "spec.modes[3]: `strict_order` is there twice", "spec.retention: `never` is not a duration",
        "spec.start: `tomorrow` is not earliest", "spec.steps[1].name: `a` is the name of another step",
        "spec.steps[2].name: `1b`", "spec.steps[2].filter: missing; which events, like",
        "spec.dimensions[1].name: `r` is the name of another dimension", "spec.dimensions[1].expr: line 1, column"}) {
    EXPECT_THAT(problems, HasSubstr(part));
  }
  EXPECT_THAT(Problems("Funnel", "within: 1h"), HasSubstr("spec.steps: missing"));
  EXPECT_THAT(FunnelProblems("within: 367d"), HasSubstr("spec.within: `367d` is outside 0s to 366d"));
  EXPECT_THAT(FunnelProblems("within: 7d\nretention: 6d"),
              HasSubstr("spec.retention: `6d` is shorter than `within` (7d)"));
  std::string many = "within: 1h\nsteps:";
  for (int i = 0; i < 33; ++i) absl::StrAppend(&many, "\n  - {name: s", i, ", filter: 'type == \"x\"'}");
  EXPECT_THAT(Problems("Funnel", many), HasSubstr("spec.steps: 33 steps; at most 32 are allowed"));
}

TEST(ValidateRetention, TakesEverythingThatIsDocumented) {
  EXPECT_EQ(RetentionProblems("unit: 1d\ncount: 14"), "");
  EXPECT_EQ(RetentionProblems("unit: 1mo\ncount: 400\nentity: session\ntime_zone: Asia/Seoul\nretention: 36000d\n"
                              "start: latest\nidle_timeout: 5s\nout_of_orderness: 0s\ndescription: x\ntopic: events"),
            "");
}

TEST(ValidateRetention, NamesEveryProblem) {
  const std::string problems = Problems("Retention", "first: type ==\nunit: 2d\ncount: 0");
  for (const char* part : {"spec.first: line 1, column", "spec.returned: missing; which events, like",
                           "spec.unit: `2d` is not one of 1d, 1w, 1mo", "spec.count: 0 is outside 1 to 400"}) {
    EXPECT_THAT(problems, HasSubstr(part));
  }
  EXPECT_THAT(RetentionProblems("count: 14"), HasSubstr("spec.unit: missing; one of 1d, 1w, 1mo"));
  EXPECT_THAT(RetentionProblems("unit: 1w\ncount: 4\nretention: 30d"), HasSubstr("at least 35d5h are needed"));
}

TEST(ValidateFunnel, ChecksExpressionsAgainstTheEventTypes) {
  const v1::Resource view =
      Make("EventType", "view_item", "unknown_fields: reject\nschema: {properties: {price: {type: number}}}");
  const auto problems = [&view](const std::string& kind, const std::string& spec) {
    const auto lookup = [&view](absl::string_view of, absl::string_view name) {
      return of == "EventType" && name == "view_item" ? &view : nullptr;
    };
    return absl::StrJoin(Validate(Make(kind, "a", spec), lookup), "\n",
                         [](std::string* out, const FieldViolation& violation) {
                           absl::StrAppend(out, violation.field, ": ", violation.description);
                         });
  };
  const std::string steps = "within: 1h\nsteps:\n  - {name: a, filter: 'type == \"view_item\"'}";
  EXPECT_EQ(problems("Funnel", steps + "\n  - {name: b, filter: 'type == \"other\" && data.prize > 1'}"), "");
  EXPECT_THAT(problems("Funnel", steps + "\n  - {name: b, filter: 'type == \"view_item\" && data.prize > 1'}"),
              HasSubstr("spec.steps[1].filter: line 1, column"));
  EXPECT_THAT(problems("Funnel", steps + "\ndimensions: [{name: prize}]"), HasSubstr("spec.dimensions[0].name: "));
  EXPECT_EQ(problems("Funnel", steps + "\ndimensions: [{name: price}]"), "");
  EXPECT_THAT(problems("Retention",
                       "first: type == \"view_item\" && data.prize > 1\nreturned: type == \"x\"\n"
                       "unit: 1d\ncount: 1"),
              HasSubstr("spec.first: line 1, column"));
}

// Problems of applying `resources` to a catalog that holds `before`.
std::string ApplyProblems(const std::vector<v1::Resource>& before, const std::vector<v1::Resource>& resources) {
  SnapshotBuilder builder;
  for (const v1::Resource& resource : before) {
    v1::CatalogRecord record;
    *record.mutable_resource() = resource;
    record.mutable_resource()->mutable_metadata()->set_version(1);
    builder.Apply(RecordKey(resource.kind(), resource.metadata().name()), record.SerializeAsString(), false);
  }
  const auto planned = PlanApply(*builder.Build(), resources, nullptr, 0);
  if (planned.ok()) return "";
  return absl::StrJoin(GetErrorDetails(planned.status()).violations, "\n",
                       [](std::string* out, const FieldViolation& violation) {
                         absl::StrAppend(out, violation.field, ": ", violation.description);
                       });
}

v1::Resource Type(const std::string& name, const std::string& by) {
  return Make("EventType", name, absl::StrCat("partition_by: ", by));
}

TEST(EntityCheck, FunnelsCountByWhatTheirEventTypesArePartitionedBy) {
  const v1::Resource funnel = Make("Funnel", "f", absl::StrCat("within: 7d", kSteps));
  EXPECT_EQ(ApplyProblems({}, {funnel}), "");
  EXPECT_EQ(ApplyProblems({Type("view_item", "subject"), Type("other", "session")}, {funnel}), "");
  EXPECT_THAT(
      ApplyProblems({}, {Type("view_item", "session"), funnel}),
      HasSubstr("resources[1].spec.entity: `subject`, but events of type view_item are partitioned by session, so "
                "those of one subject are not together; use `session`"));
  // The event type comes later.
  EXPECT_THAT(ApplyProblems({funnel}, {Type("view_item", "session")}),
              HasSubstr("resources[0].spec.partition_by: must be subject, not session: Funnel f counts these events by "
                        "subject"));
  const v1::Resource by_session = Make("Funnel", "f", absl::StrCat("within: 7d\nentity: session", kSteps));
  EXPECT_EQ(ApplyProblems({Type("view_item", "session")}, {by_session}), "");
  EXPECT_THAT(ApplyProblems({Type("view_item", "subject")}, {by_session}), HasSubstr("spec.entity: `session`, but"));
}

TEST(EntityCheck, FiltersThatMayMatchAnyTypeConcernAllTypes) {
  const std::string any = "within: 7d\nsteps: [{name: a, filter: data.a > 1}]";
  EXPECT_THAT(ApplyProblems({Type("x", "session")}, {Make("Funnel", "f", any)}),
              HasSubstr("or say of which types events are: `type in [...] && ...`"));
  EXPECT_EQ(ApplyProblems({Type("x", "session")}, {Make("Funnel", "f", absl::StrCat("filter: type == \"y\"\n", any))}),
            "");
  // In strict_order, events of other types interrupt.
  const std::string strict = absl::StrCat("within: 7d\nmodes: [strict_order]", kSteps);
  EXPECT_THAT(ApplyProblems({Type("x", "session")}, {Make("Funnel", "f", strict)}),
              HasSubstr("spec.entity: `subject`"));
}

TEST(EntityCheck, RetentionsAndSessionWindowsToo) {
  const v1::Resource retention = Make("Retention", "r", absl::StrCat(kRetention, "\nunit: 1d\ncount: 14"));
  EXPECT_EQ(ApplyProblems({Type("UserLogin", "subject")}, {retention}), "");
  EXPECT_THAT(ApplyProblems({Type("UserLogin", "session")}, {retention}),
              HasSubstr("resources[0].spec.entity: `subject`"));
  const auto metric = [](const char* window) {
    return Make("Metric", "m",
                absl::StrCat("filter: type == \"x\"\nwindow: ", window, "\nmeasures: [{name: n, agg: count}]"));
  };
  EXPECT_THAT(ApplyProblems({Type("x", "session")}, {metric("{type: session, gap: 30m}")}),
              AllOf(HasSubstr("resources[0].spec.window.entity: `subject`"), Not(HasSubstr("resources[1]"))));
  EXPECT_EQ(ApplyProblems({Type("x", "session")}, {metric("{type: session, gap: 30m, entity: session}")}), "");
  EXPECT_EQ(ApplyProblems({Type("x", "session")}, {metric("{type: tumbling, size: 1h}")}), "");
}

}  // namespace
}  // namespace naru::catalog
