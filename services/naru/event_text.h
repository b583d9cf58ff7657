// Events as lines: for `tail`, `publish` and `dlq show`.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace naru::event::v1 {
class Event;
}

namespace naru::cli {

/// One JSON object: id, source, type, subject, session, time, received_time, data and so on; what is not set is left
/// out.
std::string EventJson(const event::v1::Event& event);

/// The inverse: one JSON object of an event. Times are RFC 3339; `data` is any object.
/// Errors: INVALID_ARGUMENT saying what is wrong; unknown fields are wrong.
absl::StatusOr<event::v1::Event> ParseEventJson(absl::string_view text);

}  // namespace naru::cli
