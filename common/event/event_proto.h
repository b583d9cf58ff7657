// Encoded events as generated messages, for everything that is not the hot path.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "common/event/event_view.h"

namespace google::protobuf {
class Value;
}
namespace naru::event::v1 {
class Event;
}

namespace naru::event {

/// Parses `bytes` into `*event` and sets its received_time. Returns false if the bytes are not an event.
bool EventToProto(absl::string_view bytes, int64_t received_time_us, v1::Event* event);

/// Copies a value of data into a generated one; kAbsent becomes null.
void ValueToProto(const ValueView& value, google::protobuf::Value* proto);

/// A short text of a value for people: strings as they are, numbers in their shortest form, `an object`, `a list`.
std::string ValueToText(const ValueView& value);

}  // namespace naru::event
