#include "common/event/schema.h"

#include <re2/re2.h>

#include <cmath>
#include <set>

#include "common/event/testing_events.h"
#include "common/status/status.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::event {
namespace {

using ::testing::HasSubstr;
using V = google::protobuf::Value;

catalog::v1::EventType Type(const std::string& text) {
  catalog::v1::EventType type;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &type)) << text;
  return type;
}

std::string Data(const std::string& text) {
  google::protobuf::Struct data;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &data)) << text;
  return data.SerializeAsString();
}

std::string Number(const std::string& key, double number) {
  google::protobuf::Struct data;
  (*data.mutable_fields())[key].set_number_value(number);
  return data.SerializeAsString();
}

const char kMenu[] = R"(
  schema {
    required: "selected_menu"
    properties { key: "selected_menu" value { type: "string" enum { string_value: "nolabel" } enum { string_value: "ecopoint1" } } }
    properties { key: "user_age" value { type: "integer" minimum: 0 maximum: 150 } }
    properties { key: "member_id" value { type: "string" max_length: 3 x_personal: true } }
    properties { key: "name" value { type: "string" min_length: 2 max_length: 3 pattern: "^[^x]*$" } }
    properties { key: "tags" value { type: "array" max_items: 2 items { type: "number" maximum: 9 } } }
    properties { key: "place" value { type: "object" required: "city" properties { key: "city" value { type: "string" } } } }
    properties { key: "when" value { type: "timestamp" } }
    properties { key: "ok" value { type: "boolean" } }
  })";

SchemaProblem ProblemOf(const std::string& type, const std::string& data) {
  auto schema = TypeSchema::Compile(Type(type));
  EXPECT_TRUE(schema.ok()) << schema.status();
  SchemaProblem problem;
  const bool good = schema->Check(data, &problem);
  EXPECT_EQ(good, problem.error == SchemaError::kOk);
  return problem;
}

TEST(TypeSchema, SaysWhatIsWrongAndWhatWouldBeRight) {
  const std::string menu = R"(fields { key: "selected_menu" value { string_value: "nolabel" } })";
  EXPECT_EQ(ProblemOf(kMenu, Data(menu)).error, SchemaError::kOk);

  SchemaProblem problem = ProblemOf(kMenu, "");
  EXPECT_EQ(problem.error, SchemaError::kRequired);
  EXPECT_EQ(problem.field, "data.selected_menu");

  problem = ProblemOf(kMenu, Number("selected_menu", 3));
  EXPECT_EQ(problem.error, SchemaError::kKind);
  EXPECT_EQ(problem.value, "3");
  EXPECT_EQ(problem.expected, "a string");

  problem = ProblemOf(kMenu, Data(R"(fields { key: "selected_menu" value { string_value: "x" } })"));
  EXPECT_EQ(problem.error, SchemaError::kEnum);
  EXPECT_EQ(problem.expected, "one of nolabel, ecopoint1");

  problem = ProblemOf(kMenu, Data(menu) + Number("user_age", 151));
  EXPECT_EQ(problem.error, SchemaError::kRange);
  EXPECT_EQ(problem.field, "data.user_age");
  EXPECT_EQ(problem.value, "151");
  EXPECT_EQ(problem.expected, "an integer from 0 to 150");
  EXPECT_EQ(ProblemOf(kMenu, Data(menu) + Number("user_age", 1.5)).error, SchemaError::kKind);
  EXPECT_EQ(ProblemOf(kMenu, Data(menu) + Number("user_age", 150)).error, SchemaError::kOk);

  problem = ProblemOf(kMenu, Data(menu + R"(fields { key: "place" value { struct_value {} } })"));
  EXPECT_EQ(problem.error, SchemaError::kRequired);
  EXPECT_EQ(problem.field, "data.place.city");

  problem = ProblemOf(
      kMenu,
      Data(
          menu +
          R"(fields { key: "tags" value { list_value { values { number_value: 1 } values { number_value: 10 } } } })"));
  EXPECT_EQ(problem.field, "data.tags[1]");
  EXPECT_EQ(problem.error, SchemaError::kRange);

  EXPECT_EQ(
      ProblemOf(kMenu, Data(menu + R"(fields { key: "when" value { string_value: "2024-02-30T00:00:00Z" } })")).error,
      SchemaError::kKind);
  EXPECT_EQ(
      ProblemOf(kMenu, Data(menu + R"(fields { key: "when" value { string_value: "2024-02-29T00:00:00+09:00" } })"))
          .error,
      SchemaError::kOk);
}

TEST(TypeSchema, NeverShowsPersonalValues) {
  const SchemaProblem problem = ProblemOf(kMenu, Data(R"(
      fields { key: "selected_menu" value { string_value: "nolabel" } }
      fields { key: "member_id" value { string_value: "secret" } })"));
  EXPECT_EQ(problem.field, "data.member_id");
  EXPECT_EQ(problem.value, "");
  const SchemaProblem nested = ProblemOf(
      R"(schema { properties { key: "who" value { type: "array" x_personal: true items { type: "object"
           properties { key: "a" value { type: "object" properties { key: "b" value { type: "number" } } } } } } } })",
      Data(R"(fields { key: "who" value { list_value { values { struct_value { fields { key: "a" value { struct_value {
           fields { key: "b" value { string_value: "secret" } } } } } } } } } })"));
  EXPECT_EQ(nested.field, "data.who[0].a.b");
  EXPECT_EQ(nested.value, "");
}

TEST(TypeSchema, CountsCharactersAndNotBytes) {
  const std::string menu = Data(R"(fields { key: "selected_menu" value { string_value: "nolabel" } })");
  auto name = [&](const std::string& text) {
    google::protobuf::Struct data;
    (*data.mutable_fields())["name"].set_string_value(text);
    return ProblemOf(kMenu, menu + data.SerializeAsString()).error;
  };
  EXPECT_EQ(name("나루터"), SchemaError::kOk);
  EXPECT_EQ(name("나루터가"), SchemaError::kRange);
  EXPECT_EQ(name("나"), SchemaError::kRange);
  EXPECT_EQ(name("ax"), SchemaError::kRange);
}

TEST(TypeSchema, CountsTheLastValueOfAKeyGivenTwice) {
  const std::string good = Data(R"(fields { key: "selected_menu" value { string_value: "nolabel" } })");
  EXPECT_EQ(ProblemOf(kMenu, Number("selected_menu", 3) + good).error, SchemaError::kOk);
  EXPECT_EQ(ProblemOf(kMenu, good + Number("selected_menu", 3)).error, SchemaError::kKind);
  EXPECT_EQ(ProblemOf(kMenu, good + Data(R"(fields { key: "selected_menu" value { null_value: 0 } })")).error,
            SchemaError::kRequired);
}

TEST(TypeSchema, CountsNullAsAbsent) {
  const std::string menu = R"(fields { key: "selected_menu" value { string_value: "nolabel" } })";
  EXPECT_EQ(ProblemOf(kMenu, Data(menu + R"(fields { key: "user_age" value { null_value: 0 } })")).error,
            SchemaError::kOk);
  EXPECT_EQ(ProblemOf(kMenu, Data(R"(fields { key: "selected_menu" value { null_value: 0 } })")).error,
            SchemaError::kRequired);
}

TEST(TypeSchema, KeepsDropsOrRejectsUnknownFields) {
  const std::string schema = R"(schema {
    properties { key: "a" value { type: "number" } }
    properties { key: "o" value { type: "object" properties { key: "a" value {} } } }
    properties { key: "free" value { type: "object" } }
    properties { key: "l" value { type: "array" items { type: "object" properties { key: "a" value {} } } } }
  })";
  const std::string data = Data(R"(
    fields { key: "a" value { number_value: 1 } }
    fields { key: "free" value { struct_value { fields { key: "z" value { number_value: 2 } } } } })");
  const std::string extra = Number("z", 5);
  auto compiled = [&](const std::string& policy) {
    auto type = TypeSchema::Compile(Type(schema + " unknown_fields: \"" + policy + "\""));
    EXPECT_TRUE(type.ok());
    return *std::move(type);
  };
  bool drops = true;
  EXPECT_TRUE(compiled("keep").Check(data + extra, nullptr, &drops));
  EXPECT_FALSE(drops);
  SchemaProblem problem;
  EXPECT_TRUE(compiled("reject").Check(data, &problem));
  EXPECT_FALSE(compiled("reject").Check(data + extra, &problem));
  EXPECT_EQ(problem.error, SchemaError::kUnknown);
  EXPECT_EQ(problem.field, "data.z");

  const TypeSchema dropping = compiled("drop");
  EXPECT_TRUE(dropping.Check(data, nullptr, &drops));
  EXPECT_FALSE(drops);
  const std::string nested = Data(R"(
    fields { key: "o" value { struct_value { fields { key: "a" value { bool_value: true } } fields { key: "z" value {} } } } }
    fields { key: "l" value { list_value { values { struct_value { fields { key: "z" value {} } } } values { number_value: 1 } } } })");
  EXPECT_FALSE(dropping.Check(data + nested, nullptr, &drops));  // the list's 1 is not an object
  const std::string good = Data(R"(
    fields { key: "o" value { struct_value { fields { key: "a" value { bool_value: true } } fields { key: "z" value {} } } } }
    fields { key: "l" value { list_value { values { struct_value { fields { key: "z" value {} } } } } } })");
  EXPECT_TRUE(dropping.Check(data + good + extra, nullptr, &drops));
  EXPECT_TRUE(drops);
  std::string out;
  dropping.DropUnknown(data + good + extra, &out);
  google::protobuf::Struct read, expected;
  ASSERT_TRUE(read.ParseFromString(out));
  ASSERT_TRUE(expected.ParseFromString(data + Data(R"(
    fields { key: "o" value { struct_value { fields { key: "a" value { bool_value: true } } } } }
    fields { key: "l" value { list_value { values { struct_value {} } } } })")));
  EXPECT_EQ(read.DebugString(), expected.DebugString());
  EXPECT_TRUE(dropping.Check(out, nullptr, &drops));
  EXPECT_FALSE(drops);
}

TEST(TypeSchema, ReportsEveryMistakeOfAType) {
  const auto schema = TypeSchema::Compile(Type(R"(
    unknown_fields: "ignore"
    schema {
      properties { key: "a" value { type: "text" } }
      properties { key: "b" value { type: "number" minimum: 3 maximum: 2 } }
      properties { key: "c" value { type: "string" pattern: "(" } }
      properties { key: "d" value { type: "integer" enum { string_value: "x" } } }
      properties { key: "e" value { type: "string" items {} } }
    })"));
  ASSERT_FALSE(schema.ok());
  const ErrorDetails details = GetErrorDetails(schema.status());
  EXPECT_EQ(details.violations.size(), 6);
  EXPECT_EQ(details.violations[1].field, "spec.schema.properties.a.type");
  EXPECT_THAT(std::string(schema.status().message()), HasSubstr("keep, drop or reject"));
}

// --- The obvious checker, over generated messages: collects every mistake ----------------------------------------

size_t Characters(const std::string& text) {
  size_t n = 0;
  for (unsigned char c : text) n += (c & 0xc0) != 0x80;
  return n;
}

using Errors = std::set<SchemaError>;

bool IsNull(const V& v) { return v.kind_case() == V::kNullValue || v.kind_case() == V::KIND_NOT_SET; }

void SlowObject(const google::protobuf::Map<std::string, catalog::v1::Field>& properties,
                const google::protobuf::RepeatedPtrField<std::string>& required, const google::protobuf::Struct& data,
                bool reject, Errors* errors);

void SlowScalar(const catalog::v1::Field& field, const V& value, Errors* errors) {
  const auto k = value.kind_case();
  if (field.enum__size() > 0) {
    bool found = false;
    for (const V& allowed : field.enum_()) found |= allowed.SerializeAsString() == value.SerializeAsString();
    if (!found) errors->insert(SchemaError::kEnum);
  }
  bool in_range = true;
  if (k == V::kNumberValue && field.has_minimum()) in_range &= value.number_value() >= field.minimum();
  if (k == V::kNumberValue && field.has_maximum()) in_range &= value.number_value() <= field.maximum();
  if (k == V::kStringValue) {
    const int n = Characters(value.string_value());
    if (field.has_min_length()) in_range &= n >= field.min_length();
    if (field.has_max_length()) in_range &= n <= field.max_length();
    if (!field.pattern().empty()) in_range &= RE2::PartialMatch(value.string_value(), field.pattern());
  }
  if (!in_range) errors->insert(SchemaError::kRange);
}

void SlowField(const catalog::v1::Field& field, const V& value, bool reject, Errors* errors) {
  const std::string& t = field.type();
  const auto k = value.kind_case();
  const double number = value.number_value();
  const bool integral = std::trunc(number) == number && std::fabs(number) <= std::pow(2, 53);
  if ((t == "string" && k != V::kStringValue) || (t == "number" && k != V::kNumberValue) ||
      (t == "integer" && (k != V::kNumberValue || !integral)) || (t == "boolean" && k != V::kBoolValue) ||
      (t == "array" && k != V::kListValue) || (t == "object" && k != V::kStructValue)) {
    errors->insert(SchemaError::kKind);
    return;
  }
  SlowScalar(field, value, errors);
  if (k == V::kListValue) {
    const auto& elements = value.list_value().values();
    if (field.has_max_items() && elements.size() > field.max_items()) errors->insert(SchemaError::kRange);
    for (const V& element : elements) {
      if (field.has_items() && !IsNull(element)) SlowField(field.items(), element, reject, errors);
    }
  }
  if (k == V::kStructValue && (field.properties_size() > 0 || field.required_size() > 0)) {
    SlowObject(field.properties(), field.required(), value.struct_value(), reject, errors);
  }
}

void SlowObject(const google::protobuf::Map<std::string, catalog::v1::Field>& properties,
                const google::protobuf::RepeatedPtrField<std::string>& required, const google::protobuf::Struct& data,
                bool reject, Errors* errors) {
  for (const std::string& name : required) {
    const auto it = data.fields().find(name);
    if (it == data.fields().end() || IsNull(it->second)) errors->insert(SchemaError::kRequired);
  }
  for (const auto& [key, value] : data.fields()) {
    if (IsNull(value)) continue;
    const auto it = properties.find(key);
    if (it != properties.end()) {
      SlowField(it->second, value, reject, errors);
    } else if (reject) {
      errors->insert(SchemaError::kUnknown);
    }
  }
}

catalog::v1::Field RandomField(RandomMessages* random, int depth) {
  static const char* const kKinds[] = {"", "string", "number", "integer", "boolean", "array", "object"};
  catalog::v1::Field field;
  const uint64_t kind = random->Below(depth > 0 ? 7 : 5);
  field.set_type(kKinds[kind]);
  const bool any = kind == 0;
  if ((any || kind == 2 || kind == 3) && random->Below(2)) field.set_minimum(random->Below(100));
  if ((any || kind == 2 || kind == 3) && random->Below(2)) field.set_maximum(100 + random->Below(100));
  if ((any || kind == 1) && random->Below(3) == 0) field.set_min_length(random->Below(3));
  if ((any || kind == 1) && random->Below(3) == 0) field.set_max_length(2 + random->Below(20));
  if ((any || kind == 1) && random->Below(5) == 0) field.set_pattern("[a-c]");
  if (kind == 4 && random->Below(2)) field.add_enum_()->set_bool_value(true);
  if (kind == 1 && random->Below(4) == 0) {
    field.add_enum_()->set_string_value("a");
    field.add_enum_()->set_string_value("");
  }
  if (kind == 5) {
    if (random->Below(2)) field.set_max_items(random->Below(4));
    if (random->Below(2)) *field.mutable_items() = RandomField(random, depth - 1);
  }
  if (kind == 6 && random->Below(3)) {
    (*field.mutable_properties())["a"] = RandomField(random, depth - 1);
    (*field.mutable_properties())["b"] = RandomField(random, depth - 1);
    if (random->Below(2)) field.add_required("a");
  }
  return field;
}

TEST(TypeSchema, AgreesWithTheObviousChecker) {
  RandomMessages random(21);
  int accepted = 0, rejected = 0;
  for (int i = 0; i < 3'000; ++i) {
    catalog::v1::EventType type;
    const bool reject = random.Below(4) == 0;
    type.set_unknown_fields(reject ? "reject" : "keep");
    for (const char* name : {"a", "b", "c", "user_age", "nested", "나이"}) {
      if (random.Below(3) == 0) (*type.mutable_schema()->mutable_properties())[name] = RandomField(&random, 2);
      if (random.Below(12) == 0) type.mutable_schema()->add_required(name);
    }
    const auto schema = TypeSchema::Compile(type);
    ASSERT_TRUE(schema.ok()) << schema.status();
    // A required name without a description of its own counts as described.
    auto properties = type.schema().properties();
    for (const std::string& name : type.schema().required()) properties[name];
    for (int n = 0; n < 20; ++n) {
      google::protobuf::Struct data;
      random.FillStruct(2, &data);
      Errors all;
      SlowObject(properties, type.schema().required(), data, reject, &all);
      SchemaProblem problem;
      const bool good = schema->Check(data.SerializeAsString(), &problem);
      ASSERT_EQ(good, all.empty()) << type.DebugString() << data.DebugString() << problem.field;
      EXPECT_TRUE(good || all.contains(problem.error)) << type.DebugString() << data.DebugString() << problem.field;
      ++(good ? accepted : rejected);
    }
  }
  EXPECT_GT(accepted, 5'000);
  EXPECT_GT(rejected, 5'000);
}

}  // namespace
}  // namespace naru::event
