#include "common/catalog/resource_checks.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/catalog/builtin.h"
#include "common/catalog/resource_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Failures(const v1::Resource& resource) {
  TestRunners runners;
  RegisterResourceChecks(&runners);
  const auto nothing = [](absl::string_view, absl::string_view) -> const v1::Resource* { return nullptr; };
  std::vector<FieldViolation> violations = runners.Check(resource, nothing);
  if (violations.empty()) violations = runners.Run(resource, nothing);
  return absl::StrJoin(violations, "\n", [](std::string* out, const FieldViolation& violation) {
    absl::StrAppend(out, violation.field, ": ", violation.description);
  });
}

std::string TypeFailures(const std::string& tests) {
  const ResourceSet set = LoadText("a.yaml", absl::StrCat(R"(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: Bought}
spec:
  schema:
    required: [price]
    properties:
      price: {type: integer, minimum: 0, maximum: 100}
      colour: {type: string, enum: [red, blue]}
  unknown_fields: reject
tests:
)",
                                                          tests));
  for (const FileProblem& problem : set.problems) ADD_FAILURE() << problem.ToString();
  return set.resources.empty() ? "" : Failures(*set.resources[0].resource);
}

TEST(EventTypeTests, PassWhenTheyAreRight) {
  EXPECT_EQ(TypeFailures(R"(- {event: {data: {price: 3, colour: red}}, accepted: true}
- {event: {id: a, source: s, subject: u, session: v, time: 2022-11-01T09:00:00+09:00, data: {price: 0}}, accepted: true}
- {event: {data: {price: 101}}, rejected: FIELD_RANGE}
- {event: {data: {price: three}}, rejected: FIELD_KIND}
- {event: {data: {price: 1, colour: green}}, rejected: FIELD_ENUM}
- {event: {data: {price: 1, size: 3}}, rejected: FIELD_UNKNOWN}
- {event: {data: {}}, rejected: FIELD_REQUIRED}
- {event: {data: null}, rejected: FIELD_REQUIRED}
- {event: {time: yesterday, data: {price: 1}}, rejected: TIME}
- {event: {source: "", data: {price: 1}}, rejected: MISSING_ATTRIBUTE}
- {event: {data: {price: {a: {b: {c: {d: {e: {f: {g: {h: 1}}}}}}}}}}, rejected: DATA_TOO_DEEP}
)"),
            "");
}

TEST(EventTypeTests, SayWhatCameOut) {
  EXPECT_THAT(TypeFailures("- {name: cheap, event: {data: {price: -1}}, accepted: true}\n"),
              HasSubstr("tests[0].accepted: cheap: the event is rejected with FIELD_RANGE (data.price: expected"));
  EXPECT_THAT(TypeFailures("- {event: {data: {price: 1}}, rejected: FIELD_KIND}\n"),
              HasSubstr("tests[0].rejected: the event is accepted, not rejected with FIELD_KIND"));
}

TEST(EventTypeTests, RefuseExamplesThatTestNothing) {
  EXPECT_THAT(TypeFailures(R"(- {event: {data: {price: 1}}}
- {accepted: true}
- {event: {data: {price: 1}}, rejected: FIELD_KINDS}
- {event: {date: {price: 1}}, accepted: true}
- {event: {data: [1]}, accepted: true}
- {event: {subject: 5}, accepted: true}
- {event: {received_time: x}, accepted: true}
- {event: {data: {price: 1}}, accepted: false}
)"),
              AllOf(HasSubstr("tests[0]: needs one of"), HasSubstr("tests[1].event: missing"),
                    HasSubstr("tests[2].rejected: there is no reason `FIELD_KINDS`; did you mean \"FIELD_KIND\"?"),
                    HasSubstr("tests[3].event.date: events have no attribute `date`"), HasSubstr("tests[4].event.data"),
                    HasSubstr("tests[5].event.subject: must be a string"), HasSubstr("tests[6].event.received_time"),
                    HasSubstr("tests[7].accepted")));
}

TEST(ResourceChecks, HoldForBuiltInFormats) {
  for (const auto& resource : BuiltinResources()) {
    EXPECT_GT(resource->tests_size(), 0);
    EXPECT_EQ(Failures(*resource), "") << resource->metadata().name();
  }
}

TEST(ResourceChecks, NameWhatAFormatCannotDo) {
  v1::Resource format = *FindBuiltin("InputFormat", "ndjson");
  format.mutable_input_format()->mutable_time()->set_layout("%Q");
  EXPECT_THAT(Failures(format), HasSubstr("spec.time.layout"));
}

}  // namespace
}  // namespace naru::catalog
