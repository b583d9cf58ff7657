// A session: events of one entity that follow each other closer than the metric's gap. How it grows, how sessions
// become one, and how it is stored. What the rules are is in session_tracker.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/aggregator/aggregate_record.h"

namespace naru::aggregator {

/// The first or the last event of a session. Views into whatever the session was made from.
struct SessionEdge {
  absl::string_view source;
  absl::string_view id;
  absl::string_view type;
  absl::string_view data;  ///< wire bytes of a google.protobuf.Struct: the fields that the metric reads
  friend bool operator==(const SessionEdge&, const SessionEdge&) = default;
};

/// A session. Its texts are views: into an event, or into the bytes that it was decoded from.
struct Session {
  int64_t start_us = 0;     ///< time of its first event: the least (time, source, id)
  int64_t end_us = 0;       ///< time of its last one: the greatest
  int64_t events = 0;       ///< how many
  int64_t late_events = 0;  ///< of these, how many came when it had been counted
  SessionEdge entry, exit;  ///< the first and the last event
  uint32_t serial = 0;      ///< of a running session: tells it from others of its entity
  /// Those that its events belong to, in the order in which they first took part.
  std::vector<absl::string_view> timelines;
  /// Of a running session: changes of it that came after its window was final; see Revisions.
  Revisions revisions;

  /// Takes in another session of the same entity: one event, or one that an event has connected with it.
  void Merge(const Session& other);
  bool HasTimeline(absl::string_view timeline) const;
};

/// An entity's running sessions, by start; at least a gap apart.
struct EntitySessions {
  absl::string_view entity;  ///< its text
  uint32_t next_serial = 0;
  std::vector<Session> running;
};
/// Appends what an entity's state holds.
void EncodeEntitySessions(const EntitySessions& sessions, std::string* out);
/// Views into `bytes`. False for damaged bytes.
bool DecodeEntitySessions(absl::string_view bytes, EntitySessions* sessions);

/// A counted session, as the index keeps it by window and group.
struct CountedSession {
  absl::string_view entity;  ///< its text
  absl::string_view group;   ///< the key of the group that it was counted in
  Session session;
};
std::string EncodeCountedSession(const CountedSession& counted);
bool DecodeCountedSession(absl::string_view bytes, CountedSession* counted);

/// Keys of index records. First byte, then: of a counted session its pane, a hash of its group, entity and start; of an
/// entity's list of counted sessions the entity and start. One record says how late counted sessions end.
struct CountedKey {
  int64_t pane_start_us = 0;
  uint64_t group_hash = 0;
  EntityId entity;
  int64_t start_us = 0;
};
std::string EncodeCountedKey(const CountedKey& key);
bool DecodeCountedKey(absl::string_view bytes, CountedKey* key);
/// What the keys of all counted sessions of a pane, or of a group in it, begin with.
std::string CountedPrefix(int64_t pane_start_us);
std::string CountedPrefix(int64_t pane_start_us, uint64_t group_hash);

/// Where a counted session of an entity is.
struct SessionPlace {
  EntityId entity;
  int64_t start_us = 0;
  int64_t end_us = 0;
  int64_t pane_start_us = 0;
  uint64_t group_hash = 0;
  CountedKey counted_key() const { return {pane_start_us, group_hash, entity, start_us}; }
};
std::string EncodePlaceKey(const EntityId& entity, int64_t start_us);
std::string EncodePlace(const SessionPlace& place);
bool DecodePlace(absl::string_view key, absl::string_view value, SessionPlace* place);
/// What the keys of all places of an entity begin with.
std::string PlacePrefix(const EntityId& entity);

/// The record of the greatest end of a counted session.
std::string CountedUntilKey();
std::string EncodeCountedUntil(int64_t time_us);
bool DecodeCountedUntil(absl::string_view value, int64_t* time_us);

}  // namespace naru::aggregator
