#include "services/ingest/read_events.h"

#include <algorithm>
#include <memory>
#include <thread>

#include "common/event/event_proto.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ingest.pb.h"
#include "services/ingest/error_domain.h"
#include "services/ingest/event_scan.h"

namespace naru::ingest {
namespace {

constexpr size_t kMaxCalls = 64;
constexpr int kMaxResponseEvents = 1000;
constexpr size_t kMaxResponseBytes = size_t{1} << 20;

}  // namespace

// Runs on a thread of its own; Finish is the last thing that thread does.
class ReadEventsCalls::Call : public grpc::ServerWriteReactor<v1::ReadEventsResponse> {
 public:
  Call(ReadEventsCalls* calls, v1::ReadEventsRequest request) : calls_(*calls), request_(std::move(request)) {}

  void Start() {
    std::thread([this] { Finish(ToGrpcStatus(Run(), kErrorDomain)); }).detach();
  }
  void Refuse(const absl::Status& status) { Finish(ToGrpcStatus(status, kErrorDomain)); }
  void Stop() {
    MutexLock lock(&mu_);
    stopped_ = true;
    if (scan_ != nullptr) scan_->Cancel();
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&mu_);
    writing_ = false;
    gone_ |= !ok;
    written_.Signal();
  }
  void OnCancel() override {
    MutexLock lock(&mu_);
    gone_ = true;
    if (scan_ != nullptr) scan_->Cancel();
  }
  void OnDone() override {
    {
      MutexLock lock(&calls_.mu_);
      calls_.calls_.erase(std::find(calls_.calls_.begin(), calls_.calls_.end(), this));
      if (calls_.calls_.empty()) calls_.ended_.SignalAll();
    }
    delete this;
  }

 private:
  absl::Status Run() {
    absl::StatusOr<std::unique_ptr<EventScan>> scan =
        EventScan::Open(calls_.log_, *calls_.catalog_.snapshot(), request_);
    NARU_RETURN_IF_ERROR(scan.status());
    {
      MutexLock lock(&mu_);
      if (stopped_ || gone_) (*scan)->Cancel();
      scan_ = scan->get();
    }
    absl::Status status =
        (*scan)->Run([this](const ScannedEvent& event) { return Add(event); }, [this] { return Flush(); });
    if (status.ok()) Flush();
    MutexLock lock(&mu_);
    scan_ = nullptr;
    if (stopped_)
      return MakeError(absl::StatusCode::kUnavailable, "STOPPING",
                       "the server is stopping: go on with another one, or later");
    return gone_ ? absl::CancelledError("the call was cancelled") : status;
  }

  bool Add(const ScannedEvent& event) {
    if (response_.events_size() == kMaxResponseEvents ||
        (bytes_ > 0 && bytes_ + event.bytes.size() > kMaxResponseBytes)) {
      if (!Flush()) return false;
    }
    v1::StoredEvent* stored = response_.add_events();
    stored->set_partition(event.partition);
    stored->set_offset(event.offset);
    bytes_ += event.bytes.size() + 32;
    event::EventToProto(event.bytes, event.received_us, stored->mutable_event());
    return true;
  }

  // Sends what is gathered and waits until gRPC has taken it: a slow reader holds one message, not many.
  bool Flush() {
    if (response_.events_size() > 0) {
      {
        MutexLock lock(&mu_);
        if (gone_) return false;
        writing_ = true;
      }
      StartWrite(&response_);
      MutexLock lock(&mu_);
      while (writing_) written_.Wait(&mu_);
      response_.Clear();
      bytes_ = 0;
    }
    MutexLock lock(&mu_);
    return !gone_ && !stopped_;
  }

  ReadEventsCalls& calls_;
  const v1::ReadEventsRequest request_;
  v1::ReadEventsResponse response_;
  size_t bytes_ = 0;
  Mutex mu_;
  CondVar written_;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool gone_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  EventScan* scan_ ABSL_GUARDED_BY(mu_) = nullptr;
};

grpc::ServerWriteReactor<v1::ReadEventsResponse>* ReadEventsCalls::Read(grpc::CallbackServerContext* /*context*/,
                                                                        const v1::ReadEventsRequest* request) {
  auto* call = new Call(this, *request);
  absl::Status refused;
  {
    MutexLock lock(&mu_);
    if (stopping_) refused = MakeError(absl::StatusCode::kUnavailable, "STOPPING", "the server is stopping");
    if (calls_.size() >= kMaxCalls) {
      refused = MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_READERS",
                          "64 calls of ReadEvents are running: end one, or use a consumer of the log");
    }
    calls_.push_back(call);
  }
  if (refused.ok()) {
    call->Start();
  } else {
    call->Refuse(refused);
  }
  return call;
}

void ReadEventsCalls::Stop() {
  MutexLock lock(&mu_);
  stopping_ = true;
  // A call takes this lock when it is done, and never while it holds its own.
  for (Call* call : calls_) call->Stop();
}

ReadEventsCalls::~ReadEventsCalls() {
  Stop();
  MutexLock lock(&mu_);
  while (!calls_.empty()) ended_.Wait(&mu_);
}

}  // namespace naru::ingest
