// Events from outside: whatever the walker takes, generated code must take and read alike; the schema check, the
// splitter and the writers must survive anything.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/event/event_view.h"
#include "common/event/event_writer.h"
#include "common/event/schema.h"
#include "naru/catalog/v1/resources.pb.h"
#include "naru/event/v1/event.pb.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

naru::event::TypeSchema MakeSchema(const char* unknown_fields) {
  naru::catalog::v1::EventType type;
  type.set_unknown_fields(unknown_fields);
  auto& properties = *type.mutable_schema()->mutable_properties();
  properties["a"].set_type("integer");
  properties["b"].set_type("string");
  properties["b"].set_max_length(5);
  properties["c"].set_type("array");
  (*properties["c"].mutable_items()->mutable_properties())["a"].set_type("timestamp");
  properties["c"].mutable_items()->set_type("object");
  type.mutable_schema()->add_required("a");
  return *naru::event::TypeSchema::Compile(type);
}

void CheckEvent(absl::string_view bytes) {
  static const naru::event::TypeSchema rejecting = MakeSchema("reject");
  static const naru::event::TypeSchema dropping = MakeSchema("drop");
  naru::event::EventView view;
  naru::event::ParseProblem problem;
  if (naru::event::ParseEvent(bytes, naru::event::Limits(), &view, &problem) != naru::event::ParseError::kOk) {
    Require(problem.error != naru::event::ParseError::kOk);
    return;
  }
  naru::event::v1::Event event;
  Require(event.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  Require(view.id == event.id() && view.source == event.source() && view.type == event.type());
  Require(view.subject == event.subject() && view.session == event.session() && view.has_data == event.has_data());
  naru::event::SchemaProblem wrong;
  rejecting.Check(view.data, &wrong);
  bool drops = false;
  if (dropping.Check(view.data, &wrong, &drops)) {
    std::string rest;
    dropping.DropUnknown(view.data, &rest);
    Require(dropping.Check(rest, &wrong, &drops) && !drops);
  }
  std::string stripped;
  naru::event::AppendWithoutServerFields(bytes, &stripped);
  Require(naru::event::ParseEvent(stripped, naru::event::Limits(), &view) == naru::event::ParseError::kOk);
  Require(!view.has_server_fields);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  CheckEvent(bytes);
  std::vector<absl::string_view> events;
  bool return_offsets = false;
  if (naru::event::SplitPublishRequest(bytes, &events, &return_offsets)) {
    for (absl::string_view event : events) CheckEvent(event);
  }
  // Cursors over bytes that nobody checked.
  naru::event::ForEachField(bytes, [](absl::string_view, const naru::event::ValueView& value) {
    naru::event::ForEachElement(value.bytes, [](const naru::event::ValueView&) { return true; });
    return true;
  });
  return 0;
}
