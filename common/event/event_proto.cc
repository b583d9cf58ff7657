#include "common/event/event_proto.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "google/protobuf/struct.pb.h"
#include "naru/event/v1/event.pb.h"

namespace naru::event {
namespace {

std::string NumberToText(double number) {
  char buffer[32];
  for (int digits : {6, 15, 17}) {
    std::snprintf(buffer, sizeof(buffer), "%.*g", digits, number);
    if (std::strtod(buffer, nullptr) == number) break;
  }
  // Integers of up to 2^53 read better in full than as 9.00720e+15.
  if (std::fabs(number) < 9.1e15 && number == std::floor(number)) std::snprintf(buffer, sizeof(buffer), "%.0f", number);
  return buffer;
}

}  // namespace

bool EventToProto(absl::string_view bytes, int64_t received_time_us, v1::Event* event) {
  if (!event->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return false;
  int64_t seconds = received_time_us / 1'000'000;
  int64_t micros = received_time_us % 1'000'000;
  if (micros < 0) {
    micros += 1'000'000;
    --seconds;
  }
  event->mutable_received_time()->set_seconds(seconds);
  event->mutable_received_time()->set_nanos(static_cast<int32_t>(micros * 1000));
  return true;
}

void ValueToProto(const ValueView& value, google::protobuf::Value* proto) {
  switch (value.kind) {
    case Kind::kAbsent:
    case Kind::kNull:
      proto->set_null_value(google::protobuf::NULL_VALUE);
      return;
    case Kind::kBool:
      proto->set_bool_value(value.boolean);
      return;
    case Kind::kNumber:
      proto->set_number_value(value.number);
      return;
    case Kind::kString:
      proto->set_string_value(std::string(value.bytes));
      return;
    case Kind::kStruct:
      proto->mutable_struct_value()->ParseFromArray(value.bytes.data(), static_cast<int>(value.bytes.size()));
      return;
    case Kind::kList:
      proto->mutable_list_value()->ParseFromArray(value.bytes.data(), static_cast<int>(value.bytes.size()));
      return;
  }
}

std::string ValueToText(const ValueView& value) {
  switch (value.kind) {
    case Kind::kAbsent:
      return "";
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return value.boolean ? "true" : "false";
    case Kind::kNumber:
      return NumberToText(value.number);
    case Kind::kString:
      return std::string(value.bytes);
    case Kind::kStruct:
      return "an object";
    case Kind::kList:
      return "a list";
  }
  return "";
}

}  // namespace naru::event
