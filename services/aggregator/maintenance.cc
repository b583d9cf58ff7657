// The part of the loop that gives space back: windows past their retention, metrics that are gone, panes not in use.
#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "common/status/status.h"
#include "services/aggregator/consume_loop.h"

namespace naru::aggregator {
namespace {

constexpr size_t kMaxTombstones = 20'000;     // of deleted metrics, in one commit
constexpr size_t kMaxPaneRows = 100'000'000;  // max_groups allows no more

}  // namespace

absl::Status ConsumeLoop::Maintain(Session* session) {
  session->last_maintenance = std::chrono::steady_clock::now();
  for (const auto& [p, partition] : session->partitions) {
    // One thing after the other: what is listed below must not hold what was deleted a moment ago.
    if (!partition->tombstones.empty() || view_.AppliedOffset(p) < partition->tombstones_until) continue;
    NARU_RETURN_IF_ERROR(ExpirePanes(partition.get()));
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

// Drops the clean panes that were used longest ago, as far as the view can give them back.
void ConsumeLoop::EvictPanes(Session* session) {
  struct Candidate {
    uint64_t last_used;
    MetricState* state;
    int64_t start_us;
    size_t bytes;
  };
  std::vector<Candidate> candidates;
  size_t total = 0;
  for (const auto& [p, partition] : session->partitions) {
    const int64_t applied = view_.AppliedOffset(p);
    for (const auto& [id, state] : partition->states()) {
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
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.last_used < b.last_used; });
  for (const Candidate& candidate : candidates) {
    if (total <= options_.memory_budget_bytes) break;
    candidate.state->panes.Evict(candidate.start_us);
    total -= candidate.bytes;
  }
  session->last_eviction = std::chrono::steady_clock::now();
  {
    MutexLock lock(&mu_);
    stats_.state_bytes = static_cast<int64_t>(total);
  }
  // Far beyond the budget because the view is behind: let it catch up before more is counted.
  if (total > 2 * options_.memory_budget_bytes) {
    const uint64_t seen = view_.change_count();
    view_.WaitUntil([&] { return view_.change_count() != seen; }, std::chrono::milliseconds(100));
  }
}

}  // namespace naru::aggregator
