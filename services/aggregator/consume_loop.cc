#include "services/aggregator/consume_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log/log.h"
#include "common/status/status.h"

namespace naru::aggregator {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

constexpr milliseconds kIdlePoll{100};
constexpr milliseconds kHurriedCommit{20};
constexpr size_t kFewRecords = 500;
constexpr milliseconds kMaxRetryDelay{30'000};
constexpr milliseconds kRestoreTimeout{60'000};
constexpr milliseconds kStopLook{200};
constexpr milliseconds kEvictionInterval{500};
constexpr size_t kRebuildSliceBytes = size_t{2} << 20;

bool IsFenced(const absl::Status& status) {
  return absl::IsAborted(status) && GetErrorDetails(status).reason == "FENCED";
}

// Nothing was stored, or the same may be stored again: partials are whole states, not differences.
bool MayTryAgain(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

milliseconds Since(SteadyClock::time_point time) {
  return std::chrono::duration_cast<milliseconds>(SteadyClock::now() - time);
}

}  // namespace

ConsumeLoop::ConsumeLoop(event_log::EventLog& log, ServingView& view, PlanDirectory& plans, Finality& finality,
                         const Clock& clock, ConsumeLoopOptions options)
    : log_(log), view_(view), plans_(plans), finality_(finality), clock_(clock), options_(std::move(options)) {}

ConsumeLoop::~ConsumeLoop() { Stop(); }

void ConsumeLoop::Start() {
  thread_ = std::thread([this] { Run(); });
}

void ConsumeLoop::Stop() {
  stopping_ = true;
  {
    MutexLock lock(&mu_);
    if (consumer_ != nullptr) consumer_->Cancel();
    wake_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

void ConsumeLoop::Abandon() {
  abandoned_ = true;
  Stop();
}

ConsumeLoopStats ConsumeLoop::stats() const {
  MutexLock lock(&mu_);
  return stats_;
}

absl::Status ConsumeLoop::Health() const {
  MutexLock lock(&mu_);
  return health_;
}

void ConsumeLoop::SetHealth(absl::Status status) {
  MutexLock lock(&mu_);
  health_ = std::move(status);
}

void ConsumeLoop::Run() {
  milliseconds delay = options_.retry_delay;
  while (!stopping()) {
    const auto started = SteadyClock::now();
    const absl::Status status = RunSession();
    if (stopping()) return;
    SetHealth(status);
    {
      MutexLock lock(&mu_);
      if (IsFenced(status)) ++stats_.fenced;
    }
    NARU_LOG(WARNING, "starting again from what is stored", {{"error", status}});
    if (Since(started) > kMaxRetryDelay) delay = options_.retry_delay;
    SleepBeforeRetry(delay);
    delay = std::min(delay * 2, kMaxRetryDelay);
  }
}

void ConsumeLoop::SleepBeforeRetry(milliseconds delay) {
  const auto until = SteadyClock::now() + delay;
  MutexLock lock(&mu_);
  while (!stopping() && SteadyClock::now() < until) {
    wake_.WaitFor(&mu_, std::chrono::duration_cast<std::chrono::microseconds>(until - SteadyClock::now()));
  }
}

absl::Status ConsumeLoop::OpenSession(Session* session) {
  // The producer first: from here on a predecessor of the same name can no longer commit.
  NARU_ASSIGN_OR_RETURN(session->producer, log_.OpenProducer({absl::StrCat("naru-aggregator-", options_.instance)}));
  event_log::RebalanceListener listener;
  listener.assigned = [this, session](const std::vector<int>& partitions) {
    auto positions = Assign(session, partitions);
    if (positions.ok()) return *std::move(positions);
    session->failure = positions.status();
    return std::vector<std::pair<int, int64_t>>();
  };
  listener.revoked = [this, session](const std::vector<int>& partitions) {
    const absl::Status status = Revoke(session, partitions);
    if (!status.ok()) session->failure = status;
  };
  listener.lost = [session](const std::vector<int>& partitions) {
    for (const int p : partitions) {
      session->partitions.erase(p);
      session->late.erase(p);
    }
  };
  NARU_ASSIGN_OR_RETURN(session->consumer,
                        log_.OpenConsumer(options_.group, event_log::kEventsTopic, std::move(listener)));
  session->last_commit = session->last_maintenance = session->last_eviction = SteadyClock::now();
  return absl::OkStatus();
}

absl::Status ConsumeLoop::RunSession() {
  Session session;
  NARU_RETURN_IF_ERROR(OpenSession(&session));
  {
    MutexLock lock(&mu_);
    consumer_ = session.consumer.get();
    ++stats_.sessions;
  }
  absl::Status status;
  while (status.ok() && !stopping()) {
    status = Step(&session);
    if (status.ok()) status = session.failure;
    if (status.ok()) SetHealth(absl::OkStatus());
  }
  if (stopping() && !abandoned_.load() && (status.ok() || absl::IsCancelled(status))) {
    const absl::Status last = CommitAll(&session);
    if (!last.ok())
      NARU_LOG(WARNING, "the last commit failed; it is counted again at the next start", {{"error", last}});
  }
  MutexLock lock(&mu_);
  consumer_ = nullptr;
  return status;
}

absl::Status ConsumeLoop::Step(Session* session) {
  NARU_RETURN_IF_ERROR(AdoptPlans(session));
  NARU_RETURN_IF_ERROR(Consume(session, PollWait(*session)));
  session->rebuilding = session->behind = false;
  for (const auto& [p, partition] : session->partitions) {
    NARU_ASSIGN_OR_RETURN(const bool due, partition->Continue());
    session->behind = session->behind || due;
    NARU_ASSIGN_OR_RETURN(const bool behind,
                          partition->Rebuild(session->kernel.get(), kRebuildSliceBytes, &session->late[p].events));
    session->rebuilding = session->rebuilding || behind;
  }
  if (CommitDue(*session)) {
    const absl::Status status = CommitAll(session);
    if (!status.ok() && !MayTryAgain(status)) return status;
    if (!status.ok()) {
      SetHealth(status);
      NARU_LOG_EVERY_SECONDS(10, WARNING, "cannot commit; trying again", {{"error", status}});
      SleepBeforeRetry(options_.commit_interval);
    }
  }
  // While commits fail, membership is kept alive but nothing more is taken in.
  const bool full = DirtyBytes(*session) > 2 * options_.max_commit_bytes;
  if (full != session->paused) session->consumer->SetPaused(full);
  session->paused = full;
  if (Since(session->last_eviction) >= kEvictionInterval) EvictStates(session);
  if (Since(session->last_maintenance) >= options_.maintenance_interval) return Maintain(session);
  return absl::OkStatus();
}

absl::Status ConsumeLoop::AdoptPlans(Session* session) {
  const std::shared_ptr<const PlanSet> plans = plans_.Refresh();
  const bool changed = session->kernel == nullptr || session->kernel->plans() != plans;
  if (!changed && session->newly_assigned.empty()) return absl::OkStatus();
  if (changed) {
    // The states of a metric that goes are dropped with its plans, so they must be stored first.
    const absl::Status status = CommitAll(session);
    if (!status.ok()) return MayTryAgain(status) ? absl::OkStatus() : status;
    session->kernel = std::make_unique<EventKernel>(plans);
  }
  for (const auto& [p, partition] : session->partitions) {
    const auto& fresh = session->newly_assigned;
    if (changed || std::find(fresh.begin(), fresh.end(), p) != fresh.end())
      NARU_RETURN_IF_ERROR(partition->AdoptPlans(plans));
  }
  session->newly_assigned.clear();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::pair<int, int64_t>>> ConsumeLoop::Assign(Session* session,
                                                                         const std::vector<int>& partitions) {
  // Committed offsets first: asking for them waits for commits under way, whose partials the view must then have.
  NARU_ASSIGN_OR_RETURN(const auto committed, log_.CommittedOffsets(options_.group, event_log::kEventsTopic));
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo aggregates, log_.DescribeTopic(event_log::kAggregatesTopic));
  std::map<int, int64_t> next;
  for (const auto& [p, offset] : committed) next[p] = offset;
  const auto has_all = [&] {
    for (const int p : partitions) {
      for (const event_log::PartitionInfo& info : aggregates.partitions) {
        if (info.partition == p && view_.AppliedOffset(p) < info.end_offset) return false;
      }
      // The head record was committed with the offset, so this holds even where the topic's end was not yet told.
      if (next.count(p) > 0 && view_.HeadOffset(p) < next[p]) return false;
    }
    return true;
  };
  bool caught_up = false;
  const auto until = SteadyClock::now() + kRestoreTimeout;
  while (!caught_up && SteadyClock::now() < until) {
    if (stopping()) return MakeError(absl::StatusCode::kCancelled, "STOPPING", "the aggregator stops");
    caught_up = view_.WaitUntil(has_all, kStopLook);
  }
  if (!caught_up)
    return MakeError(absl::StatusCode::kUnavailable, "VIEW_BEHIND", "the view did not reach the end of aggregates");
  std::vector<std::pair<int, int64_t>> positions;
  for (const int p : partitions) {
    const int64_t offset = std::max(next.count(p) > 0 ? next[p] : 0, view_.HeadOffset(p));
    auto partition =
        std::make_unique<SourcePartition>(log_, view_, p, offset, options_.drop_repeats, &session->pane_uses);
    NARU_RETURN_IF_ERROR(partition->RestoreReplays());
    if (session->kernel != nullptr) {
      NARU_RETURN_IF_ERROR(partition->AdoptPlans(session->kernel->plans()));
    } else {
      session->newly_assigned.push_back(p);
    }
    session->partitions[p] = std::move(partition);
    positions.emplace_back(p, offset);
  }
  NARU_LOG(INFO, "partitions assigned", {{"partitions", positions.size()}});
  return positions;
}

absl::Status ConsumeLoop::Revoke(Session* session, const std::vector<int>& partitions) {
  std::vector<SourcePartition*> leaving;
  for (const int p : partitions) {
    const auto found = session->partitions.find(p);
    if (found != session->partitions.end()) leaving.push_back(found->second.get());
  }
  absl::Status status;
  if (!abandoned_.load()) status = CommitPartitions(session, leaving);
  for (const int p : partitions) {
    session->partitions.erase(p);
    session->late.erase(p);
  }
  // What was not committed is counted by the next owner; only fencing concerns the rest of the session.
  return IsFenced(status) ? status : absl::OkStatus();
}

absl::Status ConsumeLoop::Consume(Session* session, milliseconds wait) {
  auto batches = session->consumer->Poll(wait, options_.poll_bytes);
  if (!batches.ok()) {
    const absl::Status& status = batches.status();
    if (absl::IsOutOfRange(status) || absl::IsDataLoss(status)) {
      NARU_LOG(ERROR, "events were lost before they were counted", {{"error", status}});
      return absl::OkStatus();
    }
    if (!absl::IsUnavailable(status)) return status;
    NARU_LOG_EVERY_SECONDS(10, WARNING, "cannot read events; trying again", {{"error", status}});
    SleepBeforeRetry(options_.commit_interval);
    return absl::OkStatus();
  }
  NARU_RETURN_IF_ERROR(session->failure);
  size_t records = 0;
  for (const event_log::FetchedBatch& batch : *batches) {
    records += batch.records.size();
    const auto found = session->partitions.find(batch.partition);
    if (found == session->partitions.end()) continue;
    const int64_t before = session->kernel->processed_events();
    const int64_t skipped = session->kernel->skipped_records();
    LateBatch& late = session->late[batch.partition];
    late.partition = batch.partition;
    for (;;) {
      NARU_ASSIGN_OR_RETURN(const bool done, found->second->Process(batch, session->kernel.get(), &late.events));
      if (done) break;
      NARU_RETURN_IF_ERROR(CommitBetween(session));
      if (stopping()) return absl::OkStatus();  // the next start goes on in the middle of the batch
    }
    {
      MutexLock lock(&mu_);
      stats_.events += session->kernel->processed_events() - before;
      stats_.skipped_records += session->kernel->skipped_records() - skipped;
    }
    if (DirtyBytes(*session) >= options_.max_commit_bytes) {
      const absl::Status status = CommitAll(session);
      if (!status.ok() && !MayTryAgain(status)) return status;
    }
  }
  Linger(*session, records);
  return absl::OkStatus();
}

// In the middle of a batch: nothing more is counted until it is done.
absl::Status ConsumeLoop::CommitBetween(Session* session) {
  for (;;) {
    const absl::Status status = CommitAll(session);
    if (status.ok()) break;
    if (!MayTryAgain(status) || stopping()) return status;
    SetHealth(status);
    NARU_LOG_EVERY_SECONDS(10, WARNING, "cannot commit; trying again", {{"error", status}});
    SleepBeforeRetry(options_.commit_interval);
  }
  EvictStates(session);
  return absl::OkStatus();
}

void ConsumeLoop::Linger(const Session& session, size_t records) {
  if (records == 0 || records >= kFewRecords || session.rebuilding || session.behind) return;
  const auto until = SteadyClock::now() + options_.linger;
  MutexLock lock(&mu_);
  while (!stopping() && !hurry_.load(std::memory_order_relaxed) && SteadyClock::now() < until) {
    wake_.WaitFor(&mu_, std::chrono::duration_cast<std::chrono::microseconds>(until - SteadyClock::now()));
  }
}

int64_t ConsumeLoop::DirtyBytes(const Session& session) {
  size_t bytes = 0;
  for (const auto& [p, partition] : session.partitions) {
    for (const auto& [id, state] : partition->states()) bytes += state->dirty_bytes;
    bytes += partition->tombstones.size() * 64;
  }
  for (const auto& [p, late] : session.late) bytes += late.events.size() * 256;
  return static_cast<int64_t>(bytes);
}

bool ConsumeLoop::AnythingToCommit(const Session& session) {
  for (const auto& [p, partition] : session.partitions) {
    if (partition->head_changed || !partition->tombstones.empty()) return true;
    for (const auto& [id, state] : partition->states()) {
      if (state->changed) return true;
    }
  }
  return false;
}

bool ConsumeLoop::CommitDue(const Session& session) const {
  const milliseconds elapsed = Since(session.last_commit);
  const int64_t dirty = DirtyBytes(session);
  if (session.behind || dirty >= options_.max_commit_bytes || elapsed >= options_.max_commit_interval) return true;
  if (hurry_.load(std::memory_order_relaxed) && elapsed >= kHurriedCommit) return true;
  return elapsed >= options_.commit_interval && dirty * 1000 <= options_.commit_bytes_per_second * elapsed.count();
}

milliseconds ConsumeLoop::PollWait(const Session& session) const {
  if (session.rebuilding || session.behind) return milliseconds(0);
  if (!AnythingToCommit(session)) return kIdlePoll;
  if (hurry_.load(std::memory_order_relaxed)) return milliseconds(1);
  const milliseconds left = options_.commit_interval - Since(session.last_commit);
  return std::clamp(left, milliseconds(1), kIdlePoll);
}

absl::Status ConsumeLoop::CommitAll(Session* session) {
  std::vector<SourcePartition*> all;
  for (const auto& [p, partition] : session->partitions) all.push_back(partition.get());
  const bool hurried = hurry_.exchange(false, std::memory_order_relaxed);
  const absl::Status status = CommitPartitions(session, all, !hurried && !session->rebuilding && !stopping());
  session->last_commit = SteadyClock::now();
  return status;
}

absl::Status ConsumeLoop::CommitPartitions(Session* session, const std::vector<SourcePartition*>& partitions,
                                           bool patient) {
  Commit commit(view_, finality_, clock_.NowMicros());
  for (SourcePartition* partition : partitions) {
    NARU_RETURN_IF_ERROR(commit.Prepare(partition));
    commit.Add(partition);
    commit.AddLate(session->late[partition->partition()]);
  }
  if (commit.empty()) return absl::OkStatus();
  NARU_RETURN_IF_ERROR(commit.Run(*session->producer, session->consumer.get(), options_.group, patient));
  for (SourcePartition* partition : partitions) session->late[partition->partition()].events.clear();
  MutexLock lock(&mu_);
  ++stats_.commits;
  stats_.committed_bytes += commit.bytes();
  return absl::OkStatus();
}

}  // namespace naru::aggregator
