// Runs CEL's public conformance vectors against common/cel.
#include <gtest/gtest.h>
#include <simdjson.h>

#include <cstdlib>
#include <deque>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/cel/cel.h"
#include "common/cel/time_text.h"

namespace naru::cel {
namespace {

using simdjson::dom::element;

/// What the subset leaves out: part of the refusal, and why.
struct Reason {
  absl::string_view message;
  absl::string_view why;
};
constexpr Reason kRefusals[] = {
    {"bytes literals are not supported", "no bytes: events hold text"},
    {"there is no function `bytes`", "no bytes: events hold text"},
    {"unsigned integers are not supported", "no uint: numbers of events are doubles, the rest is int"},
    {"there is no function `uint`", "no uint: numbers of events are doubles, the rest is int"},
    {"map literals are not supported", "no map literals: maps come from event data"},
    {"there is no function `type`", "no values that are types"},
    {"there is no function `exists", "no macros over lists"},
    {"there is no function `all`", "no macros over lists"},
    {"there is no function `map`", "no macros over lists"},
    {"there is no function `filter`", "no macros over lists"},
    {"there is no function `charAt`", "string extension not in the subset"},
    {"there is no function `indexOf`", "string extension not in the subset"},
    {"there is no function `lastIndexOf`", "string extension not in the subset"},
    {"there is no function `replace`", "string extension not in the subset"},
    {"there is no function `split`", "string extension not in the subset"},
    {"there is no function `substring`", "string extension not in the subset"},
    {"there is no function `join`", "string extension not in the subset"},
    {"there is no function `quote`", "string extension not in the subset"},
    {"there is no function `format`", "string extension not in the subset"},
    {"there is no function `reverse`", "string extension not in the subset"},
};

constexpr absl::string_view kMicroseconds = "times are whole microseconds";
constexpr absl::string_view kLongDurations = "durations reach 10,000 years, not 292";

/// Differ on purpose.
const std::map<std::string, absl::string_view>& Differences() {
  static const auto* differences = new std::map<std::string, absl::string_view>{
      {"timestamps/timestamp_conversions/toString_timestamp_nanos", kMicroseconds},
      {"timestamps/timestamp_arithmetic/add_time_to_duration_nanos_negative", kMicroseconds},
      {"timestamps/timestamp_arithmetic/add_time_to_duration_nanos_positive", kMicroseconds},
      {"timestamps/timestamp_range/add_duration_nanos_over", kMicroseconds},
      {"timestamps/timestamp_range/add_duration_nanos_under", kMicroseconds},
      {"timestamps/timestamp_range/sub_time_duration_over", kLongDurations},
      {"timestamps/timestamp_range/sub_time_duration_under", kLongDurations},
  };
  return *differences;
}

std::string RefusalReason(absl::string_view message) {
  for (const Reason& reason : kRefusals) {
    if (absl::StrContains(message, reason.message)) return std::string(reason.why);
  }
  return "";
}

/// Owns what values of vectors point to.
struct Storage {
  std::deque<std::string> strings;
  std::deque<std::vector<Value>> lists;
};

std::string Text(element json) {
  std::string_view text;
  EXPECT_EQ(json.get(text), simdjson::SUCCESS);
  return std::string(text);
}

std::string Text(simdjson::dom::object object, std::string_view key) { return Text(object[key].value()); }

double DoubleOf(element json) {
  double number = 0;
  if (json.get(number) == simdjson::SUCCESS) return number;
  return std::strtod(Text(json).c_str(), nullptr);
}

/// False: a kind that the subset does not have.
bool ToValue(element json, Storage* storage, Value* value) {
  for (const auto field : simdjson::dom::object(json)) {
    const std::string kind(field.key);
    if (kind == "null") {
      *value = Value::Null();
    } else if (kind == "bool") {
      *value = Value::Bool(bool(field.value));
    } else if (kind == "int") {
      *value = Value::Int(std::stoll(Text(field.value)));
    } else if (kind == "double") {
      *value = Value::Double(DoubleOf(field.value));
    } else if (kind == "string") {
      *value = Value::String(storage->strings.emplace_back(Text(field.value)));
    } else if (kind == "duration") {
      int64_t micros = 0;
      if (!ParseDuration(Text(field.value), &micros)) return false;
      *value = Value::Duration(micros);
    } else if (kind == "list") {
      std::vector<Value>& list = storage->lists.emplace_back();
      for (const element child : simdjson::dom::array(field.value)) {
        if (!ToValue(child, storage, &list.emplace_back())) return false;
      }
      *value = Value::List(list.data(), list.size());
    } else {
      return false;
    }
  }
  return true;
}

bool Same(const Value& expected, const Value& actual) {
  const bool nan = expected.kind() == Kind::kDouble && expected.double_value() != expected.double_value();
  if (nan) return actual.kind() == Kind::kDouble && actual.double_value() != actual.double_value();
  return expected.kind() == actual.kind() && Equals(expected, actual);
}

/// Runs one vector. Returns why it does not apply; empty: it passed, or the test has failed.
std::string RunVector(simdjson::dom::object vector, const std::string& label) {
  const std::string source = Text(vector, "expr");
  element error;
  const bool wants_error = vector["error"].get(error) == simdjson::SUCCESS;
  Environment environment = Environment::ForAnyVariables();
  const auto program = environment.Compile(source);
  if (!program.ok()) {
    const std::string why = RefusalReason(program.status().message());
    if (!why.empty()) return why;
    bool unchecked = false;
    if (vector["disable_check"].get(unchecked) == simdjson::SUCCESS && unchecked && !wants_error) {
      return "only type-correct expressions compile";
    }
    EXPECT_TRUE(wants_error) << label << ": " << source << ": " << program.status();
    return "";
  }
  Storage storage;
  Activation activation(&environment);
  element bindings;
  if (vector["bindings"].get(bindings) == simdjson::SUCCESS) {
    for (const auto field : simdjson::dom::object(bindings)) {
      for (size_t i = 0; i < environment.variables().size(); ++i) {
        Value value;
        if (environment.variables()[i] != field.key) continue;
        if (!ToValue(field.value, &storage, &value)) return "no such kind of value";
        activation.Set(static_cast<int>(i), value);
      }
    }
  }
  const Value actual = program->Eval(activation);
  if (wants_error) {
    EXPECT_TRUE(actual.is_error()) << label << ": " << source << " gives " << actual.DebugString();
    return "";
  }
  Value expected;
  if (!ToValue(vector["value"], &storage, &expected)) return "no such kind of value";
  EXPECT_TRUE(Same(expected, actual)) << label << ": " << source << " gives " << actual.DebugString() << ", not "
                                      << expected.DebugString();
  return "";
}

TEST(CelConformance, SupportedVectorsHoldAndTheOthersAreRefusedForAStatedReason) {
  const char* root = std::getenv("NARU_SOURCE_DIR");
  ASSERT_NE(root, nullptr);
  simdjson::dom::parser parser;
  element vectors;
  ASSERT_EQ(parser.load(absl::StrCat(root, "/tests/conformance/cel/cel_conformance.json")).get(vectors), simdjson::SUCCESS);
  std::map<std::string, int> left_out;
  int passed = 0;
  int total = 0;
  for (const element vector : simdjson::dom::array(vectors)) {
    ++total;
    const std::string label = absl::StrCat(Text(vector, "file"), "/", Text(vector, "section"), "/", Text(vector, "name"));
    const auto difference = Differences().find(label);
    const std::string why = difference != Differences().end() ? std::string(difference->second)
                                                              : RunVector(simdjson::dom::object(vector), label);
    if (why.empty()) {
      ++passed;
    } else {
      ++left_out[why];
    }
  }
  std::cout << passed << " of " << total << " vectors hold; left out:\n";
  for (const auto& [why, count] : left_out) std::cout << "  " << count << "  " << why << "\n";
  EXPECT_EQ(total, 1226);
  EXPECT_GE(passed, 612);
}

}  // namespace
}  // namespace naru::cel
