#include "tests/faults/malformed_input.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/event/event_writer.h"

namespace naru::faults {
namespace {

constexpr int64_t kSecond = 1'000'000;

/// What breaks parsers: put into the middle of a line.
constexpr absl::string_view kLinePieces[] = {"\"",
                                             "'",
                                             "\\",
                                             "\\u",
                                             "\\ud800",
                                             "\\u0000",
                                             "\xff",
                                             "\xc0\xaf",
                                             "\xed\xa0\x80",
                                             "\xf4\x90\x80\x80",
                                             "\xef\xbb\xbf",
                                             "NaN",
                                             "-Infinity",
                                             "1e999",
                                             "-0",
                                             "99999999999999999999",
                                             "9007199254740993",
                                             "0x1F",
                                             "null",
                                             "true",
                                             "{}",
                                             "[]",
                                             "{",
                                             "}",
                                             "[",
                                             "]",
                                             ":",
                                             ",",
                                             "|",
                                             "\t",
                                             "\r",
                                             ";",
                                             "[[[[[[[[[[",
                                             "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{",
                                             "\"amount\":",
                                             "\"type\":",
                                             "type",
                                             "2015-02-29T25:61:61Z",
                                             "- - [",
                                             "] \"",
                                             "%d",
                                             "${x}",
                                             "\xe4\xb8",
                                             "\x7f",
                                             "\x01"};

void RemoveLineFeeds(std::string* line) { std::replace(line->begin(), line->end(), '\n', ' '); }

/// Structs in each other, `depth` levels.
std::string Nested(int depth) {
  std::string inner;
  event::StructWriter(&inner).AddNumber("n", 1);
  for (int i = 1; i < depth; ++i) {
    std::string outer;
    event::StructWriter(&outer).AddStruct("a", inner);
    inner = outer;
  }
  return inner;
}

}  // namespace

const std::vector<std::string>& MalformedFormats() {
  static const auto* const formats = new std::vector<std::string>{
      "ndjson", "malformed-csv", "malformed-delimited", "malformed-regex", "apache-combined", "ciao-labella-envelope"};
  return *formats;
}

absl::string_view MalformedResources() {
  return R"yaml(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: Order}
spec:
  schema:
    required: [amount]
    properties:
      amount: {type: number, minimum: 0, maximum: 1000}
      count: {type: integer}
      paid: {type: boolean}
      state: {type: string, enum: [new, paid, sent]}
      note: {type: string, minLength: 1, maxLength: 20, pattern: "^[a-z ]*$"}
      at: {type: timestamp}
      tags: {type: array, maxItems: 3, items: {type: string}}
      place: {type: object, required: [city], properties: {city: {type: string}}}
  unknown_fields: reject
  deduplication_window: 2h
---
apiVersion: naru.dev/v1
kind: EventType
metadata: {name: HttpRequest}
spec: {schema: {required: [status], properties: {status: {type: integer, minimum: 100, maximum: 599}}}}
---
apiVersion: naru.dev/v1
kind: InputFormat
metadata: {name: malformed-csv}
spec:
  parser: {type: csv, columns: [at, user, amount, state, extra], json_columns: [extra]}
  time: {field: at, layout: "%Y-%m-%d %H:%M:%S", time_zone: Asia/Seoul}
  event: {type: {const: Order}, subject: user}
  data:
    amount: {from: amount, type: number}
    state: state
    count: {from: extra.count, type: integer}
    paid: {expr: "state == 'paid'"}
---
apiVersion: naru.dev/v1
kind: InputFormat
metadata: {name: malformed-delimited}
spec:
  parser: {type: delimited, delimiter: "|", columns: [at, user, type, payload], json_columns: [payload]}
  time: {field: at, layout: unix_ms}
  event: {type: type, subject: user}
  data:
    amount: {from: payload.amount, type: number}
    note: payload.note
    tags: payload.tags
---
apiVersion: naru.dev/v1
kind: InputFormat
metadata: {name: malformed-regex}
spec:
  parser: {type: regex, pattern: '(?P<type>[A-Z][a-z]+) (?P<at>\S+) amount=(?P<amount>\S*) user=(?P<user>.*)'}
  time: {field: at}
  event: {type: type, subject: {template: "{user}|{type}", hash: true}}
  data:
    amount: {from: amount, type: number}
)yaml";
}

std::string MalformedInput::Time(absl::string_view layout) {
  // Now and then far away: before the year 1, beyond the year 9999, or too far in the future.
  int64_t micros = now_us_ - static_cast<int64_t>(Below(3600)) * kSecond;
  const size_t kind = Below(20);
  if (kind == 0) micros += int64_t{30} * 86400 * kSecond;
  if (kind == 1) micros = -int64_t{70'000'000'000} * kSecond;
  if (kind == 2) micros = int64_t{300'000'000'000} * kSecond;
  if (layout == "unix_ms") return absl::StrCat(micros / 1000);
  return absl::FormatTime(layout, absl::FromUnixMicros(micros), absl::UTCTimeZone());
}

std::string MalformedInput::Word() {
  static constexpr absl::string_view kWords[] = {"new",  "paid",  "sent", "kim", "none", "nolabel", "seoul",
                                                 "나루", "a b c", "",     "-",   "1",    "12.5",    "GET"};
  return std::string(OneOf(kWords));
}

std::string MalformedInput::WholeLine(absl::string_view format) {
  const size_t amount = Below(1100);
  const std::string user = absl::StrCat("u", Below(1000));
  if (format == "malformed-csv") {
    return absl::StrCat(Time("%Y-%m-%d %H:%M:%S"), ",", user, ",", amount, ",", Word(), ",\"{\"\"count\"\": ", Below(9),
                        "}\"");
  }
  if (format == "malformed-delimited") {
    return absl::StrCat(Time("unix_ms"), "|", user, "|Order|{\"amount\":", amount, ",\"note\":\"", Word(),
                        "\",\"tags\":[\"a\",\"", Word(), "\"]}");
  }
  if (format == "malformed-regex") {
    return absl::StrCat("Order ", Time("%Y-%m-%dT%H:%M:%SZ"), " amount=", amount, " user=", Word());
  }
  if (format == "apache-combined") {
    return absl::StrCat("203.0.113.", Below(256), " - ", user, " [", Time("%d/%b/%Y:%H:%M:%S +0000"), "] \"GET /",
                        Word(), " HTTP/1.1\" ", Below(700), " ", amount, " \"-\" \"Mozilla/5.0 ", Word(), "\"");
  }
  if (format == "ciao-labella-envelope") {
    return absl::StrCat(R"({"messageType":"log","timestamp":")", Time("%Y-%m-%dT%H:%M:%SZ"),
                        R"(","fields":{"event":"UserClickMenu","topic":"log_menuclick","key":"menuclick","fields":{)",
                        R"("member_id":")", user, R"(","user_age":)", Below(180), R"(,"selected_menu":")", Word(),
                        "\"}}}");
  }
  return absl::StrCat(R"({"id":")", Below(size_t{1} << 40), R"(","source":"shop","type":"Order","subject":")", user,
                      R"(","time":")", Time("%Y-%m-%dT%H:%M:%SZ"), R"(","data":{"amount":)", amount, R"(,"state":")",
                      Word(), "\"}}");
}

void MalformedInput::Mutate(std::string* bytes) {
  for (size_t count = 1 + Below(3); count > 0; --count) {
    const size_t at = Below(bytes->size() + 1);
    const size_t length = std::min(Below(12), bytes->size() - at);
    switch (Below(7)) {
      case 0:
        if (at < bytes->size()) (*bytes)[at] = static_cast<char>(random_.Next());
        break;
      case 1:
        if (at < bytes->size()) (*bytes)[at] ^= static_cast<char>(1u << Below(8));
        break;
      case 2:
        bytes->erase(at, length);
        break;
      case 3:
        bytes->insert(at, bytes->substr(at, length));
        break;
      case 4:
        bytes->resize(at);
        break;
      case 5:
        bytes->insert(at, std::string(OneOf(kLinePieces)));
        break;
      default:
        bytes->replace(at, length, std::string(OneOf(kLinePieces)));
        break;
    }
  }
}

std::string MalformedInput::Line(absl::string_view format) {
  std::string line = WholeLine(format);
  const size_t kind = Below(50);
  if (kind == 0) {
    line.clear();
    for (size_t n = 1 + Below(200); n > 0; --n) line.push_back(static_cast<char>(random_.Next()));
  } else if (kind == 1) {
    line.insert(Below(line.size() + 1), std::string(Below(3000), kind % 2 == 0 ? '[' : 'x'));
  } else if (kind > 9) {
    Mutate(&line);
  }
  RemoveLineFeeds(&line);
  return line;
}

std::string MalformedInput::OverlongLine() { return std::string((1 << 20) + 1 + Below(1000), 'x'); }

std::string MalformedInput::Data() {
  std::string data;
  event::StructWriter writer(&data);
  writer.AddNumber("amount", static_cast<double>(Below(1000)));
  if (Below(2) == 0) writer.AddNumber("count", static_cast<double>(Below(100)));
  if (Below(3) == 0) writer.AddString("state", "paid");
  if (Below(3) == 0) writer.AddBool("paid", Below(2) == 0);
  return data;
}

std::string MalformedInput::WholeEvent() {
  std::string bytes;
  const std::string data = Data();
  const std::string id = absl::StrCat(random_.Next());
  const std::string subject = absl::StrCat("u", Below(1000));
  event::AppendEvent({.id = id,
                      .source = "malformed",
                      .type = "Order",
                      .subject = subject,
                      .has_time = Below(2) == 0,
                      .time_us = now_us_,
                      .data = data},
                     &bytes);
  return bytes;
}

std::string MalformedInput::BrokenEvent() {
  std::string data = Data();
  event::StructWriter writer(&data);
  const std::string id = absl::StrCat(random_.Next());
  event::EventFields fields{.id = id, .source = "malformed", .type = "Order", .subject = "u"};
  std::string text;
  switch (Below(17)) {
    case 0:
      fields.source = "";
      break;
    case 1:
      fields.type = "";
      break;
    case 2:
      fields.type = "NoSuchType";
      break;
    case 3:
      fields.subject = "\xff\xfe";
      break;
    case 4:
      writer.AddString("note", "\xed\xa0\x80");
      break;
    case 5:
      writer.AddNumber("count", std::numeric_limits<double>::quiet_NaN());
      break;
    case 6:
      writer.AddNumber("count", -std::numeric_limits<double>::infinity());
      break;
    case 7:
      writer.AddStruct("place", Nested(static_cast<int>(8 + Below(100))));
      break;
    case 8:
      fields.subject = text = std::string(1025 + Below(2000), 's');
      break;
    case 9:
      fields.has_time = true, fields.time_us = now_us_ + int64_t{25} * 3600 * kSecond;
      break;
    case 10:
      fields.has_time = true, fields.time_us = int64_t{300'000'000'000} * kSecond;
      break;
    case 11:
      writer.AddString("amount", "ten");
      break;
    case 12:
      writer.AddNumber("amount", -1);
      break;
    case 13:
      writer.AddString("state", "lost");
      break;
    case 14:
      writer.AddString("colour", "red");
      break;
    case 15:
      data.clear();
      break;
    default:
      writer.AddNumber("count", 1.5);
      break;
  }
  fields.data = data;
  std::string bytes;
  event::AppendEvent(fields, &bytes);
  return bytes;
}

std::string MalformedInput::Event() {
  const size_t kind = Below(20);
  if (kind == 0 && !last_event_.empty()) return last_event_;
  std::string bytes = kind < 10 ? BrokenEvent() : WholeEvent();
  if (kind >= 12 && kind < 19) Mutate(&bytes);
  if (kind == 19) {
    bytes.clear();
    for (size_t n = Below(100); n > 0; --n) bytes.push_back(static_cast<char>(random_.Next()));
  }
  last_event_ = bytes;
  return bytes;
}

std::string MalformedInput::OverlongEvent() {
  std::string data;
  event::StructWriter(&data).AddString("note", std::string(300 << 10, 'n'));
  std::string bytes;
  event::AppendEvent({.id = "large", .source = "malformed", .type = "Order", .subject = "u", .data = data}, &bytes);
  return bytes;
}

}  // namespace naru::faults
