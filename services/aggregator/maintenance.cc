// The part of the loop that gives space back: windows and entities past their retention, metrics that are gone, panes
// and entities not in use.
#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "common/status/status.h"
#include "services/aggregator/consume_loop.h"

namespace naru::aggregator {
namespace {

constexpr size_t kMaxTombstones = 20'000;     // of deleted metrics, in one commit
constexpr size_t kEntitiesALook = 20'000;     // looked at for expiry, of each metric in a partition
constexpr size_t kSessionsPurged = 10'000;    // of windows that are gone, at a time
constexpr size_t kMaxPaneRows = 100'000'000;  // max_groups allows no more

}  // namespace

absl::Status ConsumeLoop::Maintain(Session* session) {
  session->last_maintenance = std::chrono::steady_clock::now();
  for (const auto& [p, partition] : session->partitions) {
    // One thing after the other: what is listed below must not hold what was deleted a moment ago.
    if (!partition->tombstones.empty() || view_.AppliedOffset(p) < partition->tombstones_until) continue;
    NARU_RETURN_IF_ERROR(ExpirePanes(partition.get()));
    NARU_RETURN_IF_ERROR(ExpireEntities(partition.get()));
    if (partition->tombstones.empty()) NARU_RETURN_IF_ERROR(RemoveObsolete(partition.get()));
  }
  return absl::OkStatus();
}

// A window is kept from its last change on, in whichever pane and partition that was, and never removed before it is
// over: so a pane is kept as long as any window that it is part of.
std::vector<int64_t> ConsumeLoop::FindExpired(SourcePartition* partition, const MetricState& state) {
  const int64_t now_us = clock_.NowMicros(), retention_us = state.plan().retention_us;
  const int64_t applied = view_.AppliedOffset(partition->partition());
  const WindowGrid& grid = state.plan().grid;
  std::vector<int64_t> old;
  std::set<int64_t> young;  // panes with a change within the retention
  state.panes.ForEachRecord([&](int64_t start_us, const PaneRecord& record) {
    if (now_us - record.last_change_us <= retention_us) {
      young.insert(start_us);
      return;
    }
    const Pane* pane = state.panes.FindLoaded(start_us);
    const bool stored = pane == nullptr || (!pane->dirty && pane->committed_offset < applied);
    if (stored) old.push_back(start_us);
  });
  if (old.empty()) return old;
  for (int p = 0; p < view_.partitions(); ++p) {
    if (p == partition->partition()) continue;
    for (const ViewPane& pane : view_.ListPanes(state.id(), p, kNever, kForever)) {
      if (now_us - pane.record.last_change_us <= retention_us) young.insert(pane.start_us);
    }
  }
  std::vector<TimeSpan> windows;
  old.erase(std::remove_if(old.begin(), old.end(),
                           [&](int64_t start_us) {
                             windows.clear();
                             grid.AppendWindowsOf(start_us, &windows);
                             const int64_t end_us = windows.front().end_us;
                             const auto next = young.lower_bound(windows.back().start_us);
                             return end_us > now_us || (next != young.end() && *next < end_us);
                           }),
            old.end());
  return old;
}

absl::Status ConsumeLoop::ExpirePanes(SourcePartition* partition) {
  for (const auto& [id, state] : partition->states()) {
    for (const int64_t start_us : FindExpired(partition, *state)) {
      if (partition->tombstones.size() >= kMaxTombstones) return absl::OkStatus();
      NARU_ASSIGN_OR_RETURN(std::vector<std::string> keys,
                            view_.ListRowKeys(id, partition->partition(), start_us, kMaxPaneRows));
      RecordKey key;
      key.kind = RecordKind::kPane;
      key.metric = id.name;
      key.version = id.version;
      key.partition = partition->partition();
      key.pane_start_us = start_us;
      keys.push_back(EncodeKey(key));
      partition->tombstones.insert(partition->tombstones.end(), std::make_move_iterator(keys.begin()),
                                   std::make_move_iterator(keys.end()));
      state->panes.Remove(start_us);
    }
  }
  return absl::OkStatus();
}

// By the time of the log where it is behind the clock: what is old by then may still have events to come.
absl::Status ConsumeLoop::ExpireEntities(SourcePartition* partition) {
  const std::vector<int64_t> ends = finality_.LogEnds();
  for (const auto& [id, state] : partition->states()) {
    const size_t p = static_cast<size_t>(partition->partition());
    int64_t now_us = clock_.NowMicros();
    if (p >= ends.size() || state->next_offset < ends[p]) now_us = std::min(now_us, state->timelines().LastReceived());
    if (now_us == kNever) continue;
    NARU_ASSIGN_OR_RETURN(const size_t bytes, state->entities.Expire(now_us, kEntitiesALook));
    if (bytes > 0) state->AddDirtyBytes(bytes);
    if (state->sessions() != nullptr) NARU_RETURN_IF_ERROR(state->sessions()->Purge(kSessionsPurged));
  }
  return absl::OkStatus();
}

absl::Status ConsumeLoop::RemoveObsolete(SourcePartition* partition) {
  for (const MetricId& id : view_.Metrics()) {
    if (partition->states().count(id) > 0 || !plans_.IsObsolete(id)) continue;
    NARU_ASSIGN_OR_RETURN(std::vector<std::string> keys, view_.ListKeys(id, partition->partition(), kMaxTombstones));
    if (keys.empty()) continue;
    partition->tombstones = std::move(keys);
    return absl::OkStatus();
  }
  return absl::OkStatus();
}

// Of all metrics, the entities used longest ago; nothing is dropped that the view cannot give back.
size_t ConsumeLoop::EvictEntities(Session* session, size_t bytes) {
  size_t freed = 0;
  for (const auto& [p, partition] : session->partitions) {
    const int64_t applied = view_.AppliedOffset(p);
    for (const auto& [id, state] : partition->states()) {
      if (freed >= bytes) return freed;
      freed += state->entities.Evict(applied, bytes - freed);
    }
  }
  return freed;
}

// Drops clean entities and panes that were used longest ago, as far as the view can give them back.
void ConsumeLoop::EvictStates(Session* session) {
  struct Candidate {
    uint64_t last_used;
    MetricState* state;
    int64_t start_us;
    size_t bytes;
  };
  std::vector<Candidate> candidates;
  size_t total = 0, entities = 0;
  for (const auto& [p, partition] : session->partitions) {
    const int64_t applied = view_.AppliedOffset(p);
    for (const auto& [id, state] : partition->states()) {
      state->entity_index.DropApplied(applied);
      entities += state->entities.bytes() + state->entity_index.bytes();
      if (state->sessions() != nullptr) total += state->sessions()->bytes();
      state->panes.ForEachLoaded([&, &state = state](const Pane* pane) {
        size_t bytes = pane->bytes();
        if (pane->layout().has_sketches()) {
          pane->ForEach([&](const Row* row) { bytes += pane->layout().HeapBytes(row->cell()); });
        }
        total += bytes;
        if (!pane->dirty && pane->committed_offset < applied) {
          candidates.push_back({pane->last_used, state.get(), pane->span.start_us, bytes});
        }
      });
    }
  }
  total += entities;
  const size_t budget = options_.memory_budget_bytes;
  // A pane is dearer to read than an entity: entities give way first, down to half of the budget.
  if (total > budget && entities > budget / 2) {
    total -= EvictEntities(session, std::min(total - budget, entities - budget / 2));
  }
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.last_used < b.last_used; });
  for (const Candidate& candidate : candidates) {
    if (total <= budget) break;
    candidate.state->panes.Evict(candidate.start_us);
    total -= candidate.bytes;
  }
  if (total > budget) total -= EvictEntities(session, total - budget);
  session->last_eviction = std::chrono::steady_clock::now();
  {
    MutexLock lock(&mu_);
    stats_.state_bytes = static_cast<int64_t>(total);
  }
  // Far beyond the budget because the view is behind: let it catch up before more is counted.
  if (total > 2 * budget) {
    const uint64_t seen = view_.change_count();
    view_.WaitUntil([&] { return view_.change_count() != seen; }, std::chrono::milliseconds(100));
  }
}

}  // namespace naru::aggregator
