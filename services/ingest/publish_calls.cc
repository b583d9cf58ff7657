#include "services/ingest/publish_calls.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

#include "common/event/event_view.h"
#include "common/server/trace.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ingest.pb.h"
#include "services/ingest/error_domain.h"

namespace naru::ingest {
namespace {

constexpr size_t kMaxStreamBatches = 64;             // of one stream, taken and not answered
constexpr size_t kMaxUnreadBytes = size_t{1} << 20;  // of a stream's answers that its client has not read

// The bytes of a message in one piece: as they were received where that is possible.
struct Received {
  std::shared_ptr<const void> owner;
  absl::string_view bytes;
};

Received OnePiece(const grpc::ByteBuffer& buffer) {
  auto slices = std::make_shared<std::vector<grpc::Slice>>();
  buffer.Dump(slices.get()).ok();
  if (slices->size() == 1) {
    const grpc::Slice& slice = slices->front();
    const absl::string_view bytes(reinterpret_cast<const char*>(slice.begin()), slice.size());
    return {slices, bytes};
  }
  auto joined = std::make_shared<std::string>();
  joined->reserve(buffer.Length());
  for (const grpc::Slice& slice : *slices) joined->append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  const absl::string_view bytes = *joined;
  return {joined, bytes};
}

// Errors: INVALID_ARGUMENT.
absl::StatusOr<Batch> ReadBatch(const grpc::ByteBuffer& buffer, const std::string& traceparent) {
  if (buffer.Length() > kMaxBatchBytes + (size_t{1} << 16)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "BATCH_TOO_LARGE",
                     absl::StrCat("a batch of ", buffer.Length(), " bytes; at most 4 MiB: send several batches"));
  }
  const Received received = OnePiece(buffer);
  Batch batch;
  batch.owner = received.owner;
  batch.traceparent = traceparent;
  if (!event::SplitPublishRequest(received.bytes, &batch.events, &batch.return_offsets)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "MALFORMED_BATCH",
                     "the message is not an encoded naru.ingest.v1.PublishEventsRequest");
  }
  return batch;
}

grpc::ByteBuffer WriteAnswer(const BatchResult& result) {
  v1::PublishEventsResponse response;
  response.set_received_count(static_cast<int32_t>(result.received));
  response.set_accepted_count(static_cast<int32_t>(result.accepted));
  response.set_duplicate_count(static_cast<int32_t>(result.duplicate));
  response.set_rejected_count(static_cast<int32_t>(result.rejected));
  response.set_filtered_count(static_cast<int32_t>(result.filtered));
  for (const NotAccepted& event : result.not_accepted) {
    v1::EventResult* out = response.add_not_accepted();
    out->set_index(event.index);
    out->set_duplicate(event.duplicate);
    if (event.duplicate) continue;
    out->set_reason(event.reason);
    out->set_field(event.field);
    out->set_value(event.value);
    out->set_expected(event.expected);
  }
  for (const auto& [partition, offset] : result.last_offsets) {
    v1::PartitionOffset* out = response.add_last_offsets();
    out->set_partition(partition);
    out->set_offset(offset);
  }
  for (const StoredAt& stored : result.event_offsets) {
    v1::EventOffset* out = response.add_event_offsets();
    out->set_index(stored.index);
    out->set_partition(stored.partition);
    out->set_offset(stored.offset);
  }
  const std::string bytes = response.SerializeAsString();
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

absl::Status Stopping() {
  return MakeError(absl::StatusCode::kUnavailable, "STOPPING",
                   "the server is stopping: go on with another one, or later");
}

}  // namespace

// --- One call, one batch -------------------------------------------------------------------------------------------

grpc::ServerUnaryReactor* PublishCalls::Publish(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                                grpc::ByteBuffer* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto bytes = static_cast<int64_t>(request->Length());
  if (!budget_.TryTake(bytes)) {
    ErrorDetails details;
    details.reason = "TOO_MUCH_IN_FLIGHT";
    details.retry_after = std::chrono::milliseconds(50);
    reactor->Finish(ToGrpcStatus(
        MakeError(absl::StatusCode::kResourceExhausted,
                  absl::StrCat("more than ", budget_.limit(), " bytes are on their way to disk: retry in a moment"),
                  details),
        kErrorDomain));
    return reactor;
  }
  absl::StatusOr<Batch> batch = ReadBatch(*request, TraceFromContext(*context).ToString());
  if (!batch.ok()) {
    budget_.GiveBack(bytes);
    reactor->Finish(ToGrpcStatus(batch.status(), kErrorDomain));
    return reactor;
  }
  pipeline_.Submit(*std::move(batch), [this, bytes, reactor, response](absl::StatusOr<BatchResult> result) {
    budget_.GiveBack(bytes);
    answers_.Post([reactor, response, result = std::move(result)] {
      if (!result.ok()) {
        reactor->Finish(ToGrpcStatus(result.status(), kErrorDomain));
        return;
      }
      *response = WriteAnswer(*result);
      reactor->Finish(grpc::Status::OK);
    });
  });
  return reactor;
}

// --- Streams -------------------------------------------------------------------------------------------------------

// Reads on while earlier batches are on their way; answers in the order of the requests.
//
// Whatever happens changes the state in Step, and then one thread at a time, the driver, does what follows from it:
// gRPC may call back from within the operations that the driver starts, and nothing may be started beside Finish.
// Finish comes only when nothing is under way, so callbacks may hold `this`.
class PublishCalls::EventStream : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  EventStream(PublishCalls* calls, grpc::CallbackServerContext* context)
      : calls_(*calls), traceparent_(TraceFromContext(*context).ToString()) {}

  void Start() {
    Step([]() {});
  }

  /// Keeps the stream from ending until Fail is called; false if it has ended.
  bool Hold() {
    MutexLock lock(&mu_);
    if (finished_) return false;
    ++under_way_;
    return true;
  }
  void Fail(const absl::Status& status) {
    Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      --under_way_;
      if (error_.ok()) error_ = status;
    });
  }

  void OnReadDone(bool ok) override {
    bool take = false;
    Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      no_more_ |= !ok;
      take = ok && !finished_;
      read_ = take ? Read::kTaking : Read::kNone;
    });
    if (!take) return;
    const auto bytes = static_cast<int64_t>(request_.Length());
    if (calls_.budget_.TryTake(bytes)) {
      TakeBatch(bytes);
      return;
    }
    // Called from the thread that made room, which may be the log's: the work goes elsewhere.
    calls_.budget_.Take(bytes, [this, bytes] { calls_.answers_.Post([this, bytes] { TakeBatch(bytes); }); });
  }

  void OnWriteDone(bool ok) override {
    Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      writing_ = false;
      PopAnswer();
      broken_ |= !ok;
    });
  }

  void OnCancel() override {
    Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { broken_ = true; });
  }

  void OnDone() override {
    calls_.Remove(this);
    delete this;
  }

 private:
  // kTaking: a batch was read and is being handed on, or waits for room.
  enum class Read { kNone, kOutstanding, kTaking };
  enum class Action { kNone, kWrite, kRead, kFinish };
  struct Slot {
    bool ready = false;
    absl::Status status;
    grpc::ByteBuffer response;
    size_t bytes = 0;  ///< of the response, once it is ready
  };

  void TakeBatch(int64_t bytes) {
    auto slot = std::make_shared<Slot>();
    absl::StatusOr<Batch> batch = ReadBatch(request_, traceparent_);
    request_.Clear();
    {
      MutexLock lock(&mu_);
      answers_.push_back(slot);
      ++under_way_;
    }
    if (batch.ok()) {
      calls_.pipeline_.Submit(*std::move(batch), [this, slot, bytes](absl::StatusOr<BatchResult> result) {
        calls_.answers_.Post([this, slot, bytes, result = std::move(result)] { Answered(slot, bytes, result); });
      });
    } else {
      Answered(slot, bytes, batch.status());
    }
    Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { read_ = Read::kNone; });
  }

  void Answered(const std::shared_ptr<Slot>& slot, int64_t bytes, const absl::StatusOr<BatchResult>& result) {
    calls_.budget_.GiveBack(bytes);
    if (result.ok()) slot->response = WriteAnswer(*result);
    Step([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      slot->bytes = slot->response.Length();
      unread_bytes_ += slot->bytes;
      slot->ready = true;
      slot->status = result.status();
      --under_way_;
    });
  }

  // Changes the state, and does what follows unless another thread is at it: that one looks again after each action.
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
      grpc::ByteBuffer* response = action == Action::kWrite ? &answers_.front()->response : nullptr;
      const grpc::Status status = action == Action::kFinish ? EndStatus() : grpc::Status::OK;
      mu_.Unlock();
      if (action == Action::kWrite) StartWrite(response);
      if (action == Action::kRead) StartRead(&request_);
      if (action == Action::kFinish) {
        Finish(status);
        return;  // the stream may be gone
      }
      mu_.Lock();
    }
  }

  Action Decide() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (finished_) return Action::kNone;
    while (!writing_ && !answers_.empty() && answers_.front()->ready) {
      const absl::Status& status = answers_.front()->status;
      if (!status.ok()) {
        if (error_.ok()) error_ = status;
        // Later batches may be stored, but nobody is told so: the client sends them again with the same ids.
        answers_lost_ = true;
      }
      if (!broken_ && !answers_lost_) {
        writing_ = true;
        return Action::kWrite;
      }
      PopAnswer();
    }
    const bool open = error_.ok() && !broken_ && !no_more_;
    if (open && read_ == Read::kNone && answers_.size() < kMaxStreamBatches && unread_bytes_ < kMaxUnreadBytes) {
      read_ = Read::kOutstanding;
      return Action::kRead;
    }
    // An outstanding read does not hold it up: finishing ends the read.
    if (!open && read_ != Read::kTaking && under_way_ == 0 && answers_.empty() && !writing_) {
      finished_ = true;
      return Action::kFinish;
    }
    return Action::kNone;
  }

  void PopAnswer() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    unread_bytes_ -= answers_.front()->bytes;
    answers_.pop_front();
  }

  grpc::Status EndStatus() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (!error_.ok()) return ToGrpcStatus(error_, kErrorDomain);
    return broken_ ? grpc::Status(grpc::StatusCode::CANCELLED, "the stream was cancelled") : grpc::Status::OK;
  }

  PublishCalls& calls_;
  const std::string traceparent_;
  grpc::ByteBuffer request_;

  Mutex mu_;
  std::deque<std::shared_ptr<Slot>> answers_ ABSL_GUARDED_BY(mu_);
  size_t under_way_ ABSL_GUARDED_BY(mu_) = 0;
  size_t unread_bytes_ ABSL_GUARDED_BY(mu_) = 0;  // of the answers that are ready
  Read read_ ABSL_GUARDED_BY(mu_) = Read::kNone;
  bool driving_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool no_more_ ABSL_GUARDED_BY(mu_) = false;       // the client has said all
  bool broken_ ABSL_GUARDED_BY(mu_) = false;        // the client is gone
  bool answers_lost_ ABSL_GUARDED_BY(mu_) = false;  // a batch failed: it and all later ones get no answer
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status error_ ABSL_GUARDED_BY(mu_);
};

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* PublishCalls::Stream(
    grpc::CallbackServerContext* context) {
  auto* stream = new EventStream(this, context);
  bool stopping;
  {
    MutexLock lock(&mu_);
    streams_.push_back(stream);
    stopping = stopping_ && stream->Hold();
  }
  if (stopping) {
    stream->Fail(Stopping());
  } else {
    stream->Start();
  }
  return stream;
}

void PublishCalls::Remove(EventStream* stream) {
  MutexLock lock(&mu_);
  streams_.erase(std::find(streams_.begin(), streams_.end(), stream));
  if (streams_.empty()) ended_.SignalAll();
}

void PublishCalls::StopStreams() {
  std::vector<EventStream*> held;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    for (EventStream* stream : streams_) {
      if (stream->Hold()) held.push_back(stream);
    }
  }
  // Without the lock: a stream may end within the call, and its removal takes the lock.
  for (EventStream* stream : held) stream->Fail(Stopping());
}

void PublishCalls::Stop() {
  StopStreams();
  {
    MutexLock lock(&mu_);
    while (!streams_.empty()) ended_.Wait(&mu_);
  }
  answers_.Stop();
}

}  // namespace naru::ingest
