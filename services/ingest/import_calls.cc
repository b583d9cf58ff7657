#include "services/ingest/import_calls.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ingest.pb.h"
#include "services/ingest/error_domain.h"
#include "services/ingest/work_queue.h"

namespace naru::ingest {
namespace {

constexpr size_t kMaxSeedBytes = 256;
constexpr size_t kMaxChunkBytes = (size_t{1} << 20) + 1024;

ImportCompression CompressionOf(v1::ImportStart::Compression compression) {
  switch (compression) {
    case v1::ImportStart::NONE:
      return ImportCompression::kNone;
    case v1::ImportStart::GZIP:
      return ImportCompression::kGzip;
    case v1::ImportStart::ZSTD:
      return ImportCompression::kZstd;
    default:
      return ImportCompression::kDetect;
  }
}

v1::ImportEventsResponse MakeResponse(const ImportProgress& progress, bool done) {
  v1::ImportEventsResponse response;
  response.set_read_count(progress.read);
  response.set_accepted_count(progress.accepted);
  response.set_duplicate_count(progress.duplicate);
  response.set_rejected_count(progress.rejected);
  response.set_filtered_count(progress.filtered);
  response.set_received_bytes(progress.received_bytes);
  response.set_done(done);
  for (const ImportRejectedLine& line : progress.rejected_lines) {
    v1::RejectedLine* out = response.add_rejected_lines();
    out->set_line_number(line.line_number);
    out->set_reason(line.reason);
    out->set_field(line.field);
    out->set_value(line.value);
    out->set_expected(line.expected);
    out->set_line(line.line);
  }
  if (!done) return response;
  if (progress.position.has_value()) {
    v1::ImportPosition* position = response.mutable_position();
    position->set_line_id(ChainIdText(progress.position->line_id));
    position->set_end_byte(progress.position->end_byte);
    position->set_next_line_number(progress.position->next_line_number);
    position->set_header(progress.position->header);
  }
  for (const auto& [partition, offset] : progress.last_offsets) {
    v1::PartitionOffset* out = response.add_last_offsets();
    out->set_partition(partition);
    out->set_offset(offset);
  }
  return response;
}

absl::Status WrongStart(absl::string_view field, absl::string_view what) {
  ErrorDetails details;
  details.reason = "IMPORT_START";
  details.violations = {{absl::StrCat("start.", field), std::string(what)}};
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("start.", field, ": ", what), details);
}

/// What goes on where an earlier import ended.
absl::Status TakePosition(const v1::ImportStart& start, ImportOptions* options) {
  if (start.seed().size() > kMaxSeedBytes) {
    return WrongStart("seed",
                      absl::StrCat("has ", start.seed().size(), " bytes; at most ", kMaxSeedBytes, " are allowed"));
  }
  options->seed = start.seed();
  options->follow = start.follow();
  if (!start.has_position()) return absl::OkStatus();
  const v1::ImportPosition& given = start.position();
  ImportPosition position;
  if (!ParseChainId(given.line_id(), &position.line_id) || given.end_byte() < 0 || given.next_line_number() < 1) {
    return WrongStart("position", "is not one that an import answered with");
  }
  if (start.compression() != v1::ImportStart::NONE) {
    return WrongStart("compression", "must be NONE where `position` is given");
  }
  position.end_byte = given.end_byte();
  position.next_line_number = given.next_line_number();
  position.header = given.header();
  options->position = std::move(position);
  return absl::OkStatus();
}

/// Text of a line is bytes; what goes out in a string field must be UTF-8.
std::string ToUtf8(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  }
  return text;
}

absl::Status Stopping() {
  return MakeError(absl::StatusCode::kUnavailable, "STOPPING",
                   "the server is stopping: send the same bytes again, and the import goes on where it was");
}

}  // namespace

struct ImportCalls::State {
  ImportDependencies dependencies;
  ImportFormats* formats = nullptr;
  ImportGate gate;
  Mutex mu;
  CondVar ended;
  std::set<Call*> calls ABSL_GUARDED_BY(mu);
  size_t alive ABSL_GUARDED_BY(mu) = 0;
  bool stopping ABSL_GUARDED_BY(mu) = false;
  // Ends calls: a run must not be destroyed from one of its own threads, and gRPC calls back from whichever it likes.
  WorkQueue ends;
};

// One call. As in EventStream, whatever happens changes the state in Step, and one thread at a time does what follows.
class ImportCalls::Call : public grpc::ServerBidiReactor<v1::ImportEventsRequest, v1::ImportEventsResponse> {
 public:
  explicit Call(State* state) : calls_(*state) {}

  void Start() {
    Step([] {});
  }

  /// Keeps the call from ending until FailHeld; false if it is ending already.
  bool Hold() {
    MutexLock lock(&mu_);
    if (finished_) return false;
    ++held_;
    return true;
  }
  void FailHeld(const absl::Status& why) {
    Fail(why);
    Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { --held_; });
  }

  void Fail(const absl::Status& why) {
    ImportRun* run = nullptr;
    Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      run = run_.get();
      if (run == nullptr && error_.ok()) error_ = why;
    });
    // The run answers with its error; it lives until OnDone, which cannot come before that answer.
    if (run != nullptr) run->Abort(why);
  }

  void OnReadDone(bool ok) override {
    bool first = false;
    Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      no_more_ |= !ok;
      read_ = ok ? Read::kTaking : Read::kNone;
      first = run_ == nullptr;
    });
    if (!ok) {
      if (first)
        return Refuse(MakeError(absl::StatusCode::kInvalidArgument, "NO_START", "the first message must be `start`"));
      // A sender that died looks like one that is through, but for `end`: its last line may be half a line.
      run_->Abort(
          MakeError(absl::StatusCode::kInvalidArgument, "NO_END",
                    "the last message must be `end`: send the same bytes again, and the import goes on where it was"));
      return;
    }
    if (first) return TakeStart();
    if (request_.part_case() == v1::ImportEventsRequest::kEnd) {
      Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        no_more_ = true;
        read_ = Read::kNone;
      });
      return run_->FinishInput(request_.end().pause());
    }
    if (request_.part_case() != v1::ImportEventsRequest::kChunk || request_.chunk().size() > kMaxChunkBytes) {
      run_->Abort(MakeError(absl::StatusCode::kInvalidArgument, "NOT_A_CHUNK",
                            "after `start`, each message must be a `chunk` of at most 1 MiB, or `end`"));
      return;
    }
    run_->Add(std::move(*request_.mutable_chunk()),
              [this] { Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { read_ = Read::kNone; }); });
  }

  void OnWriteDone(bool ok) override {
    Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      writing_ = false;
      broken_ |= !ok;
    });
  }

  void OnCancel() override {
    Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { broken_ = true; });
    Fail(absl::CancelledError("the sender is gone"));
  }

  void OnDone() override {
    State& calls = calls_;
    {
      // From here on nobody else finds it.
      MutexLock lock(&calls.mu);
      calls.calls.erase(this);
    }
    calls.ends.Post([this, &calls] {
      delete this;
      MutexLock lock(&calls.mu);
      --calls.alive;
      calls.ended.SignalAll();
    });
  }

 private:
  enum class Read { kNone, kOutstanding, kTaking };
  enum class Action { kNone, kWrite, kRead, kFinish };

  void Refuse(const absl::Status& why) {
    Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      if (error_.ok()) error_ = why;
    });
  }

  void TakeStart() {
    if (request_.part_case() != v1::ImportEventsRequest::kStart) {
      return Refuse(MakeError(absl::StatusCode::kInvalidArgument, "NO_START", "the first message must be `start`"));
    }
    const v1::ImportStart& start = request_.start();
    auto format = calls_.formats->Find(start.format());
    if (!format.ok()) return Refuse(format.status());
    ImportOptions options;
    options.format = *std::move(format);
    options.source = start.source();
    options.file_name = start.file_name();
    options.compression = CompressionOf(start.compression());
    const absl::Status position = TakePosition(start, &options);
    if (!position.ok()) return Refuse(position);
    // On Kafka each batch is a transaction, which takes its 15 ms however small it is.
    if (calls_.dependencies.log->local_store() == nullptr)
      options.block = {kMaxBatchEvents, kMaxBatchBytes - (1 << 20)};
    auto run = std::make_unique<ImportRun>(
        calls_.dependencies, &calls_.gate, std::move(options),
        [this](ImportProgress progress) { Progress(std::move(progress)); },
        [this](absl::Status status, ImportProgress progress) { RunDone(std::move(status), std::move(progress)); });
    Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      run_ = std::move(run);
      if (broken_ || !error_.ok()) run_->Abort(error_.ok() ? absl::CancelledError("the sender is gone") : error_);
      read_ = Read::kNone;
    });
  }

  void Progress(ImportProgress progress) {
    Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { Keep(std::move(progress)); });
  }

  void RunDone(absl::Status status, ImportProgress progress) {
    Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      Keep(std::move(progress));
      run_done_ = true;
      if (error_.ok()) error_ = std::move(status);
      if (!error_.ok()) progress_.reset();
    });
  }

  /// Replaces what has not been sent yet; its rejected lines are kept.
  void Keep(ImportProgress progress) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (progress_.has_value()) {
      auto& lines = progress.rejected_lines;
      lines.insert(lines.begin(), progress_->rejected_lines.begin(), progress_->rejected_lines.end());
    }
    for (ImportRejectedLine& line : progress.rejected_lines) {
      line.value = ToUtf8(std::move(line.value));
      line.line = ToUtf8(std::move(line.line));
      line.field = ToUtf8(std::move(line.field));
    }
    progress_ = std::move(progress);
  }

  template <typename Update>
  void Step(Update&& update) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    mu_.Lock();
    update();
    if (driving_) {
      mu_.Unlock();
      return;
    }
    driving_ = true;
    while (true) {
      const Action action = Decide();
      if (action == Action::kNone) {
        driving_ = false;
        mu_.Unlock();
        return;
      }
      if (action == Action::kWrite) {
        response_ = MakeResponse(*progress_, run_done_);
        progress_.reset();
      }
      const grpc::Status status = !error_.ok() ? ToGrpcStatus(error_, kErrorDomain)
                                  : broken_    ? grpc::Status(grpc::StatusCode::CANCELLED, "the sender is gone")
                                               : grpc::Status::OK;
      mu_.Unlock();
      if (action == Action::kWrite) StartWrite(&response_);
      if (action == Action::kRead) StartRead(&request_);
      if (action == Action::kFinish) {
        Finish(status);
        return;  // the call may be gone
      }
      mu_.Lock();
    }
  }

  Action Decide() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (finished_ || writing_) return ReadOrNone();
    if (progress_.has_value() && !broken_) {
      writing_ = true;
      return Action::kWrite;
    }
    const bool over = run_done_ || (run_ == nullptr && !error_.ok());
    if (over && held_ == 0) {
      finished_ = true;
      return Action::kFinish;
    }
    return ReadOrNone();
  }

  Action ReadOrNone() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (finished_ || run_done_ || broken_ || no_more_ || !error_.ok() || read_ != Read::kNone) return Action::kNone;
    read_ = Read::kOutstanding;
    return Action::kRead;
  }

  State& calls_;
  v1::ImportEventsRequest request_;
  v1::ImportEventsResponse response_;
  std::unique_ptr<ImportRun> run_;  ///< set once, by the first message

  Mutex mu_;
  std::optional<ImportProgress> progress_ ABSL_GUARDED_BY(mu_);
  Read read_ ABSL_GUARDED_BY(mu_) = Read::kNone;
  bool driving_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool no_more_ ABSL_GUARDED_BY(mu_) = false;  // the sender has said all
  bool broken_ ABSL_GUARDED_BY(mu_) = false;   // the sender is gone
  bool run_done_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  int held_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status error_ ABSL_GUARDED_BY(mu_);
};

ImportCalls::ImportCalls(const ImportDependencies& dependencies, ImportFormats* formats)
    : state_(std::make_unique<State>()) {
  state_->dependencies = dependencies;
  state_->formats = formats;
}

ImportCalls::~ImportCalls() {
  Stop();
  {
    MutexLock lock(&state_->mu);
    while (state_->alive > 0) state_->ended.Wait(&state_->mu);
  }
  state_->ends.Stop();
}

grpc::ServerBidiReactor<v1::ImportEventsRequest, v1::ImportEventsResponse>* ImportCalls::ImportEvents(
    grpc::CallbackServerContext* /*context*/) {
  auto* call = new Call(state_.get());
  absl::Status refused;
  {
    MutexLock lock(&state_->mu);
    state_->calls.insert(call);
    ++state_->alive;
    if (state_->stopping) refused = Stopping();
    if (state_->alive > kMaxRunning) {
      ErrorDetails details;
      details.reason = "TOO_MANY_IMPORTS";
      details.retry_after = std::chrono::milliseconds(1000);
      refused = MakeError(absl::StatusCode::kResourceExhausted,
                          absl::StrCat(kMaxRunning, " imports are running: wait for one of them"), details);
    }
  }
  if (refused.ok()) {
    call->Start();
  } else {
    call->Fail(refused);
  }
  return call;
}

void ImportCalls::Stop() {
  std::vector<Call*> held;
  {
    MutexLock lock(&state_->mu);
    state_->stopping = true;
    for (Call* call : state_->calls) {
      if (call->Hold()) held.push_back(call);
    }
  }
  // Without the lock: a call may end within this one, and its end takes the lock.
  for (Call* call : held) call->FailHeld(Stopping());
}

}  // namespace naru::ingest
