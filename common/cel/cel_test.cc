#include "common/cel/cel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/cel/time_text.h"
#include "common/cel/zone_offset.h"
#include "common/event/event_writer.h"

namespace naru::cel {
namespace {

/// An event with typical data, and the bytes that its view points into.
class TestEvent {
 public:
  TestEvent() {
    std::string address;
    event::StructWriter(&address).AddString("city", "서울");
    std::string tags;
    event::ListWriter list(&tags);
    list.AddValue({.kind = event::Kind::kString, .bytes = "new"});
    list.AddValue({.kind = event::Kind::kNumber, .number = 7});
    event::StructWriter writer(&data);
    writer.AddStruct("address", address);
    writer.AddBool("bought", true);
    writer.AddString("name", "Kim Yuna");
    writer.AddNull("nothing");
    writer.AddNumber("price", 10.5);
    writer.AddList("tags", tags);
    writer.AddNumber("user_age", 27);
    view.id = "e1";
    view.source = "shop";
    view.type = "UserLogin";
    view.subject = "m1";
    view.has_time = true;
    view.time_us = 1667260800000000;  // 2022-11-01T00:00:00Z
    view.has_data = true;
    view.data = data;
  }
  TestEvent(const TestEvent&) = delete;

  std::string data;
  event::EventView view;
};

std::string Evaluate(absl::string_view source, const event::EventView& view) {
  Environment environment = Environment::ForEvents();
  auto program = environment.Compile(source);
  if (!program.ok()) return std::string(program.status().message());
  Activation activation(&environment);
  activation.Load(view, 1700000000000000);
  return program->Eval(activation).DebugString();
}

std::string Evaluate(absl::string_view source) {
  const TestEvent event;
  return Evaluate(source, event.view);
}

struct Case {
  std::string source;
  std::string result;
};

void ExpectAll(const std::vector<Case>& cases) {
  for (const Case& c : cases) EXPECT_EQ(Evaluate(c.source), c.result) << c.source;
}

TEST(Cel, ReadsAttributesAndFields) {
  ExpectAll({
      {"id", "\"e1\""},
      {"source + \"/\" + type", "\"shop/UserLogin\""},
      {"subject", "\"m1\""},
      {"session", "null"},
      {"time", "2022-11-01T00:00:00Z"},
      {"received_time", "2023-11-14T22:13:20Z"},
      {"data.user_age", "27"},
      {"data[\"user_age\"]", "27"},
      {"data.address.city", "\"서울\""},
      {"data.address[\"city\"]", "\"서울\""},
      {"data.tags[0]", "\"new\""},
      {"data.tags[1] == 7", "true"},
      {"data.tags[2]", "error: invalid argument: index out of bounds"},
      {"data.tags[-1]", "error: invalid argument: index out of bounds"},
      {"data.nothing", "null"},
      {"data.missing", "error: no such field: data.missing"},
      {"data.address.missing", "error: no such field: missing"},
      {"data.name.first", "error: no such overload: first"},
      {"size(data.tags)", "2"},
      {"size(data)", "7"},
      {"\"name\" in data", "true"},
      {"\"new\" in data.tags", "true"},
      {"7 in data.tags", "true"},
      {"data.address == data.address", "true"},
  });
}

TEST(Cel, NumbersOfDataCompareAndCalculateWithInts) {
  ExpectAll({
      {"data.user_age >= 20", "true"},
      {"data.user_age == 27", "true"},
      {"27 == data.user_age", "true"},
      {"data.user_age in [26, 27]", "true"},
      {"data.user_age * 2", "54"},
      {"1 + data.user_age * 2 + 1", "56"},
      {"data.user_age / 2", "13.5"},
      {"data.user_age % 10", "7"},
      {"data.price % 10", "error: no such overload: %"},
      {"data.user_age % 0", "error: divide by zero: %"},
      {"-data.user_age", "-27"},
      {"double(data.user_age) + 1",
       "line 1, column 23: `+` does not take double and int; convert one with double() or int()"},
      {"double(data.user_age) + 1.0", "28"},
      {"int(data.price) + 1", "11"},
      {"string(data.user_age)", "\"27\""},
      {"bucket(data.user_age, 10, 60)", "20"},
      {"bucket(75, 10, 60)", "60"},
      {"bucket(60, 10, 60)", "60"},
      {"bucket(59, 10, 60)", "50"},
      {"bucket(-1, 10, 60)", "-10"},
      {"bucket(data.price, 2.5, 100.0)", "10"},
      {"bucket(1, 0, 5)", "error: invalid argument: bucket: the width must be positive"},
      {"bucket(data.name, 10, 60)", "error: no such overload: bucket"},
      {"1 + 1.0", "line 1, column 3: `+` does not take int and double; convert one with double() or int()"},
      {"1 == 1.0", "true"},
      {"9007199254740993 == 9007199254740992.0", "true"},
      {"9007199254740993 == 9007199254740992", "false"},
  });
}

TEST(Cel, LogicAbsorbsErrorsFromBothSides) {
  ExpectAll({
      {"data.missing > 3 || type == \"UserLogin\"", "true"},
      {"type == \"UserLogin\" || data.missing > 3", "true"},
      {"data.missing > 3 && type == \"Other\"", "false"},
      {"type == \"Other\" && data.missing > 3", "false"},
      {"data.missing > 3 && type == \"UserLogin\"", "error: no such field: data.missing"},
      {"data.missing > 3 || type == \"Other\"", "error: no such field: data.missing"},
      {"!data.missing", "error: no such field: data.missing"},
      {"data.name && true", "error: no such overload: &&"},
      {"data.name && false", "false"},
      {"data.missing ? 1 : 2", "error: no such field: data.missing"},
      {"data.bought ? 1 : data.missing", "1"},
      {"1 / 0 > 2 || true", "true"},
      {"1 / 0 > 2", "error: divide by zero: /"},
      {"true || data.a || data.b", "true"},
  });
}

TEST(Cel, FilterOnNullOrErrorIsFalse) {
  const TestEvent event;
  Environment environment = Environment::ForEvents();
  for (const char* source :
       {"data.nothing", "data.missing", "data.nothing == 3", "data.nothing > 3", "session == \"s\""}) {
    const auto filter = environment.Compile(source, {.filter = true});
    ASSERT_TRUE(filter.ok()) << filter.status();
    Activation activation(&environment);
    activation.Load(event.view, 0);
    EXPECT_FALSE(filter->Matches(activation)) << source;
  }
  EXPECT_EQ(environment.Compile("1 + 2", {.filter = true}).status().message(),
            "line 1, column 3: a filter must be true or false; this is a int");
}

TEST(Cel, HasAsksForAFieldThatIsThereAndNotNull) {
  ExpectAll({
      {"has(data.name)", "true"},
      {"has(data.nothing)", "false"},
      {"has(data.missing)", "false"},
      {"has(data.address.city)", "true"},
      {"has(data.address.street)", "false"},
      {"has(data.missing.street)", "false"},
      {"has(data[\"name\"])", "true"},
      {"!has(data.missing)", "true"},
      {"has(name)", "line 1, column 1: has takes one field: has(data.name)"},
  });
}

TEST(Cel, DeclaredFieldsThatAreAbsentAreNull) {
  const TestEvent event;
  Environment environment = Environment::ForEvents();
  environment.DeclareType("UserLogin", {"gender", "name"});
  const Program gender = *environment.Compile("data.gender");
  const Program other = *environment.Compile("data.other");
  const Program has = *environment.Compile("has(data.gender)");
  Activation activation(&environment);
  activation.Load(event.view, 0);
  EXPECT_TRUE(gender.Eval(activation).is_null());
  EXPECT_TRUE(other.Eval(activation).is_error());
  EXPECT_TRUE(has.Eval(activation).IsFalse());
  event::EventView undeclared = event.view;
  undeclared.type = "Else";
  activation.Load(undeclared, 0);
  EXPECT_TRUE(gender.Eval(activation).is_error());
  activation.Load(event.view, 0);
  EXPECT_TRUE(gender.Eval(activation).is_null());
}

TEST(Cel, ComparesTheTypeByNumber) {
  const TestEvent event;
  Environment environment = Environment::ForEvents();
  const Program is = *environment.Compile("type == \"UserLogin\"");
  const Program is_not = *environment.Compile("type != \"UserLogin\"");
  const Program in = *environment.Compile("type in [\"A\", \"UserLogin\"]");
  const Program in_other = *environment.Compile("type in [\"A\", \"B\"]");
  const Program in_none = *environment.Compile("type in []");
  Activation activation(&environment);
  activation.Load(event.view, 0);
  EXPECT_TRUE(is.Matches(activation));
  EXPECT_FALSE(is_not.Matches(activation));
  EXPECT_TRUE(in.Matches(activation));
  EXPECT_FALSE(in_other.Matches(activation));
  EXPECT_FALSE(in_none.Matches(activation));
  // Many types: the bits of `in` need more than one word, and a later program changes the numbers' count.
  std::string list = "type in [";
  for (int i = 0; i < 200; ++i) absl::StrAppend(&list, i == 0 ? "" : ",", "\"T", i, "\"");
  const Program many = *environment.Compile(list + "]");
  event::EventView view = event.view;
  for (const char* type : {"T0", "T63", "T64", "T199"}) {
    view.type = type;
    activation.Load(view, 0);
    EXPECT_TRUE(many.Matches(activation)) << type;
    EXPECT_FALSE(is.Matches(activation));
  }
  view.type = "T200";
  activation.Load(view, 0);
  EXPECT_FALSE(many.Matches(activation));
}

TEST(Cel, StringsAndConversions) {
  ExpectAll({
      {"data.name.startsWith(\"Kim\")", "true"},
      {"data.name.endsWith(\"na\")", "true"},
      {"data.name.contains(\"m Y\")", "true"},
      {"data.name.matches(\"^K.m\")", "true"},
      {"matches(data.name, \"z\")", "false"},
      {"data.name.lowerAscii()", "\"kim yuna\""},
      {"data.name.upperAscii()", "\"KIM YUNA\""},
      {"'나루'.upperAscii()", "\"나루\""},
      {"size('나루')", "2"},
      {"'나루'.size()", "2"},
      {"' a '.trim()", "\"a\""},
      {"int('12') + 1", "13"},
      {"int('+12')", "12"},
      {"int('1.5')", "error: cannot be converted: int"},
      {"int('')", "error: cannot be converted: int"},
      {"int(1e30)", "error: out of range: int"},
      {"double('1.5')", "1.5"},
      {"double('x')", "error: cannot be converted: double"},
      {"string(1.0)", "\"1\""},
      {"bool('true')", "true"},
      {"data.name + 1", "error: no such overload: +"},
      {"'a' 'b'", "line 1, column 5: `'b'` is too much here: an operator or the end was expected"},
      {"data.name < 'L'", "true"},
      {"data.name == 'Kim Yuna'", "true"},
      {"data.name != 'x'", "true"},
      {"data.name in ['a', 'Kim Yuna']", "true"},
      {"data.name in ['a', 3, 'Kim Yuna']", "true"},
      {"data.user_age in ['27']", "false"},
      {"data.user_age in [27.0, 1]", "true"},
  });
}

TEST(Cel, IntegersOverflowAsErrors) {
  ExpectAll({
      {"9223372036854775807 + 1", "error: out of range: +"},
      {"-9223372036854775808 - 1", "error: out of range: -"},
      {"-(-9223372036854775808)", "error: out of range: -"},
      {"-9223372036854775808 / -1", "error: out of range: -"},
      {"-9223372036854775808 % -1", "0"},
      {"--9223372036854775807", "9223372036854775807"},
      {"9223372036854775808",
       "line 1, column 1: `9223372036854775808` is too large for an int: at most 9223372036854775807"},
      {"7 / 2", "3"},
      {"-7 / 2", "-3"},
      {"-7 % 3", "-1"},
      {"0x10", "16"},
  });
}

TEST(Cel, TimesInZones) {
  ExpectAll({
      {"time.getHours()", "0"},
      {"time.getHours('Asia/Seoul')", "9"},
      {"time.getHours('-03:30')", "20"},
      {"time.getDayOfWeek('Asia/Seoul')", "2"},
      {"time.getMonth()", "10"},
      {"time.getDate()", "1"},
      {"time + duration('1h30m')", "2022-11-01T01:30:00Z"},
      {"time - timestamp('2022-10-31T23:00:00Z')", "3600s"},
      {"time > timestamp('2022-10-31T23:00:00+09:00')", "true"},
      {"time.truncate('day', 'Asia/Seoul')", "2022-10-31T15:00:00Z"},
      {"time.truncate('week', 'Asia/Seoul')", "2022-10-30T15:00:00Z"},
      {"time.truncate('month')", "2022-11-01T00:00:00Z"},
      {"timestamp('2022-11-06T05:30:00Z').truncate('hour', 'America/New_York')", "2022-11-06T05:00:00Z"},
      {"timestamp('2022-11-06T06:30:00Z').truncate('hour', 'America/New_York')", "2022-11-06T06:00:00Z"},
      {"timestamp('2022-11-06T06:30:00Z').truncate('day', 'America/New_York')", "2022-11-06T04:00:00Z"},
      {"time.truncate('fortnight')",
       "line 1, column 15: `fortnight` is not a unit: minute, hour, day, week, month or year"},
      {"time.getHours('Asia/Soul')",
       "line 1, column 15: \"Asia/Soul\" is not a time zone; write an IANA name (\"Asia/Seoul\") or an offset "
       "(\"+09:00\")"},
      {"time.getHours(data.name)", "line 1, column 20: a time zone must be a literal: \"Asia/Seoul\""},
      {"time.getHours('../passwd') == 1",
       "line 1, column 15: \"../passwd\" is not a time zone; write an IANA name (\"Asia/Seoul\") or an offset "
       "(\"+09:00\")"},
      {"duration('1d')", "error: cannot be converted: duration"},
      {"timestamp('2022-02-29T00:00:00Z')", "error: cannot be converted: timestamp"},
      {"time + duration('250000h') + duration('250000h')", "2079-11-15T08:00:00Z"},
  });
}

TEST(Cel, TruncationFollowsTheCalendarWhereDaysAreShortAndLong) {
  // New York: 2022-03-13 has 23 hours (2:00 is skipped), 2022-11-06 has 25 (1:00 comes twice).
  ExpectAll({
      {"timestamp('2022-03-13T12:00:00Z').truncate('day', 'America/New_York')", "2022-03-13T05:00:00Z"},
      {"timestamp('2022-03-14T03:59:59Z').truncate('day', 'America/New_York')", "2022-03-13T05:00:00Z"},
      {"timestamp('2022-03-14T04:00:00Z').truncate('day', 'America/New_York')", "2022-03-14T04:00:00Z"},
      {"timestamp('2022-11-07T04:59:59Z').truncate('day', 'America/New_York')", "2022-11-06T04:00:00Z"},
      {"timestamp('2022-11-07T05:00:00Z').truncate('day', 'America/New_York')", "2022-11-07T05:00:00Z"},
      {"timestamp('2022-11-06T12:00:00Z').truncate('week', 'America/New_York')", "2022-10-31T04:00:00Z"},
      {"timestamp('2022-11-07T12:00:00Z').truncate('week', 'America/New_York')", "2022-11-07T05:00:00Z"},
      {"timestamp('2022-11-30T23:00:00Z').truncate('month', 'America/New_York')", "2022-11-01T04:00:00Z"},
      {"timestamp('2022-03-13T07:30:30Z').truncate('hour', 'America/New_York')", "2022-03-13T07:00:00Z"},
      {"timestamp('2022-11-01T00:10:40Z').truncate('minute', '+05:45')", "2022-11-01T00:10:00Z"},
      {"timestamp('2022-11-01T00:10:40Z').truncate('hour', '+05:45')", "2022-10-31T23:15:00Z"},
      {"timestamp('1969-12-31T23:59:59Z').truncate('minute')", "1969-12-31T23:59:00Z"},
      // Cairo's clocks go forward at midnight: the day begins at one.
      {"timestamp('2023-04-28T12:00:00Z').truncate('day', 'Africa/Cairo')", "2023-04-27T22:00:00Z"},
  });
}

TEST(Cel, Durations) {
  ExpectAll({
      {"duration('90m').getHours()", "1"},
      {"duration('90m').getMinutes()", "90"},
      {"duration('-1.5s').getMilliseconds()", "-500"},
      {"duration('1h30m') == duration('90m')", "true"},
      {"duration('1h') - duration('90m')", "-1800s"},
      {"duration('1h') < duration('61m')", "true"},
      {"string(duration('1.5s'))", "\"1.5s\""},
      {"time - duration('1h') < time", "true"},
      {"duration('1h') * 2", "line 1, column 16: `*` does not take duration and int"},
      {"duration('1h').getHours('UTC')",
       "line 1, column 16: `getHours` is written timestamp|duration.getHours() or timestamp.getHours(string), not with "
       "(duration, string)"},
      {"duration('soon')", "error: cannot be converted: duration"},
  });
}

TEST(Cel, CompileErrorsSayWhereAndWhatWouldBeRight) {
  ExpectAll({
      {"", "line 1, column 1: the expression is empty"},
      {"type = 'a'", "line 1, column 6: `=` does not compare: write `==`"},
      {"type == 'a' & true", "line 1, column 13: `&` is not an operator: write `&&`"},
      {"typ == 'a'", "line 1, column 1: `typ` is not known; did you mean `type`?"},
      {"type ==\n  ssize('a')", "line 2, column 3: there is no function `ssize`; did you mean `size`?"},
      {"type.startswith('a')", "line 1, column 6: there is no function `startswith`; did you mean `startsWith`?"},
      {"type.startsWith(1)",
       "line 1, column 6: `startsWith` is written string.startsWith(string), not with (string, int)"},
      {"type == 3",
       "line 1, column 6: `==` does not take string and int; write the literal as the field is, or convert with "
       "string() or "
       "double()"},
      {"(1 + 2", "line 1, column 7: the expression ends where `)` was expected"},
      {"'abc", "line 1, column 1: the string has no closing quote"},
      {"'a\\q'", "line 1, column 3: `\\q` is not an escape; for a backslash write \\\\, or r\"...\""},
      {"type.matches('(')", "line 1, column 14: the pattern is not valid RE2: missing ): ("},
      {"type.matches(source)", "line 1, column 14: `matches` needs a literal pattern, as it is compiled once"},
      {"b'a'", "line 1, column 1: bytes literals are not supported: events hold text; write a string"},
      {"1u", "line 1, column 1: unsigned integers are not supported: leave out the `u`"},
      {"{'a': 1}", "line 1, column 1: map literals are not supported"},
      {"나이 > 3", "line 1, column 1: letters outside ASCII are only allowed inside quotes: data[\"나이\"]"},
      {"'나이' == typ", "line 1, column 9: `typ` is not known; did you mean `type`?"},
      {"data.in", "line 1, column 6: `in` is a word of the language; write [\"in\"]"},
  });
  EXPECT_TRUE(absl::StrContains(Evaluate(std::string(5000, '1')), "at most 4096"));
  EXPECT_TRUE(absl::StrContains(Evaluate("\xff"), "not valid UTF-8"));
}

TEST(Cel, LimitsHold) {
  const auto nested = [](int depth) { return std::string(depth, '(') + "1" + std::string(depth, ')'); };
  EXPECT_EQ(Evaluate(nested(kMaxDepth)), "1");
  EXPECT_TRUE(absl::StrContains(Evaluate(nested(kMaxDepth + 1)), "more than 32 deep"));
  EXPECT_TRUE(absl::StrContains(Evaluate(nested(2000)), "more than 32 deep"));
  EXPECT_TRUE(absl::StrContains(Evaluate(std::string(4000, '!') + "true"), "operators in a row"));
  std::string list = "[";
  for (int i = 0; i < 1001; ++i) list += "1,";
  EXPECT_TRUE(absl::StrContains(Evaluate(list + "1]"), "more than 1000 elements"));
  std::string sum = "1";
  for (int i = 0; i < 300; ++i) sum += "+1";
  EXPECT_TRUE(absl::StrContains(Evaluate(sum), "operators in a row"));
  // A string that doubles with each step must stop at a stated size, not at the end of the memory.
  TestEvent event;
  event.data.clear();
  const std::string long_text(100000, 'x');
  event::StructWriter(&event.data).AddString("t", long_text);
  event.view.data = event.data;
  EXPECT_EQ(Evaluate("data.t + data.t + data.t", event.view), "error: too large: +");
  EXPECT_TRUE(absl::StrContains(Evaluate("type.matches('((a{1,100}){1,100}){1,100}')"), "RE2"));
}

TEST(Cel, VariablesOfAGivenList) {
  Environment environment = Environment::ForVariables({"gender", "age_band"});
  const Program program = *environment.Compile("gender == 'F' && age_band >= 20");
  EXPECT_TRUE(absl::StrContains(environment.Compile("gendr == 'F'").status().message(), "did you mean `gender`?"));
  Activation activation(&environment);
  EXPECT_FALSE(program.Matches(activation));
  activation.Set(0, Value::String("F"));
  activation.Set(1, Value::Int(30));
  EXPECT_TRUE(program.Matches(activation));
  activation.Clear();
  EXPECT_FALSE(program.Matches(activation));
}

TEST(Cel, AnyVariablesAreCollected) {
  Environment environment = Environment::ForAnyVariables();
  const Program program = *environment.Compile("int(status) >= 500 ? verb : 'ok'");
  EXPECT_EQ(environment.variables(), (std::vector<std::string>{"status", "verb"}));
  Activation activation(&environment);
  activation.Set(0, Value::String("503"));
  activation.Set(1, Value::String("GET"));
  EXPECT_EQ(program.Eval(activation).DebugString(), "\"GET\"");
}

/// Events of type `A` have `age`, `name`, `at` and `tags`; others may have anything.
class FieldsOfA : public DataTypes {
 public:
  bool Find(const std::vector<std::string>& path, const std::vector<std::string>* types, StaticType* type,
            std::string* problem) const override {
    *type = StaticType::kDynamic;
    if (types == nullptr || *types != std::vector<std::string>{"A"}) return true;
    const std::string name = absl::StrJoin(path, ".");
    if (name == "age") *type = StaticType::kNumber;
    if (name == "name" || name == "at") *type = StaticType::kString;
    if (name == "tags") *type = StaticType::kList;
    if (*type == StaticType::kDynamic) *problem = absl::StrCat("no field data.", name);
    return *type != StaticType::kDynamic;
  }
};

TEST(Cel, ChecksAgainstEventTypes) {
  Environment environment = Environment::ForEvents();
  const FieldsOfA types;
  CompileOptions options{.filter = true, .data_types = &types, .types = std::vector<std::string>{"A"}};
  const auto message = [&](absl::string_view source) {
    return std::string(environment.Compile(source, options).status().message());
  };
  EXPECT_EQ(message("data.age >= 20 && data.name == 'x'"), "");
  EXPECT_EQ(message("data.age + 1 > 2.5 || data.age in [1, 2.5] || data.name in ['a', null, 3]"), "");
  EXPECT_EQ(message("data.name == null && data.tags[0] == 'x' && data.tags[0] == 3"), "");
  EXPECT_EQ(
      message("data.name >= 20"),
      "line 1, column 11: `>=` does not take string data.name and int; write the literal as the field is, or convert "
      "with string() or double()");
  EXPECT_EQ(message("data.at > timestamp('2022-11-01T00:00:00Z')"),
            "line 1, column 9: `>` does not take string data.at and timestamp; convert the text with timestamp()");
  EXPECT_EQ(message("timestamp(data.at) > timestamp('2022-11-01T00:00:00Z')"), "");
  EXPECT_EQ(message("data.nme == 'x'"), "line 1, column 6: no field data.nme");
  EXPECT_EQ(message("has(data.nme)"), "line 1, column 10: no field data.nme");
  EXPECT_EQ(message("data['na.me'] == 'x'"), "line 1, column 5: no field data.na.me");
  EXPECT_EQ(message("data.age"), "line 1, column 6: a filter must be true or false; this is a number");
  EXPECT_EQ(message("data.name && true"), "line 1, column 6: `&&` takes bools, not string data.name");
  EXPECT_EQ(message("-data.name == 1"), "line 1, column 1: `-` does not take string data.name");
  EXPECT_EQ(message("data.name.first == 'x'"), "line 1, column 11: no field data.name.first");
  EXPECT_EQ(message("data.name[0] == 'x'"), "line 1, column 10: a string cannot be indexed with a int");
  EXPECT_EQ(message("data.age.startsWith('x')"),
            "line 1, column 10: `startsWith` is written string.startsWith(string), not with (number, string)");
  EXPECT_EQ(
      message("data.name in [1, 2]"),
      "line 1, column 11: `in` does not find string data.name in a list of ints; write the literal as the field is, "
      "or convert with string() or double()");
  const Program program = *environment.Compile("data.age > 1 || has(data.age)", options);
  EXPECT_EQ(program.data_fields(), (std::vector<std::string>{"age"}));
}

TEST(Cel, ComparingTheTypeDecidesWhatTheRestIsCheckedAgainst) {
  Environment environment = Environment::ForEvents();
  const FieldsOfA types;
  const CompileOptions options{.filter = true, .data_types = &types};
  const auto fails = [&](absl::string_view source) { return !environment.Compile(source, options).ok(); };
  EXPECT_FALSE(fails("data.name > 1"));  // of any type
  EXPECT_TRUE(fails("type == 'A' && data.name > 1"));
  EXPECT_TRUE(fails("data.name > 1 && 'A' == type"));
  EXPECT_TRUE(fails("has(data.age) && (type in ['A', 'A'] && (data.name > 1 || true))"));
  EXPECT_FALSE(fails("type == 'B' && data.name > 1"));
  EXPECT_FALSE(fails("type in ['A', 'B'] && data.name > 1"));
  EXPECT_TRUE(fails("type in ['A', 'B'] && type in ['A', 'C'] && data.name > 1"));
  EXPECT_FALSE(fails("type == 'A' || data.name > 1"));
  EXPECT_FALSE(fails("type != 'A' && data.name > 1"));
  EXPECT_FALSE(fails("(type == 'A' && data.age > 1) || (type == 'B' && data.name > 1)"));
  EXPECT_TRUE(fails("(type == 'A' && data.name > 1) || (type == 'B' && data.name > 1)"));
  EXPECT_TRUE(fails("type == 'A' ? data.name > 1 : true"));
  EXPECT_FALSE(fails("type == 'A' ? true : data.name > 1"));
}

TEST(Cel, TellsForWhichEventTypesAFilterCanBeTrue) {
  Environment environment = Environment::ForEvents();
  const auto types = [&](absl::string_view source) {
    const auto selected = environment.Compile(source)->event_types();
    return selected.has_value() ? absl::StrJoin(*selected, ",") : std::string("any");
  };
  EXPECT_EQ(types("type == 'a'"), "a");
  EXPECT_EQ(types("type in ['b', 'a', 'b']"), "a,b");
  EXPECT_EQ(types("data.x == 1 && ('a' == type)"), "a");
  EXPECT_EQ(types("type == 'a' && type == 'b'"), "");
  EXPECT_EQ(types("type == 'a' || type == 'b' && data.x"), "a,b");
  EXPECT_EQ(types("type == 'a' || data.x"), "any");
  EXPECT_EQ(types("!(type == 'a')"), "any");
  EXPECT_EQ(types("type != 'a'"), "any");
  EXPECT_EQ(types("type in [source]"), "any");
  EXPECT_EQ(types("data.x ? type == 'a' : type == 'b'"), "a,b");
  EXPECT_EQ(types("type == 'a' ? data.x : type == 'b'"), "a,b");
  EXPECT_EQ(types("data.type == 'a'"), "any");
  EXPECT_EQ(types("(type == 'a') == true"), "any");
}

TEST(Cel, EventsOfChangingShapeAreReadRight) {
  Environment environment = Environment::ForEvents();
  std::vector<Program> programs;
  for (const char* field : {"a", "b", "c", "d"}) programs.push_back(*environment.Compile(absl::StrCat("data.", field)));
  Activation activation(&environment);
  std::mt19937 random(7);
  const std::vector<std::string> keys = {"a", "b", "c", "d", "e", "f", "aa"};
  for (int round = 0; round < 2000; ++round) {
    std::string data;
    event::StructWriter writer(&data);
    std::vector<std::string> expected(4, "error");
    for (int n = random() % 8; n > 0; --n) {
      const std::string& key = keys[random() % keys.size()];
      const int number = static_cast<int>(random() % 1000);
      writer.AddNumber(key, number);
      for (int i = 0; i < 4; ++i) {
        if (key == keys[i]) expected[i] = absl::StrCat(number);
      }
    }
    event::EventView view;
    view.type = "t";
    view.data = data;
    activation.Load(view, 0);
    for (int i = 0; i < 4; ++i) {
      const Value value = programs[i].Eval(activation);
      EXPECT_EQ(value.is_error() ? "error" : value.DebugString(), expected[i]);
    }
  }
}

TEST(Cel, RandomTextNeverCrashes) {
  const std::vector<std::string> pieces = {"data", ".",       "a",    "(",          ")", "[",  "]",    "\"x\"", "1",
                                           "2.5",  "&&",      "||",   "!",          "-", "+",  "*",    "/",     "%",
                                           "==",   "<",       " in ", "?",          ":", ",",  "has(", "size(", "true",
                                           "null", "bucket(", "time", ".getHours(", "'", "\\", "\n",   "type"};
  std::mt19937 random(11);
  const TestEvent event;
  int compiled = 0;
  for (int round = 0; round < 50000; ++round) {
    std::string source;
    for (int n = random() % 12; n > 0; --n) source += pieces[random() % pieces.size()];
    Environment environment = Environment::ForEvents();
    const auto program = environment.Compile(source);
    if (!program.ok()) continue;
    ++compiled;
    Activation activation(&environment);
    activation.Load(event.view, 0);
    program->Eval(activation);
  }
  EXPECT_GT(compiled, 100);
}

TEST(ZoneOffset, AgreesWithTheLibraryEverywhere) {
  std::mt19937_64 random(3);
  for (const char* name : {"Asia/Seoul", "America/New_York", "America/St_Johns", "Africa/Monrovia",
                           "Australia/Lord_Howe", "Pacific/Apia", "UTC", "Africa/Casablanca"}) {
    absl::TimeZone zone;
    ASSERT_TRUE(FindZone(name, &zone));
    ZoneOffset forward;
    ZoneOffset backward;
    for (int i = 0; i < 20000; ++i) {
      const int64_t seconds = static_cast<int64_t>(random() % 6000000000ull) - 2000000000;
      ASSERT_EQ(forward.At(zone, seconds), zone.At(absl::FromUnixSeconds(seconds)).offset) << name << seconds;
      const absl::CivilSecond civil = absl::CivilSecond(1970, 1, 1) + seconds;
      ASSERT_EQ(backward.FromCivil(zone, seconds), absl::ToUnixSeconds(zone.At(civil).pre)) << name << seconds;
    }
  }
}

TEST(TimeText, TimestampsReadBack) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 20000; ++i) {
    const int64_t micros = kMinTimestampUs + static_cast<int64_t>(random() % (kMaxTimestampUs - kMinTimestampUs));
    int64_t back = 0;
    ASSERT_TRUE(ParseTimestamp(TimestampText(micros), &back)) << TimestampText(micros);
    ASSERT_EQ(back, micros);
    const int64_t span = static_cast<int64_t>(random() % (2 * kMaxDurationUs)) - kMaxDurationUs;
    ASSERT_TRUE(ParseDuration(DurationText(span), &back)) << DurationText(span);
    ASSERT_EQ(back, span);
  }
}

}  // namespace
}  // namespace naru::cel
