#include "common/input_format/resource_tests.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/clock/rfc3339.h"
#include "common/event/event_proto.h"
#include "common/input_format/input_format.h"
#include "naru/catalog/v1/resources.pb.h"
#include "naru/event/v1/event.pb.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::input_format {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

std::string Show(const Value& value) {
  switch (value.kind_case()) {
    case Value::kStringValue: return absl::StrCat("\"", value.string_value(), "\"");
    case Value::kNumberValue: return absl::StrCat(value.number_value());
    case Value::kBoolValue: return value.bool_value() ? "true" : "false";
    case Value::kStructValue: return "an object";
    case Value::kListValue: return absl::StrCat("a list of ", value.list_value().values_size());
    default: return "null";
  }
}

/// Collects what differs in one test.
class Comparison {
 public:
  Comparison(std::string prefix, std::vector<FieldViolation>* violations)
      : prefix_(std::move(prefix)), violations_(violations) {}

  void Fail(absl::string_view field, absl::string_view description) {
    violations_->push_back({absl::StrCat(prefix_, field), std::string(description)});
  }

  void CompareValue(const std::string& field, const Value& expected, const Value* actual) {
    const bool wants_null = expected.kind_case() == Value::kNullValue;
    if (actual == nullptr || actual->kind_case() == Value::kNullValue) {
      if (!wants_null) Fail(field, absl::StrCat("is absent; expected ", Show(expected)));
      return;
    }
    if (expected.kind_case() == Value::kStructValue && actual->kind_case() == Value::kStructValue) {
      CompareStruct(field, expected.struct_value(), actual->struct_value());
      return;
    }
    if (expected.SerializeAsString() != actual->SerializeAsString()) {
      Fail(field, absl::StrCat("is ", Show(*actual), "; expected ", Show(expected)));
    }
  }

  void CompareStruct(const std::string& field, const Struct& expected, const Struct& actual) {
    for (const auto& [key, value] : expected.fields()) {
      const auto found = actual.fields().find(key);
      CompareValue(absl::StrCat(field, ".", key), value, found == actual.fields().end() ? nullptr : &found->second);
    }
  }

  void CompareEvent(const std::string& field, const Struct& expected, const event::v1::Event& actual) {
    for (const auto& [key, value] : expected.fields()) {
      const std::string path = absl::StrCat(field, ".", key);
      if (key == "data") {
        CompareStruct(path, value.struct_value(), actual.data());
      } else if (key == "time") {
        CompareTime(path, value, actual);
      } else {
        CompareText(path, key, value, actual);
      }
    }
  }

 private:
  void CompareTime(const std::string& field, const Value& expected, const event::v1::Event& actual) {
    const auto wanted = ParseRfc3339(expected.string_value());
    const int64_t micros = actual.time().seconds() * 1'000'000 + actual.time().nanos() / 1000;
    if (!wanted.ok()) {
      Fail(field, absl::StrCat(Show(expected), " is not an RFC 3339 time"));
    } else if (!actual.has_time() || micros != *wanted) {
      Fail(field, absl::StrCat("is ", actual.has_time() ? FormatRfc3339(micros) : "absent", "; expected ",
                               FormatRfc3339(*wanted)));
    }
  }

  void CompareText(const std::string& field, const std::string& key, const Value& expected,
                   const event::v1::Event& actual) {
    Value text;
    if (key == "id") {
      text.set_string_value(actual.id());
    } else if (key == "source") {
      text.set_string_value(actual.source());
    } else if (key == "type") {
      text.set_string_value(actual.type());
    } else if (key == "subject") {
      text.set_string_value(actual.subject());
    } else if (key == "session") {
      text.set_string_value(actual.session());
    } else {
      return Fail(field, "events have id, source, type, subject, session, time and data");
    }
    CompareValue(field, expected, text.string_value().empty() ? nullptr : &text);
  }

  std::string prefix_;
  std::vector<FieldViolation>* violations_;
};

/// What came out of one input.
struct Parsed {
  EventBuffer events;
  std::vector<LineRejection> rejections;
};

absl::StatusOr<Parsed> ParseInput(std::shared_ptr<const InputFormat> format, absl::string_view input) {
  Parsed parsed;
  RecordSplitter splitter = format->MakeSplitter();
  std::unique_ptr<LineParser> parser;
  if (!format->has_header()) parser = std::make_unique<LineParser>(format);
  RecordSplitter::Record record;
  int number = 0;
  bool more = true;
  while (more) {
    more = splitter.Next(input, true, &record);
    input.remove_prefix(record.size);
    if (!more || record.text.empty()) continue;
    if (parser == nullptr) {
      auto with_header = format->WithHeader(record.text);
      if (!with_header.ok()) return with_header.status();
      parser = std::make_unique<LineParser>(*with_header);
      continue;
    }
    parser->Parse(record.text, {.line_id = absl::StrCat("line-", ++number)}, &parsed.events, &parsed.rejections);
  }
  return parsed;
}

std::string Describe(const LineRejection& rejection) {
  return absl::StrCat(ingest::v1::RejectReason_Name(rejection.reason), rejection.field.empty() ? "" : " at ",
                      rejection.field, ", expected ", rejection.expected);
}

void RunTest(const std::shared_ptr<const InputFormat>& format, const catalog::v1::ResourceTest& test,
             Comparison* comparison) {
  const auto parsed = ParseInput(format, test.input());
  if (!parsed.ok()) return comparison->Fail(".input", parsed.status().message());
  if (!test.rejected().empty()) {
    for (const LineRejection& rejection : parsed->rejections) {
      if (ingest::v1::RejectReason_Name(rejection.reason) == test.rejected()) return;
    }
    return comparison->Fail(".rejected", parsed->rejections.empty()
                                             ? absl::StrCat("the line was accepted; expected ", test.rejected())
                                             : absl::StrCat("was ", Describe(parsed->rejections[0])));
  }
  if (!parsed->rejections.empty()) {
    return comparison->Fail(".input", absl::StrCat("was rejected: ", Describe(parsed->rejections[0])));
  }
  if (test.output_size() > 0 && static_cast<size_t>(test.output_size()) != parsed->events.size()) {
    return comparison->Fail(".output", absl::StrCat(parsed->events.size(), " events came out; expected ", test.output_size()));
  }
  for (int i = 0; i < test.output_size(); ++i) {
    event::v1::Event actual;
    event::EventToProto(parsed->events.event(i), 0, &actual);
    comparison->CompareEvent(absl::StrCat(".output[", i, "]"), test.output(i), actual);
  }
}

}  // namespace

std::vector<FieldViolation> RunTests(const catalog::v1::Resource& resource) {
  std::vector<FieldViolation> violations;
  const auto format = InputFormat::Compile(resource.metadata().name(), resource.input_format());
  if (!format.ok()) {
    const ErrorDetails details = GetErrorDetails(format.status());
    if (!details.violations.empty()) return details.violations;
    return {{"spec", std::string(format.status().message())}};
  }
  for (int i = 0; i < resource.tests_size(); ++i) {
    Comparison comparison(absl::StrCat("tests[", i, "]"), &violations);
    RunTest(*format, resource.tests(i), &comparison);
  }
  return violations;
}

}  // namespace naru::input_format
