#include "common/event/event_writer.h"

#include "common/event/event_proto.h"
#include "common/event/testing_events.h"
#include "gtest/gtest.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::event {
namespace {

TEST(StructWriter, WritesWhatGeneratedCodeReads) {
  RandomMessages random(11);
  for (int i = 0; i < 5'000; ++i) {
    google::protobuf::Struct fields;
    random.FillStruct(3, &fields);
    const std::string bytes = fields.SerializeAsString();
    std::string copy;
    StructWriter writer(&copy);
    ForEachField(bytes, [&](absl::string_view key, const ValueView& value) {
      writer.AddValue(key, value);
      return true;
    });
    google::protobuf::Struct read;
    ASSERT_TRUE(read.ParseFromString(copy));
    ASSERT_EQ(read.fields_size(), fields.fields_size());
    for (const auto& [key, value] : fields.fields())
      EXPECT_EQ(read.fields().at(key).DebugString(), value.DebugString());
  }
}

TEST(AppendEvent, WritesEveryField) {
  std::string data;
  StructWriter writer(&data);
  writer.AddBool("b", true);
  writer.AddNull("n");
  writer.AddNumber("x", 1.5);
  writer.AddString("s", "나루");
  std::string list;
  ListWriter(&list).AddValue(ValueView{.kind = Kind::kNumber, .number = 2});
  writer.AddList("l", list);
  writer.AddStruct("o", "");
  std::string bytes;
  AppendEvent({.id = "1",
               .source = "s",
               .type = "t",
               .subject = "u",
               .session = "v",
               .has_time = true,
               .time_us = -1,
               .data = data},
              &bytes);
  v1::Event event;
  ASSERT_TRUE(EventToProto(bytes, -1, &event));
  EXPECT_EQ(event.id() + event.source() + event.type() + event.subject() + event.session(), "1stuv");
  EXPECT_EQ(event.time().seconds(), -1);
  EXPECT_EQ(event.time().nanos(), 999'999'000);
  EXPECT_EQ(event.received_time().nanos(), 999'999'000);
  EXPECT_EQ(event.data().fields().at("s").string_value(), "나루");
  EXPECT_EQ(event.data().fields().at("l").list_value().values(0).number_value(), 2);
  EXPECT_TRUE(event.data().fields().at("o").has_struct_value());
  EventView view;
  EXPECT_EQ(ParseEvent(bytes, Limits(), &view), ParseError::kOk);
}

// What is on disk today must be readable for ever, so its bytes are fixed.
TEST(AppendEvent, KeepsItsGoldenBytes) {
  std::string data, bytes;
  StructWriter(&data).AddNumber("n", 1);
  AppendEvent({.id = "1", .source = "s", .type = "t", .has_time = true, .time_us = 1'500'000, .data = data}, &bytes);
  AppendServerFields({.type_version = 3, .timeline = "tl"}, &bytes);
  const std::string golden(
      "\x0a\x01"
      "1"
      "\x12\x01"
      "s"
      "\x1a\x01"
      "t"
      "\x32\x08\x08\x01\x10\x80\xca\xb5\xee\x01"
      "\x3a\x10\x0a\x0e\x0a\x01"
      "n"
      "\x12\x09\x11\x00\x00\x00\x00\x00\x00\xf0\x3f"
      "\x48\x03\x52\x02"
      "tl",
      43);
  EXPECT_EQ(bytes, golden);
}

TEST(AppendServerFields, AddToAnEventAsItCame) {
  RandomMessages random(12);
  for (int i = 0; i < 2'000; ++i) {
    v1::Event event = random.Event();
    event.clear_id();
    event.clear_time();
    std::string bytes = event.SerializeAsString();
    AppendServerFields(
        {.generated_id = "made", .set_time = true, .time_us = 1'000'001, .type_version = 7, .timeline = "import-1"},
        &bytes);
    event.set_id("made");
    event.set_id_generated(true);
    event.set_type_version(7);
    event.set_timeline("import-1");
    event.mutable_time()->set_seconds(1);
    event.mutable_time()->set_nanos(1000);
    v1::Event read;
    ASSERT_TRUE(read.ParseFromString(bytes));
    EXPECT_EQ(read.DebugString(), event.DebugString());
  }
}

TEST(AppendWithoutServerFields, LeavesOnlyWhatIsTheSenders) {
  RandomMessages random(13);
  for (int i = 0; i < 2'000; ++i) {
    const v1::Event event = random.Event();
    v1::Event forged = event;
    forged.set_type_version(9);
    forged.set_timeline("mine");
    forged.set_id_generated(true);
    forged.mutable_received_time()->set_seconds(1);
    std::string bytes;
    AppendWithoutServerFields(forged.SerializeAsString() + "\xc0\x3e\x05", &bytes);
    v1::Event read;
    ASSERT_TRUE(read.ParseFromString(bytes));
    EXPECT_EQ(read.DebugString(), event.DebugString());
  }
}

TEST(AppendWithData, ReplacesTheDataAndDropsServerFields) {
  RandomMessages random(14);
  for (int i = 0; i < 1'000; ++i) {
    v1::Event event = random.Event();
    v1::Event forged = event;
    forged.set_type_version(9);
    google::protobuf::Struct data;
    random.FillStruct(2, &data);
    std::string bytes;
    AppendWithData(forged.SerializeAsString(), data.SerializeAsString(), &bytes);
    *event.mutable_data() = data;
    v1::Event read;
    ASSERT_TRUE(read.ParseFromString(bytes));
    EXPECT_EQ(read.DebugString(), event.DebugString());
  }
}

TEST(AppendPublishEntry, MakesARequest) {
  std::string bytes;
  AppendPublishEntry(std::string(300, '\0').substr(0, 0), &bytes);
  std::string event;
  AppendEvent({.id = "1", .source = std::string(200, 's'), .type = "t"}, &event);
  AppendPublishEntry(event, &bytes);
  ingest::v1::PublishEventsRequest request;
  ASSERT_TRUE(request.ParseFromString(bytes));
  ASSERT_EQ(request.events_size(), 2);
  EXPECT_EQ(request.events(1).source(), std::string(200, 's'));
}

}  // namespace
}  // namespace naru::event
