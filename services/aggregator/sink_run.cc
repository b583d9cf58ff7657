#include "services/aggregator/sink_run.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <numeric>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "services/aggregator/row_proto.h"
#include "services/aggregator/session_rows.h"

namespace naru::aggregator {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

constexpr size_t kChunkRows = 10'000;      // between two intents; held in memory
constexpr size_t kMaxRefusedHeld = 1'000;  // then they are stored
constexpr int kDutyFactor = 3;             // a turn is followed by so many times its own length of rest
constexpr milliseconds kLongestRest{60'000};
constexpr milliseconds kPositionInterval{10'000};  // how often a position is stored that moved without rows
constexpr int64_t kExpireSlack = 16;               // rows live for up to a 16th of the retention longer
constexpr size_t kMaxWindowsRemembered = 100'000;
constexpr char kRefusedSchema[] = "naru.aggregator.v1.RefusedSinkRow";

/// What tells windows apart.
using Ends = std::pair<int64_t, int64_t>;
Ends EndsOf(const TimeSpan& window) { return {window.start_us, window.end_us}; }

milliseconds Since(SteadyClock::time_point time) {
  return std::chrono::duration_cast<milliseconds>(SteadyClock::now() - time);
}

int64_t Lag(const std::vector<int64_t>& there, const std::vector<int64_t>& done) {
  int64_t lag = 0;
  for (size_t p = 0; p < there.size(); ++p) lag += std::max<int64_t>(0, there[p] - (p < done.size() ? done[p] : 0));
  return lag;
}

template <typename Offsets>
bool Reached(const std::vector<int64_t>& there, const Offsets& needed) {
  for (int p = 0; p < static_cast<int>(needed.size()); ++p) {
    if (p >= static_cast<int>(there.size()) || there[p] < needed[p]) return false;
  }
  return true;
}

void SetOffsets(const std::vector<int64_t>& offsets, google::protobuf::RepeatedField<int64_t>* field) {
  field->Assign(offsets.begin(), offsets.end());
}

}  // namespace

class SinkRun::State : public SinkFence {
 public:
  State(const SinkRunDependencies& d, OpenSinkWriter o, SinkRunOptions options)
      : deps_(d), open_(std::move(o)), options_(std::move(options)), synced_at_us_(NowUs()) {
    status_.state = "WAITING";
    status_.message = "it starts";
    thread_ = std::thread([this] { Run(); });
  }

  ~State() override {
    RequestStop();
    thread_.join();
  }

  void RequestStop() {
    MutexLock lock(&mu_);
    stopping_ = true;
    if (writer_ != nullptr) writer_->Cancel();
    wake_.SignalAll();
  }
  void EndHungCall();
  bool finished() const { return finished_.load(); }
  const SinkRunOptions& options() const { return options_; }
  SinkRunStatus status() const;

  absl::Status Append(std::vector<event_log::AppendBatch> appends) override {
    return deps_.ledger.Append(options_.id, options_.claim, std::move(appends));
  }

 private:
  // The windows of one turn, and which of them are written whole.
  struct Work {
    std::vector<TimeSpan> windows;
    std::set<Ends> whole;
    std::vector<int64_t> since;  // rows that changed at or after these offsets are written of the others
    std::vector<int64_t> committed;
    int64_t frontier_us = kNever;
  };

  static int64_t NowUs() { return Clock::System()->MonotonicMicros(); }
  MetricId metric() const { return {plan_->name, plan_->version}; }

  void Run();
  absl::Status Follow();
  absl::Status RunTask();
  void ShowStored();
  absl::Status FindPlan();
  absl::Status WaitForIntent();
  absl::Status OpenWriter();
  absl::Status Claim();
  absl::Status Loop();
  bool MustBeginAgain();
  absl::Status Turn();
  absl::Status TurnWithSessions();
  Work FindWork(RowSource& source, int64_t frontier_us) const;
  absl::Status WriteWindow(RowSource& source, const Work& work, const TimeSpan& window);
  absl::Status ReadSessions(RowSource& source, const Work& work, const TimeSpan& window, std::vector<SinkRow>* rows);
  int64_t ExpireTime(const RowSource& source, const TimeSpan& window) const;
  bool MovedFar(const TimeSpan& window, int64_t expire_us) const;
  void NoteExpire(const TimeSpan& window, int64_t expire_us);
  absl::Status Begin();
  absl::Status Flush();
  absl::Status EndTurn(const Work& work);
  absl::Status Idle();
  absl::Status CommitState(bool leaving = false);
  absl::Status Explain(const absl::Status& status);
  /// Calls the store so that EndHungCall sees how long it takes.
  template <typename Call>
  auto Timed(Call call) {
    {
      MutexLock lock(&mu_);
      call_since_us_ = NowUs();
    }
    auto result = call();
    MutexLock lock(&mu_);
    call_since_us_ = 0;
    return result;
  }
  void AddRefused(const std::vector<RefusedRow>& refused, absl::Span<const SinkRow> rows);
  void SetStatus(const char* state, std::string message);
  bool Wait(milliseconds time);
  bool stopping() const {
    MutexLock lock(&mu_);
    return stopping_;
  }
  absl::Status CheckClaim() const {
    if (stopping()) return absl::CancelledError("stopping");
    return deps_.ledger.Claim(options_.id) == options_.claim ? absl::OkStatus() : SinkFenced();
  }

  const SinkRunDependencies deps_;
  const OpenSinkWriter open_;
  const SinkRunOptions options_;

  // Only of the thread.
  v1::SinkState stored_;
  std::shared_ptr<const MetricPlan> plan_;
  std::optional<WindowQuery> query_;
  SinkLayout layout_;
  SinkMark mark_;         // that the store has
  bool fill_ = false;     // the next turn is one
  bool emptied_ = false;  // the store said so
  bool turn_open_ = false;
  bool dirty_ = false;   // rows were written since the state was stored
  bool moved_ = false;   // the position moved without rows since then
  bool loaded_ = false;  // stored_ is what the ledger had, and what came of it
  std::vector<SinkRow> chunk_;
  std::vector<std::string> refused_;  // encoded
  std::map<Ends, int64_t> expires_;   // of windows, when they were last written whole
  std::string published_;             // state that the ledger knows
  uint64_t seen_changes_ = 0;
  ShownRunningRows running_;   // rows in the store
  uint64_t read_changes_ = 0;  // of the view, when sessions were last read
  SteadyClock::time_point last_turn_, next_turn_, last_commit_, last_check_, last_expire_;

  mutable Mutex mu_;
  CondVar wake_;
  std::unique_ptr<SinkWriter> writer_;  // replaced under mu_; used by the thread
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  SinkRunStatus status_ ABSL_GUARDED_BY(mu_);
  std::vector<int64_t> done_ ABSL_GUARDED_BY(mu_);  // of the version that is being written
  int32_t version_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t synced_at_us_ ABSL_GUARDED_BY(mu_);
  int64_t call_since_us_ ABSL_GUARDED_BY(mu_) = 0;  // of the call of the store that is under way; 0: none is
  bool hung_ ABSL_GUARDED_BY(mu_) = false;          // that call was ended
  std::atomic<bool> finished_{false};
  std::thread thread_;
};

SinkRunStatus SinkRun::State::status() const {
  std::vector<int64_t> done;
  SinkRunStatus status;
  int64_t synced_at_us = 0;
  int32_t version = 0;
  {
    MutexLock lock(&mu_);
    status = status_;
    done = done_;
    version = version_;
    synced_at_us = synced_at_us_;
  }
  status.lag = Lag(deps_.view.LastCommits({options_.id.metric, version}), done);
  if (status.lag > 0) status.lag_us = std::max<int64_t>(0, NowUs() - synced_at_us);
  return status;
}

void SinkRun::State::SetStatus(const char* state, std::string message) {
  MutexLock lock(&mu_);
  status_.state = state;
  status_.message = std::move(message);
}

// False: stopping.
bool SinkRun::State::Wait(milliseconds time) {
  const auto until = SteadyClock::now() + time;
  MutexLock lock(&mu_);
  while (!stopping_ && SteadyClock::now() < until) {
    wake_.WaitFor(&mu_, std::chrono::duration_cast<std::chrono::microseconds>(until - SteadyClock::now()));
  }
  return !stopping_;
}

// The store answers nothing, and its connection stands: what has no time limit of its own would wait for ever.
void SinkRun::State::EndHungCall() {
  MutexLock lock(&mu_);
  const int64_t limit_us = std::chrono::microseconds(options_.pace.max_call).count();
  if (call_since_us_ == 0 || hung_ || NowUs() - call_since_us_ < limit_us) return;
  hung_ = true;
  writer_->Cancel();
}

// What to tell of the end of a try.
absl::Status SinkRun::State::Explain(const absl::Status& status) {
  MutexLock lock(&mu_);
  if (!hung_) return status;
  hung_ = false;
  return MakeError(absl::StatusCode::kUnavailable, "STORE_HANGS",
                   absl::StrCat("the store has not answered for ", options_.pace.max_call.count(), " ms"));
}

void SinkRun::State::Run() {
  milliseconds delay = options_.pace.first_retry;
  while (!stopping()) {
    const auto begun = SteadyClock::now();
    const absl::Status status = Explain(options_.task == SinkRunOptions::Task::kWrite ? Follow() : RunTask());
    if (writer_ != nullptr) Timed([&] { return writer_->Abandon(), true; });
    chunk_.clear();
    turn_open_ = false;
    emptied_ = emptied_ || IsSinkStoreEmptied(status);
    const bool done = status.ok() && options_.task != SinkRunOptions::Task::kWrite;
    // Whoever took over counts; the set begins again if it is still this one.
    if (done || stopping() || IsSinkFenced(status)) break;
    const bool worked = Since(begun) > options_.pace.max_retry;
    if (worked) delay = options_.pace.first_retry;
    if (status.ok()) continue;  // the metric changed, or a fill was asked for
    NARU_LOG_EVERY_SECONDS(10, WARNING, "a sink waits",
                           {{"sink", options_.id.sink}, {"metric", options_.id.metric}, {"error", status}});
    SetStatus("WAITING", std::string(status.message()));
    if (published_ != "WAITING") CommitState().IgnoreError();  // only tells others
    // Half of the time by chance, so that many sinks do not come back to a store at the same moment.
    const auto chance = static_cast<int64_t>(deps_.random.Next() % static_cast<uint64_t>(delay.count() / 2 + 1));
    if (!Wait(delay / 2 + milliseconds(chance))) break;
    delay = std::min(delay * 2, options_.pace.max_retry);
  }
  SetStatus("STOPPED", "");
  // So that others can tell that nothing more is written; refused where another has taken over.
  if (loaded_) CommitState(/*leaving=*/true).IgnoreError();
  finished_ = true;
}

absl::Status SinkRun::State::RunTask() {
  NARU_RETURN_IF_ERROR(CheckClaim());
  if (options_.task == SinkRunOptions::Task::kDrop) {
    layout_ = {};
    layout_.sink = options_.id.sink;
    layout_.metric = options_.id.metric;
    NARU_RETURN_IF_ERROR(OpenWriter());
    NARU_RETURN_IF_ERROR(CheckClaim());
    // Whatever comes under this name later has a greater one: epochs are times.
    const int64_t epoch = deps_.ledger.State(options_.id).value_or(v1::SinkState()).epoch() + 1;
    NARU_RETURN_IF_ERROR(Timed([&] { return writer_->Drop(std::max(epoch, deps_.clock.NowMicros())); }));
  }
  NARU_RETURN_IF_ERROR(deps_.ledger.Commit(options_.id, options_.claim, std::nullopt, {}));
  // A Sink of the same name that comes later is not paused because of this one.
  const bool forget = options_.task == SinkRunOptions::Task::kForget && deps_.ledger.Paused(options_.id.sink);
  return forget ? deps_.ledger.SetPaused(options_.id.sink, false) : absl::OkStatus();
}

// Until something fails, or has to begin again.
absl::Status SinkRun::State::Follow() {
  refused_.clear();  // what was not stored comes again
  dirty_ = moved_ = false;
  const std::optional<v1::SinkState> known = deps_.ledger.State(options_.id);
  stored_ = known.value_or(v1::SinkState());
  // A request from before this was written at all is not about it: it must not take rows over from another Sink.
  if (!known.has_value()) stored_.set_handled_resync(deps_.ledger.ResyncRequest(options_.id.sink));
  loaded_ = true;
  NARU_RETURN_IF_ERROR(FindPlan());
  ShowStored();
  NARU_RETURN_IF_ERROR(WaitForIntent());
  layout_ = MakeSinkLayout(options_.id.sink, *plan_);
  layout_.take_over = deps_.ledger.ResyncRequest(options_.id.sink) > stored_.handled_resync();
  NARU_RETURN_IF_ERROR(OpenWriter());
  NARU_RETURN_IF_ERROR(Claim());
  return Loop();
}

// How far the store is, before anything else is tried.
void SinkRun::State::ShowStored() {
  const bool filled = stored_.filled() && stored_.metric_version() == plan_->version;
  MutexLock lock(&mu_);
  version_ = plan_->version;
  done_.clear();
  if (filled) done_.assign(stored_.done_offsets().begin(), stored_.done_offsets().end());
  status_.metric_version = stored_.filled() ? stored_.metric_version() : 0;
  status_.written = stored_.written_count();
  status_.refused = stored_.refused_count();
}

absl::Status SinkRun::State::FindPlan() {
  for (;;) {
    NARU_RETURN_IF_ERROR(CheckClaim());
    plan_ = deps_.plans.Answering(options_.id.metric);
    if (plan_ != nullptr) break;
    NARU_RETURN_IF_ERROR(deps_.plans.Failure(options_.id.metric));
    Wait(options_.pace.poll);
  }
  v1::QueryWindowsRequest all;
  all.set_metric(options_.id.metric);
  NARU_ASSIGN_OR_RETURN(WindowQuery query, WindowQuery::Compile(all, plan_));
  query_ = std::move(query);
  return absl::OkStatus();
}

absl::Status SinkRun::State::WaitForIntent() {
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo topic, deps_.log.DescribeTopic(event_log::kAggregatesTopic));
  const auto beyond = [&topic](const google::protobuf::RepeatedField<int64_t>& offsets) {
    return std::any_of(topic.partitions.begin(), topic.partitions.end(), [&](const event_log::PartitionInfo& info) {
      return info.partition < offsets.size() && offsets.Get(info.partition) > info.end_offset;
    });
  };
  if (beyond(stored_.intent_offsets()) || beyond(stored_.done_offsets())) {
    NARU_LOG(WARNING, "aggregates end before what was written to a sink: it is filled again",
             {{"sink", options_.id.sink}, {"metric", options_.id.metric}});
    stored_.clear_intent_offsets();
    stored_.clear_done_offsets();
    stored_.set_filled(false);
  }
  while (!Reached(deps_.view.AppliedOffsets(), stored_.intent_offsets())) {
    NARU_RETURN_IF_ERROR(CheckClaim());
    SetStatus("WAITING", "for the view to catch up");
    Wait(options_.pace.poll);
  }
  return absl::OkStatus();
}

absl::Status SinkRun::State::OpenWriter() {
  NARU_ASSIGN_OR_RETURN(std::unique_ptr<SinkWriter> writer, open_(*this));
  {
    MutexLock lock(&mu_);
    if (stopping_) return absl::CancelledError("stopping");
    writer_.swap(writer);
  }
  return Timed([&] { return writer_->Prepare(layout_); });
}

// Takes the writing over: from the commit on, predecessors store nothing more, and after the first turn the store
// refuses them too.
absl::Status SinkRun::State::Claim() {
  std::optional<SinkMark> mark;
  if (writer_->keeps_mark()) {
    NARU_ASSIGN_OR_RETURN(mark, Timed([&] { return writer_->ReadMark(); }));
  }
  const SinkMark known{stored_.mark_epoch(), stored_.mark_sequence()};
  const bool lost = emptied_ || (writer_->keeps_mark() && (!mark.has_value() || *mark < known));
  if (lost && stored_.filled()) {
    NARU_LOG(WARNING, "a sink's store was emptied or fell back: it is filled again",
             {{"sink", options_.id.sink}, {"metric", options_.id.metric}});
  }
  const int64_t request = deps_.ledger.ResyncRequest(options_.id.sink);
  fill_ = lost || !stored_.filled() || stored_.metric_version() != plan_->version ||
          request > stored_.handled_resync() || stored_.target() != options_.target || plan_->session != nullptr;
  mark_ = mark.value_or(known);
  // Times, so that an epoch is greater than all before also where the log was lost.
  stored_.set_epoch(std::max({stored_.epoch() + 1, mark_.epoch + 1, deps_.clock.NowMicros()}));
  stored_.set_metric_version(plan_->version);
  stored_.set_filled(!fill_);
  stored_.set_handled_resync(request);
  stored_.set_target(options_.target);
  if (fill_) {
    stored_.clear_done_offsets();
    stored_.set_done_frontier_us(kNever);
  }
  expires_.clear();
  emptied_ = false;
  ShowStored();
  SetStatus(fill_ ? "FILLING" : "RUNNING", "");
  return CommitState();
}

// Whether another version of the metric answers, or a fill was asked for.
bool SinkRun::State::MustBeginAgain() {
  const std::shared_ptr<const MetricPlan> now = deps_.plans.Answering(options_.id.metric);
  if (now == nullptr || now->version != plan_->version) return true;
  return deps_.ledger.ResyncRequest(options_.id.sink) > stored_.handled_resync();
}

absl::Status SinkRun::State::Loop() {
  next_turn_ = last_turn_ = SteadyClock::time_point();
  last_check_ = SteadyClock::now();
  for (;;) {
    NARU_RETURN_IF_ERROR(CheckClaim());
    if (MustBeginAgain()) return dirty_ ? CommitState() : absl::OkStatus();
    const uint64_t changes = deps_.view.change_count();
    const bool due = fill_ || changes != seen_changes_ || Since(last_turn_) >= options_.pace.turn_at_least;
    if (due && SteadyClock::now() >= next_turn_) {
      seen_changes_ = changes;
      last_turn_ = SteadyClock::now();
      NARU_RETURN_IF_ERROR(Turn());
      const milliseconds rest = std::min(Since(last_turn_) * kDutyFactor, kLongestRest);
      next_turn_ = SteadyClock::now() + std::max(options_.interval, rest);
    }
    NARU_RETURN_IF_ERROR(Idle());
    Wait(std::min(options_.pace.poll, options_.interval));
  }
}

SinkRun::State::Work SinkRun::State::FindWork(RowSource& source, int64_t frontier_us) const {
  Work work;
  work.committed = deps_.view.CommittedOffsets(metric());
  work.frontier_us = frontier_us;
  if (fill_) {
    work.windows = query_->Windows(source, work.frontier_us);
    for (const TimeSpan& window : work.windows) work.whole.insert(EndsOf(window));
    return work;
  }
  work.since.assign(stored_.done_offsets().begin(), stored_.done_offsets().end());
  work.since.resize(work.committed.size(), 0);
  work.windows = query_->WindowsChangedSince(source, work.since, work.frontier_us);
  const int64_t before_us = stored_.done_frontier_us();
  if (before_us == work.frontier_us) return work;
  // Windows whose mark changed although no row did.
  std::set<Ends> have;
  for (const TimeSpan& window : work.windows) have.insert(EndsOf(window));
  for (const TimeSpan& window :
       query_->WindowsEndingIn(source, std::min(before_us, work.frontier_us), std::max(before_us, work.frontier_us))) {
    work.whole.insert(EndsOf(window));
    if (have.count(EndsOf(window)) == 0) work.windows.push_back(window);
  }
  // Of windows that begin together the shortest first, of which the longer ones are made.
  std::sort(work.windows.begin(), work.windows.end(),
            [](const TimeSpan& a, const TimeSpan& b) { return EndsOf(a) < EndsOf(b); });
  return work;
}

absl::Status SinkRun::State::Turn() {
  if (plan_->session != nullptr) return TurnWithSessions();
  ViewRowSource source(deps_.view, metric());
  query_->Refresh();
  const Work work = FindWork(source, deps_.finality.Frontier(*plan_));
  for (const TimeSpan& window : work.windows) NARU_RETURN_IF_ERROR(WriteWindow(source, work, window));
  return EndTurn(work);
}

// What is counted between two reads would be there twice, or not at all, so what is written together is read together.
absl::Status SinkRun::State::TurnWithSessions() {
  const uint64_t changes = deps_.view.change_count();
  const int64_t frontier_us = deps_.finality.Frontier(*plan_);
  Work work;
  if (!fill_ && changes == read_changes_ && frontier_us == stored_.done_frontier_us()) {
    // Reading the running sessions costs something.
    work.committed.assign(stored_.done_offsets().begin(), stored_.done_offsets().end());
    work.frontier_us = frontier_us;
    return EndTurn(work);
  }
  if (fill_) running_.Clear();
  ViewRowSource counted(deps_.view, metric());
  SessionRowSource source(counted, plan_, RunningSessionsOf(deps_.view, metric()), /*with_empty=*/!fill_);
  for (size_t next = 0, end = 0; next == 0 || next < work.windows.size(); next = end) {
    NARU_RETURN_IF_ERROR(CheckClaim());
    const ShownRunningRows running_before = running_;
    std::vector<SinkRow> rows;
    NARU_RETURN_IF_ERROR(deps_.view.ReadConsistently([&]() -> absl::Status {
      running_ = running_before;
      rows.clear();
      query_->Refresh();
      NARU_RETURN_IF_ERROR(source.Load(query_->pane_from_us(), query_->pane_to_us()));
      if (next == 0) {
        work = FindWork(source, frontier_us);
        running_.AppendWindows(&work.windows);
      }
      for (end = next; end < work.windows.size() && rows.size() < kChunkRows; ++end) {
        NARU_RETURN_IF_ERROR(ReadSessions(source, work, work.windows[end], &rows));
      }
      return absl::OkStatus();
    }));
    for (SinkRow& row : rows) {
      NoteExpire(row.result.window, row.expire_time_us);
      chunk_.push_back(std::move(row));
    }
    if (chunk_.size() >= kChunkRows) NARU_RETURN_IF_ERROR(Flush());
    if (work.windows.empty()) break;
  }
  read_changes_ = changes;
  return EndTurn(work);
}

absl::Status SinkRun::State::ReadSessions(RowSource& source, const Work& work, const TimeSpan& window,
                                          std::vector<SinkRow>* rows) {
  NARU_ASSIGN_OR_RETURN(std::vector<ResultRow> all, query_->WindowRows(source, window, work.frontier_us, work.since));
  int64_t expire_us = ExpireTime(source, window);
  // What runs is changed, and of a window that holds nothing else nobody knows when it was.
  const bool running = std::any_of(all.begin(), all.end(), [](const ResultRow& row) { return row.running; });
  if (running) expire_us = std::max(expire_us, deps_.clock.NowMicros() + plan_->retention_us);
  const bool whole = MovedFar(window, expire_us) || work.whole.count(EndsOf(window)) > 0;
  std::vector<ResultRow> told;
  running_.Take(*query_, window, WindowQuery::IsFinal(source, window, work.frontier_us), whole, std::move(all), &told);
  for (ResultRow& row : told) rows->push_back({std::move(row), expire_us});
  return absl::OkStatus();
}

// When the metric's retention after the window's last change is over.
int64_t SinkRun::State::ExpireTime(const RowSource& source, const TimeSpan& window) const {
  int64_t last_change_us = 0;
  for (int p = 0; p < source.partitions(); ++p) {
    for (const ViewPane& pane : source.ListPanes(p, window.start_us, window.end_us)) {
      last_change_us = std::max(last_change_us, pane.record.last_change_us);
    }
  }
  return last_change_us + plan_->retention_us + (writer_->expires_rows() ? plan_->retention_us / kExpireSlack : 0);
}

// Rows that did not change live as long as the window they are in, so they are written again from time to time.
bool SinkRun::State::MovedFar(const TimeSpan& window, int64_t expire_us) const {
  if (!writer_->expires_rows()) return false;
  const auto found = expires_.find(EndsOf(window));
  return found == expires_.end() || expire_us - found->second > plan_->retention_us / kExpireSlack;
}

// Once the window was read whole.
void SinkRun::State::NoteExpire(const TimeSpan& window, int64_t expire_us) {
  if (!MovedFar(window, expire_us)) return;
  if (expires_.size() > kMaxWindowsRemembered) expires_.clear();
  expires_[EndsOf(window)] = expire_us;
}

absl::Status SinkRun::State::WriteWindow(RowSource& source, const Work& work, const TimeSpan& window) {
  NARU_RETURN_IF_ERROR(CheckClaim());
  const int64_t expire_us = ExpireTime(source, window);
  const bool moved = MovedFar(window, expire_us);
  NoteExpire(window, expire_us);
  const bool whole = moved || work.whole.count(EndsOf(window)) > 0;
  NARU_ASSIGN_OR_RETURN(std::vector<ResultRow> rows, query_->WindowRows(source, window, work.frontier_us, work.since));
  for (ResultRow& row : rows) {
    if (!whole && !row.changed) continue;
    chunk_.push_back({std::move(row), expire_us});
    if (chunk_.size() >= kChunkRows) NARU_RETURN_IF_ERROR(Flush());
  }
  return absl::OkStatus();
}

absl::Status SinkRun::State::Begin() {
  if (turn_open_) return absl::OkStatus();
  NARU_RETURN_IF_ERROR(Timed([&] { return writer_->Begin({stored_.epoch(), fill_, mark_}); }));
  turn_open_ = true;
  return absl::OkStatus();
}

// Writes what is held. The intent is stored first, and taken only after the rows were read: it covers all they hold.
absl::Status SinkRun::State::Flush() {
  if (chunk_.empty()) return absl::OkStatus();
  const std::vector<int64_t> intent = deps_.view.SeenOffsets();
  const int64_t position = std::accumulate(intent.begin(), intent.end(), int64_t{0});
  if (!Reached(std::vector<int64_t>(stored_.intent_offsets().begin(), stored_.intent_offsets().end()), intent)) {
    SetOffsets(intent, stored_.mutable_intent_offsets());
    NARU_RETURN_IF_ERROR(CommitState());
  }
  NARU_RETURN_IF_ERROR(Begin());
  const auto removed =
      std::stable_partition(chunk_.begin(), chunk_.end(), [](const SinkRow& r) { return !r.result.empty; });
  const absl::Span<const SinkRow> all = chunk_;
  const absl::Span<const SinkRow> rows = all.subspan(0, static_cast<size_t>(removed - chunk_.begin()));
  int64_t refused_count = 0;
  for (size_t first = 0; first < rows.size(); first += kMaxSinkBatchRows) {
    const absl::Span<const SinkRow> batch = rows.subspan(first, kMaxSinkBatchRows);
    std::vector<RefusedRow> refused;
    NARU_RETURN_IF_ERROR(Timed([&] { return writer_->Write(batch, position, &refused); }));
    AddRefused(refused, batch);
    refused_count += static_cast<int64_t>(refused.size());
  }
  for (size_t first = rows.size(); first < all.size(); first += kMaxSinkBatchRows) {
    const absl::Span<const SinkRow> batch = all.subspan(first, kMaxSinkBatchRows);
    NARU_RETURN_IF_ERROR(Timed([&] { return writer_->Remove(batch, position); }));
  }
  // A fill is one turn, however large; other turns are as short as can be.
  if (!fill_) {
    const SinkMark mark{stored_.epoch(), mark_.epoch == stored_.epoch() ? mark_.sequence + 1 : 1};
    NARU_RETURN_IF_ERROR(Timed([&] { return writer_->Finish(mark); }));
    mark_ = mark;
    turn_open_ = false;
  }
  stored_.set_written_count(stored_.written_count() + static_cast<int64_t>(rows.size()) - refused_count);
  stored_.set_refused_count(stored_.refused_count() + refused_count);
  {
    MutexLock lock(&mu_);
    status_.written = stored_.written_count();
    status_.refused = stored_.refused_count();
  }
  chunk_.clear();
  dirty_ = true;
  return refused_.size() > kMaxRefusedHeld ? CommitState() : absl::OkStatus();
}

absl::Status SinkRun::State::EndTurn(const Work& work) {
  NARU_RETURN_IF_ERROR(Flush());
  if (fill_) {
    NARU_RETURN_IF_ERROR(Begin());  // also without rows: what is there must go
    const SinkMark mark{stored_.epoch(), 1};
    // Removing what the fill did not write may take as long as it likes.
    NARU_RETURN_IF_ERROR(writer_->Finish(mark));
    mark_ = mark;
    turn_open_ = fill_ = false;
    dirty_ = true;
    stored_.set_filled(true);
    SetStatus("RUNNING", "");
    ShowStored();
    NARU_LOG(INFO, "a sink was filled", {{"sink", options_.id.sink}, {"metric", options_.id.metric}});
  }
  moved_ = moved_ || Lag(work.committed, {stored_.done_offsets().begin(), stored_.done_offsets().end()}) > 0;
  SetOffsets(work.committed, stored_.mutable_done_offsets());
  stored_.set_done_frontier_us(work.frontier_us);
  stored_.set_mark_epoch(mark_.epoch);
  stored_.set_mark_sequence(mark_.sequence);
  {
    MutexLock lock(&mu_);
    done_ = work.committed;
    synced_at_us_ = NowUs();
  }
  return refused_.empty() ? absl::OkStatus() : CommitState();
}

// What is to be done from time to time.
absl::Status SinkRun::State::Idle() {
  const milliseconds quiet = Since(last_commit_);
  // While rows come, each turn's intent tells also how far the one before got.
  if ((dirty_ && quiet >= 2 * options_.interval) || (moved_ && quiet >= kPositionInterval)) {
    NARU_RETURN_IF_ERROR(CommitState());
  }
  if (writer_->keeps_mark() && Since(last_check_) >= options_.pace.check_interval) {
    last_check_ = SteadyClock::now();
    NARU_ASSIGN_OR_RETURN(const std::optional<SinkMark> mark, Timed([&] { return writer_->ReadMark(); }));
    if (!mark.has_value() || *mark < mark_) return SinkStoreEmptied("the store was emptied or fell back");
    if (mark->epoch > stored_.epoch()) return SinkFenced();
  }
  if (Since(last_expire_) >= options_.pace.expire_interval) {
    last_expire_ = SteadyClock::now();
    NARU_RETURN_IF_ERROR(Timed([&] { return writer_->Expire(deps_.clock.NowMicros()); }));
  }
  return absl::OkStatus();
}

// Stores how far the store is, with the rows that were refused meanwhile.
absl::Status SinkRun::State::CommitState(bool leaving) {
  {
    MutexLock lock(&mu_);
    stored_.set_state(status_.state);
    stored_.set_message(status_.message);
  }
  stored_.set_writer(leaving ? std::string() : options_.instance);
  const std::string key = absl::StrCat(options_.id.sink, "/", options_.id.metric);
  std::vector<event_log::Record> records;
  for (const std::string& row : refused_) records.push_back({key, row, deps_.clock.NowMicros(), false});
  std::vector<event_log::AppendBatch> appends;
  if (!records.empty()) {
    event_log::AppendBatch batch;
    batch.topic = kSinksDeadLetterTopic;
    batch.headers.schema = kRefusedSchema;
    batch.records = records;
    appends.push_back(std::move(batch));
  }
  NARU_RETURN_IF_ERROR(deps_.ledger.Commit(options_.id, options_.claim, stored_, std::move(appends)));
  refused_.clear();
  dirty_ = moved_ = false;
  last_commit_ = SteadyClock::now();
  published_ = stored_.state();
  return absl::OkStatus();
}

void SinkRun::State::AddRefused(const std::vector<RefusedRow>& refused, absl::Span<const SinkRow> rows) {
  for (const RefusedRow& row : refused) {
    v1::RefusedSinkRow proto;
    proto.set_sink(options_.id.sink);
    proto.set_metric(options_.id.metric);
    proto.set_metric_version(plan_->version);
    RowToProto(layout_.dimensions, layout_.measures, layout_.shapes, rows[row.index].result, proto.mutable_row());
    proto.set_reason(row.reason);
    proto.set_message(row.message);
    const int64_t now_us = deps_.clock.NowMicros();
    proto.mutable_refuse_time()->set_seconds(now_us / 1'000'000);
    proto.mutable_refuse_time()->set_nanos(static_cast<int32_t>(now_us % 1'000'000 * 1000));
    refused_.push_back(proto.SerializeAsString());
    NARU_LOG_EVERY_SECONDS(10, WARNING, "a store refused a row for good; it is in sinks.dlq",
                           {{"sink", options_.id.sink}, {"metric", options_.id.metric}, {"reason", row.reason}});
  }
}

SinkRun::SinkRun(const SinkRunDependencies& dependencies, OpenSinkWriter open, SinkRunOptions options)
    : state_(std::make_unique<State>(dependencies, std::move(open), std::move(options))) {}
SinkRun::~SinkRun() = default;
void SinkRun::RequestStop() { state_->RequestStop(); }
void SinkRun::EndHungCall() { state_->EndHungCall(); }
bool SinkRun::finished() const { return state_->finished(); }
int64_t SinkRun::claim() const { return state_->options().claim; }
SinkRunStatus SinkRun::status() const { return state_->status(); }

}  // namespace naru::aggregator
