#include "services/naru/event_text.h"

#include <google/protobuf/util/json_util.h>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"
#include "naru/event/v1/event.pb.h"
#include "services/naru/json_text.h"
#include "services/naru/proto_time.h"

namespace naru::cli {
namespace {

void AddText(JsonObject* json, absl::string_view key, const std::string& text) {
  if (!text.empty()) json->Add(key, text);
}

}  // namespace

std::string EventJson(const event::v1::Event& event) {
  JsonObject json;
  AddText(&json, "id", event.id());
  AddText(&json, "source", event.source());
  AddText(&json, "type", event.type());
  AddText(&json, "subject", event.subject());
  AddText(&json, "session", event.session());
  if (event.has_time()) json.Add("time", TimeText(event.time()));
  if (event.has_received_time()) json.Add("received_time", TimeText(event.received_time()));
  if (event.type_version() != 0) json.Add("type_version", event.type_version());
  AddText(&json, "timeline", event.timeline());
  if (event.id_generated()) json.Add("id_generated", true);
  if (event.has_data()) {
    std::string data;
    AppendJsonStruct(event.data(), &data);
    json.AddRaw("data", data);
  }
  return json.Text();
}

absl::StatusOr<event::v1::Event> ParseEventJson(absl::string_view text) {
  event::v1::Event event;
  const auto parsed = google::protobuf::util::JsonStringToMessage(std::string(text), &event);
  if (!parsed.ok()) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "EVENT_JSON",
        absl::StrCat("not an event as JSON: ", std::string(parsed.message()),
                     "; right is {\"id\":\"1\",\"source\":\"shop\",\"type\":\"UserLogin\",\"subject\":\"m1\","
                     "\"time\":\"2026-11-22T09:00:00Z\",\"data\":{}}"));
  }
  return event;
}

}  // namespace naru::cli
