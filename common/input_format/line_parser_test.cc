#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/message_differencer.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <re2/re2.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/clock/rfc3339.h"
#include "common/event/event_proto.h"
#include "common/input_format/input_format.h"
#include "common/input_format/resource_tests.h"
#include "common/status/status.h"
#include "naru/catalog/v1/resources.pb.h"
#include "naru/event/v1/event.pb.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::input_format {
namespace {

using google::protobuf::util::JsonStringToMessage;
using google::protobuf::util::MessageToJsonString;

catalog::v1::InputFormat Spec(const std::string& json) {
  catalog::v1::InputFormat spec;
  const auto status = JsonStringToMessage(json, &spec);
  EXPECT_TRUE(status.ok()) << status.ToString() << json;
  return spec;
}

std::shared_ptr<const InputFormat> Compile(const std::string& json) {
  auto format = InputFormat::Compile("test-format", Spec(json));
  EXPECT_TRUE(format.ok()) << format.status();
  return format.ok() ? *format : nullptr;
}

std::string Json(const google::protobuf::Message& message) {
  std::string json;
  EXPECT_TRUE(MessageToJsonString(message, &json).ok());
  return json;
}

std::string Show(const LineRejection& rejection) {
  return absl::StrCat(rejection.element < 0 ? "" : absl::StrCat("#", rejection.element, " "),
                      ingest::v1::RejectReason_Name(rejection.reason), " [", rejection.field, "] [", rejection.value, "] ",
                      rejection.expected);
}

/// A value in the order of its bytes.
std::string Compact(const event::ValueView& value) {
  if (value.kind != event::Kind::kStruct && value.kind != event::Kind::kList) {
    google::protobuf::Value scalar;
    event::ValueToProto(value, &scalar);
    return Json(scalar);
  }
  std::string out;
  if (value.kind == event::Kind::kList) {
    event::ForEachElement(value.bytes, [&](const event::ValueView& element) {
      absl::StrAppend(&out, out.empty() ? "" : ",", Compact(element));
      return true;
    });
    return absl::StrCat("[", out, "]");
  }
  event::ForEachField(value.bytes, [&](absl::string_view key, const event::ValueView& field) {
    absl::StrAppend(&out, out.empty() ? "" : ",", "\"", key, "\":", Compact(field));
    return true;
  });
  return absl::StrCat("{", out, "}");
}

/// Events as `id source type subject session time data`, and rejections.
std::vector<std::string> Parse(LineParser* parser, absl::string_view line, absl::string_view import_source = "") {
  EventBuffer events;
  std::vector<LineRejection> rejections;
  parser->Parse(line, {.line_id = "L", .import_source = import_source}, &events, &rejections);
  std::vector<std::string> out;
  for (size_t i = 0; i < events.size(); ++i) {
    event::EventView event;
    EXPECT_EQ(event::ParseEvent(events.event(i), {.event = 2 * kMaxLineBytes}, &event), event::ParseError::kOk);
    out.push_back(absl::StrCat(event.id, " ", event.source, " ", event.type, " ", event.subject, " ", event.session, " ",
                               event.has_time ? FormatRfc3339(event.time_us) : "-", " ",
                               event.has_data ? Compact({.kind = event::Kind::kStruct, .bytes = event.data}) : "-"));
  }
  for (const LineRejection& rejection : rejections) out.push_back(Show(rejection));
  return out;
}

std::string ParseOne(const std::string& format, absl::string_view line) {
  LineParser parser(Compile(format));
  const auto out = Parse(&parser, line);
  EXPECT_EQ(out.size(), 1u);
  return out.empty() ? "" : out[0];
}

constexpr char kEnvelope[] = R"({
  "parser": {"type": "json"},
  "time": {"field": "timestamp", "layout": "%Y-%m-%dT%H:%M:%SZ", "timeZone": "Asia/Seoul"},
  "nullValues": ["none"],
  "event": {"type": {"from": "fields.event"}, "subject": {"from": "fields.fields.member_id"},
            "source": {"const": "ciao-labella"}},
  "data": {"selected_menu": {"from": "fields.fields.selected_menu", "type": "string"},
           "user_age": {"from": "fields.fields.user_age", "type": "integer"}}})";

TEST(LineParser, AnEnvelopeWithALyingZ) {
  EXPECT_EQ(ParseOne(kEnvelope, R"({"messageType":"log","timestamp":"2022-11-01T09:00:00Z","fields":{"event":"UserClickMenu",)"
                                R"("topic":"t","fields":{"member_id":"m1","user_age":"27","selected_menu":"nolabel"}}})"),
            R"(L ciao-labella UserClickMenu m1  2022-11-01T00:00:00Z {"selected_menu":"nolabel","user_age":27})");
  EXPECT_EQ(ParseOne(kEnvelope, R"({"timestamp":"2022-11-01T09:00:00Z","fields":{"event":"E","fields":{"member_id":"none","user_age":"none"}}})"),
            "L ciao-labella E   2022-11-01T00:00:00Z -");
  EXPECT_EQ(ParseOne(kEnvelope, R"({"timestamp":"bad","fields":{"event":"E"}})"),
            "TIME [timestamp] [bad] a time like %Y-%m-%dT%H:%M:%SZ");
  EXPECT_EQ(ParseOne(kEnvelope, R"({"fields":{"event":"E"}})"), "TIME [timestamp] [] a time like %Y-%m-%dT%H:%M:%SZ");
  EXPECT_EQ(ParseOne(kEnvelope, R"({"timestamp":"2022-11-01T09:00:00Z","fields":{"fields":{}}})"),
            "MISSING_ATTRIBUTE [fields.event] [] a type");
  EXPECT_EQ(ParseOne(kEnvelope, R"({"timestamp":"2022-11-01T09:00:00Z","fields":{"event":"E","fields":{"user_age":"x7"}}})"),
            "PARSE [fields.fields.user_age] [x7] an integer");
}

constexpr char kFlat[] = R"({"parser": {"type": "json"}, "time": {"field": "ts", "optional": true},
  "event": {"type": {"from": "event"}, "id": {"from": "key"}}})";

TEST(LineParser, TheWholeObjectLessWhatTheEventUsed) {
  EXPECT_EQ(ParseOne(kFlat, R"({"z":1,"event":"E","a":[1,null,"x",{"b":true}],"key":7,"m":{"q":2,"c":null},"ts":null})"),
            R"(7 test-format E   - {"a":[1,null,"x",{"b":true}],"m":{"c":null,"q":2},"z":1})");
  EXPECT_EQ(ParseOne(kFlat, R"({"event":"E"})"), "L test-format E   - -");
  EXPECT_EQ(ParseOne(R"({"parser":{"type":"json"},"event":{"type":{"from":"a.b.type"},"subject":{"from":"a.user"}}})",
                     R"({"a":{"b":{"type":"E"},"user":"u","other":1},"x":2})"),
            R"(L test-format E u  - {"a":{"other":1},"x":2})");
}

TEST(LineParser, RefusesJsonThatCannotBeKept) {
  const auto refused = [](absl::string_view line) { return ParseOne(kFlat, line); };
  EXPECT_EQ(refused("hello"), "PARSE [] [hello] one JSON object");
  EXPECT_EQ(refused("[1]"), "PARSE [] [[1]] one JSON object");
  EXPECT_EQ(refused(R"({"event":"E"} x)"), "PARSE [] [{\"event\":\"E\"} x] one JSON object");
  EXPECT_EQ(refused(R"({"event":"E","a":1,"a":2})"), "PARSE [a] [] each key once");
  EXPECT_EQ(refused(R"({"event":"E","event":"F"})"), "PARSE [event] [] each key once");
  EXPECT_EQ(refused(R"({"event":"E","a":{"b":1,"b":2}})"), "PARSE [a.b] [] each key once");
  EXPECT_EQ(refused(R"({"event":"E","a":9007199254740993})"),
            "FIELD_RANGE [a] [9007199254740993] an integer from -9007199254740992 to 9007199254740992; write larger ones as strings");
  EXPECT_THAT(refused(R"({"event":"E","a":[{"b":18446744073709551615}]})"), ::testing::HasSubstr("FIELD_RANGE [a[0].b]"));
  EXPECT_THAT(refused(R"({"event":"E","a":123456789012345678901234567890})"), ::testing::HasSubstr("PARSE"));
  EXPECT_THAT(refused(R"({"event":"E","a":1e999})"), ::testing::HasSubstr("PARSE"));
  EXPECT_THAT(refused(R"({"event":"E","a":NaN})"), ::testing::HasSubstr("PARSE"));
  EXPECT_THAT(refused("{\"event\":\"E\",\"a\":\"\xff\"}"), ::testing::HasSubstr("INVALID_UTF8"));
  EXPECT_THAT(refused(R"({"event":"E","a":"\ud800"})"), ::testing::HasSubstr("PARSE"));
  EXPECT_EQ(ParseOne(kFlat, R"({"event":"E","a":9007199254740992,"b":1e300,"c":"\ud83d\ude00"})"),
            "L test-format E   - {\"a\":9007199254740992,\"b\":1e+300,\"c\":\"😀\"}");
}

TEST(LineParser, RefusesDataThatIsTooDeep) {
  const auto nested = [](int depth) {
    std::string json = R"({"event":"E","a":)";
    for (int i = 1; i < depth; ++i) json += R"({"a":)";
    json += "1";
    for (int i = 0; i < depth; ++i) json += "}";
    return json;
  };
  EXPECT_THAT(ParseOne(kFlat, nested(8)), ::testing::HasSubstr("L test-format"));
  EXPECT_EQ(ParseOne(kFlat, nested(9)), "DATA_TOO_DEEP [a.a.a.a.a.a.a.a] [] at most 8 levels");
  EXPECT_THAT(ParseOne(kFlat, nested(100)), ::testing::HasSubstr("DATA_TOO_DEEP"));
  EXPECT_THAT(ParseOne(kFlat, nested(100000)), ::testing::HasSubstr("DATA_TOO_DEEP"));
  const std::string lists = R"({"event":"E","a":)" + std::string(400000, '[') + std::string(400000, ']') + "}";
  EXPECT_THAT(ParseOne(kFlat, lists), ::testing::HasSubstr("DATA_TOO_DEEP"));
}

TEST(LineParser, LinesOfAMebibyteAreReadAndLongerOnesRefused) {
  const auto line = [](size_t size) {
    std::string json = R"({"event":"E","a":")";
    return json + std::string(size - json.size() - 2, 'x') + "\"}";
  };
  EXPECT_TRUE(absl::StartsWith(ParseOne(kFlat, line(kMaxLineBytes)), "L test-format E"));
  EXPECT_TRUE(absl::StartsWith(ParseOne(kFlat, line(kMaxLineBytes + 1)), "LINE_TOO_LONG"));
}

TEST(LineParser, DataFromTakesAnObjectAsItIs) {
  const std::string format = R"({"parser":{"type":"json"},"event":{"type":{"from":"type"}},"dataFrom":"data"})";
  EXPECT_EQ(ParseOne(format, R"({"type":"E","data":{"b":1,"a":2},"x":1})"), R"(L test-format E   - {"a":2,"b":1})");
  EXPECT_EQ(ParseOne(format, R"({"type":"E","data":null})"), "L test-format E   - -");
  EXPECT_EQ(ParseOne(format, R"({"type":"E"})"), "L test-format E   - -");
  EXPECT_EQ(ParseOne(format, R"({"type":"E","data":"text"})"), "PARSE [data] [text] an object");
}

TEST(LineParser, ExplodedLinesGiveAnEventForEachElement) {
  LineParser parser(Compile(R"({"parser":{"type":"json"},"explode":"events","time":{"field":"events.ts","layout":"unix_ms"},
    "event":{"type":{"from":"type"},"subject":{"from":"session"},"session":{"from":"session"}}})"));
  EXPECT_EQ(Parse(&parser, R"({"session":12,"events":[{"aid":1,"ts":1661724000278,"type":"clicks"},{"aid":2,"ts":"x","type":"carts"},)"
                           R"({"aid":3,"ts":1661724000279,"type":"orders"},4]})"),
            (std::vector<std::string>{R"(L-0 test-format clicks 12 12 2022-08-28T22:00:00.278Z {"aid":1})",
                                      R"(L-2 test-format orders 12 12 2022-08-28T22:00:00.279Z {"aid":3})",
                                      "#1 TIME [events.ts] [x] milliseconds since 1970", "#3 PARSE [[3]] [] an object"}));
  EXPECT_TRUE(Parse(&parser, R"({"session":1,"events":[]})").empty());
  EXPECT_EQ(Parse(&parser, R"({"session":1})"), (std::vector<std::string>{"PARSE [events] [] an array of objects"}));
}

TEST(LineParser, ImportSourceWinsOverTheFormats) {
  LineParser parser(Compile(kEnvelope));
  const auto out = Parse(&parser, R"({"timestamp":"2022-11-01T09:00:00Z","fields":{"event":"E"}})", "mine");
  EXPECT_THAT(out[0], ::testing::HasSubstr("L mine E"));
}

TEST(LineParser, CsvWithQuotesAndTypes) {
  const std::string format = R"({"parser":{"type":"csv","columns":["when","type","n","flag","note"]},
    "time":{"field":"when","layout":"%Y-%m-%d %H:%M"},"nullValues":["NULL"],"event":{"type":{"from":"type"}},
    "data":{"n":{"from":"n","type":"number"},"flag":{"from":"flag","type":"boolean"},"note":{"from":"note"},
            "big":{"expr":"double(n) > 10.0"},"kind":{"const":"csv"},
            "day":{"from":"when","type":"timestamp","layout":"%Y-%m-%d %H:%M","timeZone":"Asia/Seoul"}}})";
  EXPECT_EQ(ParseOne(format, R"(2022-11-01 09:00,E,12.5,true,"a ""quoted"", note")"),
            R"(L test-format E   2022-11-01T09:00:00Z {"big":true,"day":"2022-11-01T00:00:00Z","flag":true,"kind":"csv","n":12.5,)"
            R"("note":"a \"quoted\", note"})");
  EXPECT_EQ(ParseOne(format, "2022-11-01 09:00,E,1,,NULL"),
            R"(L test-format E   2022-11-01T09:00:00Z {"big":false,"day":"2022-11-01T00:00:00Z","kind":"csv","n":1})");
  EXPECT_EQ(ParseOne(format, "2022-11-01 09:00,E,1"), "PARSE [] [2022-11-01 09:00,E,1] 5 columns, not 3");
  EXPECT_EQ(ParseOne(format, "2022-11-01 09:00,E,nan,true,x"), "NOT_FINITE [n] [nan] a finite number");
  EXPECT_EQ(ParseOne(format, "2022-11-01 09:00,E,-inf,true,x"), "NOT_FINITE [n] [-inf] a finite number");
  EXPECT_EQ(ParseOne(format, "2022-11-01 09:00,E,1,maybe,x"), "PARSE [flag] [maybe] true or false");
  EXPECT_EQ(ParseOne(format, "2022-11-01 09:00,E,1,true,\"x"), "PARSE [] [\"x] a closing quote");
  EXPECT_EQ(ParseOne(format, "2022-11-01 09:00,E,1,true,\"x\"y"), "PARSE [] [\"x\"y] a delimiter after the closing quote");
  EXPECT_THAT(ParseOne(format, "2022-11-01 09:00,E,\xff,true,x"), ::testing::HasSubstr("INVALID_UTF8"));
  EXPECT_THAT(ParseOne(format, "2022-11-01 09:00,E,abc,true,x"), ::testing::HasSubstr("PARSE [data.big]"));
}

TEST(LineParser, IntegersBeyondWhatDoublesHoldAreRefused) {
  const std::string format = R"({"parser":{"type":"csv","columns":["n"]},"event":{"type":{"const":"E"}},
    "data":{"n":{"from":"n","type":"integer"}}})";
  EXPECT_EQ(ParseOne(format, "9007199254740992"), R"(L test-format E   - {"n":9007199254740992})");
  EXPECT_THAT(ParseOne(format, "9007199254740993"), ::testing::HasSubstr("FIELD_RANGE [n]"));
  EXPECT_THAT(ParseOne(format, "99999999999999999999"), ::testing::HasSubstr("FIELD_RANGE [n]"));
  EXPECT_THAT(ParseOne(format, "1.0"), ::testing::HasSubstr("PARSE [n]"));
  const std::string number = R"({"parser":{"type":"csv","columns":["n"]},"event":{"type":{"const":"E"}},
    "data":{"n":{"from":"n","type":"number"}}})";
  EXPECT_EQ(ParseOne(number, "1e999"), "NOT_FINITE [n] [1e999] a finite number");
}

TEST(LineParser, ACsvHeaderNamesTheColumns) {
  const auto format = Compile(R"({"parser":{"type":"csv","header":true,"delimiter":"\\t"},"event":{"type":{"from":"kind"}}})");
  ASSERT_TRUE(format->has_header());
  const auto with_header = format->WithHeader("a\tkind\t\"b c\"");
  ASSERT_TRUE(with_header.ok()) << with_header.status();
  LineParser parser(*with_header);
  EXPECT_EQ(Parse(&parser, "1\tE\tx"), (std::vector<std::string>{R"(L test-format E   - {"a":"1","b c":"x"})"}));
  EXPECT_THAT(std::string(format->WithHeader("a\tb").status().message()), ::testing::HasSubstr("there is no column `kind`"));
}

TEST(LineParser, DelimitedLinesWhoseLastColumnIsJson) {
  const std::string format = R"({"parser":{"type":"delimited","columns":["ts","user","event","payload"],"jsonColumns":["payload"]},
    "time":{"field":"ts","layout":"unix_ms"},"event":{"type":{"from":"event"},"subject":{"from":"user"}},
    "data":{"local1":{"from":"payload.local1"},"deep":{"from":"payload.a.b"},"room":{"expr":"payload.room + \"!\""}}})";
  EXPECT_EQ(ParseOne(format, R"(1667293200123|u1|view|{"local1":"서울|강남","a":{"b":[1]},"room":"one"})"),
            R"(L test-format view u1  2022-11-01T09:00:00.123Z {"deep":[1],"local1":"서울|강남","room":"one!"})");
  EXPECT_EQ(ParseOne(format, "1667293200123|u1|view|"), "L test-format view u1  2022-11-01T09:00:00.123Z -");
  EXPECT_EQ(ParseOne(format, "1667293200123|u1|view|{oops"), "PARSE [payload] [{oops] one JSON object");
  EXPECT_EQ(ParseOne(format, "1667293200123|u1"), "PARSE [] [1667293200123|u1] 4 columns, not 2");
  const std::string whole = R"({"parser":{"type":"delimited","columns":["b","a","payload"],"jsonColumns":["payload"]},
    "event":{"type":{"from":"b"}}})";
  EXPECT_EQ(ParseOne(whole, R"(E|x|{"z":1,"y":2})"), R"(L test-format E   - {"a":"x","payload":{"y":2,"z":1}})");
}

TEST(LineParser, RegularExpressionsMatchTheWholeLine) {
  const std::string format = R"x({"parser":{"type":"regex","pattern":"(?P<level>[A-Z]+) (?P<code>\\d+)?:(?P<text>.*)"},
    "event":{"type":{"from":"level"}}})x";
  EXPECT_EQ(ParseOne(format, "WARN 12: disk"), R"(L test-format WARN   - {"code":"12","text":" disk"})");
  EXPECT_EQ(ParseOne(format, "WARN :"), R"(L test-format WARN   - {"text":""})");
  EXPECT_THAT(ParseOne(format, "x WARN 12: disk"), ::testing::HasSubstr("PARSE"));
}

constexpr char kApache[] = R"({"parser":{"type":"apache_combined"},"time":{"field":"timestamp","layout":"%d/%b/%Y:%H:%M:%S %z"},
  "event":{"type":{"const":"HttpRequest"},"subject":{"template":"{clientip}|{agent}"}},
  "data":{"method":{"from":"method"},"path":{"from":"path"},"status":{"from":"status","type":"integer"},
          "bytes":{"from":"bytes","type":"integer"},"auth":{"from":"auth"},"referrer":{"from":"referrer"},
          "agent":{"from":"agent"},"request":{"from":"request"},"error":{"expr":"status >= 500"}}})";

TEST(LineParser, ApacheCombined) {
  EXPECT_EQ(ParseOne(kApache, R"(1.2.3.4 - frank moe [17/May/2015:10:05:03 +0000] "GET /a?b=c HTTP/1.1" 500 - "-" "Moz \"q\" \\ x")"),
            R"(L test-format HttpRequest 1.2.3.4|Moz "q" \ x  2015-05-17T10:05:03Z {"agent":"Moz \"q\" \\ x","auth":"frank moe",)"
            R"("error":true,"method":"GET","path":"/a?b=c","request":"GET /a?b=c HTTP/1.1","status":500})");
  EXPECT_EQ(ParseOne(kApache, "::1 - - [17/May/2015:10:05:03 +0000] \"\\x16\\x03\\xff\" 400 0 \"-\" \"-\""),
            "L test-format HttpRequest ::1|  2015-05-17T10:05:03Z "
            "{\"bytes\":0,\"error\":false,\"request\":\"\\u0016\\u0003\\\\xff\",\"status\":400}");
  for (const char* bad : {"", "hello", "1.2.3.4 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"agent",
                          "1.2.3.4 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" abc 1 \"-\" \"agent\"",
                          "1.2.3.4 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"agent\" x",
                          "1.2.3.4 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 1",
                          "1.2.3.4 - - 17/May/2015:10:05:03 +0000 \"GET / HTTP/1.1\" 200 1 \"-\" \"agent\""}) {
    EXPECT_TRUE(absl::StartsWith(ParseOne(kApache, bad), "PARSE")) << bad;
  }
  EXPECT_TRUE(absl::StartsWith(
      ParseOne(kApache, "1.2.3.4 - - [32/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"a\""), "TIME"));
}

TEST(LineParser, HashesAndTemplates) {
  const std::string format = R"({"parser":{"type":"csv","columns":["ip","agent"]},
    "event":{"type":{"const":"E"},"subject":{"template":"{{{ip}}}/{agent}","hash":true},"session":{"template":"{ip}"}},
    "nullValues":["-"]})";
  const std::string first = ParseOne(format, "1.2.3.4,curl");
  EXPECT_EQ(first, ParseOne(format, "1.2.3.4,curl"));
  EXPECT_NE(first, ParseOne(format, "1.2.3.4,curL"));
  EXPECT_TRUE(RE2::PartialMatch(first, "E [0-9a-f]{16} 1.2.3.4 ")) << first;
  EXPECT_EQ(ParseOne(format, "-,-"), R"(L test-format E   - -)");
}

TEST(InputFormat, ReportsEveryMistakeWithItsField) {
  const auto violations = [](const std::string& json) {
    std::vector<std::string> out;
    const auto format = InputFormat::Compile("f", Spec(json));
    for (const FieldViolation& v : GetErrorDetails(format.status()).violations) out.push_back(v.field + ": " + v.description);
    return out;
  };
  EXPECT_EQ(violations(R"({"parser":{"type":"jsn"}})"),
            (std::vector<std::string>{"spec.parser.type: `jsn` is not known; there are json, csv, delimited, regex, apache_combined"}));
  EXPECT_EQ(violations(R"({"parser":{"type":"csv","columns":["type","age"]},"time":{"field":"tim","layout":"%Q"},
                          "event":{"type":{"from":"typ"}},"data":{"a":{"expr":"1 +"},"b":{"from":"age","type":"int"},"c":{}}})")
                .size(),
            6u);
  EXPECT_EQ(violations(R"({"parser":{"type":"json"}})"), (std::vector<std::string>{"spec.event.type: is needed: a field, or {const: NAME}"}));
  EXPECT_EQ(violations(R"({"parser":{"type":"regex","pattern":"("},"event":{"type":{"const":"E"}}})").size(), 1u);
  EXPECT_EQ(violations(R"({"parser":{"type":"csv","columns":["a","a"]},"event":{"type":{"const":"E"}}})"),
            (std::vector<std::string>{"spec.parser.columns: `a` is there twice"}));
  EXPECT_EQ(violations(R"({"parser":{"type":"csv","columns":["a"]},"event":{"type":{"from":"a.b"}}})"),
            (std::vector<std::string>{"spec.event.type: column `a` holds no JSON; name it in spec.parser.json_columns"}));
}

TEST(InputFormat, RunsTheTestsOfAResource) {
  catalog::v1::Resource resource;
  resource.mutable_metadata()->set_name("ciao");
  *resource.mutable_input_format() = Spec(kEnvelope);
  auto* good = resource.add_tests();
  good->set_input(R"({"timestamp":"2022-11-01T09:00:00Z","fields":{"event":"E","fields":{"user_age":3}}})");
  ASSERT_TRUE(JsonStringToMessage(R"({"type":"E","time":"2022-11-01T00:00:00Z","data":{"user_age":3}})", good->add_output()).ok());
  auto* rejected = resource.add_tests();
  rejected->set_input(R"({"timestamp":"bad"})");
  rejected->set_rejected("TIME");
  EXPECT_TRUE(RunTests(resource).empty());
  (*good->mutable_output(0)->mutable_fields())["type"].set_string_value("F");
  rejected->set_rejected("PARSE");
  const auto failures = RunTests(resource);
  ASSERT_EQ(failures.size(), 2u);
  EXPECT_EQ(failures[0].field, "tests[0].output[0].type");
  EXPECT_EQ(failures[0].description, "is \"E\"; expected \"F\"");
  EXPECT_EQ(failures[1].field, "tests[1].rejected");
}

/// A random JSON value whose numbers and strings both readers agree on.
std::string RandomJson(std::mt19937* random, int depth) {
  static const std::vector<std::string> kScalars = {"null", "true", "false", "0", "-1", "2.5", "1e10", "-0.001", "9007199254740992",
                                                    "\"\"", "\"a\"", "\"나루\"", R"("\u00e9\n\"")", R"("\ud83d\ude00")", "\"none\""};
  const int kind = depth > 0 ? (*random)() % 4 : 2;
  std::string out = kind == 0 ? "{" : "[";
  if (kind > 1) return kScalars[(*random)() % kScalars.size()];
  const int count = (*random)() % 5;
  const int first_key = (*random)() % 26;
  for (int i = 0; i < count; ++i) {
    if (i > 0) out += " , ";
    if (kind == 0) out += absl::StrCat("\"", std::string(1, static_cast<char>('a' + (first_key + i * 7) % 26)), "\" : ");
    out += RandomJson(random, depth - 1);
  }
  return out + (kind == 0 ? "}" : "]");
}

TEST(LineParser, AgreesWithGeneratedCodeOnRandomJson) {
  std::mt19937 random(2);
  LineParser parser(Compile(R"({"parser":{"type":"json"},"event":{"type":{"const":"E"}}})"));
  for (int round = 0; round < 20000; ++round) {
    std::string line = "{";
    const int count = random() % 6;
    for (int i = 0; i < count; ++i) {
      line += absl::StrCat(i > 0 ? "," : "", "\"", std::string(1, static_cast<char>('a' + (i * 11) % 26)), "\":",
                           RandomJson(&random, 4));
    }
    line += "}";
    EventBuffer events;
    std::vector<LineRejection> rejections;
    parser.Parse(line, {.line_id = "L"}, &events, &rejections);
    ASSERT_EQ(events.size(), 1u) << line << Show(rejections[0]);
    event::v1::Event event;
    ASSERT_TRUE(event.ParseFromArray(events.event(0).data(), static_cast<int>(events.event(0).size())));
    google::protobuf::Struct expected;
    ASSERT_TRUE(JsonStringToMessage(line, &expected).ok()) << line;
    ASSERT_TRUE(google::protobuf::util::MessageDifferencer::Equals(event.data(), expected)) << line;
    // The events of both writers are the same bytes.
    event::EventView view;
    ASSERT_EQ(event::ParseEvent(events.event(0), event::Limits(), &view), event::ParseError::kOk);
    std::string written;
    event::AppendEvent({.id = "L", .source = "test-format", .type = "E", .data = view.data}, &written);
    ASSERT_EQ(written, events.event(0));
  }
}

TEST(LineParser, MutatedLinesNeverCrashAndGiveOneResult) {
  std::mt19937 random(6);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {kEnvelope, R"({"timestamp":"2022-11-01T09:00:00Z","fields":{"event":"E","fields":{"member_id":"m1","user_age":"27"}}})"},
      {kFlat, R"({"z":1,"event":"E","a":[1,null,"x\u00e9",{"b":true}],"key":7,"m":{"q":2e3,"c":null}})"},
      {kApache, R"(1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 12 "-" "Moz \"q\" x")"},
      {R"({"parser":{"type":"csv","columns":["a","b","c"]},"event":{"type":{"from":"a"}}})", R"(x,"y ""q"" z",w)"},
      {R"({"parser":{"type":"delimited","columns":["a","b"],"jsonColumns":["b"]},"event":{"type":{"from":"a"}}})", R"(x|{"a":[1,2]})"},
      {R"x({"parser":{"type":"regex","pattern":"(?P<a>\\w+)=(?P<b>.*)"},"event":{"type":{"from":"a"}}})x", "key=value"}};
  for (const auto& [format, line] : cases) {
    LineParser parser(Compile(format));
    EventBuffer events;
    std::vector<LineRejection> rejections;
    for (int round = 0; round < 20000; ++round) {
      std::string mutated = line;
      for (int n = random() % 4; n > 0; --n) {
        const size_t at = random() % mutated.size();
        switch (random() % 3) {
          case 0: mutated[at] = static_cast<char>(random()); break;
          case 1: mutated.erase(at, random() % 5); break;
          default: mutated.insert(at, 1, "\"\\{}[],|: "[random() % 10]); break;
        }
        if (mutated.empty()) mutated = "x";
      }
      events.Clear();
      rejections.clear();
      parser.Parse(mutated, {.line_id = "L"}, &events, &rejections);
      ASSERT_EQ(events.size() + rejections.size(), 1u) << mutated;
      if (events.size() == 1) {
        event::EventView view;
        const event::ParseError error = event::ParseEvent(events.event(0), event::Limits(), &view);
        ASSERT_TRUE(error == event::ParseError::kOk || error == event::ParseError::kAttributeTooLong) << mutated;
      }
    }
  }
}

TEST(LineParser, TheRealAccessLogAgreesWithARegularExpression) {
  const char* shared = std::getenv("NARU_SHARED_DIR");
  const char* source = std::getenv("NARU_SOURCE_DIR");
  const std::string path = shared != nullptr ? absl::StrCat(shared, "/weblog/apache_logs")
                                             : absl::StrCat(source == nullptr ? "." : source, "/../shared/data/weblog/apache_logs");
  std::ifstream file(path);
  if (!file) GTEST_SKIP() << path << " is not there";
  LineParser fast(Compile(kApache));
  LineParser slow(Compile(absl::StrCat(
      R"x({"parser":{"type":"regex","pattern":"(?P<clientip>\\S+) (?P<ident>\\S+) (?P<auth>.+?) \\[(?P<timestamp>[^\\]]+)\\] \"(?P<request>(?P<method>\\S+) (?P<path>.*) (?P<protocol>HTTP/\\S+))\" (?P<status>\\d+|-) (?P<bytes>\\d+|-) \"(?P<referrer>[^\"]*)\" \"(?P<agent>[^\"]*)\""},"nullValues":["-"],)x",
      R"("time":{"field":"timestamp","layout":"%d/%b/%Y:%H:%M:%S %z"},"event":{"type":{"const":"HttpRequest"},"subject":{"template":"{clientip}|{agent}"}},)",
      R"("data":{"method":{"from":"method"},"path":{"from":"path"},"status":{"from":"status","type":"integer"},"bytes":{"from":"bytes","type":"integer"},"auth":{"from":"auth"},"referrer":{"from":"referrer"},"agent":{"from":"agent"},"request":{"from":"request"},"error":{"expr":"int(status) >= 500"}}})")));
  int accepted = 0;
  int rejected = 0;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    const auto result = Parse(&fast, line);
    ASSERT_EQ(result.size(), 1u);
    if (absl::StartsWith(result[0], "PARSE")) {
      EXPECT_EQ(number, 8899);
      ++rejected;
      continue;
    }
    ++accepted;
    if (absl::StrContains(line, '\\')) continue;
    EXPECT_EQ(result, Parse(&slow, line)) << number;
  }
  EXPECT_EQ(accepted, 9999);
  EXPECT_EQ(rejected, 1);
}

TEST(LineParser, RealShopSessionsExplode) {
  const char* shared = std::getenv("NARU_SHARED_DIR");
  const char* source = std::getenv("NARU_SOURCE_DIR");
  const std::string path = shared != nullptr ? absl::StrCat(shared, "/clickstream/otto_train.jsonl")
                                             : absl::StrCat(source == nullptr ? "." : source, "/../shared/data/clickstream/otto_train.jsonl");
  std::ifstream file(path);
  if (!file) GTEST_SKIP() << path << " is not there";
  LineParser parser(Compile(R"({"parser":{"type":"json"},"explode":"events","time":{"field":"ts","layout":"unix_ms"},
    "event":{"type":{"from":"type"},"subject":{"from":"session"}}})"));
  EventBuffer events;
  std::vector<LineRejection> rejections;
  for (std::string line; std::getline(file, line);) parser.Parse(line, {.line_id = "L"}, &events, &rejections);
  EXPECT_EQ(events.size(), 862u);
  EXPECT_TRUE(rejections.empty());
}

}  // namespace
}  // namespace naru::input_format
