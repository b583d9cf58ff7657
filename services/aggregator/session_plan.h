// What a metric with session windows asks: whose sessions, how long a silence ends them, and what the measures and
// dimensions see of a session, which is an event of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/cel/cel.h"
#include "common/event/event_view.h"
#include "common/status/status.h"
#include "services/aggregator/measure.h"
#include "services/aggregator/session.h"

namespace naru::catalog::v1 {
class EventType;
class Window;
}  // namespace naru::catalog::v1

namespace naru::aggregator {

/// Type of the event that a session is.
inline constexpr absl::string_view kSessionType = "session";
/// Windows that sessions are reported in unless `report` says otherwise.
inline constexpr char kDefaultReport[] = "1h";

/// Which top-level fields of an event's data a session keeps of its first or last event. Immutable once compiled.
class EdgeFields {
 public:
  /// Takes note of a path that a program reads below `data`: `entry.path`, `entry`. `edge` is `entry` or `exit`.
  void Use(absl::string_view edge, absl::string_view path);
  /// The fields of `data` (wire bytes of a Struct) that are kept. A view into `data` or `*scratch`.
  absl::string_view Select(absl::string_view data, std::string* scratch) const;
  const std::vector<std::string>& names() const { return names_; }
  bool all() const { return all_; }

 private:
  std::vector<std::string> names_;  // sorted
  bool all_ = false;
};

/// Immutable after Compile; thread-safe.
struct SessionPlan {
  int64_t gap_us = 0;
  bool by_session = false;  ///< the entity is the event's session; else its subject
  /// Of the measures and dimensions; filled while they are compiled.
  cel::Environment environment = cel::Environment::ForEvents();
  EdgeFields entry, exit;

  /// Reads the window's settings. Problems are appended with their field.
  static std::unique_ptr<SessionPlan> Compile(const catalog::v1::Window& window, std::vector<FieldViolation>* problems);
  /// The window of the same words in which sessions are reported.
  static catalog::v1::Window ReportWindow(const catalog::v1::Window& window);
  /// Takes note of what a measure or dimension reads.
  void Use(const cel::Program& program);

  absl::string_view EntityOf(const event::EventView& event) const { return by_session ? event.session : event.subject; }
};

/// Why events of this type cannot be put into the plan's sessions: those of one entity may be in several partitions.
/// Empty: they can.
std::string EntityProblem(const SessionPlan& plan, absl::string_view type_name, const catalog::v1::EventType& type);

/// Types of the fields of a session's data: `events`, `duration_ms`, `late_events` (numbers), `bounce` (bool), `entry`
/// and `exit`.
const cel::DataTypes& SessionDataTypes();

/// What first and last go by among sessions.
inline EventIdentity IdentityOf(absl::string_view entity, const Session& session) {
  return {session.start_us, {}, entity};
}

/// A session as an event that expressions take: type `session`, time = start, subject or session = the entity, `data` =
/// {bounce, duration_ms, entry: {type, fields of the first event}, events, exit, late_events}. Not thread-safe.
class SessionEvent {
 public:
  explicit SessionEvent(const SessionPlan* plan);
  ~SessionEvent();
  SessionEvent(const SessionEvent&) = delete;
  SessionEvent& operator=(const SessionEvent&) = delete;

  /// Borrows the texts until the next call.
  const cel::Activation& Load(absl::string_view entity, const Session& session);

 private:
  const SessionPlan* plan_;
  std::unique_ptr<cel::Activation> activation_;
  std::string data_;
  std::string edge_;
};

/// An edge as those expressions see it: bytes of a google.protobuf.Struct, instead of what `*out` holds.
void EdgeToStruct(const SessionEdge& edge, const EdgeFields& fields, std::string* out);
/// The data of that event as bytes of a google.protobuf.Struct, appended to `*out`; `scratch` is overwritten.
void AppendSessionData(const SessionPlan& plan, const Session& session, std::string* scratch, std::string* out);

}  // namespace naru::aggregator
