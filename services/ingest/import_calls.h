// The call ImportEvents.
#pragma once

#include <memory>

#include "services/ingest/import_formats.h"
#include "services/ingest/import_handler.h"
#include "services/ingest/import_run.h"

namespace naru::ingest {

/// Serves ImportEvents: each call is an ImportRun. Thread-safe.
class ImportCalls : public ImportHandler {
 public:
  /// More imports at a time are refused (RESOURCE_EXHAUSTED, retry later): each takes three threads and about 16 MiB.
  static constexpr size_t kMaxRunning = 8;

  ImportCalls(const ImportDependencies& dependencies, ImportFormats* formats);
  ~ImportCalls() override;

  grpc::ServerBidiReactor<v1::ImportEventsRequest, v1::ImportEventsResponse>* ImportEvents(
      grpc::CallbackServerContext* context) override;
  void Stop() override;

 private:
  class Call;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace naru::ingest
