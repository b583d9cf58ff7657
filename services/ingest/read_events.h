// ReadEvents: stored events to whoever asks. Includes gRPC: only for .cc files.
#pragma once

#include <grpcpp/grpcpp.h>

#include <vector>

#include "common/catalog/catalog.h"
#include "common/event_log/event_log.h"
#include "common/sync/mutex.h"

namespace naru::ingest::v1 {
class ReadEventsRequest;
class ReadEventsResponse;
}  // namespace naru::ingest::v1

namespace naru::ingest {

/// Each call has a thread of its own, because reading the log blocks; at most 64 at a time. Thread-safe.
class ReadEventsCalls {
 public:
  ReadEventsCalls(event_log::EventLog& log, catalog::Catalog& catalog) : log_(log), catalog_(catalog) {}
  /// Waits for the calls; the server must have ended or cancelled them.
  ~ReadEventsCalls();

  /// Handler of the generated service's callback method.
  grpc::ServerWriteReactor<v1::ReadEventsResponse>* Read(grpc::CallbackServerContext* context,
                                                         const v1::ReadEventsRequest* request);
  /// Ends running calls with UNAVAILABLE and refuses new ones so. Does not wait: what a slow client has not read yet is
  /// for the server's drain time.
  void Stop();

 private:
  class Call;

  event_log::EventLog& log_;
  catalog::Catalog& catalog_;
  Mutex mu_;
  CondVar ended_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Call*> calls_ ABSL_GUARDED_BY(mu_);
};

}  // namespace naru::ingest
