// Compiles any text as an expression and evaluates it over an event: nothing may crash, hang or read outside.
#include <cstddef>
#include <cstdint>
#include <string>

#include "common/cel/cel.h"
#include "common/event/event_writer.h"

namespace {

/// An event's data with a value of every kind.
std::string MakeData() {
  std::string inner;
  naru::event::StructWriter(&inner).AddNumber("b", 3);
  std::string list;
  naru::event::ListWriter elements(&list);
  elements.AddValue({.kind = naru::event::Kind::kNumber, .number = 1});
  elements.AddValue({.kind = naru::event::Kind::kString, .bytes = "two"});
  elements.AddValue({.kind = naru::event::Kind::kStruct, .bytes = inner});
  std::string data;
  naru::event::StructWriter writer(&data);
  writer.AddStruct("a", inner);
  writer.AddList("l", list);
  writer.AddNull("n");
  writer.AddString("s", "some text 나루");
  writer.AddBool("t", true);
  writer.AddNumber("user_age", 27);
  writer.AddNumber("x", -1.5e300);
  return data;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const std::string* const kData = new std::string(MakeData());
  const absl::string_view source(reinterpret_cast<const char*>(bytes), size);
  naru::event::EventView event;
  event.id = "1";
  event.source = "s";
  event.type = "UserLogin";
  event.time_us = 1667260800000000;
  event.has_time = true;
  event.data = *kData;
  auto environment = naru::cel::Environment::ForEvents();
  const auto program = environment.Compile(source);
  naru::cel::Activation activation(&environment);
  activation.Load(event, 0);
  if (program.ok()) program->Eval(activation).DebugString();
  auto open = naru::cel::Environment::ForAnyVariables();
  const auto free_program = open.Compile(source);
  naru::cel::Activation variables(&open);
  if (free_program.ok()) free_program->Eval(variables).DebugString();
  return 0;
}
