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

absl::Status EventKernel::Process(const event_log::FetchedBatch& batch, int64_t end_offset,
                                  absl::Span<MetricState* const> metrics, ReplayFilter* replays,
                                  std::vector<LateEvent>* late) {
  for (MetricState* state : metrics) state->UseTypeIds(types_.generation());
  for (const event_log::FetchedRecord& record : batch.records) {
    if (record.offset >= end_offset) break;
    NARU_RETURN_IF_ERROR(Take(record, metrics, replays, late));
    if (in_ring_ == kRing) Flush();
  }
  Flush();
  const int64_t next = std::min(batch.next_offset, end_offset);
  for (MetricState* state : metrics) {
    if (next <= state->next_offset) continue;
    state->next_offset = next;
    state->changed = true;
  }
  return absl::OkStatus();
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
      if (record.offset >= state->next_offset) state->EndTimeline(event.timeline, record.timestamp_us);
    }
    return absl::OkStatus();
  }
  if (replays != nullptr && !event.id_generated && replays->IsRepeat(event.source, event.id, record.timestamp_us)) {
    return absl::OkStatus();
  }
  ++processed_;
  if (types_.full()) {
    Flush();
    types_.Clear();
    for (MetricState* state : metrics) state->UseTypeIds(types_.generation());
  }
  const uint32_t type_id = types_.Find(event.type);
  cel::Activation* activation = ring_[in_ring_].get();
  activation->Load(event, record.timestamp_us);
  ++in_ring_;
  const int64_t time_us = event.has_time ? event.time_us : record.timestamp_us;
  for (MetricState* state : metrics) {
    if (record.offset < state->next_offset) continue;
    Pending pending;
    key_.clear();
    NARU_ASSIGN_OR_RETURN(const MetricState::Outcome outcome, state->Route(event, type_id, time_us, record.timestamp_us,
                                                                           *activation, &key_, &pending.match));
    if (outcome == MetricState::Outcome::kLate) {
      late->push_back({state->plan().name, std::string(record.value), record.timestamp_us});
    }
    if (outcome != MetricState::Outcome::kMatch) continue;
    pending.state = state;
    pending.activation = activation;
    pending.received_us = record.timestamp_us;
    pending.key_begin = static_cast<uint32_t>(keys_.size());
    pending.key_size = static_cast<uint32_t>(key_.size());
    keys_.append(key_);
    pending_.push_back(pending);
  }
  return absl::OkStatus();
}

void EventKernel::Flush() {
  for (const Pending& pending : pending_) {
    const absl::string_view key(keys_.data() + pending.key_begin, pending.key_size);
    pending.state->Count(pending.match, key, pending.received_us, *pending.activation);
  }
  pending_.clear();
  keys_.clear();
  in_ring_ = 0;
}

}  // namespace naru::aggregator
