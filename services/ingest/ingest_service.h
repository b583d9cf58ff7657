// naru.ingest.v1.IngestService.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/catalog/catalog.h"
#include "common/event_log/event_log.h"
#include "services/ingest/bookkeeping.h"
#include "services/ingest/byte_budget.h"
#include "services/ingest/dead_letters.h"
#include "services/ingest/import_handler.h"
#include "services/ingest/pipeline.h"

namespace grpc {
class Service;
}
namespace naru {
class Server;
}
namespace naru::ingest::v1 {
class SourceStatus;
}

namespace naru::ingest {

/// What the service is made of; all borrowed.
struct IngestServiceParts {
  event_log::EventLog* log = nullptr;
  catalog::Catalog* catalog = nullptr;
  IngestPipeline* pipeline = nullptr;
  Bookkeeping* bookkeeping = nullptr;
  DeadLetters* dead_letters = nullptr;
  ByteBudget* budget = nullptr;
  std::vector<std::string> notes;  ///< what was mended at start, for the status
  std::string data_dir;            ///< its size is in the status; empty: not known
};

/// Thread-safe.
class IngestService {
 public:
  explicit IngestService(IngestServiceParts parts);
  ~IngestService();

  /// Before the server starts. Borrowed; null: ImportEvents is UNIMPLEMENTED.
  void set_import_handler(ImportHandler* handler);
  /// What follows other systems' topics, for the status. Before the server starts.
  void set_sources(std::function<std::vector<v1::SourceStatus>()> sources);

  /// Adds itself with the scopes of its methods, and what it must do when the server stops.
  void Register(Server& server);
  grpc::Service* service();
  /// Ends streams and readers; see Server::OnStop.
  void StopStreams();

 private:
  class Rpcs;
  std::unique_ptr<Rpcs> rpcs_;
};

}  // namespace naru::ingest
