#include "services/ingest/import_run.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/event/event_writer.h"
#include "common/event/timeline.h"
#include "common/event/utf8.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ingest.pb.h"
#include "services/ingest/import_ledger.h"
#include "services/ingest/import_queue.h"

namespace naru::ingest {
namespace {

constexpr size_t kMaxChunksWaiting = 4;
constexpr size_t kMaxBlocksWaiting = 2;
constexpr size_t kMaxBatchesWaiting = 2;
constexpr size_t kMaxRejectedLines = 20;
constexpr size_t kShownLineBytes = 200;
constexpr std::chrono::milliseconds kPollWait(100);
constexpr std::chrono::milliseconds kMaxRetryWait(2'000);

/// The events' timeline: what the first new line is tells it from all others.
std::string TimelineOf(const ChainId& first) { return absl::StrCat("i", ChainIdText(first).substr(0, 16)); }

bool IsWorthRetrying(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status) || absl::IsDeadlineExceeded(status);
}

}  // namespace

bool ImportGate::Enter(const std::string& source, const std::function<bool()>& cancelled) {
  MutexLock lock(&mu_);
  while (taken_[source]) {
    if (cancelled()) return false;
    left_.WaitFor(&mu_, std::chrono::milliseconds(50));
  }
  taken_[source] = true;
  return true;
}

void ImportGate::Leave(const std::string& source) {
  MutexLock lock(&mu_);
  taken_.erase(source);
  left_.SignalAll();
}

struct ImportRun::State {
  State(const ImportDependencies& dependencies, ImportGate* gate, ImportOptions options, OnProgress on_progress,
        OnDone on_done)
      : dependencies(dependencies),
        gate(gate),
        options(std::move(options)),
        on_progress(std::move(on_progress)),
        on_done(std::move(on_done)) {}

  const ImportDependencies dependencies;
  ImportGate* const gate;
  const ImportOptions options;
  const OnProgress on_progress;
  const OnDone on_done;

  /// The range of the ledger that ends where this import goes on.
  struct OpenRange {
    ChainId start;
    int64_t begin_byte = 0;
    LedgerRange range;
  };
  struct ParsedBlock {
    ImportBlock block;
    std::shared_ptr<const input_format::InputFormat> format;
  };
  ImportQueue<ParsedBlock> blocks{kMaxBlocksWaiting};
  ImportQueue<std::unique_ptr<ParsedBatch>> batches{kMaxBatchesWaiting};
  std::atomic<bool> aborted{false};

  // Between the sender and the reading thread.
  Mutex input_mu;
  CondVar input_filled;
  std::deque<std::string> chunks ABSL_GUARDED_BY(input_mu);
  std::function<void()> ready ABSL_GUARDED_BY(input_mu);
  bool input_finished ABSL_GUARDED_BY(input_mu) = false;
  std::atomic<bool> pauses{false};  ///< nobody looks at the growing file from now on

  // What became of the batches. `done` callbacks of the pipeline come from its threads.
  Mutex mu;
  CondVar changed;
  absl::Status status ABSL_GUARDED_BY(mu);
  ImportProgress progress ABSL_GUARDED_BY(mu);
  size_t shown_lines ABSL_GUARDED_BY(mu) = 0;
  int in_flight ABSL_GUARDED_BY(mu) = 0;
  std::deque<std::shared_ptr<ParsedBatch>> failed ABSL_GUARDED_BY(mu);
  absl::Status last_error ABSL_GUARDED_BY(mu);
  std::vector<ExtraRecord> corrections ABSL_GUARDED_BY(mu);
  std::chrono::milliseconds retry_wait ABSL_GUARDED_BY(mu){0};
  std::chrono::steady_clock::time_point last_success ABSL_GUARDED_BY(mu) = std::chrono::steady_clock::now();

  // Only of the submitting thread.
  std::string timeline;        ///< of what is new; empty: nothing was yet
  std::string known_timeline;  ///< of the last lines that the ledger knew
  std::chrono::steady_clock::time_point last_progress = std::chrono::steady_clock::now();

  // Written by the reading thread before it closes the blocks, read by the submitting one after the batches ended.
  ChainId end_id;
  int64_t end_byte = 0;
  std::optional<ImportPosition> end_position;
  std::optional<ImportLedger> ledger;
  std::optional<OpenRange> open_range;
  int64_t session = 0;    ///< of the pipeline, begun before the ledger was read
  bool has_gate = false;  ///< of the reading thread, until it was joined

  std::thread reading, parsing, submitting;

  std::string SourceName() const { return options.source.empty() ? options.format->default_source() : options.source; }

  void Fail(const absl::Status& why) {
    {
      MutexLock lock(&mu);
      if (status.ok()) status = why;
      changed.SignalAll();
    }
    aborted = true;
    blocks.Abort();
    batches.Abort();
    MutexLock lock(&input_mu);
    input_filled.SignalAll();
  }

  void Read();
  absl::Status FindOpenRange();
  absl::Status LoadLedger();
  absl::Status ReadAll(const ImportLedger& known);
  bool PassOn(std::vector<ImportBlock>* cut, const ImportReader& reader);
  std::optional<std::string> NextChunk();
  void Parse();
  void Submit();
  void SubmitAll();
  void TakeBatch(std::shared_ptr<ParsedBatch> batch);
  void ExtendOpenRange(ParsedBatch* batch) const;
  void Send(std::shared_ptr<ParsedBatch> batch);
  void Taken(const std::shared_ptr<ParsedBatch>& batch, const absl::StatusOr<BatchResult>& result);
  void CountResult(const ParsedBatch& batch, const BatchResult& result) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void ShowRejected(int64_t number, v1::RejectReason reason, absl::string_view field, absl::string_view value,
                    absl::string_view expected, absl::string_view line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void RetryFailed();
  bool WaitForRoom(int max_in_flight);
  void ChooseTimeline(const ParsedBatch& batch);
  void EndTimeline();
  absl::Status SubmitEnd(Batch batch);
  void MaybeReport();
};

// --- Reading ---------------------------------------------------------------------------------------------------------

std::optional<std::string> ImportRun::State::NextChunk() {
  std::function<void()> room;
  std::optional<std::string> chunk;
  {
    MutexLock lock(&input_mu);
    while (chunks.empty() && !input_finished && !aborted) input_filled.Wait(&input_mu);
    if (aborted || chunks.empty()) return std::nullopt;
    chunk = std::move(chunks.front());
    chunks.pop_front();
    room = std::move(ready);
    ready = nullptr;
  }
  if (room) room();
  return chunk;
}

bool ImportRun::State::PassOn(std::vector<ImportBlock>* cut, const ImportReader& reader) {
  for (ImportBlock& block : *cut) {
    if (!blocks.Push({std::move(block), reader.format()})) return false;
  }
  cut->clear();
  return true;
}

/// What the sender says it had taken must be what the ledger says: a directory that was emptied, or an answer that was
/// lost after more had been taken, would leave a gap or take lines twice.
absl::Status ImportRun::State::FindOpenRange() {
  if (!options.position.has_value()) return absl::OkStatus();
  OpenRange open;
  const LedgerRange* range = ledger->FindEnd(options.position->line_id, &open.start);
  if (range == nullptr) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "POSITION_UNKNOWN",
                     "no earlier import ends at this position: send the file from its start");
  }
  open.range = *range;
  ChainId before;
  if (const LedgerRange* previous = ledger->FindEnd(open.start, &before)) open.begin_byte = previous->end_byte;
  open_range = std::move(open);
  return absl::OkStatus();
}

absl::Status ImportRun::State::ReadAll(const ImportLedger& known) {
  ImportReader reader(options.format, options.source, options.seed, options.compression, &known, options.block);
  if (options.position.has_value()) NARU_RETURN_IF_ERROR(reader.GoOnFrom(*options.position));
  std::vector<ImportBlock> cut;
  absl::Status result;
  while (std::optional<std::string> chunk = NextChunk()) {
    result = reader.Add(*chunk, &cut);
    if (!PassOn(&cut, reader)) return absl::OkStatus();
    if (!result.ok()) break;
    MutexLock lock(&mu);
    progress.received_bytes += static_cast<int64_t>(chunk->size());
  }
  if (aborted) return absl::OkStatus();
  if (result.ok()) {
    result = reader.Finish(options.follow, &cut);
    PassOn(&cut, reader);
  }
  if (result.ok() && reader.line_count() > 0) {
    end_position = reader.position();
  } else if (result.ok()) {
    end_position = options.position;
  }
  end_id = reader.chain();
  end_byte = reader.end_byte();
  return result;
}

absl::Status ImportRun::State::LoadLedger() {
  NARU_ASSIGN_OR_RETURN(session, dependencies.pipeline->BeginSession());
  NARU_ASSIGN_OR_RETURN(ledger, ImportLedger::Load(*dependencies.log));
  return absl::OkStatus();
}

void ImportRun::State::Read() {
  const std::string source = SourceName();
  has_gate = gate->Enter(source, [this] { return aborted.load(); });
  if (!has_gate) return;
  absl::Status result = LoadLedger();
  if (result.ok()) result = FindOpenRange();
  if (result.ok()) result = ReadAll(*ledger);
  // What came before the damage is taken all the same; the sender is told at the end.
  if (!result.ok()) {
    MutexLock lock(&mu);
    if (status.ok()) status = result;
  }
  blocks.Close();
}

void ImportRun::State::Parse() {
  ImportParser parser(options.source, options.batch);
  std::vector<std::unique_ptr<ParsedBatch>> parsed;
  bool ended = false;
  while (!ended) {
    std::optional<ParsedBlock> block = blocks.Pop(std::chrono::hours(1), &ended);
    if (!block.has_value()) continue;
    parsed.clear();
    parser.set_ledger(&*ledger);  // there before the first block
    parser.Parse(std::move(block->block), block->format, &parsed);
    for (auto& batch : parsed) {
      if (!batches.Push(std::move(batch))) return;
    }
  }
  batches.Close();
}

// --- Submitting ------------------------------------------------------------------------------------------------------

void ImportRun::State::MaybeReport() {
  const auto now = std::chrono::steady_clock::now();
  if (now - last_progress < options.progress_interval) return;
  last_progress = now;
  ImportProgress copy;
  {
    MutexLock lock(&mu);
    copy = progress;
    progress.rejected_lines.clear();
  }
  on_progress(std::move(copy));
}

/// Waits until at most `max_in_flight` batches are on their way, trying again those that failed. False: aborted.
bool ImportRun::State::WaitForRoom(int max_in_flight) {
  while (true) {
    bool has_failed = false;
    {
      MutexLock lock(&mu);
      if (aborted) return false;
      has_failed = !failed.empty();
      if (!has_failed && in_flight <= max_in_flight) return true;
      if (!has_failed) changed.WaitFor(&mu, kPollWait);
    }
    if (has_failed) RetryFailed();
    MaybeReport();
  }
}

/// Submits a batch that failed once more, after a wait that grows.
void ImportRun::State::RetryFailed() {
  std::shared_ptr<ParsedBatch> batch;
  absl::Status error;
  {
    MutexLock lock(&mu);
    if (failed.empty()) return;
    error = last_error;
    const bool given_up = std::chrono::steady_clock::now() - last_success > options.retry_for;
    if (!given_up && IsWorthRetrying(error)) {
      retry_wait = std::clamp(retry_wait * 2, options.first_retry, kMaxRetryWait);
      const auto until = std::chrono::steady_clock::now() + retry_wait;
      while (!aborted && std::chrono::steady_clock::now() < until) {
        changed.WaitFor(&mu, std::chrono::milliseconds(10));
      }
      if (aborted || failed.empty()) return;
      batch = std::move(failed.front());
      failed.pop_front();
    }
  }
  if (batch == nullptr) return Fail(error);
  Send(std::move(batch));
}

/// An import that goes on after a kill keeps its timeline; new lines of a file that had ended begin another.
void ImportRun::State::ChooseTimeline(const ParsedBatch& batch) {
  if (!timeline.empty()) return;
  const bool goes_on = !known_timeline.empty() && !ledger->IsEnded(known_timeline);
  timeline = goes_on ? known_timeline : TimelineOf(batch.lines.empty() ? batch.start : batch.lines.front().id);
}

/// The first lines that are new go into the range that they follow on, while that is a small one.
void ImportRun::State::ExtendOpenRange(ParsedBatch* batch) const {
  if (!open_range.has_value() || !(batch->start == options.position->line_id)) return;
  const LedgerRange& open = open_range->range;
  if (open.line_count + batch->range.line_count > static_cast<int64_t>(options.block.lines)) return;
  if (batch->range.end_byte - open_range->begin_byte > static_cast<int64_t>(options.block.bytes)) return;
  batch->start = open_range->start;
  batch->range.line_count += open.line_count;
  batch->range.event_count += open.event_count;
  batch->range.rejected_count += open.rejected_count;
}

void ImportRun::State::TakeBatch(std::shared_ptr<ParsedBatch> batch) {
  if (batch->is_known()) {
    known_timeline = batch->known_timeline;
  } else {
    if (known_timeline.empty() && open_range.has_value()) known_timeline = open_range->range.timeline;
    ChooseTimeline(*batch);
    ExtendOpenRange(batch.get());
  }
  if (!WaitForRoom(batch->after_all ? 0 : options.max_batches_in_flight - 1)) return;
  Send(std::move(batch));
}

void ImportRun::State::Send(std::shared_ptr<ParsedBatch> parsed) {
  Batch batch = parsed->MakeBatch();
  batch.owner = parsed;
  batch.format = options.format->name();
  batch.origin = options.file_name.empty() ? "import" : options.file_name;
  batch.import_source = options.source;
  batch.session = session;
  if (!parsed->is_known()) {
    batch.timeline = timeline;
    parsed->range.timeline = timeline;
    batch.extra.push_back(ImportLedger::RangeRecord(parsed->start, parsed->range));
  }
  const auto bytes = static_cast<int64_t>(parsed->bytes);
  dependencies.budget->TakeAndWait(bytes);
  {
    MutexLock lock(&mu);
    ++in_flight;
  }
  dependencies.pipeline->Submit(std::move(batch), [this, parsed, bytes](absl::StatusOr<BatchResult> result) {
    dependencies.budget->GiveBack(bytes);
    Taken(parsed, result);
  });
}

void ImportRun::State::Taken(const std::shared_ptr<ParsedBatch>& batch, const absl::StatusOr<BatchResult>& result) {
  // What this import knows of the ledger is out of date: the next one reads it again.
  if (absl::IsAborted(result.status())) Fail(result.status());
  MutexLock lock(&mu);
  if (result.ok()) {
    CountResult(*batch, *result);
    last_success = std::chrono::steady_clock::now();
    retry_wait = std::chrono::milliseconds(0);
  } else {
    failed.push_back(batch);
    last_error = result.status();
  }
  // Last: the run may be destroyed as soon as nothing is in flight and this lock is given back.
  --in_flight;
  changed.SignalAll();
}

void ImportRun::State::CountResult(const ParsedBatch& batch, const BatchResult& result) {
  progress.read += result.received;
  progress.accepted += result.accepted;
  progress.filtered += result.filtered;
  // Lines that the ledger knows as bad are rejected here, though the accounting counts them as seen before: their dead
  // letters exist already.
  progress.duplicate += result.duplicate - batch.known_rejected;
  progress.rejected += result.rejected + batch.known_rejected;
  for (const auto& [partition, offset] : result.last_offsets) {
    int64_t& last = progress.last_offsets.try_emplace(partition, offset).first->second;
    last = std::max(last, offset);
  }
  for (const ParsedBatch::Rejected& line : batch.rejected) {
    ShowRejected(line.line.position, line.rejection.reason, line.rejection.field, line.rejection.value,
                 line.rejection.expected, line.line.line);
  }
  int64_t refused = 0;
  for (const NotAccepted& event : result.not_accepted) {
    if (event.duplicate) continue;
    ++refused;
    const EventLine& line = batch.event_lines[event.index];
    ShowRejected(line.position, event.reason, event.field, event.value, event.expected, line.line);
  }
  // The entry was written before it was known what the checks of the types would say; it is mended with a later batch.
  if (refused == 0 || batch.is_known()) return;
  LedgerRange mended = batch.range;
  mended.event_count -= refused;
  mended.rejected_count += refused;
  corrections.push_back(ImportLedger::RangeRecord(batch.start, mended));
}

void ImportRun::State::ShowRejected(int64_t number, v1::RejectReason reason, absl::string_view field,
                                    absl::string_view value, absl::string_view expected, absl::string_view line) {
  if (shown_lines >= kMaxRejectedLines) return;
  ++shown_lines;
  progress.rejected_lines.push_back({number, reason, std::string(field), std::string(value), std::string(expected),
                                     std::string(event::CutUtf8(line, kShownLineBytes))});
}

absl::Status ImportRun::State::SubmitEnd(Batch batch) {
  const auto deadline = std::chrono::steady_clock::now() + options.retry_for;
  auto wait = options.first_retry;
  while (true) {
    const auto result = dependencies.pipeline->SubmitAndWait(batch);
    if (result.ok() || !IsWorthRetrying(result.status()) || std::chrono::steady_clock::now() > deadline) {
      return result.status();
    }
    MutexLock lock(&mu);
    if (aborted) return status;
    changed.WaitFor(&mu, wait);
    wait = std::min(wait * 2, kMaxRetryWait);
  }
}

/// Marks the end in every partition, together with the ledger's entry of it and what was mended.
void ImportRun::State::EndTimeline() {
  if (timeline.empty()) timeline = known_timeline;
  if (timeline.empty() && open_range.has_value()) timeline = open_range->range.timeline;
  Batch batch;
  bool complete = false;
  bool paused = false;
  {
    MutexLock lock(&mu);
    complete = status.ok() && !options.follow;
    paused = status.ok() && options.follow && pauses;
    batch.extra = std::move(corrections);
    corrections.clear();
  }
  // An import that broke off has not ended: sending the whole file goes on with it.
  if (!timeline.empty() && (paused || (complete && !ledger->IsEnded(timeline)))) {
    const auto topic = dependencies.log->DescribeTopic(event_log::kEventsTopic);
    if (!topic.ok()) return Fail(topic.status());
    std::string event;
    event::EventFields fields;
    fields.source = "naru";
    fields.type = event::kTimelineEndType;
    event::AppendEvent(fields, &event);
    event::ServerFields server;
    server.set_time = true;
    server.time_us = dependencies.clock->NowMicros();
    server.timeline = timeline;
    event::AppendServerFields(server, &event);
    for (int partition = 0; partition < topic->config.partitions; ++partition) {
      batch.extra.push_back({event_log::kEventsTopic, partition, event::kTimelineEndSchema, timeline, event});
    }
    // A paused one has not ended: it goes on where it is.
    if (complete) batch.extra.push_back(ImportLedger::EndRecord(timeline, end_id, end_byte));
  }
  if (batch.extra.empty()) return;
  batch.session = session;
  const absl::Status ended = SubmitEnd(std::move(batch));
  if (!ended.ok()) Fail(ended);
}

void ImportRun::State::SubmitAll() {
  bool ended = false;
  while (!ended) {
    std::optional<std::unique_ptr<ParsedBatch>> batch = batches.Pop(kPollWait, &ended);
    if (batch.has_value()) TakeBatch(*std::move(batch));
    MaybeReport();
  }
  if (WaitForRoom(0) && !aborted) EndTimeline();
}

void ImportRun::State::Submit() {
  SubmitAll();
  {
    // Also after an abort: what was submitted must come back before anything it points into goes away.
    MutexLock lock(&mu);
    while (in_flight > 0) changed.Wait(&mu);
  }
  blocks.Abort();
  reading.join();
  parsing.join();
  if (has_gate) gate->Leave(SourceName());
  absl::Status result;
  ImportProgress last;
  {
    MutexLock lock(&mu);
    result = status;
    last = std::move(progress);
  }
  if (result.ok()) last.position = end_position;
  on_done(std::move(result), std::move(last));
}

// --- The run ---------------------------------------------------------------------------------------------------------

ImportRun::ImportRun(const ImportDependencies& dependencies, ImportGate* gate, ImportOptions options,
                     OnProgress on_progress, OnDone on_done)
    : state_(
          std::make_unique<State>(dependencies, gate, std::move(options), std::move(on_progress), std::move(on_done))) {
  State* state = state_.get();
  state->reading = std::thread([state] { state->Read(); });
  state->parsing = std::thread([state] { state->Parse(); });
  state->submitting = std::thread([state] { state->Submit(); });
}

ImportRun::~ImportRun() {
  Abort(absl::CancelledError("the import was dropped"));
  state_->submitting.join();
}

void ImportRun::Add(std::string bytes, std::function<void()> ready) {
  {
    MutexLock lock(&state_->input_mu);
    if (state_->aborted) return;
    state_->chunks.push_back(std::move(bytes));
    state_->input_filled.Signal();
    if (state_->chunks.size() >= kMaxChunksWaiting) {
      state_->ready = std::move(ready);
      return;
    }
  }
  ready();
}

void ImportRun::FinishInput(bool pause) {
  state_->pauses = pause;
  MutexLock lock(&state_->input_mu);
  state_->input_finished = true;
  state_->input_filled.SignalAll();
}

void ImportRun::Abort(absl::Status why) { state_->Fail(std::move(why)); }

}  // namespace naru::ingest
