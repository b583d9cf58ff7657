#include "services/ingest/event_check.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/clock/duration.h"
#include "common/clock/rfc3339.h"
#include "common/event/short_copy.h"
#include "common/event/utf8.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::ingest {
namespace {

constexpr size_t kShownBytes = 64;

v1::RejectReason ReasonOf(event::ParseError error) {
  switch (error) {
    case event::ParseError::kOk:
      break;
    case event::ParseError::kMalformed:
      return v1::MALFORMED;
    case event::ParseError::kInvalidUtf8:
      return v1::INVALID_UTF8;
    case event::ParseError::kMissingAttribute:
      return v1::MISSING_ATTRIBUTE;
    case event::ParseError::kAttributeTooLong:
      return v1::ATTRIBUTE_TOO_LONG;
    case event::ParseError::kEventTooLarge:
      return v1::EVENT_TOO_LARGE;
    case event::ParseError::kTime:
      return v1::TIME;
    case event::ParseError::kDataTooDeep:
      return v1::DATA_TOO_DEEP;
    case event::ParseError::kNotFinite:
      return v1::NOT_FINITE;
  }
  return v1::REJECT_REASON_UNSPECIFIED;
}

v1::RejectReason ReasonOf(event::SchemaError error) {
  switch (error) {
    case event::SchemaError::kOk:
      break;
    case event::SchemaError::kRequired:
      return v1::FIELD_REQUIRED;
    case event::SchemaError::kKind:
      return v1::FIELD_KIND;
    case event::SchemaError::kRange:
      return v1::FIELD_RANGE;
    case event::SchemaError::kEnum:
      return v1::FIELD_ENUM;
    case event::SchemaError::kUnknown:
      return v1::FIELD_UNKNOWN;
  }
  return v1::REJECT_REASON_UNSPECIFIED;
}

EventState Rejected(NotAccepted* problem, v1::RejectReason reason, std::string field, std::string value,
                    std::string expected) {
  problem->duplicate = false;
  problem->reason = reason;
  problem->field = std::move(field);
  problem->value = std::move(value);
  problem->expected = std::move(expected);
  return EventState::kRejected;
}

}  // namespace

std::string ShownValue(absl::string_view value) {
  const absl::string_view cut = event::CutUtf8(value, kShownBytes);
  if (event::ValidUtf8(cut)) return std::string(cut);
  return absl::CHexEscape(value.substr(0, kShownBytes / 4));
}

EventChecker::EventChecker(const EventCheckOptions& options, const TypeTable& types, int64_t received_us)
    : options_(options), types_(types), received_us_(received_us) {}

EventChecker::~EventChecker() = default;

const CompiledType* EventChecker::FindType(absl::string_view name) {
  if (last_name_.empty() || !event::SameText(name, last_name_)) {
    last_name_ = name;
    last_type_ = types_.Find(name);
  }
  return last_type_;
}

bool EventChecker::Excluded(const CompiledType& type, const event::EventView& view) {
  cel::Activation* activation = nullptr;
  for (const auto& [owner, made] : activations_) {
    if (owner == &type) activation = made.get();
  }
  if (activation == nullptr) {
    activations_.emplace_back(&type, std::make_unique<cel::Activation>(type.environment.get()));
    activation = activations_.back().second.get();
  }
  activation->Load(view, received_us_);
  return type.exclude.Matches(*activation);
}

EventState EventChecker::Check(absl::string_view bytes, CheckedEvent* event, NotAccepted* problem) {
  event::EventView view;
  event::ParseProblem parse;
  const event::ParseError error = event::ParseEvent(bytes, options_.limits, &view, &parse);
  event->bytes = bytes;
  event->id = view.id;
  event->source = view.source;
  event->type_name = view.type;
  if (error != event::ParseError::kOk) {
    // The value of a field that no schema was asked about may be personal; those of the event's own fields are not.
    const bool shown = error != event::ParseError::kTime && parse.field != "data" && parse.field != "subject";
    std::string field(parse.field);
    if (!parse.data_key.empty()) absl::StrAppend(&field, ".", event::CutUtf8(parse.data_key, kShownBytes));
    return event->state = Rejected(problem, ReasonOf(error), std::move(field), shown ? ShownValue(parse.value) : "",
                                   std::string(parse.expected));
  }
  event->strip_server_fields = view.has_server_fields;
  event->has_time = view.has_time;
  if (view.has_time && view.time_us > received_us_ && view.time_us - received_us_ > options_.max_future_us) {
    return event->state =
               Rejected(problem, v1::TIME_IN_FUTURE, "time", FormatRfc3339(view.time_us),
                        absl::StrCat("at most ", FormatDuration(std::chrono::microseconds(options_.max_future_us)),
                                     " after it was received, at ", FormatRfc3339(received_us_)));
  }
  const CompiledType* type = FindType(view.type);
  event->type = type;
  event->key = type != nullptr && type->by_session ? view.session : view.subject.empty() ? view.session : view.subject;
  if (type == nullptr) {
    if (options_.keep_unregistered) return event->state = EventState::kStore;
    Rejected(problem, v1::UNKNOWN_TYPE, "type", ShownValue(view.type),
             "the name of an EventType; `naru get EventType` lists them");
    return event->state = EventState::kUnknownType;
  }
  if (type->schema != nullptr) {
    event::SchemaProblem wrong;
    if (!type->schema->Check(view.data, &wrong, &event->drop_unknown)) {
      return event->state = Rejected(problem, ReasonOf(wrong.error), std::move(wrong.field), std::move(wrong.value),
                                     std::move(wrong.expected));
    }
    if (event->drop_unknown) event->data = view.data;
  }
  if (type->environment != nullptr && Excluded(*type, view)) return event->state = EventState::kFiltered;
  return event->state = EventState::kStore;
}

}  // namespace naru::ingest
