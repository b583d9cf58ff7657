#include "services/naru/event_sender.h"

#include <google/protobuf/repeated_field.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/sync_stream.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "common/event/event_writer.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::cli {
namespace {

constexpr int kBatchEvents = 500;
constexpr size_t kBatchBytes = 1 << 20;
constexpr int kBatchesUnderWay = 16;
constexpr char kMethod[] = "/naru.ingest.v1.IngestService/StreamEvents";

// Requests go out as the bytes they are, not through generated messages: the events are encoded already.
using Stream = grpc::ClientReaderWriter<grpc::ByteBuffer, ingest::v1::PublishEventsResponse>;

grpc::ByteBuffer ToByteBuffer(const std::string& bytes) {
  grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace

struct EventSender::State {
  ConnectionFlags connection;
  std::function<void(const Rejection&)> on_rejected;
  std::shared_ptr<grpc::Channel> channel;
  grpc::ClientContext context;
  std::unique_ptr<Stream> stream;
  std::thread reader;
  std::string batch;
  int batch_events = 0;
  bool writes_done = false;

  Mutex mu;
  CondVar changed;
  SendTotals totals ABSL_GUARDED_BY(mu);
  int under_way ABSL_GUARDED_BY(mu) = 0;
  bool ended ABSL_GUARDED_BY(mu) = false;

  void Count(const ingest::v1::PublishEventsResponse& response) {
    std::vector<Rejection> rejections;
    {
      MutexLock lock(&mu);
      for (const auto& result : response.not_accepted()) {
        if (result.duplicate()) continue;
        const std::string& reason = ingest::v1::RejectReason_Name(result.reason());
        ++totals.rejected_by_reason[reason];
        rejections.push_back(
            {totals.received + result.index(), reason, result.field(), result.value(), result.expected()});
      }
      totals.received += response.received_count();
      totals.accepted += response.accepted_count();
      totals.duplicate += response.duplicate_count();
      totals.rejected += response.rejected_count();
      totals.filtered += response.filtered_count();
      --under_way;
      changed.SignalAll();
    }
    if (on_rejected == nullptr) return;
    for (const Rejection& rejection : rejections) on_rejected(rejection);
  }

  void Read() {
    ingest::v1::PublishEventsResponse response;
    while (stream->Read(&response)) Count(response);
    MutexLock lock(&mu);
    ended = true;
    changed.SignalAll();
  }
};

EventSender::EventSender(const ConnectionFlags& connection, std::function<void(const Rejection&)> on_rejected)
    : state_(std::make_unique<State>()) {
  state_->connection = connection;
  state_->on_rejected = std::move(on_rejected);
}

EventSender::~EventSender() {
  if (state_->stream == nullptr) return;
  if (state_->reader.joinable()) {
    state_->context.TryCancel();
    state_->reader.join();
    state_->stream->Finish();
  }
}

absl::Status EventSender::Start() {
  NARU_ASSIGN_OR_RETURN(state_->channel, Connect(state_->connection));
  const grpc::internal::RpcMethod method(kMethod, grpc::internal::RpcMethod::BIDI_STREAMING, state_->channel);
  state_->stream.reset(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, ingest::v1::PublishEventsResponse>::Create(
          state_->channel.get(), method, &state_->context));
  state_->reader = std::thread([state = state_.get()] { state->Read(); });
  return absl::OkStatus();
}

absl::Status EventSender::Send(absl::string_view event) {
  if (state_->batch.size() + event.size() > kBatchBytes) NARU_RETURN_IF_ERROR(Flush());
  event::AppendPublishEntry(event, &state_->batch);
  if (++state_->batch_events < kBatchEvents) return absl::OkStatus();
  return Flush();
}

absl::Status EventSender::Flush() {
  if (state_->batch_events == 0) return absl::OkStatus();
  bool ended = false;
  {
    MutexLock lock(&state_->mu);
    while (state_->under_way >= kBatchesUnderWay && !state_->ended) state_->changed.Wait(&state_->mu);
    ended = state_->ended;
    if (!ended) {
      ++state_->under_way;
      state_->totals.sent += state_->batch_events;
    }
  }
  if (!ended) ended = !state_->stream->Write(ToByteBuffer(state_->batch));
  state_->batch.clear();
  state_->batch_events = 0;
  if (!ended) return absl::OkStatus();
  const absl::Status why = Finish();
  return why.ok() ? MakeError(absl::StatusCode::kUnavailable, "STREAM_ENDED", "the server ended the stream") : why;
}

absl::Status EventSender::Finish() {
  if (state_->stream == nullptr || !state_->reader.joinable()) return absl::OkStatus();
  if (state_->batch_events > 0) NARU_RETURN_IF_ERROR(Flush());
  if (!state_->reader.joinable()) return absl::OkStatus();
  if (!state_->writes_done) state_->stream->WritesDone();
  state_->writes_done = true;
  state_->reader.join();
  NARU_RETURN_IF_ERROR(CallStatus(state_->stream->Finish(), state_->connection));
  const SendTotals all = totals();
  if (all.received == all.sent) return absl::OkStatus();
  return MakeError(absl::StatusCode::kUnavailable, "STREAM_ENDED",
                   absl::StrCat("the server ended the stream and did not acknowledge ", all.sent - all.received,
                                " events; sending them again is safe, stored ones count as duplicate"));
}

void EventSender::Cancel() { state_->context.TryCancel(); }

SendTotals EventSender::totals() const {
  MutexLock lock(&state_->mu);
  return state_->totals;
}

}  // namespace naru::cli
