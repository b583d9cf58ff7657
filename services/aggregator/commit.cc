#include "services/aggregator/commit.h"

#include <algorithm>
#include <utility>

#include "common/status/status.h"

namespace naru::aggregator {

using event_log::AppendBatch;
using event_log::Record;

void Commit::AddRecord(std::string key, std::string value, Part* part) {
  part->strings.push_back(std::move(key));
  const absl::string_view key_view = part->strings.back();
  part->strings.push_back(std::move(value));
  const absl::string_view value_view = part->strings.back();
  bytes_ += static_cast<int64_t>(key_view.size() + value_view.size());
  part->records.push_back({key_view, value_view, now_us_, false});
}

void Commit::AddTombstone(std::string key, Part* part) {
  part->strings.push_back(std::move(key));
  const absl::string_view key_view = part->strings.back();
  bytes_ += static_cast<int64_t>(key_view.size());
  part->records.push_back({key_view, {}, now_us_, true});
}

void Commit::Add(SourcePartition* partition) {
  Part part;
  part.partition = partition;
  part.next_offset = partition->next_offset();
  parts_.push_back(std::move(part));
  Part* added = &parts_.back();
  // Before the states: what was deleted may be there again.
  added->tombstones = partition->tombstones.size();
  for (const std::string& key : partition->tombstones) {
    added->records.push_back({key, {}, now_us_, true});
    bytes_ += static_cast<int64_t>(key.size());
  }
  for (const auto& [id, state] : partition->states()) {
    if (state->changed) AddState(state.get(), added);
  }
  // Last, also where it did not change: with it a reader has the whole commit.
  if (partition->head_changed || !added->records.empty()) {
    RecordKey key;
    key.kind = RecordKind::kHead;
    key.partition = partition->partition();
    AddRecord(EncodeKey(key), EncodeHead({partition->next_offset()}), added);
  }
  if (added->records.empty()) parts_.pop_back();
}

// Rows that are being rebuilt have not been shown.
int64_t Commit::FrontierShown(const MetricState& state, const SourcePartition& partition) {
  if (!state.joined || partition.first_received_us == kForever) return kNever;
  return finality_.FrontierShownUntil(state.plan(), partition.first_received_us);
}

absl::Status Commit::Prepare(SourcePartition* partition) {
  for (const auto& [id, state] : partition->states()) {
    if (state->sessions() == nullptr || !state->changed) continue;
    NARU_RETURN_IF_ERROR(state->sessions()->PrepareCommit(
        FrontierShown(*state, *partition), [&, &id = id](const TimeSpan& window, absl::string_view group) {
          return view_.GroupExists(id, window.start_us, window.end_us, group);
        }));
  }
  return absl::OkStatus();
}

void Commit::AddState(MetricState* state, Part* part) {
  const MetricId id = state->id();
  RecordKey key;
  key.metric = id.name;
  key.version = id.version;
  key.partition = state->partition();
  if (!state->spec_stored) {
    key.kind = RecordKind::kSpec;
    AddRecord(EncodeKey(key), state->plan().spec, part);
  }
  std::vector<Pane*>& panes = state->panes.dirty_panes();
  if (!panes.empty()) {
    const int64_t frontier_us = FrontierShown(*state, *part->partition);
    const int64_t before = bytes_;
    size_t rows = 0;
    for (Pane* pane : panes) {
      AddPane(state, pane, frontier_us, part);
      rows += pane->dirty_rows.size();
    }
    if (rows > 0) state->row_bytes_estimate = std::max<size_t>(32, (bytes_ - before) / rows);
  }
  AddEntities(*state, part);
  // After its rows, so that a reader who sees this progress has them.
  key.kind = RecordKind::kProgress;
  AddRecord(EncodeKey(key), EncodeProgress(state->ToProgress()), part);
}

void Commit::AddEntities(const MetricState& state, Part* part) {
  const MetricId id = state.id();
  RecordKey key;
  key.metric = id.name;
  key.version = id.version;
  key.partition = state.partition();
  key.kind = RecordKind::kEntity;
  for (const Entity* entity : state.entities.dirty()) {
    if (!EntityStore::ToStore(*entity)) continue;
    key.entity = entity->id();
    if (entity->state.empty()) {
      AddTombstone(EncodeKey(key), part);
    } else {
      AddRecord(EncodeKey(key), EncodeEntity({entity->last_change_us(), entity->state}), part);
    }
  }
  key.kind = RecordKind::kEntityIndex;
  state.entity_index.ForEachDirty([&](absl::string_view index, const std::optional<std::string>& value) {
    key.index = index;
    if (value.has_value()) {
      AddRecord(EncodeKey(key), *value, part);
    } else {
      AddTombstone(EncodeKey(key), part);
    }
  });
}

void Commit::AddPane(MetricState* state, Pane* pane, int64_t frontier_us, Part* part) {
  const MetricId id = state->id();
  RecordKey key;
  key.kind = RecordKind::kPane;
  key.metric = id.name;
  key.version = id.version;
  key.partition = state->partition();
  key.pane_start_us = pane->span.start_us;
  pane->record.first = pane->committed_offset < 0 && !pane->loaded;
  AddRecord(EncodeKey(key), EncodePane(pane->record), part);
  BumpRevisions(*state, pane, frontier_us);
  key.kind = RecordKind::kRow;
  static const Revisions kNone;
  for (Row* row : pane->dirty_rows) {
    key.group = row->key(pane->layout());
    std::string value;
    EncodeRow(row->revisions == nullptr ? kNone : *row->revisions, pane->layout(), row->cell(), &value);
    AddRecord(EncodeKey(key), std::move(value), part);
  }
}

// A change of a row whose window was final is a revision of it. A row that nobody has seen yet is not changed by coming
// into being.
void Commit::BumpRevisions(const MetricState& state, Pane* pane, int64_t frontier_us) {
  const WindowGrid& grid = state.plan().grid;
  if (frontier_us == kNever || pane->span.end_us > frontier_us) return;
  std::vector<TimeSpan> windows;
  grid.AppendWindowsOf(pane->span.start_us, &windows);
  int64_t end_us = kNever;
  for (const TimeSpan& window : windows) {
    if (window.end_us <= frontier_us) end_us = std::max(end_us, window.end_us);
  }
  if (end_us == kNever) return;
  for (Row* row : pane->dirty_rows) {
    const bool seen = row->persisted || view_.GroupExists(state.id(), windows.back().start_us, windows.front().end_us,
                                                          row->key(pane->layout()));
    if (!seen) continue;
    // Sessions count when they are over, which changes nothing that was shown.
    if (state.plan().session != nullptr && !row->revised) continue;
    if (row->bumped) continue;  // this commit was tried before
    row->bumped = true;
    if (row->revisions == nullptr) row->revisions = new Revisions;
    AddRevisions(end_us, 1, row->revisions);
  }
}

void Commit::AddLate(const LateBatch& late) {
  if (late.events.empty()) return;
  late_records_.emplace_back();
  for (const LateEvent& event : late.events) {
    late_records_.back().push_back({event.metric, event.bytes, event.received_us, false});
  }
  AppendBatch batch;
  batch.topic = event_log::kLateTopic;
  batch.partition = late.partition;
  batch.headers.schema = event_log::kEventSchema;
  batch.records = late_records_.back();
  late_.push_back(std::move(batch));
}

absl::Status Commit::Run(event_log::Producer& producer, event_log::Consumer* consumer, const std::string& group,
                         bool patient) {
  event_log::Transaction transaction;
  event_log::GroupOffsets offsets;
  offsets.group = group;
  offsets.topic = event_log::kEventsTopic;
  for (const Part& part : parts_) {
    AppendBatch batch;
    batch.topic = event_log::kAggregatesTopic;
    batch.partition = part.partition->partition();
    batch.headers.schema = kAggregateSchema;
    batch.records = part.records;
    transaction.appends.push_back(std::move(batch));
    offsets.next_offsets.emplace_back(part.partition->partition(), part.next_offset);
  }
  transaction.appends.insert(transaction.appends.end(), late_.begin(), late_.end());
  transaction.offsets.push_back(std::move(offsets));
  transaction.consumer = consumer;
  transaction.patient = patient;
  NARU_ASSIGN_OR_RETURN(const event_log::AppendResult result, producer.Commit(transaction));
  for (size_t i = 0; i < parts_.size(); ++i) {
    MarkStored(&parts_[i], i < result.size() ? result[i].last_offset : INT64_MAX - 1);
  }
  return absl::OkStatus();
}

void Commit::MarkStored(Part* part, int64_t last_offset) {
  for (const auto& [id, state] : part->partition->states()) {
    if (!state->changed) continue;
    for (Pane* pane : state->panes.dirty_panes()) {
      for (Row* row : pane->dirty_rows) {
        row->dirty = row->bumped = row->revised = false;
        row->persisted = true;
      }
      pane->dirty_rows.clear();
      pane->dirty = false;
      pane->committed_offset = last_offset;
    }
    state->panes.dirty_panes().clear();
    state->entities.MarkCommitted(last_offset);
    state->entity_index.MarkCommitted(last_offset);
    state->changed = false;
    state->spec_stored = true;
    state->dirty_bytes = 0;
  }
  if (part->tombstones > 0) part->partition->tombstones_until = last_offset + 1;
  part->partition->tombstones.clear();
  part->partition->head_changed = false;
  part->partition->first_received_us = kForever;
}

}  // namespace naru::aggregator
