#include "services/aggregator/session.h"

#include <algorithm>
#include <tuple>

#include "services/aggregator/sketch_bytes.h"

namespace naru::aggregator {
namespace {

constexpr uint8_t kFormat = 1;
// First bytes of index keys.
constexpr char kUntil = 0;
constexpr char kCounted = 1;
constexpr char kPlace = 2;
constexpr uint64_t kSign = uint64_t{1} << 63;

void PutBig64(uint64_t value, std::string* out) {
  for (int shift = 56; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

bool GetBig64(absl::string_view* in, uint64_t* value) {
  if (in->size() < 8) return false;
  *value = 0;
  for (int i = 0; i < 8; ++i) *value = *value << 8 | static_cast<uint8_t>((*in)[i]);
  in->remove_prefix(8);
  return true;
}

void PutTime(int64_t time_us, std::string* out) { PutBig64(static_cast<uint64_t>(time_us) ^ kSign, out); }

bool GetTime(absl::string_view* in, int64_t* time_us) {
  uint64_t value;
  if (!GetBig64(in, &value)) return false;
  *time_us = static_cast<int64_t>(value ^ kSign);
  return true;
}

bool GetFormat(absl::string_view* in) {
  uint8_t format;
  return GetByte(in, &format) && format == kFormat;
}

bool GetCount(absl::string_view* in, int64_t* count) {
  uint64_t value;
  if (!GetVarint(in, &value) || value > INT64_MAX) return false;
  *count = static_cast<int64_t>(value);
  return true;
}

bool GetSize(absl::string_view* in, size_t* size) {
  uint64_t value;
  if (!GetVarint(in, &value) || value > in->size()) return false;
  *size = value;
  return true;
}

void PutEdge(const SessionEdge& edge, std::string* out) {
  PutBytes(edge.source, out);
  PutBytes(edge.id, out);
  PutBytes(edge.type, out);
  PutBytes(edge.data, out);
}

bool GetEdge(absl::string_view* in, SessionEdge* edge) {
  return GetBytes(in, &edge->source) && GetBytes(in, &edge->id) && GetBytes(in, &edge->type) &&
         GetBytes(in, &edge->data);
}

// One event is the first and the last: it is written once.
enum EdgeFlags : uint8_t { kTwoEdges = 0, kOneEdge = 1 };

void PutSession(const Session& session, std::string* out) {
  PutSigned(session.start_us, out);
  PutVarint(static_cast<uint64_t>(session.end_us - session.start_us), out);
  PutVarint(session.events, out);
  PutVarint(session.late_events, out);
  PutVarint(session.serial, out);
  // Fields of exit and entry are cut to what each side needs, so even one event may have two different edges.
  const bool one = session.entry == session.exit;
  out->push_back(one ? kOneEdge : kTwoEdges);
  PutEdge(session.entry, out);
  if (!one) PutEdge(session.exit, out);
  PutVarint(session.timelines.size(), out);
  for (const absl::string_view timeline : session.timelines) PutBytes(timeline, out);
  PutVarint(session.revisions.size(), out);
  for (const auto& [end_us, count] : session.revisions) {
    PutSigned(end_us, out);
    PutVarint(count, out);
  }
}

bool GetSession(absl::string_view* in, Session* session) {
  uint64_t length, serial;
  uint8_t flags;
  size_t size;
  if (!GetSigned(in, &session->start_us) || !GetVarint(in, &length) || !GetCount(in, &session->events) ||
      !GetCount(in, &session->late_events) || !GetVarint(in, &serial) || serial > UINT32_MAX || !GetByte(in, &flags) ||
      flags > kOneEdge || !GetEdge(in, &session->entry)) {
    return false;
  }
  session->end_us = static_cast<int64_t>(static_cast<uint64_t>(session->start_us) + length);
  session->serial = static_cast<uint32_t>(serial);
  session->exit = session->entry;
  if (flags == kTwoEdges && !GetEdge(in, &session->exit)) return false;
  if (!GetSize(in, &size)) return false;
  for (size_t i = 0; i < size; ++i) {
    session->timelines.emplace_back();
    if (!GetBytes(in, &session->timelines.back())) return false;
  }
  if (!GetSize(in, &size)) return false;
  for (size_t i = 0; i < size; ++i) {
    uint64_t count;
    session->revisions.emplace_back();
    if (!GetSigned(in, &session->revisions.back().first) || !GetVarint(in, &count) || count > INT32_MAX) return false;
    session->revisions.back().second = static_cast<int32_t>(count);
  }
  return true;
}

std::tuple<int64_t, absl::string_view, absl::string_view> OrderOf(int64_t time_us, const SessionEdge& edge) {
  return {time_us, edge.source, edge.id};
}

}  // namespace

bool Session::HasTimeline(absl::string_view timeline) const {
  return std::find(timelines.begin(), timelines.end(), timeline) != timelines.end();
}

void Session::Merge(const Session& other) {
  if (OrderOf(other.start_us, other.entry) < OrderOf(start_us, entry)) {
    start_us = other.start_us;
    entry = other.entry;
  }
  if (OrderOf(other.end_us, other.exit) > OrderOf(end_us, exit)) {
    end_us = other.end_us;
    exit = other.exit;
  }
  events += other.events;
  late_events += other.late_events;
  for (const absl::string_view timeline : other.timelines) {
    if (!HasTimeline(timeline)) timelines.push_back(timeline);
  }
  for (const auto& [end_us, count] : other.revisions) AddRevisions(end_us, count, &revisions);
}

void EncodeEntitySessions(const EntitySessions& sessions, std::string* out) {
  out->push_back(static_cast<char>(kFormat));
  PutBytes(sessions.entity, out);
  PutVarint(sessions.next_serial, out);
  PutVarint(sessions.running.size(), out);
  for (const Session& session : sessions.running) PutSession(session, out);
}

bool DecodeEntitySessions(absl::string_view bytes, EntitySessions* sessions) {
  uint64_t serial;
  size_t size;
  sessions->running.clear();
  if (!GetFormat(&bytes) || !GetBytes(&bytes, &sessions->entity) || !GetVarint(&bytes, &serial) ||
      serial > UINT32_MAX || !GetSize(&bytes, &size)) {
    return false;
  }
  sessions->next_serial = static_cast<uint32_t>(serial);
  sessions->running.resize(size);
  for (Session& session : sessions->running) {
    if (!GetSession(&bytes, &session)) return false;
  }
  return bytes.empty();
}

std::string EncodeCountedSession(const CountedSession& counted) {
  std::string bytes(1, static_cast<char>(kFormat));
  PutBytes(counted.entity, &bytes);
  PutBytes(counted.group, &bytes);
  PutSession(counted.session, &bytes);
  return bytes;
}

bool DecodeCountedSession(absl::string_view bytes, CountedSession* counted) {
  counted->session = Session();
  return GetFormat(&bytes) && GetBytes(&bytes, &counted->entity) && GetBytes(&bytes, &counted->group) &&
         GetSession(&bytes, &counted->session) && bytes.empty();
}

std::string CountedPrefix(int64_t pane_start_us) {
  std::string prefix(1, kCounted);
  PutTime(pane_start_us, &prefix);
  return prefix;
}

std::string CountedPrefix(int64_t pane_start_us, uint64_t group_hash) {
  std::string prefix = CountedPrefix(pane_start_us);
  PutBig64(group_hash, &prefix);
  return prefix;
}

std::string EncodeCountedKey(const CountedKey& key) {
  std::string bytes = CountedPrefix(key.pane_start_us, key.group_hash);
  AppendEntityId(key.entity, &bytes);
  PutTime(key.start_us, &bytes);
  return bytes;
}

bool DecodeCountedKey(absl::string_view bytes, CountedKey* key) {
  uint8_t kind;
  return GetByte(&bytes, &kind) && kind == kCounted && GetTime(&bytes, &key->pane_start_us) &&
         GetBig64(&bytes, &key->group_hash) && ReadEntityId(&bytes, &key->entity) && GetTime(&bytes, &key->start_us) &&
         bytes.empty();
}

std::string PlacePrefix(const EntityId& entity) {
  std::string prefix(1, kPlace);
  AppendEntityId(entity, &prefix);
  return prefix;
}

std::string EncodePlaceKey(const EntityId& entity, int64_t start_us) {
  std::string bytes = PlacePrefix(entity);
  PutTime(start_us, &bytes);
  return bytes;
}

std::string EncodePlace(const SessionPlace& place) {
  std::string bytes(1, static_cast<char>(kFormat));
  PutVarint(static_cast<uint64_t>(place.end_us - place.start_us), &bytes);
  PutSigned(place.pane_start_us, &bytes);
  PutFixed64(place.group_hash, &bytes);
  return bytes;
}

bool DecodePlace(absl::string_view key, absl::string_view value, SessionPlace* place) {
  uint8_t kind;
  uint64_t length;
  if (!GetByte(&key, &kind) || kind != kPlace || !ReadEntityId(&key, &place->entity) ||
      !GetTime(&key, &place->start_us) || !key.empty() || !GetFormat(&value) || !GetVarint(&value, &length) ||
      !GetSigned(&value, &place->pane_start_us) || !GetFixed64(&value, &place->group_hash)) {
    return false;
  }
  place->end_us = static_cast<int64_t>(static_cast<uint64_t>(place->start_us) + length);
  return value.empty();
}

std::string CountedUntilKey() { return std::string(1, kUntil); }

std::string EncodeCountedUntil(int64_t time_us) {
  std::string bytes(1, static_cast<char>(kFormat));
  PutSigned(time_us, &bytes);
  return bytes;
}

bool DecodeCountedUntil(absl::string_view value, int64_t* time_us) {
  return GetFormat(&value) && GetSigned(&value, time_us) && value.empty();
}

}  // namespace naru::aggregator
