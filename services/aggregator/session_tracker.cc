#include "services/aggregator/session_tracker.h"

#include <algorithm>
#include <functional>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"
#include "services/aggregator/metric_state.h"

namespace naru::aggregator {
namespace {

// About what one commit may hold of sessions that became due.
constexpr size_t kMaxDueBytes = size_t{4} << 20;

absl::Status Damaged(const std::string& metric) {
  return MakeError(absl::StatusCode::kDataLoss, "STATE_DAMAGED",
                   absl::StrCat("stored sessions of metric ", metric, " cannot be read"));
}

}  // namespace

SessionTracker::SessionTracker(MetricState* state) : state_(state) { SetPlan(); }

SessionTracker::~SessionTracker() = default;

const SessionPlan& SessionTracker::plan() const { return *state_->plan().session; }

void SessionTracker::SetPlan() {
  event_ = std::make_unique<SessionEvent>(&plan());
  route_ = state_->plan().RouteOfSession();
}

uint64_t SessionTracker::erased() const { return state_->timelines().erased(); }

int64_t SessionTracker::WatermarkOf(absl::string_view timeline) const {
  const Timeline* found = state_->timelines().Get(timeline);
  if (found == nullptr || found->ended) return kForever;
  return found->max_time_us == kNever ? kNever : found->max_time_us - state_->plan().out_of_orderness_us;
}

const absl::string_view* SessionTracker::Blocking(const Session& session) const {
  const int64_t close_us = CloseOf(session);
  for (const absl::string_view& timeline : session.timelines) {
    if (WatermarkOf(timeline) < close_us) return &timeline;
  }
  return nullptr;
}

bool SessionTracker::IsDue(absl::string_view timeline, int64_t watermark_us) {
  if (last_due_ == due_.end() || last_due_->first != timeline) last_due_ = due_.find(timeline);
  return last_due_ != due_.end() && !last_due_->second.empty() && last_due_->second.front().at_us <= watermark_us;
}

void SessionTracker::AddHint(absl::string_view timeline, const Hint& hint) {
  auto found = due_.find(timeline);
  if (found == due_.end()) found = due_.emplace(std::string(timeline), Heap()).first;
  found->second.push_back(hint);
  std::push_heap(found->second.begin(), found->second.end(), std::greater<>());
}

size_t SessionTracker::bytes() const {
  size_t bytes = changes_.capacity() * (sizeof(Change) + sizeof(ChangeKey));
  for (const auto& [timeline, heap] : due_) bytes += heap.capacity() * sizeof(Hint);
  return bytes;
}

absl::Status SessionTracker::Decode(const Entity& entity, EntitySessions* sessions) const {
  if (DecodeEntitySessions(entity.state, sessions)) return absl::OkStatus();
  return Damaged(state_->plan().name);
}

absl::Status SessionTracker::Restore(EntitySource* source) {
  absl::Status status;
  EntitySessions sessions;
  NARU_RETURN_IF_ERROR(source->VisitEntities(
      state_->id(), state_->partition(), EntityId{}, [&](const EntityId& id, absl::string_view value) {
        EntityRecord record;
        if (!DecodeEntity(value, &record) || !DecodeEntitySessions(record.state, &sessions)) {
          status = Damaged(state_->plan().name);
          return false;
        }
        for (const Session& session : sessions.running) {
          const absl::string_view* blocking = Blocking(session);
          if (blocking == nullptr) behind_ = true;  // a commit came between what was due
          AddHint(blocking == nullptr ? session.timelines.front() : *blocking, {CloseOf(session), id, session.serial});
        }
        return true;
      }));
  NARU_RETURN_IF_ERROR(status);
  NARU_ASSIGN_OR_RETURN(const std::optional<std::string> until, state_->entity_index.Get(CountedUntilKey()));
  if (until.has_value() && !DecodeCountedUntil(*until, &counted_until_us_)) return Damaged(state_->plan().name);
  return absl::OkStatus();
}

absl::Status SessionTracker::CountDueOf(Heap* heap, int64_t watermark_us) {
  const int64_t now_us = state_->timelines().LastReceived();
  while (!heap->empty() && heap->front().at_us <= watermark_us) {
    if (state_->dirty_bytes > kMaxDueBytes) {
      behind_ = true;
      return absl::OkStatus();
    }
    const Hint hint = heap->front();
    std::pop_heap(heap->begin(), heap->end(), std::greater<>());
    heap->pop_back();
    NARU_RETURN_IF_ERROR(Look(hint, now_us));
  }
  return absl::OkStatus();
}

absl::Status SessionTracker::CountDue() {
  behind_ = false;
  state_erased_ = erased();
  last_due_ = due_.end();
  for (auto it = due_.begin(); it != due_.end() && !behind_;) {
    NARU_RETURN_IF_ERROR(CountDueOf(&it->second, WatermarkOf(it->first)));
    it = it->second.empty() ? due_.erase(it) : std::next(it);
  }
  return absl::OkStatus();
}

absl::Status SessionTracker::Look(const Hint& hint, int64_t now_us) {
  NARU_ASSIGN_OR_RETURN(Entity * entity, state_->entities.Get(hint.entity, now_us));
  if (entity->state.empty()) return absl::OkStatus();
  EntitySessions sessions;
  NARU_RETURN_IF_ERROR(Decode(*entity, &sessions));
  const auto session = std::find_if(sessions.running.begin(), sessions.running.end(),
                                    [&](const Session& s) { return s.serial == hint.serial; });
  if (session == sessions.running.end()) return absl::OkStatus();  // it has become part of another
  if (const absl::string_view* blocking = Blocking(*session)) {
    AddHint(*blocking, {CloseOf(*session), hint.entity, hint.serial});
    return absl::OkStatus();
  }
  NARU_RETURN_IF_ERROR(Count(sessions.entity, hint.entity, *session, now_us, /*revised=*/false));
  if (const auto change = changes_.find({hint.entity, hint.serial}); change != changes_.end()) {
    change->second.counted = true;
    change->second.pane_start_us = state_->plan().grid.PaneOf(session->start_us).start_us;
    change->second.group = counted_group_;
  }
  sessions.running.erase(session);
  Store(entity, sessions, now_us);
  return absl::OkStatus();
}

void SessionTracker::Store(Entity* entity, const EntitySessions& sessions, int64_t received_us) {
  encoded_.clear();  // the sessions may be views into the old state
  if (!sessions.running.empty()) EncodeEntitySessions(sessions, &encoded_);
  entity->state.assign(encoded_);
  state_->TouchEntity(entity, received_us);
}

Session SessionTracker::FromEvent(const event::EventView& event, int64_t time_us) {
  Session session;
  session.start_us = session.end_us = time_us;
  session.events = 1;
  session.entry = {event.source, event.id, event.type, plan().entry.Select(event.data, &entry_)};
  session.exit = {event.source, event.id, event.type, plan().exit.Select(event.data, &exit_)};
  session.timelines = {event.timeline};
  return session;
}

absl::StatusOr<std::vector<SessionPlace>> SessionTracker::FindCounted(const EntityId& id, int64_t time_us) const {
  std::vector<SessionPlace> found;
  bool damaged = false;
  const int64_t gap_us = plan().gap_us;
  NARU_RETURN_IF_ERROR(state_->entity_index.Visit(PlacePrefix(id), EncodePlaceKey(id, time_us + gap_us),
                                                  [&](absl::string_view key, absl::string_view value) {
                                                    SessionPlace place;
                                                    damaged = !DecodePlace(key, value, &place);
                                                    if (!damaged && place.end_us > time_us - gap_us)
                                                      found.push_back(place);
                                                    return !damaged;
                                                  }));
  if (damaged) return Damaged(state_->plan().name);
  return found;
}

absl::StatusOr<CountedSession> SessionTracker::TakeBack(const SessionPlace& place, std::string* bytes) {
  EntityIndex& index = state_->entity_index;
  const std::string key = EncodeCountedKey(place.counted_key());
  NARU_ASSIGN_OR_RETURN(std::optional<std::string> stored, index.Get(key));
  CountedSession counted;
  if (stored.has_value()) *bytes = *std::move(stored);
  if (!DecodeCountedSession(*bytes, &counted)) return Damaged(state_->plan().name);
  state_->AddDirtyBytes(index.Erase(key));
  state_->AddDirtyBytes(index.Erase(EncodePlaceKey(place.entity, place.start_us)));
  recompute_.emplace(place.pane_start_us, std::string(counted.group));
  return counted;
}

void SessionTracker::NoteChange(const ChangeKey& key, const Session& session, int64_t was_closed_us, bool existed,
                                int64_t received_us) {
  Change change;
  change.final_at_us = std::max(state_->plan().grid.PaneOf(session.start_us).end_us, was_closed_us);
  change.existed = existed;
  // No frontier is beyond the clock less out_of_orderness.
  if (change.final_at_us > received_us - state_->plan().out_of_orderness_us) return;
  changes_.try_emplace(key, std::move(change));  // the first one tells what was shown
}

absl::StatusOr<bool> SessionTracker::Add(const event::EventView& event, int64_t time_us, int64_t received_us) {
  const absl::string_view text = plan().EntityOf(event);
  if (text.empty()) {
    ++state_->counts.not_matched;
    return true;
  }
  const EntityId id = EntityIdOf(text);
  NARU_ASSIGN_OR_RETURN(Entity * entity, state_->entities.Get(id, received_us));
  sessions_.running.clear();
  sessions_.next_serial = 0;
  if (!entity->state.empty()) NARU_RETURN_IF_ERROR(Decode(*entity, &sessions_));
  sessions_.entity = text;
  // They are at least a gap apart, so those that are near are neighbours.
  std::vector<Session>& running = sessions_.running;
  const int64_t gap_us = plan().gap_us;
  const auto begin = std::find_if(running.begin(), running.end(),
                                  [&](const Session& session) { return time_us < session.end_us + gap_us; });
  const auto end =
      std::find_if(begin, running.end(), [&](const Session& session) { return time_us <= session.start_us - gap_us; });
  // Within a running session nothing counted is near; and nothing is after all that was counted.
  const bool inside = begin != end && begin->start_us <= time_us && time_us <= begin->end_us;
  std::vector<SessionPlace> places;
  if (!inside && counted_until_us_ != kNever && time_us < counted_until_us_ + gap_us) {
    NARU_ASSIGN_OR_RETURN(places, FindCounted(id, time_us));
  }
  if (places.size() > 1) {
    ++state_->counts.late;
    return false;
  }
  ++state_->counts.matched;
  int64_t was_closed_us = kNever;
  Session session = FromEvent(event, time_us);
  session.late_events = places.empty() ? 0 : 1;
  std::string counted_bytes;
  if (!places.empty()) {
    NARU_ASSIGN_OR_RETURN(const CountedSession counted, TakeBack(places[0], &counted_bytes));
    Session taken = counted.session;
    taken.Merge(session);
    session = std::move(taken);
  }
  for (auto it = end; it != begin;) {
    --it;
    was_closed_us = std::max(was_closed_us, CloseOf(*it));
    Session joined = std::move(*it);
    joined.Merge(session);
    session = std::move(joined);
  }
  const bool existed = begin != end;
  const auto at = running.erase(begin, end);
  const absl::string_view* blocking = Blocking(session);
  if (blocking == nullptr) {
    NARU_RETURN_IF_ERROR(Count(text, id, session, received_us, /*revised=*/true));
    if (existed) Store(entity, sessions_, received_us);
    return true;
  }
  if (!existed) {
    session.serial = sessions_.next_serial++;
    AddHint(*blocking, {CloseOf(session), id, session.serial});
  }
  NoteChange({id, session.serial}, session, was_closed_us, existed || !places.empty(), received_us);
  running.insert(at, std::move(session));
  Store(entity, sessions_, received_us);
  return true;
}

int SessionTracker::AddMeasures(absl::string_view entity, const Session& session, char* cell) {
  return UpdateMeasures(state_->plan(), state_->panes.layout(), route_, event_->Load(entity, session),
                        IdentityOf(entity, session), cell);
}

absl::Status SessionTracker::Count(absl::string_view entity, const EntityId& id, const Session& session,
                                   int64_t received_us, bool revised) {
  NARU_ASSIGN_OR_RETURN(Pane * pane, state_->panes.Get(state_->plan().grid.PaneOf(session.start_us)));
  key_.clear();
  state_->counts.failed_expressions += AppendGroup(state_->plan(), event_->Load(entity, session), &key_);
  Row* row = state_->FindRow(pane, HashGroup(key_), key_);
  const absl::string_view group = row->key(pane->layout());
  counted_group_ = std::string(group);
  CountedSession counted{entity, group, session};
  counted.session.serial = 0;
  counted.session.revisions.clear();
  const SessionPlace place{id, session.start_us, session.end_us, pane->span.start_us, row->hash};
  EntityIndex& index = state_->entity_index;
  state_->AddDirtyBytes(index.Put(EncodeCountedKey(place.counted_key()), EncodeCountedSession(counted)));
  state_->AddDirtyBytes(index.Put(EncodePlaceKey(id, session.start_us), EncodePlace(place)));
  if (session.end_us > counted_until_us_) {
    counted_until_us_ = session.end_us;
    counted_until_changed_ = true;
  }
  state_->TouchRow(pane, row, received_us);
  row->revised = row->revised || revised;
  if (!session.revisions.empty() && row->revisions == nullptr) row->revisions = new Revisions;
  for (const auto& [end_us, count] : session.revisions) AddRevisions(end_us, count, row->revisions);
  if (recompute_.count({pane->span.start_us, std::string(group)}) > 0) return absl::OkStatus();
  state_->counts.failed_expressions += AddMeasures(entity, session, row->cell());
  return absl::OkStatus();
}

absl::Status SessionTracker::Recompute(int64_t pane_start_us, const std::string& group) {
  NARU_ASSIGN_OR_RETURN(Pane * pane, state_->panes.Get(state_->plan().grid.PaneOf(pane_start_us)));
  const uint64_t hash = HashGroup(group);
  Row* row = pane->Find(hash, group);
  if (row == nullptr) return absl::OkStatus();  // its window is gone
  const CellLayout& layout = pane->layout();
  layout.Destroy(row->cell());
  layout.Init(row->cell());
  bool damaged = false;
  // Expressions that fail were told when the sessions were counted.
  const std::string prefix = CountedPrefix(pane_start_us, hash);
  NARU_RETURN_IF_ERROR(
      state_->entity_index.Visit(prefix, PrefixEnd(prefix), [&](absl::string_view, absl::string_view value) {
        CountedSession counted;
        damaged = !DecodeCountedSession(value, &counted);
        if (!damaged && counted.group == group) AddMeasures(counted.entity, counted.session, row->cell());
        return !damaged;
      }));
  if (damaged) return Damaged(state_->plan().name);
  state_->TouchRow(pane, row, kNever);
  row->revised = true;
  return absl::OkStatus();
}

absl::Status SessionTracker::Revise(const ChangeKey& key, const Change& change, const ShownFn& shown) {
  if (change.counted) {
    const TimeSpan window = state_->plan().grid.PaneOf(change.pane_start_us);
    if (!change.existed && !shown(window, change.group)) return absl::OkStatus();
    NARU_ASSIGN_OR_RETURN(Pane * pane, state_->panes.Get(window));
    Row* row = pane->Find(HashGroup(change.group), change.group);
    if (row == nullptr) return absl::OkStatus();
    if (row->revisions == nullptr) row->revisions = new Revisions;
    AddRevisions(window.end_us, 1, row->revisions);
    state_->TouchRow(pane, row, kNever);
    return absl::OkStatus();
  }
  NARU_ASSIGN_OR_RETURN(Entity * entity, state_->entities.Get(key.first, kNever));
  if (entity->state.empty()) return absl::OkStatus();
  EntitySessions sessions;
  NARU_RETURN_IF_ERROR(Decode(*entity, &sessions));
  for (Session& session : sessions.running) {
    if (session.serial != key.second) continue;
    const TimeSpan window = state_->plan().grid.PaneOf(session.start_us);
    if (!change.existed) {
      key_.clear();
      AppendGroup(state_->plan(), event_->Load(sessions.entity, session), &key_);
      if (!shown(window, key_)) return absl::OkStatus();
    }
    AddRevisions(window.end_us, 1, &session.revisions);
    Store(entity, sessions, kNever);
    return absl::OkStatus();
  }
  return absl::OkStatus();  // it has become part of another
}

absl::Status SessionTracker::PrepareCommit(int64_t frontier_us, const ShownFn& shown) {
  while (!recompute_.empty()) {
    const auto [pane_start_us, group] = *recompute_.begin();
    NARU_RETURN_IF_ERROR(Recompute(pane_start_us, group));
    recompute_.erase(recompute_.begin());
  }
  for (const auto& [key, change] : changes_) {
    if (change.final_at_us <= frontier_us) NARU_RETURN_IF_ERROR(Revise(key, change, shown));
  }
  changes_.clear();
  if (counted_until_changed_) {
    state_->AddDirtyBytes(state_->entity_index.Put(CountedUntilKey(), EncodeCountedUntil(counted_until_us_)));
    counted_until_changed_ = false;
  }
  return absl::OkStatus();
}

absl::Status SessionTracker::Purge(size_t limit) {
  std::set<int64_t> panes;
  state_->panes.ForEachRecord([&panes](int64_t start_us, const PaneRecord&) { panes.insert(start_us); });
  std::vector<CountedKey> gone;
  // From pane to pane by one look each, unless a pane is not there any more.
  std::string from = CountedPrefix(kNever);
  const std::string end = PrefixEnd(CountedPrefix(kForever));
  for (bool more = true; more && gone.size() < limit;) {
    more = false;
    NARU_RETURN_IF_ERROR(state_->entity_index.Visit(from, end, [&](absl::string_view bytes, absl::string_view) {
      CountedKey key;
      if (!DecodeCountedKey(bytes, &key)) return true;
      if (panes.count(key.pane_start_us) > 0) {
        from = PrefixEnd(CountedPrefix(key.pane_start_us));
        more = true;
        return false;
      }
      gone.push_back(key);
      return gone.size() < limit;
    }));
  }
  for (const CountedKey& key : gone) {
    state_->AddDirtyBytes(state_->entity_index.Erase(EncodeCountedKey(key)));
    state_->AddDirtyBytes(state_->entity_index.Erase(EncodePlaceKey(key.entity, key.start_us)));
  }
  return absl::OkStatus();
}

}  // namespace naru::aggregator
