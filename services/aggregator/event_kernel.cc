#include "services/aggregator/event_kernel.h"

#include <algorithm>
#include <utility>

#include "common/event/timeline.h"
#include "common/status/status.h"

namespace naru::aggregator {

EventKernel::EventKernel(std::shared_ptr<const PlanSet> plans) : plans_(std::move(plans)) {
  for (size_t i = 0; i < kRing; ++i) ring_.push_back(std::make_unique<cel::Activation>(&plans_->environment));
}

EventKernel::~EventKernel() = default;

namespace {

bool AnyBehind(absl::Span<MetricState* const> metrics) {
  return std::any_of(metrics.begin(), metrics.end(), [](const MetricState* state) { return state->behind(); });
}

void MoveOn(absl::Span<MetricState* const> metrics, int64_t next_offset) {
  for (MetricState* state : metrics) {
    if (next_offset <= state->next_offset) continue;
    state->next_offset = next_offset;
    state->changed = true;
  }
}

}  // namespace

absl::StatusOr<int64_t> EventKernel::Process(const event_log::FetchedBatch& batch, int64_t begin_offset,
                                             int64_t end_offset, absl::Span<MetricState* const> metrics,
                                             ReplayFilter* replays, std::vector<LateEvent>* late) {
  for (MetricState* state : metrics) {
    state->UseTypeIds(types_.generation());
    NARU_RETURN_IF_ERROR(state->Continue());
  }
  const bool has_sessions = std::any_of(metrics.begin(), metrics.end(),
                                        [](const MetricState* state) { return state->sessions() != nullptr; });
  const bool replay = batch.headers.schema == kLateReplaySchema;
  for (const event_log::FetchedRecord& record : batch.records) {
    if (record.offset >= end_offset) break;
    if (record.offset < begin_offset) continue;
    if (has_sessions && AnyBehind(metrics)) {
      Flush();
      MoveOn(metrics, record.offset);
      return record.offset;
    }
    NARU_RETURN_IF_ERROR(replay ? TakeReplay(record, metrics) : Take(record, metrics, replays, late));
    if (in_ring_ == kRing) Flush();
  }
  Flush();
  const int64_t next = std::min(batch.next_offset, end_offset);
  MoveOn(metrics, next);
  return next;
}

absl::Status EventKernel::Take(const event_log::FetchedRecord& record, absl::Span<MetricState* const> metrics,
                               ReplayFilter* replays, std::vector<LateEvent>* late) {
  event::EventView event;
  if (record.tombstone || !event::ParseStoredEvent(record.value, &event)) {
    ++skipped_;
    return absl::OkStatus();
  }
  if (event::IsTimelineEnd(event)) {
    for (MetricState* state : metrics) {
      if (record.offset < state->next_offset) continue;
      NARU_RETURN_IF_ERROR(state->EndTimeline(event.timeline, record.timestamp_us));
    }
    return absl::OkStatus();
  }
  if (replays != nullptr && !event.id_generated && replays->IsRepeat(event.source, event.id, record.timestamp_us)) {
    return absl::OkStatus();
  }
  ++processed_;
  const uint32_t type_id = TypeIdOf(event.type, metrics);
  const size_t slot = in_ring_++;
  ring_[slot]->Load(event, record.timestamp_us);
  const int64_t time_us = event.has_time ? event.time_us : record.timestamp_us;
  events_[slot] = {time_us, event.source, event.id};
  for (MetricState* state : metrics) {
    if (record.offset < state->next_offset) continue;
    MetricState::Match match;
    key_.clear();
    NARU_ASSIGN_OR_RETURN(const MetricState::Outcome outcome,
                          state->Route(event, type_id, time_us, record.timestamp_us, *ring_[slot], &key_, &match));
    if (outcome == MetricState::Outcome::kLate) {
      late->push_back({state->plan().name, EncodeLateEvent(record.value, match.timeline_time_us, record.offset),
                       record.timestamp_us});
    }
    if (outcome == MetricState::Outcome::kMatch) AddPending(state, match, slot, record.timestamp_us);
  }
  return absl::OkStatus();
}

// A late event that is to be counted after all, by the metric that the record's key names.
absl::Status EventKernel::TakeReplay(const event_log::FetchedRecord& record, absl::Span<MetricState* const> metrics) {
  const size_t slot = in_ring_;
  LateReplay& replay = replayed_[slot];
  event::EventView event;
  if (!DecodeLateReplay(record.value, &replay) || !event::ParseStoredEvent(replay.event, &event)) {
    ++skipped_;
    return absl::OkStatus();
  }
  const int64_t time_us = event.has_time ? event.time_us : replay.received_us;
  uint32_t type_id = 0;
  for (MetricState* state : metrics) {
    if (record.offset < state->next_offset || absl::string_view(state->plan().name) != record.key) continue;
    if (in_ring_ == slot) {
      type_id = TypeIdOf(event.type, metrics);
      ring_[slot]->Load(event, replay.received_us);
      events_[slot] = {time_us, event.source, event.id};
      ++in_ring_;
    }
    MetricState::Match match;
    key_.clear();
    NARU_ASSIGN_OR_RETURN(const MetricState::Outcome outcome,
                          state->RouteReplay(event, type_id, time_us, replay, *ring_[slot], &key_, &match));
    if (outcome == MetricState::Outcome::kMatch) AddPending(state, match, slot, record.timestamp_us);
  }
  return absl::OkStatus();
}

uint32_t EventKernel::TypeIdOf(absl::string_view type, absl::Span<MetricState* const> metrics) {
  if (types_.full()) {
    Flush();
    types_.Clear();
    for (MetricState* state : metrics) state->UseTypeIds(types_.generation());
  }
  return types_.Find(type);
}

void EventKernel::AddPending(MetricState* state, const MetricState::Match& match, size_t slot, int64_t received_us) {
  Pending pending;
  pending.state = state;
  pending.match = match;
  pending.activation = ring_[slot].get();
  pending.event = &events_[slot];
  pending.received_us = received_us;
  pending.key_begin = static_cast<uint32_t>(keys_.size());
  pending.key_size = static_cast<uint32_t>(key_.size());
  keys_.append(key_);
  pending_.push_back(pending);
}

void EventKernel::Flush() {
  for (const Pending& pending : pending_) pending.match.pane->PrefetchRow(pending.match.hash);
  for (const Pending& pending : pending_) {
    const absl::string_view key(keys_.data() + pending.key_begin, pending.key_size);
    pending.state->Count(pending.match, key, pending.received_us, *pending.activation, *pending.event);
  }
  pending_.clear();
  keys_.clear();
  in_ring_ = 0;
}

}  // namespace naru::aggregator
