#include "services/aggregator/session_plan.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/clock/duration.h"
#include "common/event/event_writer.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::aggregator {
namespace {

constexpr char kEntry[] = "entry";
constexpr char kExit[] = "exit";
constexpr char kTypeField[] = "type";
constexpr char kFields[] = "events, duration_ms, bounce, late_events, entry and exit";
constexpr std::chrono::microseconds kMinGap = std::chrono::seconds(1);
constexpr std::chrono::microseconds kMaxGap = std::chrono::hours(24 * 7);

// Below an edge: "path.x" of "entry.path.x"; false: the path is not below it.
bool BelowEdge(absl::string_view edge, absl::string_view path, absl::string_view* rest) {
  *rest = path;
  return absl::ConsumePrefix(rest, edge) && absl::ConsumePrefix(rest, ".");
}

class SessionTypes : public cel::DataTypes {
 public:
  bool Find(const std::vector<std::string>& path, const std::vector<std::string>* /*types*/, cel::StaticType* type,
            std::string* problem) const override {
    *type = cel::StaticType::kDynamic;
    const std::string& top = path.front();
    if (path.size() > 1 && (top == kEntry || top == kExit)) {
      if (path.size() == 2 && path[1] == kTypeField) *type = cel::StaticType::kString;
      return true;
    }
    if (top == "events" || top == "duration_ms" || top == "late_events") {
      *type = cel::StaticType::kNumber;
    } else if (top == "bounce") {
      *type = cel::StaticType::kBool;
    } else if (top == kEntry || top == kExit) {
      *type = cel::StaticType::kStruct;
    } else {
      *problem = absl::StrCat("a session has no field data.", top, "; it has ", kFields,
                              ", which hold the fields of its first and last event (data.entry.", top, ")");
      return false;
    }
    return path.size() == 1 || *type == cel::StaticType::kStruct;
  }
};

}  // namespace

const cel::DataTypes& SessionDataTypes() {
  static const SessionTypes types;
  return types;
}

void EdgeFields::Use(absl::string_view edge, absl::string_view path) {
  absl::string_view rest;
  if (path == edge) all_ = true;
  if (!BelowEdge(edge, path, &rest)) return;
  const std::string name(rest.substr(0, rest.find('.')));
  if (name == kTypeField) return;
  const auto at = std::lower_bound(names_.begin(), names_.end(), name);
  if (at == names_.end() || *at != name) names_.insert(at, name);
}

absl::string_view EdgeFields::Select(absl::string_view data, std::string* scratch) const {
  if (all_) return data;
  if (names_.empty() || data.empty()) return {};
  scratch->clear();
  event::StructWriter writer(scratch);
  event::ForEachField(data, [&](absl::string_view key, const event::ValueView& value) {
    if (std::binary_search(names_.begin(), names_.end(), key)) writer.AddValue(key, value);
    return true;
  });
  return *scratch;
}

std::unique_ptr<SessionPlan> SessionPlan::Compile(const catalog::v1::Window& window,
                                                  std::vector<FieldViolation>* problems) {
  auto plan = std::make_unique<SessionPlan>();
  plan->environment.DeclareType(kSessionType, {"bounce", "duration_ms", kEntry, "events", kExit, "late_events"});
  const absl::StatusOr<std::chrono::microseconds> gap = ParseDuration(window.gap());
  if (window.gap().empty() || !gap.ok()) {
    problems->push_back({"spec.window.gap", absl::StrCat("`", window.gap(), "` is not a silence such as 30m")});
  } else if (*gap < kMinGap || *gap > kMaxGap) {
    problems->push_back({"spec.window.gap", absl::StrCat("`", window.gap(), "` must be between 1s and 7d")});
  } else {
    plan->gap_us = gap->count();
  }
  if (!window.entity().empty() && window.entity() != "subject" && window.entity() != "session") {
    problems->push_back({"spec.window.entity", absl::StrCat("`", window.entity(), "` must be subject or session")});
  }
  plan->by_session = window.entity() == "session";
  return plan;
}

catalog::v1::Window SessionPlan::ReportWindow(const catalog::v1::Window& window) {
  catalog::v1::Window report;
  report.set_type("tumbling");
  report.set_size(window.report().empty() ? kDefaultReport : window.report());
  return report;
}

std::string EntityProblem(const SessionPlan& plan, absl::string_view type_name, const catalog::v1::EventType& type) {
  const std::string partition_by = type.partition_by().empty() ? "subject" : type.partition_by();
  const std::string entity = plan.by_session ? "session" : "subject";
  if (entity == partition_by) return "";
  return absl::StrCat("`", entity, "` must be what the event types are partitioned by, and ", type_name, " is by ",
                      partition_by, "; use `entity: ", partition_by,
                      "`, or leave the type out by a filter that names the types, such as `type == \"A\"`");
}

void SessionPlan::Use(const cel::Program& program) {
  for (const std::string& path : program.data_fields()) {
    entry.Use(kEntry, path);
    exit.Use(kExit, path);
  }
}

// `type` is the event's, whatever its data has under that name; fields that are used but absent are null.
void EdgeToStruct(const SessionEdge& edge, const EdgeFields& fields, std::string* out) {
  out->clear();
  event::StructWriter writer(out);
  std::vector<bool> seen(fields.names().size());
  event::ForEachField(edge.data, [&](absl::string_view key, const event::ValueView& value) {
    const auto at = std::lower_bound(fields.names().begin(), fields.names().end(), key);
    if (at != fields.names().end() && *at == key) seen[static_cast<size_t>(at - fields.names().begin())] = true;
    if (key != kTypeField) writer.AddValue(key, value);
    return true;
  });
  for (size_t i = 0; i < seen.size(); ++i) {
    if (!seen[i]) writer.AddNull(fields.names()[i]);
  }
  writer.AddString(kTypeField, edge.type);
}

void AppendSessionData(const SessionPlan& plan, const Session& session, std::string* scratch, std::string* out) {
  event::StructWriter writer(out);
  writer.AddBool("bounce", session.events == 1);
  writer.AddNumber("duration_ms", static_cast<double>((session.end_us - session.start_us) / 1000));
  EdgeToStruct(session.entry, plan.entry, scratch);
  writer.AddStruct(kEntry, *scratch);
  writer.AddNumber("events", static_cast<double>(session.events));
  EdgeToStruct(session.exit, plan.exit, scratch);
  writer.AddStruct(kExit, *scratch);
  writer.AddNumber("late_events", static_cast<double>(session.late_events));
}

SessionEvent::SessionEvent(const SessionPlan* plan)
    : plan_(plan), activation_(std::make_unique<cel::Activation>(&plan->environment)) {}

SessionEvent::~SessionEvent() = default;

const cel::Activation& SessionEvent::Load(absl::string_view entity, const Session& session) {
  data_.clear();
  AppendSessionData(*plan_, session, &edge_, &data_);
  event::EventView event;
  event.type = kSessionType;
  event.id = entity;
  (plan_->by_session ? event.session : event.subject) = entity;
  event.has_time = true;
  event.time_us = session.start_us;
  event.has_data = true;
  event.data = data_;
  activation_->Load(event, session.start_us);
  return *activation_;
}

}  // namespace naru::aggregator
