#include "common/event/event_view.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>

#include "absl/strings/escaping.h"
#include "common/event/event_proto.h"
#include "common/event/testing_events.h"
#include "common/event/utf8.h"
#include "gtest/gtest.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::event {
namespace {

v1::Event Small() {
  v1::Event event;
  event.set_id("1");
  event.set_source("site");
  event.set_type("UserLogin");
  return event;
}

ParseError Parse(const std::string& bytes, ParseProblem* problem = nullptr) {
  // A copy of exactly this size on the heap: AddressSanitizer sees any step outside it.
  auto copy = std::make_unique<char[]>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.get());
  EventView view;
  const ParseError error = ParseEvent(absl::string_view(copy.get(), bytes.size()), Limits(), &view, problem);
  if (problem != nullptr) problem->value = {};  // it pointed into the copy
  if (problem != nullptr) problem->data_key = {};
  return error;
}
ParseError Parse(const v1::Event& event, ParseProblem* problem = nullptr) {
  return Parse(event.SerializeAsString(), problem);
}

bool Same(const ValueView& view, const google::protobuf::Value& value) {
  if (view.kind == Kind::kNull) return value.has_null_value() || value.kind_case() == 0;
  google::protobuf::Value expected = value, copy;
  ValueToProto(view, &copy);
  expected.DiscardUnknownFields();
  copy.DiscardUnknownFields();
  return copy.DebugString() == expected.DebugString();
}

// Whether every field of the view is what generated code reads.
void ExpectSame(const EventView& view, const v1::Event& event) {
  EXPECT_EQ(view.id, event.id());
  EXPECT_EQ(view.source, event.source());
  EXPECT_EQ(view.type, event.type());
  EXPECT_EQ(view.subject, event.subject());
  EXPECT_EQ(view.session, event.session());
  EXPECT_EQ(view.timeline, event.timeline());
  EXPECT_EQ(view.type_version, event.type_version());
  EXPECT_EQ(view.id_generated, event.id_generated());
  EXPECT_EQ(view.has_time, event.has_time());
  if (view.has_time) {
    EXPECT_EQ(view.time_us, event.time().seconds() * 1'000'000 + event.time().nanos() / 1000);
  }
  EXPECT_EQ(view.has_data, event.has_data());
  for (const auto& [key, value] : event.data().fields()) {
    const ValueView found = FindField(view.data, key);
    if (value.kind_case() == google::protobuf::Value::KIND_NOT_SET) {
      EXPECT_EQ(found.kind, Kind::kNull);
    } else {
      EXPECT_TRUE(Same(found, value)) << key;
    }
  }
}

TEST(ParseEvent, ReadsWhatGeneratedCodeWrites) {
  RandomMessages random(1);
  for (int i = 0; i < 20'000; ++i) {
    const v1::Event event = random.Event();
    const std::string bytes = event.SerializeAsString();
    EventView view;
    ASSERT_EQ(ParseEvent(bytes, Limits(), &view), ParseError::kOk) << event.DebugString();
    ExpectSame(view, event);
    EXPECT_FALSE(view.has_server_fields);
    EventView stored;
    ASSERT_TRUE(ParseStoredEvent(bytes, &stored));
    ExpectSame(stored, event);
  }
}

TEST(ParseEvent, NeverTakesDamagedBytesThatGeneratedCodeRefusesOrReadsOtherwise) {
  RandomMessages random(2);
  int taken = 0;
  for (int i = 0; i < 60'000; ++i) {
    std::string bytes = random.Event().SerializeAsString();
    for (uint64_t n = 1 + random.Below(3); n > 0 && !bytes.empty(); --n) {
      switch (random.Below(3)) {
        case 0:
          bytes[random.Below(bytes.size())] = static_cast<char>(random.Below(256));
          break;
        case 1:
          bytes.erase(random.Below(bytes.size()), 1 + random.Below(4));
          break;
        case 2:
          bytes.insert(random.Below(bytes.size()), 1, static_cast<char>(random.Below(256)));
          break;
      }
    }
    if (Parse(bytes) != ParseError::kOk) continue;
    ++taken;
    EventView view;
    ParseEvent(bytes, Limits(), &view);
    v1::Event event;
    if (!event.ParseFromString(bytes)) {
      // Only in what ingest drops from senders, unread.
      ASSERT_TRUE(view.has_server_fields) << absl::CHexEscape(bytes);
      continue;
    }
    ExpectSame(view, event);
  }
  EXPECT_GT(taken, 1000);
}

TEST(ParseEvent, StopsCleanlyAtEveryTruncation) {
  RandomMessages random(3);
  for (int i = 0; i < 200; ++i) {
    const std::string bytes = random.Event().SerializeAsString();
    for (size_t n = 0; n < bytes.size(); ++n) Parse(bytes.substr(0, n));
  }
}

TEST(ParseEvent, SaysWhichAttributeIsMissingOrTooLong) {
  ParseProblem problem;
  v1::Event event = Small();
  event.clear_source();
  EXPECT_EQ(Parse(event, &problem), ParseError::kMissingAttribute);
  EXPECT_EQ(problem.field, "source");
  event = Small();
  event.clear_type();
  EXPECT_EQ(Parse(event, &problem), ParseError::kMissingAttribute);
  EXPECT_EQ(problem.field, "type");
  EXPECT_EQ(Parse(std::string(), &problem), ParseError::kMissingAttribute);

  event = Small();
  event.set_id(std::string(128, 'x'));
  event.set_subject(std::string(1024, 'x'));
  EXPECT_EQ(Parse(event), ParseError::kOk);
  event.set_id(std::string(129, 'x'));
  EXPECT_EQ(Parse(event, &problem), ParseError::kAttributeTooLong);
  EXPECT_EQ(problem.field, "id");
  EXPECT_EQ(problem.expected, "at most 128 bytes");
  event = Small();
  event.set_subject(std::string(1025, 'x'));
  EXPECT_EQ(Parse(event, &problem), ParseError::kAttributeTooLong);
  EXPECT_EQ(problem.field, "subject");
}

TEST(ParseEvent, RefusesInvalidUtf8WhereverItIs) {
  const std::string wrong[] = {"\xff",       "\xc0\xaf", "\xed\xa0\x80", "abcdefghijklmnop\x80", "\xf5\x80\x80\x80",
                               "abc\xe2\x82"};
  for (const std::string& text : wrong) {
    ParseProblem problem;
    v1::Event event = Small();
    *event.mutable_subject() = text;
    EXPECT_EQ(Parse(event, &problem), ParseError::kInvalidUtf8);
    EXPECT_EQ(problem.field, "subject");
    event = Small();
    (*event.mutable_data()->mutable_fields())["k"].set_string_value(text);
    EXPECT_EQ(Parse(event, &problem), ParseError::kInvalidUtf8);
    EXPECT_EQ(problem.field, "data");
    event = Small();
    (*event.mutable_data()->mutable_fields())[text].set_bool_value(true);
    EXPECT_EQ(Parse(event), ParseError::kInvalidUtf8);
    event = Small();
    (*event.mutable_data()->mutable_fields())["k"].mutable_list_value()->add_values()->set_string_value(text);
    EXPECT_EQ(Parse(event), ParseError::kInvalidUtf8);
  }
}

TEST(ParseEvent, RefusesNumbersThatAreNotFinite) {
  for (double number : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    v1::Event event = Small();
    (*event.mutable_data()->mutable_fields())["x"].set_number_value(number);
    const std::string bytes = event.SerializeAsString();
    EventView view;
    ParseProblem problem;
    EXPECT_EQ(ParseEvent(bytes, Limits(), &view, &problem), ParseError::kNotFinite);
    EXPECT_EQ(problem.field, "data");
    EXPECT_EQ(problem.data_key, "x");
  }
  v1::Event event = Small();
  (*event.mutable_data()->mutable_fields())["x"].set_number_value(std::numeric_limits<double>::max());
  EXPECT_EQ(Parse(event), ParseError::kOk);
}

TEST(ParseEvent, TakesDataOfDepthEightAndNotNine) {
  for (int depth : {1, 8, 9, 40, 5000}) {
    google::protobuf::Value value;
    value.set_number_value(1);
    std::string inner = value.SerializeAsString();
    for (int level = 1; level < depth; ++level) {
      // Built from the inside by hand: generated code of such a depth would overflow its own recursion limit.
      google::protobuf::Struct empty;
      std::string entry = "\x0a\x01k\x12";
      auto length = [](size_t n) {
        std::string out;
        for (; n >= 128; n >>= 7) out += static_cast<char>(n | 128);
        return out + static_cast<char>(n);
      };
      entry += length(inner.size()) + inner;
      const std::string fields = "\x0a" + length(entry.size()) + entry;
      inner = "\x2a" + length(fields.size()) + fields;
    }
    auto length = [](size_t n) {
      std::string out;
      for (; n >= 128; n >>= 7) out += static_cast<char>(n | 128);
      return out + static_cast<char>(n);
    };
    const std::string entry = "\x0a\x01k\x12" + length(inner.size()) + inner;
    const std::string data = "\x0a" + length(entry.size()) + entry;
    const std::string bytes = Small().SerializeAsString() + "\x3a" + length(data.size()) + data;
    EXPECT_EQ(Parse(bytes), depth <= 8 ? ParseError::kOk : ParseError::kDataTooDeep) << depth;
  }
}

TEST(ParseEvent, TakesTimesOfTheYears1To9999Only) {
  struct {
    int64_t seconds;
    int32_t nanos;
    bool good;
  } cases[] = {{0, 0, true},
               {-62135596800, 0, true},
               {-62135596801, 999'999'999, false},
               {253402300799, 999'999'999, true},
               {253402300800, 0, false},
               {0, -1, false},
               {0, 1'000'000'000, false},
               {INT64_MAX, 0, false},
               {INT64_MIN, 0, false}};
  for (const auto& c : cases) {
    v1::Event event = Small();
    event.mutable_time()->set_seconds(c.seconds);
    event.mutable_time()->set_nanos(c.nanos);
    ParseProblem problem;
    EXPECT_EQ(Parse(event, &problem), c.good ? ParseError::kOk : ParseError::kTime) << c.seconds;
    EXPECT_EQ(problem.field, c.good ? "" : "time");
  }
}

TEST(ParseEvent, RefusesEventsAboveTheLimitButReadsWhoseTheyAre) {
  v1::Event event = Small();
  (*event.mutable_data()->mutable_fields())["x"].set_string_value(std::string(256 * 1024, 'x'));
  const std::string bytes = event.SerializeAsString();
  EventView view;
  EXPECT_EQ(ParseEvent(bytes, Limits(), &view), ParseError::kEventTooLarge);
  EXPECT_EQ(view.source, "site");
  EXPECT_EQ(view.type, "UserLogin");
}

TEST(ParseEvent, LetsTheLastOfARepeatedFieldWinAndMergesTimes) {
  v1::Event first = Small(), second;
  first.mutable_time()->set_seconds(7);
  second.set_source("other");
  second.mutable_time()->set_nanos(5000);
  const std::string bytes = first.SerializeAsString() + second.SerializeAsString();
  EventView view;
  ASSERT_EQ(ParseEvent(bytes, Limits(), &view), ParseError::kOk);
  EXPECT_EQ(view.source, "other");
  EXPECT_EQ(view.time_us, 7'000'005);
}

TEST(ParseEvent, RefusesDataGivenTwiceAndGroups) {
  v1::Event event = Small();
  (*event.mutable_data()->mutable_fields())["x"].set_bool_value(true);
  v1::Event more;
  (*more.mutable_data()->mutable_fields())["y"].set_bool_value(true);
  EXPECT_EQ(Parse(event.SerializeAsString() + more.SerializeAsString()), ParseError::kMalformed);
  EXPECT_EQ(Parse(event.SerializeAsString() + "\xa3\x06\xa4\x06"), ParseError::kMalformed);
}

TEST(ParseEvent, SeesServerFieldsAndSkipsUnknownOnes) {
  v1::Event event = Small();
  event.set_timeline("x");
  const std::string bytes = event.SerializeAsString();
  EventView view;
  ASSERT_EQ(ParseEvent(bytes, Limits(), &view), ParseError::kOk);
  EXPECT_TRUE(view.has_server_fields);
  // Field 1000, a varint; it may be a server field of a later version, so a sender must not set it either.
  ASSERT_EQ(ParseEvent(Small().SerializeAsString() + "\xc0\x3e\x05", Limits(), &view), ParseError::kOk);
  EXPECT_TRUE(view.has_server_fields);
}

TEST(SplitPublishRequest, FindsTheEventsAndTheFlag) {
  ingest::v1::PublishEventsRequest request;
  RandomMessages random(5);
  for (int i = 0; i < 50; ++i) *request.add_events() = random.Event();
  request.set_return_offsets(true);
  const std::string bytes = request.SerializeAsString();
  std::vector<absl::string_view> events;
  bool return_offsets = false;
  ASSERT_TRUE(SplitPublishRequest(bytes, &events, &return_offsets));
  ASSERT_EQ(events.size(), 50);
  EXPECT_TRUE(return_offsets);
  for (int i = 0; i < 50; ++i) {
    v1::Event event;
    ASSERT_TRUE(event.ParseFromArray(events[i].data(), events[i].size()));
    EXPECT_EQ(event.DebugString(), request.events(i).DebugString());
  }
  for (size_t n = 0; n + 3 < bytes.size(); n += 7) {
    events.clear();
    SplitPublishRequest(absl::string_view(bytes).substr(0, n), &events, &return_offsets);
  }
  EXPECT_FALSE(SplitPublishRequest("\x0a\x7f", &events, &return_offsets));
}

TEST(FindFields, AgreesWithFindField) {
  RandomMessages random(6);
  const absl::string_view names[] = {"a", "user_age", "나이", "missing", ""};
  for (int i = 0; i < 5'000; ++i) {
    google::protobuf::Struct fields;
    random.FillStruct(2, &fields);
    const std::string bytes = fields.SerializeAsString();
    ValueView values[5];
    FindFields(bytes, names, absl::MakeSpan(values));
    for (int n = 0; n < 5; ++n) {
      const auto it = fields.fields().find(std::string(names[n]));
      if (it == fields.fields().end()) {
        EXPECT_EQ(values[n].kind, Kind::kAbsent);
      } else {
        EXPECT_TRUE(Same(values[n], it->second));
      }
    }
  }
}

TEST(FindField, ReadsKeysAndTextsOfEveryLength) {
  // Around 127 bytes lengths begin to take two bytes.
  for (size_t key_size = 0; key_size < 140; key_size += key_size < 100 ? 9 : 1) {
    for (size_t text_size = 0; text_size < 140; text_size += text_size < 100 ? 7 : 1) {
      const std::string key(key_size, 'k'), text(text_size, 't');
      v1::Event event = Small();
      google::protobuf::Struct* fields = event.mutable_data();
      (*fields->mutable_fields())[key].set_string_value(text);
      EventView view;
      ASSERT_EQ(ParseEvent(event.SerializeAsString(), Limits(), &view), ParseError::kOk);
      const std::string bytes = fields->SerializeAsString();
      const ValueView found = FindField(bytes, key);
      ASSERT_EQ(found.kind, Kind::kString) << key_size << " " << text_size;
      ASSERT_EQ(found.bytes, text);
      for (size_t n = 0; n < bytes.size(); ++n) {
        ASSERT_EQ(FindField(absl::string_view(bytes).substr(0, n), key).kind, Kind::kAbsent);
      }
    }
  }
}

TEST(ListCursor, ReadsElementsInOrder) {
  google::protobuf::ListValue list;
  list.add_values()->set_number_value(1);
  list.add_values()->set_string_value("나루");
  list.add_values();
  const std::string bytes = list.SerializeAsString();
  ListCursor cursor(bytes);
  ValueView value;
  ASSERT_TRUE(cursor.Next(&value));
  EXPECT_EQ(value.number, 1);
  ASSERT_TRUE(cursor.Next(&value));
  EXPECT_EQ(value.bytes, "나루");
  ASSERT_TRUE(cursor.Next(&value));
  EXPECT_EQ(value.kind, Kind::kNull);
  EXPECT_FALSE(cursor.Next(&value));
}

TEST(CutUtf8, CutsBetweenCharacters) {
  EXPECT_EQ(CutUtf8("abc", 8), "abc");
  EXPECT_EQ(CutUtf8("abc", 2), "ab");
  EXPECT_EQ(CutUtf8("나루", 4), "나");
  EXPECT_EQ(CutUtf8("나루", 2), "");
  EXPECT_EQ(CutUtf8("\x80\x80\x80\x80\x80\x80", 5).size(), 5);
}

TEST(ValueToText, ShowsNumbersAsPeopleWriteThem) {
  auto text = [](double number) { return ValueToText(ValueView{.kind = Kind::kNumber, .number = number}); };
  EXPECT_EQ(text(3), "3");
  EXPECT_EQ(text(0.1), "0.1");
  EXPECT_EQ(text(9007199254740992.0), "9007199254740992");
  EXPECT_EQ(text(1e300), "1e+300");
}

}  // namespace
}  // namespace naru::event
