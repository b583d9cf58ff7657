#include "common/dedup/id_window.h"

#include <algorithm>
#include <deque>
#include <map>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/dedup/generations.h"
#include "common/dedup/id_table.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"

namespace naru::dedup {
namespace {

constexpr size_t kMaxFullTables = 8;  // waiting to be sealed; beyond that ids are refused
constexpr size_t kAhead = 12;         // ids between the prefetch of a slot and its use
constexpr size_t kGroup = 32;         // ids whose filter lines are fetched together

}  // namespace

class PendingBatch {
 public:
  explicit PendingBatch(uint64_t sequence_in) : sequence(sequence_in) {}

  /// False if it is resolved already; then `callback` was not taken.
  bool AddWaiter(std::function<void(bool)> callback, bool* durable) {
    MutexLock lock(&mu_);
    if (resolved_) {
      *durable = durable_;
      return false;
    }
    waiters_.push_back(std::move(callback));
    return true;
  }
  void Resolve(bool durable) {
    std::vector<std::function<void(bool)>> waiters;
    {
      MutexLock lock(&mu_);
      resolved_ = true;
      durable_ = durable;
      waiters.swap(waiters_);
    }
    for (const auto& waiter : waiters) waiter(durable);
  }

  const uint64_t sequence;
  std::vector<IdHash> new_ids;     // written by Check, read by Rollback
  std::shared_ptr<IdTable> table;  // that they were put into

 private:
  Mutex mu_;
  bool resolved_ ABSL_GUARDED_BY(mu_) = false;
  bool durable_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::function<void(bool)>> waiters_ ABSL_GUARDED_BY(mu_);
};

struct IdWindow::State {
  State(IdWindowOptions options_in, uint64_t fingerprint)
      : options(std::move(options_in)),
        capacity((size_t{1} << options.slot_bits) / 4 * 3),
        generations(options.directory, fingerprint, capacity) {}

  struct FullTable {
    std::shared_ptr<IdTable> table;
    std::string note;
  };

  void Seal();
  void Merge();
  bool SealOne();
  absl::Status MakeRoom(size_t ids, uint32_t time_s) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void Rotate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  /// Batches up to this one are resolved.
  uint64_t Watermark() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    return in_flight.empty() ? last_sequence : in_flight.begin()->first - 1;
  }
  bool FindAndPut(const Candidate& candidate, uint32_t time_s, PendingBatch* batch,
                  std::vector<std::shared_ptr<PendingBatch>>* waits_for) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void FindOnDisk(const RunSet& set, absl::Span<const Candidate> candidates, uint32_t time_s,
                  absl::Span<Answer> answers, std::vector<IdHash>* found);
  uint32_t KeepFrom() const {
    const int64_t now_s = options.clock->NowMicros() / 1'000'000;
    return static_cast<uint32_t>(std::max<int64_t>(1, now_s - options.longest_window.count()));
  }

  const IdWindowOptions options;
  const size_t capacity;
  Generations generations;
  uint64_t opened_sequence = 0;

  mutable Mutex mu;
  CondVar sealer_wakes, merger_wakes, idle;
  std::shared_ptr<IdTable> active ABSL_GUARDED_BY(mu);
  std::shared_ptr<IdTable> spare ABSL_GUARDED_BY(mu);  // empty, its memory in place: taking over costs nothing
  std::deque<FullTable> full ABSL_GUARDED_BY(mu);      // oldest first
  uint64_t last_sequence ABSL_GUARDED_BY(mu) = 0;
  std::map<uint64_t, std::shared_ptr<PendingBatch>> in_flight ABSL_GUARDED_BY(mu);
  bool stopping ABSL_GUARDED_BY(mu) = false;
  bool merge_wanted ABSL_GUARDED_BY(mu) = true;
  bool sealing ABSL_GUARDED_BY(mu) = false;
  bool merging ABSL_GUARDED_BY(mu) = false;
  std::atomic<int64_t> disk_lookups{0};
  std::atomic<int64_t> false_positives{0};
  std::thread sealer, merger;
};

absl::StatusOr<std::unique_ptr<IdWindow>> IdWindow::Open(IdWindowOptions options, std::vector<std::string>* notes) {
  const HashKey key = options.key;
  auto state = std::make_unique<State>(std::move(options), IdHasher(key).fingerprint());
  NARU_RETURN_IF_ERROR(state->generations.Load(notes));
  const std::shared_ptr<const RunSet> runs = state->generations.runs();
  {
    MutexLock lock(&state->mu);
    if (!runs->runs.empty()) state->last_sequence = runs->runs.back()->info().last_sequence;
    state->opened_sequence = state->last_sequence;
    state->Rotate();
  }
  State* raw = state.get();
  state->sealer = std::thread([raw] { raw->Seal(); });
  state->merger = std::thread([raw] { raw->Merge(); });
  return std::unique_ptr<IdWindow>(new IdWindow(key, std::move(state)));
}

IdWindow::IdWindow(const HashKey& key, std::unique_ptr<State> state) : hasher_(key), state_(std::move(state)) {}

IdWindow::~IdWindow() {
  {
    MutexLock lock(&state_->mu);
    state_->stopping = true;
    state_->sealer_wakes.SignalAll();
    state_->merger_wakes.SignalAll();
  }
  state_->sealer.join();
  state_->merger.join();
}

uint64_t IdWindow::sealed_sequence() const { return state_->opened_sequence; }

std::string IdWindow::sealed_note() const {
  const std::shared_ptr<const RunSet> runs = state_->generations.runs();
  return runs->runs.empty() ? "" : runs->runs.back()->info().note;
}

// --- Tables --------------------------------------------------------------------------------------------------------

void IdWindow::State::Rotate() {
  if (active != nullptr && active->last_sequence >= active->first_sequence) {
    full.push_back(FullTable{active, options.note ? options.note() : ""});
    sealer_wakes.Signal();
  }
  active = spare != nullptr ? std::move(spare) : std::make_shared<IdTable>(options.slot_bits);
  spare = nullptr;
  active->first_sequence = last_sequence + 1;
  active->last_sequence = last_sequence;
}

absl::Status IdWindow::State::MakeRoom(size_t ids, uint32_t time_s) {
  const uint64_t batches = active->last_sequence + 1 - active->first_sequence;
  if (batches == 0) active->first_time_s = time_s;
  const bool no_room = active->size() + ids > capacity;
  const bool old = time_s > active->first_time_s && time_s - active->first_time_s >= options.seal_after.count();
  if (!no_room && !old && batches < static_cast<uint64_t>(options.seal_after_batches)) return absl::OkStatus();
  if (full.size() >= kMaxFullTables) {
    if (!no_room) return absl::OkStatus();
    return MakeError(absl::StatusCode::kResourceExhausted, "DEDUP_NOT_SEALED",
                     absl::StrCat(options.directory, ": ids cannot be written to disk; free some space and retry"));
  }
  Rotate();
  active->first_time_s = time_s;
  return absl::OkStatus();
}

void IdWindow::Restore(uint64_t sequence, absl::Span<const IdHash> ids, uint32_t time_s) {
  MutexLock lock(&state_->mu);
  if (sequence <= state_->last_sequence) return;
  // Reading back is faster than sealing. Where the disk takes nothing at all, ids are forgotten rather than start
  // refused.
  for (int waits = 0; waits < 300 && state_->full.size() >= kMaxFullTables; ++waits) {
    state_->idle.WaitFor(&state_->mu, std::chrono::milliseconds(100));
  }
  if (!state_->MakeRoom(ids.size(), time_s).ok()) return;
  state_->last_sequence = sequence;
  state_->active->last_sequence = sequence;
  for (const IdHash& id : ids) state_->active->Put(id, time_s, static_cast<uint32_t>(sequence));
}

void IdWindow::Remember(absl::Span<const IdHash> ids, uint32_t time_s) {
  MutexLock lock(&state_->mu);
  if (!state_->MakeRoom(ids.size(), time_s).ok()) return;
  const uint64_t sequence = ++state_->last_sequence;
  state_->active->last_sequence = sequence;
  for (const IdHash& id : ids) {
    // An id of a batch in flight stays that batch's, or its rollback would miss it.
    if (state_->active->Find(id).time_s == 0) state_->active->Put(id, time_s, static_cast<uint32_t>(sequence));
  }
}

// True for a duplicate; otherwise the id is put in.
bool IdWindow::State::FindAndPut(const Candidate& candidate, uint32_t time_s, PendingBatch* batch,
                                 std::vector<std::shared_ptr<PendingBatch>>* waits_for) {
  IdTable::Found found = active->Find(candidate.id);
  for (auto it = full.rbegin(); found.time_s == 0 && it != full.rend(); ++it) found = it->table->Find(candidate.id);
  // A clock that was set back makes ids of the future: they are duplicates too.
  const int64_t age_s = static_cast<int64_t>(time_s) - found.time_s;
  if (found.time_s == 0 || age_s >= candidate.window_s) {
    active->Put(candidate.id, time_s, static_cast<uint32_t>(batch->sequence));
    return false;
  }
  // Restored and resolved batches are not in the map. Only the low 32 bits are stored: compare with those in flight.
  if (in_flight.size() > 1) {
    const uint64_t first = in_flight.begin()->first;
    const uint64_t sequence = first + static_cast<uint32_t>(found.sequence - static_cast<uint32_t>(first));
    const auto it = in_flight.find(sequence);
    if (it != in_flight.end() && it->second.get() != batch && (waits_for->empty() || waits_for->back() != it->second)) {
      waits_for->push_back(it->second);
    }
  }
  return true;
}

// --- Checking ------------------------------------------------------------------------------------------------------

absl::StatusOr<CheckedBatch> IdWindow::Check(absl::Span<const Candidate> candidates, uint32_t time_s,
                                             absl::Span<Answer> answers) {
  CheckedBatch checked;
  std::shared_ptr<const RunSet> runs;
  {
    MutexLock lock(&state_->mu);
    NARU_RETURN_IF_ERROR(state_->MakeRoom(candidates.size(), time_s));
    checked.sequence = ++state_->last_sequence;
    checked.batch = std::make_shared<PendingBatch>(checked.sequence);
    state_->in_flight.emplace(checked.sequence, checked.batch);
    state_->active->last_sequence = checked.sequence;
    checked.batch->table = state_->active;
    // With the tables under one lock: an id is in a table or in one of these, never between.
    runs = state_->generations.runs();
    const size_t n = candidates.size();
    for (size_t i = 0; i < std::min(n, kAhead); ++i) state_->active->Prefetch(candidates[i].id);
    for (size_t i = 0; i < n; ++i) {
      if (i + kAhead < n) state_->active->Prefetch(candidates[i + kAhead].id);
      const bool duplicate = state_->FindAndPut(candidates[i], time_s, checked.batch.get(), &checked.waits_for);
      answers[i] = duplicate ? Answer::kDuplicate : Answer::kNew;
    }
  }
  std::vector<IdHash> found;
  state_->FindOnDisk(*runs, candidates, time_s, answers, &found);
  std::sort(checked.waits_for.begin(), checked.waits_for.end());
  checked.waits_for.erase(std::unique(checked.waits_for.begin(), checked.waits_for.end()), checked.waits_for.end());
  checked.batch->new_ids.reserve(candidates.size());
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (answers[i] == Answer::kNew) checked.batch->new_ids.push_back(candidates[i].id);
  }
  if (!found.empty()) {
    // The run goes on knowing them, with the time that counts.
    MutexLock lock(&state_->mu);
    for (const IdHash& id : found) {
      checked.batch->table->Erase(id, static_cast<uint32_t>(checked.sequence));
    }
  }
  return checked;
}

// Outside the lock: runs are immutable, and this may read from disk.
void IdWindow::State::FindOnDisk(const RunSet& set, absl::Span<const Candidate> candidates, uint32_t time_s,
                                 absl::Span<Answer> answers, std::vector<IdHash>* found) {
  const absl::Span<const IdFilter::View> filters = set.filters;
  if (filters.empty()) return;
  std::vector<FilterProbe> probes;
  probes.reserve(kGroup);
  for (size_t start = 0; start < candidates.size(); start += kGroup) {
    const size_t end = std::min(candidates.size(), start + kGroup);
    probes.clear();
    for (size_t i = start; i < end; ++i) {
      probes.emplace_back(candidates[i].id);
      for (const IdFilter::View& filter : filters) filter.Prefetch(probes.back());
    }
    for (size_t i = start; i < end; ++i) {
      if (answers[i] != Answer::kNew) continue;
      for (size_t f = filters.size(); f-- > 0;) {
        if (!filters[f].MayContain(probes[i - start])) continue;
        disk_lookups.fetch_add(1, std::memory_order_relaxed);
        const std::optional<uint32_t> seen_s = set.runs[f]->Find(candidates[i].id);
        if (!seen_s.has_value()) {
          false_positives.fetch_add(1, std::memory_order_relaxed);
          continue;
        }
        // The newest run that knows it decides.
        if (static_cast<int64_t>(time_s) - *seen_s < candidates[i].window_s) {
          answers[i] = Answer::kDuplicate;
          found->push_back(candidates[i].id);
        }
        break;
      }
    }
  }
}

void IdWindow::Commit(const std::shared_ptr<PendingBatch>& batch) {
  {
    MutexLock lock(&state_->mu);
    state_->in_flight.erase(batch->sequence);
    if (!state_->full.empty()) state_->sealer_wakes.Signal();
  }
  batch->Resolve(true);
}

void IdWindow::Rollback(const std::shared_ptr<PendingBatch>& batch) {
  {
    MutexLock lock(&state_->mu);
    for (const IdHash& id : batch->new_ids) {
      batch->table->Erase(id, static_cast<uint32_t>(batch->sequence));
    }
    state_->in_flight.erase(batch->sequence);
    if (!state_->full.empty()) state_->sealer_wakes.Signal();
  }
  batch->Resolve(false);
}

void IdWindow::WhenResolved(const std::vector<std::shared_ptr<PendingBatch>>& batches, std::function<void(bool)> done) {
  struct Join {
    std::atomic<size_t> left;
    std::atomic<bool> all_durable{true};
    std::function<void(bool)> done;
  };
  auto join = std::make_shared<Join>();
  join->left = batches.size() + 1;
  join->done = std::move(done);
  const auto resolved = [join](bool durable) {
    if (!durable) join->all_durable = false;
    if (join->left.fetch_sub(1) == 1) join->done(join->all_durable);
  };
  for (const auto& batch : batches) {
    bool durable = false;
    if (!batch->AddWaiter(resolved, &durable)) resolved(durable);
  }
  resolved(true);
}

// --- Background ----------------------------------------------------------------------------------------------------

// Seals the oldest full table, if all its batches are resolved. False if there was nothing to do, or it failed.
bool IdWindow::State::SealOne() {
  FullTable oldest;
  {
    MutexLock lock(&mu);
    if (full.empty() || full.front().table->last_sequence > Watermark()) return false;
    oldest = full.front();
    sealing = true;
  }
  // Nobody writes to it any more: its batches are resolved, and new ids go to the active one.
  RunInfo info;
  info.first_sequence = oldest.table->first_sequence;
  info.last_sequence = oldest.table->last_sequence;
  info.note = oldest.note;
  const absl::Status added = generations.Add(oldest.table->Sorted(), info);
  if (!added.ok()) {
    NARU_LOG_EVERY_SECONDS(10, ERROR, "cannot seal a generation of ids", {{"error", added}});
    return false;
  }
  {
    MutexLock lock(&mu);
    full.pop_front();
    merge_wanted = true;
    merger_wakes.Signal();
  }
  // Batches that put ids into it may still be held by those who wait for them, but nobody touches the table through
  // them.
  oldest.table->Clear();
  {
    MutexLock lock(&mu);
    if (spare == nullptr) spare = std::move(oldest.table);
  }
  if (options.sealed) options.sealed(info.last_sequence);
  return true;
}

void IdWindow::State::Seal() {
  while (true) {
    const bool worked = SealOne();
    MutexLock lock(&mu);
    sealing = false;
    if (worked || full.empty()) idle.SignalAll();
    if (stopping) return;
    // The time limit is for retrying after an error; progress is signalled.
    if (!worked) sealer_wakes.WaitFor(&mu, std::chrono::seconds(1));
  }
}

void IdWindow::State::Merge() {
  while (true) {
    {
      MutexLock lock(&mu);
      if (stopping) return;
      if (!merge_wanted) merger_wakes.WaitFor(&mu, std::chrono::seconds(60));
      if (stopping) return;
      merge_wanted = false;
      merging = true;
    }
    generations.Expire(KeepFrom());
    const absl::StatusOr<bool> merged = generations.MergeOnce(KeepFrom());
    if (!merged.ok())
      NARU_LOG_EVERY_SECONDS(10, ERROR, "cannot merge generations of ids", {{"error", merged.status()}});
    MutexLock lock(&mu);
    merging = false;
    if (merged.ok() && *merged) merge_wanted = true;
    if (!merge_wanted) idle.SignalAll();
  }
}

void IdWindow::WaitForBackgroundWork() {
  MutexLock lock(&state_->mu);
  while (!state_->full.empty() || state_->sealing || state_->merge_wanted || state_->merging) {
    state_->sealer_wakes.Signal();
    state_->merger_wakes.Signal();
    state_->idle.WaitFor(&state_->mu, std::chrono::milliseconds(100));
  }
}

IdWindowStats IdWindow::stats() const {
  IdWindowStats stats;
  const std::shared_ptr<const RunSet> runs = state_->generations.runs();
  for (const auto& run : runs->runs) {
    stats.ids += static_cast<int64_t>(run->info().count);
    stats.memory_bytes += static_cast<int64_t>(run->memory_bytes());
    stats.disk_bytes += static_cast<int64_t>(run->pages()) * 4096 + static_cast<int64_t>(run->memory_bytes());
  }
  stats.runs = static_cast<int64_t>(runs->runs.size());
  stats.disk_lookups = state_->disk_lookups;
  stats.false_positives = state_->false_positives;
  stats.damaged_pages = state_->generations.damaged_pages();
  MutexLock lock(&state_->mu);
  stats.ids += static_cast<int64_t>(state_->active->size());
  stats.memory_bytes += static_cast<int64_t>(state_->active->slots()) * 20;
  if (state_->spare != nullptr) stats.memory_bytes += static_cast<int64_t>(state_->spare->slots()) * 20;
  for (const auto& full : state_->full) {
    stats.ids += static_cast<int64_t>(full.table->size());
    stats.memory_bytes += static_cast<int64_t>(full.table->slots()) * 20;
  }
  return stats;
}

}  // namespace naru::dedup
