#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/catalog/nearest.h"
#include "common/catalog/resource_checks.h"
#include "common/clock/rfc3339.h"
#include "common/event/event_view.h"
#include "common/event/schema.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/time_util.h"
#include "naru/catalog/v1/resources.pb.h"
#include "naru/event/v1/event.pb.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::catalog {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;
using ingest::v1::RejectReason;

constexpr char kDefaultSource[] = "test";

RejectReason ReasonOf(event::ParseError error) {
  switch (error) {
    case event::ParseError::kOk:
      return ingest::v1::REJECT_REASON_UNSPECIFIED;
    case event::ParseError::kMalformed:
      return ingest::v1::MALFORMED;
    case event::ParseError::kInvalidUtf8:
      return ingest::v1::INVALID_UTF8;
    case event::ParseError::kMissingAttribute:
      return ingest::v1::MISSING_ATTRIBUTE;
    case event::ParseError::kAttributeTooLong:
      return ingest::v1::ATTRIBUTE_TOO_LONG;
    case event::ParseError::kEventTooLarge:
      return ingest::v1::EVENT_TOO_LARGE;
    case event::ParseError::kTime:
      return ingest::v1::TIME;
    case event::ParseError::kDataTooDeep:
      return ingest::v1::DATA_TOO_DEEP;
    case event::ParseError::kNotFinite:
      return ingest::v1::NOT_FINITE;
  }
  return ingest::v1::MALFORMED;
}

RejectReason ReasonOf(event::SchemaError error) {
  switch (error) {
    case event::SchemaError::kOk:
      return ingest::v1::REJECT_REASON_UNSPECIFIED;
    case event::SchemaError::kRequired:
      return ingest::v1::FIELD_REQUIRED;
    case event::SchemaError::kKind:
      return ingest::v1::FIELD_KIND;
    case event::SchemaError::kRange:
      return ingest::v1::FIELD_RANGE;
    case event::SchemaError::kEnum:
      return ingest::v1::FIELD_ENUM;
    case event::SchemaError::kUnknown:
      return ingest::v1::FIELD_UNKNOWN;
  }
  return ingest::v1::FIELD_KIND;
}

// What ingest would say to an event.
struct Outcome {
  RejectReason reason = ingest::v1::REJECT_REASON_UNSPECIFIED;  // unspecified: accepted
  std::string why;
};

class TestRun {
 public:
  TestRun(const v1::Resource& resource, const event::TypeSchema& schema) : resource_(resource), schema_(schema) {}

  std::vector<FieldViolation> Run() {
    for (int i = 0; i < resource_.tests_size(); ++i) RunOne(resource_.tests(i), absl::StrCat("tests[", i, "]"));
    return std::move(failed_);
  }

 private:
  void Fail(std::string field, std::string description) {
    failed_.push_back({std::move(field), std::move(description)});
  }
  void RunOne(const v1::ResourceTest& test, const std::string& path);
  bool CheckExpectation(const v1::ResourceTest& test, const std::string& path);
  // False with a failure when the example itself is wrong.
  bool MakeEvent(const Struct& fields, const std::string& path, event::v1::Event* event, Outcome* outcome);
  Outcome Check(const event::v1::Event& event) const;

  const v1::Resource& resource_;
  const event::TypeSchema& schema_;
  std::vector<FieldViolation> failed_;
};

bool TestRun::CheckExpectation(const v1::ResourceTest& test, const std::string& path) {
  if (!test.has_event()) {
    Fail(absl::StrCat(path, ".event"), "missing; tests of an EventType give an event");
  } else if (test.has_accepted() == !test.rejected().empty()) {
    Fail(path, "needs one of `accepted: true` and `rejected: REASON`");
  } else if (test.has_accepted() && !test.accepted()) {
    Fail(absl::StrCat(path, ".accepted"), "is true or left out; name the reason with `rejected`");
  } else if (RejectReason reason;
             !test.rejected().empty() && !ingest::v1::RejectReason_Parse(test.rejected(), &reason)) {
    std::vector<std::string> reasons;
    const auto* descriptor = ingest::v1::RejectReason_descriptor();
    for (int i = 1; i < descriptor->value_count(); ++i) reasons.push_back(descriptor->value(i)->name());
    Fail(absl::StrCat(path, ".rejected"),
         absl::StrCat("there is no reason `", test.rejected(), "`", DidYouMean(test.rejected(), reasons)));
  } else {
    return true;
  }
  return false;
}

bool TestRun::MakeEvent(const Struct& fields, const std::string& path, event::v1::Event* event, Outcome* outcome) {
  event->set_type(resource_.metadata().name());
  event->set_source(kDefaultSource);
  for (const auto& [name, value] : fields.fields()) {
    const std::string field = absl::StrCat(path, ".event.", name);
    if (name == "data") {
      if (value.has_null_value()) continue;
      if (!value.has_struct_value()) {
        Fail(field, "must be a map");
        return false;
      }
      *event->mutable_data() = value.struct_value();
      continue;
    }
    const auto* attribute = event::v1::Event::descriptor()->FindFieldByName(name);
    const bool is_text = attribute != nullptr && attribute->number() <= event::v1::Event::kSessionFieldNumber;
    if (!is_text && name != "time") {
      Fail(field, absl::StrCat("events have no attribute `", name, "`",
                               DidYouMean(name, {"id", "source", "type", "subject", "session", "time", "data"})));
      return false;
    }
    if (!value.has_string_value()) {
      Fail(field, "must be a string");
      return false;
    }
    if (is_text) {
      event->GetReflection()->SetString(event, attribute, value.string_value());
    } else if (const auto time = ParseRfc3339(value.string_value()); time.ok()) {
      *event->mutable_time() = google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(*time);
    } else {
      *outcome = {ingest::v1::TIME, std::string(time.status().message())};
    }
  }
  return true;
}

Outcome TestRun::Check(const event::v1::Event& event) const {
  const std::string bytes = event.SerializeAsString();
  event::EventView view;
  event::ParseProblem parse_problem;
  const event::ParseError error = event::ParseEvent(bytes, event::Limits(), &view, &parse_problem);
  if (error != event::ParseError::kOk) {
    return {ReasonOf(error), absl::StrCat(parse_problem.field, ": expected ", parse_problem.expected)};
  }
  event::SchemaProblem problem;
  if (!schema_.Check(view.data, &problem)) {
    return {ReasonOf(problem.error), absl::StrCat(problem.field, ": expected ", problem.expected)};
  }
  return {};
}

void TestRun::RunOne(const v1::ResourceTest& test, const std::string& path) {
  if (!CheckExpectation(test, path)) return;
  event::v1::Event event;
  Outcome outcome;
  if (!MakeEvent(test.event(), path, &event, &outcome)) return;
  if (outcome.reason == ingest::v1::REJECT_REASON_UNSPECIFIED) outcome = Check(event);
  const std::string name =
      outcome.reason == ingest::v1::REJECT_REASON_UNSPECIFIED
          ? "accepted"
          : absl::StrCat("rejected with ", ingest::v1::RejectReason_Name(outcome.reason), " (", outcome.why, ")");
  const std::string title = test.name().empty() ? "" : absl::StrCat(test.name(), ": ");
  if (test.has_accepted() && outcome.reason != ingest::v1::REJECT_REASON_UNSPECIFIED) {
    Fail(absl::StrCat(path, ".accepted"), absl::StrCat(title, "the event is ", name));
  } else if (!test.rejected().empty() && ingest::v1::RejectReason_Name(outcome.reason) != test.rejected()) {
    Fail(absl::StrCat(path, ".rejected"),
         absl::StrCat(title, "the event is ", name, ", not rejected with ", test.rejected()));
  }
}

}  // namespace

std::vector<FieldViolation> RunEventTypeTests(const v1::Resource& resource) {
  const auto schema = event::TypeSchema::Compile(resource.event_type());
  if (!schema.ok()) return {{"spec.schema", std::string(schema.status().message())}};
  return TestRun(resource, *schema).Run();
}

}  // namespace naru::catalog
