// The calls that bring events: PublishEvents and StreamEvents over the received bytes. Includes gRPC: only for .cc
// files.
#pragma once

#include <grpcpp/grpcpp.h>

#include <vector>

#include "common/sync/mutex.h"
#include "services/ingest/byte_budget.h"
#include "services/ingest/pipeline.h"
#include "services/ingest/work_queue.h"

namespace naru::ingest {

/// Borrows pipeline and budget. Thread-safe.
class PublishCalls {
 public:
  PublishCalls(IngestPipeline& pipeline, ByteBudget& budget) : pipeline_(pipeline), budget_(budget) {}
  /// Waits for the answers on their way.
  ~PublishCalls() { Stop(); }

  /// Handlers of the generated service's raw callback methods.
  grpc::ServerUnaryReactor* Publish(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response);
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Stream(grpc::CallbackServerContext* context);

  /// Streams take no more batches, answer what they have and end with UNAVAILABLE; new ones are refused so.
  void StopStreams();
  void Stop();

 private:
  class EventStream;
  void Remove(EventStream* stream);

  IngestPipeline& pipeline_;
  ByteBudget& budget_;
  Mutex mu_;
  CondVar ended_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<EventStream*> streams_ ABSL_GUARDED_BY(mu_);
  // Answers are not sent from the log's thread: gRPC may run the next request's work within the sending call.
  WorkQueue answers_;
};

}  // namespace naru::ingest
