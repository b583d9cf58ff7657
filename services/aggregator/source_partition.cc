#include "services/aggregator/source_partition.h"

#include <algorithm>
#include <utility>

#include "common/event/event_view.h"
#include "common/event_log/last_record.h"
#include "common/log/log.h"
#include "common/status/status.h"

namespace naru::aggregator {
namespace {

absl::StatusOr<event_log::PartitionInfo> Describe(event_log::EventLog& log, int32_t partition) {
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo topic, log.DescribeTopic(event_log::kEventsTopic));
  for (const event_log::PartitionInfo& info : topic.partitions) {
    if (info.partition == partition) return info;
  }
  return MakeError(absl::StatusCode::kNotFound, "PARTITION_NOT_FOUND", "the topic events has lost a partition");
}

// Lost ranges are told once; reading goes on after them.
bool IsLostRange(const absl::Status& status) { return absl::IsOutOfRange(status) || absl::IsDataLoss(status); }

constexpr std::chrono::milliseconds kReplayReadTimeout(5'000);

}  // namespace

SourcePartition::SourcePartition(event_log::EventLog& log, ServingView& view, int32_t partition, int64_t next_offset,
                                 bool drop_repeats, uint64_t* use_counter)
    : log_(log),
      view_(view),
      partition_(partition),
      next_offset_(next_offset),
      drop_repeats_(drop_repeats),
      use_counter_(use_counter) {}

absl::Status SourcePartition::RestoreReplays() {
  if (!drop_repeats_) return absl::OkStatus();
  replays_ = std::make_unique<ReplayFilter>();
  if (next_offset_ == 0) return absl::OkStatus();
  // The window before the last record that was counted.
  NARU_ASSIGN_OR_RETURN(event_log::PartitionInfo counted, Describe(log_, partition_));
  if (next_offset_ <= counted.start_offset) return absl::OkStatus();
  counted.end_offset = std::min(counted.end_offset, next_offset_);
  NARU_ASSIGN_OR_RETURN(const std::optional<int64_t> until_us,
                        event_log::LastRecordTime(log_, event_log::kEventsTopic, counted));
  if (!until_us.has_value()) return absl::OkStatus();
  NARU_ASSIGN_OR_RETURN(auto reader,
                        log_.OpenReader(event_log::kEventsTopic, {{partition_, event_log::ReadPosition::Kind::kTime,
                                                                   *until_us - ReplayFilter::kWindowUs}}));
  for (int64_t at = 0; at < counted.end_offset;) {
    const auto batches = reader->Poll(kReplayReadTimeout, size_t{4} << 20);
    if (IsLostRange(batches.status())) continue;
    NARU_RETURN_IF_ERROR(batches.status());
    if (batches->empty()) {
      // With half a window an event that the log holds twice would count twice.
      return MakeError(absl::StatusCode::kUnavailable, "EVENTS_NOT_READ",
                       "the ten minutes before the position could not be read back");
    }
    for (const event_log::FetchedBatch& batch : *batches) {
      for (const event_log::FetchedRecord& record : batch.records) {
        event::EventView event;
        if (record.offset >= next_offset_ || record.tombstone || !event::ParseStoredEvent(record.value, &event))
          continue;
        if (!event.id_generated) replays_->IsRepeat(event.source, event.id, record.timestamp_us);
      }
      at = batch.next_offset;
    }
  }
  return absl::OkStatus();
}

absl::Status SourcePartition::AdoptPlans(const std::shared_ptr<const PlanSet>& plans) {
  for (auto it = states_.begin(); it != states_.end();) {
    it = plans->Find(it->first.name, it->first.version) == nullptr ? states_.erase(it) : std::next(it);
  }
  for (const auto& member : plans->plans) {
    // Expressions belong to the set's environment, so a plan in use keeps its set.
    const std::shared_ptr<const MetricPlan> plan(plans, member.get());
    const MetricId id{plan->name, plan->version};
    std::unique_ptr<MetricState>& state = states_[id];
    if (state != nullptr) {
      state->SetPlan(plan);
      continue;
    }
    state = std::make_unique<MetricState>(plan, partition_, &view_, &view_);
    state->panes.set_use_counter(use_counter_);
    std::optional<Progress> progress = view_.GetProgress(id, partition_);
    if (progress.has_value()) {
      state->Restore(*std::move(progress));
      state->spec_stored = true;
      for (const ViewPane& pane : view_.ListPanes(id, partition_, kNever, kForever)) {
        state->panes.AddKnown(pane.start_us, pane.record);
      }
      if (state->sessions() != nullptr) NARU_RETURN_IF_ERROR(state->sessions()->Restore(&view_));
    } else {
      NARU_ASSIGN_OR_RETURN(const event_log::PartitionInfo info, Describe(log_, partition_));
      const StartRule& start = plan->start;
      if (start.kind == StartRule::Kind::kTime) state->valid_from_us = start.time_us;
      state->starts_late = start.kind == StartRule::Kind::kEarliest && info.start_offset > 0;
      if (info.start_offset >= next_offset_) state->next_offset = next_offset_;
      state->entities.BeginEmpty();
      state->changed = true;  // so that the view hears of it before the first event
    }
    // Nothing was read before: what the group reads next is all there is.
    if (!state->joined && state->next_offset >= next_offset_) {
      state->joined = true;
      state->changed = true;
    }
  }
  return StartRebuilds();
}

std::vector<MetricState*> SourcePartition::Find(const std::vector<MetricId>& ids) {
  std::vector<MetricState*> found;
  for (const MetricId& id : ids) {
    const auto state = states_.find(id);
    if (state != states_.end()) found.push_back(state->second.get());
  }
  return found;
}

absl::Status SourcePartition::StartRebuilds() {
  rebuilds_.clear();
  // Metrics that begin at the same place share a reader.
  std::map<std::pair<bool, int64_t>, std::vector<MetricId>> behind;
  for (const auto& [id, state] : states_) {
    if (state->next_offset >= next_offset_) continue;
    const StartRule& start = state->plan().start;
    const bool by_time = state->next_offset == 0 && start.kind == StartRule::Kind::kTime;
    behind[{by_time, by_time ? start.time_us : state->next_offset}].push_back(id);
  }
  if (behind.empty()) return absl::OkStatus();
  NARU_ASSIGN_OR_RETURN(const event_log::PartitionInfo info, Describe(log_, partition_));
  for (auto& [position, ids] : behind) {
    auto rebuild = std::make_unique<RebuildReader>();
    rebuild->by_time = position.first;
    rebuild->metrics = std::move(ids);
    if (drop_repeats_) rebuild->replays = std::make_unique<ReplayFilter>();
    const auto kind = position.first ? event_log::ReadPosition::Kind::kTime : event_log::ReadPosition::Kind::kOffset;
    const int64_t value = position.first ? position.second : std::max(position.second, info.start_offset);
    NARU_ASSIGN_OR_RETURN(rebuild->reader, log_.OpenReader(event_log::kEventsTopic, {{partition_, kind, value}}));
    rebuilds_.push_back(std::move(rebuild));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> SourcePartition::Process(const event_log::FetchedBatch& batch, EventKernel* kernel,
                                              std::vector<LateEvent>* late) {
  std::vector<MetricState*> at_head;
  for (const auto& [id, state] : states_) {
    if (state->next_offset >= next_offset_) at_head.push_back(state.get());
  }
  NARU_ASSIGN_OR_RETURN(const int64_t next,
                        kernel->Process(batch, resume_at_, INT64_MAX, at_head, replays_.get(), late));
  const bool done = next >= batch.next_offset;
  resume_at_ = done ? 0 : next;
  next_offset_ = std::max(next_offset_, next);
  head_changed = true;
  if (first_received_us == kForever && !batch.records.empty()) first_received_us = batch.records[0].timestamp_us;
  return done;
}

absl::StatusOr<bool> SourcePartition::Continue() {
  bool behind = false;
  for (const auto& [id, state] : states_) {
    NARU_RETURN_IF_ERROR(state->Continue());
    behind = behind || state->behind();
  }
  return behind;
}

void SourcePartition::Join(RebuildReader* rebuild) {
  for (MetricState* state : Find(rebuild->metrics)) {
    state->next_offset = std::max(state->next_offset, next_offset_);
    state->joined = true;
    state->changed = true;
  }
  rebuild->metrics.clear();
}

absl::StatusOr<bool> SourcePartition::RunRebuild(RebuildReader* rebuild, EventKernel* kernel, size_t max_bytes,
                                                 std::vector<LateEvent>* late) {
  if (rebuild->batches.empty()) {
    auto batches = rebuild->reader->Poll(std::chrono::milliseconds(20), max_bytes);
    if (!batches.ok()) {
      if (!IsLostRange(batches.status())) return batches.status();
      NARU_LOG(WARNING, "rebuilding a metric without a lost part of the log",
               {{"partition", partition_}, {"error", batches.status()}});
      return true;
    }
    for (event_log::FetchedBatch& batch : *batches) rebuild->batches.push_back(std::move(batch));
  }
  if (rebuild->batches.empty()) {
    // What remains before the group's position was removed, or there is nothing since the time to start from.
    NARU_ASSIGN_OR_RETURN(const event_log::PartitionInfo info, Describe(log_, partition_));
    if ((rebuild->by_time && info.end_offset <= next_offset_) || info.start_offset >= next_offset_) {
      Join(rebuild);
      return false;
    }
    return true;
  }
  const std::vector<MetricState*> states = Find(rebuild->metrics);
  while (!rebuild->batches.empty()) {
    const event_log::FetchedBatch& batch = rebuild->batches.front();
    NARU_ASSIGN_OR_RETURN(rebuild->resume_at, kernel->Process(batch, rebuild->resume_at, next_offset_, states,
                                                              rebuild->replays.get(), late));
    if (rebuild->resume_at < std::min(batch.next_offset, next_offset_)) return true;  // a commit must come first
    rebuild->resume_at = 0;
    if (batch.next_offset >= next_offset_) {
      Join(rebuild);
      return false;
    }
    rebuild->batches.pop_front();
  }
  return true;
}

absl::StatusOr<bool> SourcePartition::Rebuild(EventKernel* kernel, size_t max_bytes, std::vector<LateEvent>* late) {
  bool any = false;
  for (const auto& rebuild : rebuilds_) {
    NARU_ASSIGN_OR_RETURN(const bool behind, RunRebuild(rebuild.get(), kernel, max_bytes, late));
    any = any || behind;
  }
  rebuilds_.erase(std::remove_if(rebuilds_.begin(), rebuilds_.end(), [](const auto& r) { return r->metrics.empty(); }),
                  rebuilds_.end());
  return any;
}

}  // namespace naru::aggregator
