// Session windows: which events belong together, when a session counts, what a later event does to it.
//
// The rules. All is decided by the records of one partition of the log in the order of their offsets, never by the
// clock, by batches or by restarts. For each entity (subject or session of the event) apart:
//
//   1. Two events are together when less than `gap` lies between their times. A session is a largest set of events
//      that are together, directly or through others; [start, end] are the times of its first and last event. An event
//      without the entity does not match.
//   2. A session is *running* until it is *counted*: at the first record by which every timeline that its events came
//      on has passed end + gap. A timeline has passed a time when its watermark (greatest min(event time, received
//      time), less out_of_orderness) has reached it, or when its end marker came and nothing after it. What a record
//      makes due is counted before the record's own event is looked at.
//   3. An event joins every running session that has an event closer than `gap`; they become one. When it joins none,
//      it begins one.
//   4. An event that is closer than `gap` to exactly one counted session joins that one, too, with the running ones
//      that it joins. The session stops being counted and goes on as if it never had been, so it counts again at once
//      where all its timelines have passed. An event that is closer than `gap` to two counted sessions would make them
//      one: it is late, goes to `events.late` and changes nothing. So do events later than `allowed_lateness`, by rule.
//   5. A session is one event of the metric's measures and dimensions (see session_plan.h), in the report window of its
//      start. First and last event: least and greatest (time, source, id). Its timelines are those of all its events.
//   6. Rows are the counted sessions of the window; a reader adds the running ones. A row is final when the frontier
//      has passed the window's end and end + gap of every running session in the window. Once the frontier has passed
//      the window's end, the row's revision grows with each commit in which an event changed a counted session, or a
//      running one whose end + gap it had passed, too (silence on a live timeline moves the frontier, but counts
//      nothing).
//   7. What no event changed for the metric's retention (by received time) is forgotten: counted sessions with their
//      window, running ones alone.
//
// State: the running sessions of an entity are its record (entity_store.h). Counted ones are index records: by (window,
// group), for computing a row anew when a session in it is revised, and by entity, for finding the one that an event
// joins. What becomes due next is in memory, 32 bytes for each running session, and made again from the running
// sessions after a restart. A record that makes very many sessions due is worked off in slices, with commits between:
// see behind().
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/event/event_view.h"
#include "services/aggregator/entity_store.h"
#include "services/aggregator/metric_plan.h"
#include "services/aggregator/pane_store.h"
#include "services/aggregator/session.h"
#include "services/aggregator/session_plan.h"
#include "services/aggregator/timelines.h"

namespace naru::aggregator {

class MetricState;

/// The sessions of a metric in one source partition. Part of its MetricState, which it borrows. Not thread-safe.
class SessionTracker {
 public:
  explicit SessionTracker(MetricState* state);
  ~SessionTracker();
  SessionTracker(const SessionTracker&) = delete;
  SessionTracker& operator=(const SessionTracker&) = delete;

  /// The same version compiled again.
  void SetPlan();
  /// After a restart, with the timelines restored: reads the running sessions. Errors: those of the source.
  absl::Status Restore(EntitySource* source);

  /// A record of the timeline was observed, whose watermark is now at `watermark_us`: counts what is due.
  absl::Status Advance(absl::string_view timeline, int64_t watermark_us) {
    if (state_erased_ != erased()) return CountDue();
    return IsDue(timeline, watermark_us) ? CountDueOf(&last_due_->second, watermark_us) : absl::OkStatus();
  }
  /// Counts what is due on any timeline: after an end marker, and to go on where behind() says so.
  absl::Status CountDue();
  /// More is due than one commit should hold: commit, then CountDue, before any further record.
  bool behind() const { return behind_; }

  /// An event that passed the filter. Returns false when it is late. Errors: of reading what is stored.
  absl::StatusOr<bool> Add(const event::EventView& event, int64_t time_us, int64_t received_us);

  /// Makes rows and records what they must be before a commit. Windows that end at or before `frontier_us` may have
  /// been shown as final; `shown(window, group)` says whether anybody has seen a row. Once for each commit; harmless
  /// again when that failed.
  using ShownFn = std::function<bool(const TimeSpan& window, absl::string_view group)>;
  absl::Status PrepareCommit(int64_t frontier_us, const ShownFn& shown);

  /// Forgets up to `limit` counted sessions whose window is gone. Errors: those of the source.
  absl::Status Purge(size_t limit);
  size_t bytes() const;

 private:
  /// Look at this session when its timeline has come so far.
  struct Hint {
    int64_t at_us;
    EntityId entity;
    uint32_t serial;
    friend bool operator>(const Hint& a, const Hint& b) { return a.at_us > b.at_us; }
  };
  using Heap = std::vector<Hint>;
  /// A session that an event changed since the last commit while it ran.
  struct Change {
    int64_t final_at_us = 0;  ///< frontiers from here on may have shown it as final
    bool existed = false;
    bool counted = false;  ///< meanwhile, in this row:
    int64_t pane_start_us = 0;
    std::string group;
  };
  using ChangeKey = std::pair<EntityId, uint32_t>;  // with its serial

  uint64_t erased() const;
  absl::Status CountDueOf(Heap* heap, int64_t watermark_us);
  bool IsDue(absl::string_view timeline, int64_t watermark_us);
  int64_t WatermarkOf(absl::string_view timeline) const;
  /// A timeline that has not passed; null: all have.
  const absl::string_view* Blocking(const Session& session) const;
  void AddHint(absl::string_view timeline, const Hint& hint);
  absl::Status Look(const Hint& hint, int64_t now_us);
  absl::Status Decode(const Entity& entity, EntitySessions* sessions) const;
  void Store(Entity* entity, const EntitySessions& sessions, int64_t received_us);
  absl::Status Count(absl::string_view entity, const EntityId& id, const Session& session, int64_t received_us,
                     bool revised);
  absl::StatusOr<std::vector<SessionPlace>> FindCounted(const EntityId& id, int64_t time_us) const;
  absl::StatusOr<CountedSession> TakeBack(const SessionPlace& place, std::string* bytes);
  void NoteChange(const ChangeKey& key, const Session& session, int64_t was_closed_us, bool existed,
                  int64_t received_us);
  Session FromEvent(const event::EventView& event, int64_t time_us);
  int AddMeasures(absl::string_view entity, const Session& session, char* cell);
  absl::Status Recompute(int64_t pane_start_us, const std::string& group);
  absl::Status Revise(const ChangeKey& key, const Change& change, const ShownFn& shown);
  const SessionPlan& plan() const;
  int64_t CloseOf(const Session& session) const { return session.end_us + plan().gap_us; }

  MetricState* const state_;
  std::unique_ptr<SessionEvent> event_;
  MetricPlan::TypeRoute route_;
  std::map<std::string, Heap, std::less<>> due_;  // by timeline
  std::map<std::string, Heap, std::less<>>::iterator last_due_ = due_.end();
  uint64_t state_erased_ = 0;
  bool behind_ = false;
  int64_t counted_until_us_ = kNever;  // no counted session ends later
  bool counted_until_changed_ = false;
  std::set<std::pair<int64_t, std::string>> recompute_;  // (pane, group)
  absl::flat_hash_map<ChangeKey, Change> changes_;
  // Re-used for each event.
  EntitySessions sessions_;
  std::string entry_, exit_, encoded_, key_, counted_group_;
};

}  // namespace naru::aggregator
