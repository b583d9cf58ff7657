// The seam between the service and what reads files: ImportEvents is one call of the service, with a part of its own.
#pragma once

namespace grpc {
class CallbackServerContext;
template <class Request, class Response>
class ServerBidiReactor;
}  // namespace grpc

namespace naru::ingest::v1 {
class ImportEventsRequest;
class ImportEventsResponse;
}  // namespace naru::ingest::v1

namespace naru::ingest {

/// Serves ImportEvents. Thread-safe.
class ImportHandler {
 public:
  virtual ~ImportHandler() = default;
  /// Handler of the generated service's callback method.
  virtual grpc::ServerBidiReactor<v1::ImportEventsRequest, v1::ImportEventsResponse>* ImportEvents(
      grpc::CallbackServerContext* context) = 0;
  /// Running imports end (what was taken stays), new ones are refused. Does not wait: what a slow client has not read
  /// yet is for the server's drain time.
  virtual void Stop() = 0;
};

}  // namespace naru::ingest
