// Ingest put together: topics, bookkeeping, pipeline, service. What a main, `naru up` and tests make.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/catalog/catalog.h"
#include "common/clock/clock.h"
#include "common/event_log/event_log.h"
#include "services/ingest/config.h"
#include "services/ingest/ingest_service.h"
#include "services/ingest/log_pipeline.h"

namespace naru {
class MetricRegistry;
class Server;
}  // namespace naru

namespace naru::ingest {

class ImportCalls;
class ImportFormats;
class SourceSet;

/// What ingest borrows; all must outlive it.
struct IngestDependencies {
  event_log::EventLog* log = nullptr;  ///< with a local store: the embedded way, else the one on Kafka
  catalog::Catalog* catalog = nullptr;
  MetricRegistry* metrics = nullptr;  ///< may be null
  const Clock* clock = Clock::System();
  Random* random = Random::System();
  std::string data_dir;  ///< embedded: the directory whose size the status tells
};

/// Thread-safe after Open.
class Ingest {
 public:
  /// Makes the topics, restores ids and counts, and takes batches from then on. Embedded, `options.state_dir` must be a
  /// directory beside the log's.
  /// Errors: those of the log and the file system; INVALID_ARGUMENT.
  static absl::StatusOr<std::unique_ptr<Ingest>> Open(const IngestOptions& options,
                                                      const IngestDependencies& dependencies);
  /// Waits for what was taken. The server must have stopped.
  ~Ingest();

  /// Adds the service, its scopes and health. Before the server starts.
  void Register(Server& server);

  LogPipeline& pipeline() { return *pipeline_; }
  ByteBudget& budget() { return budget_; }
  Bookkeeping& bookkeeping() { return *bookkeeping_; }
  DeadLetters& dead_letters() { return *dead_letters_; }
  IngestService& service() { return *service_; }

 private:
  Ingest(const IngestOptions& options, const IngestDependencies& dependencies);
  absl::Status Start();
  absl::Status MakeTopics();
  void KeepEventsFor(const TypeTable& types);
  void AddMetrics();

  const IngestOptions options_;
  const IngestDependencies dependencies_;
  ByteBudget budget_;
  std::vector<std::string> notes_;
  std::unique_ptr<Bookkeeping> bookkeeping_;
  std::unique_ptr<LogPipeline> pipeline_;
  std::unique_ptr<DeadLetters> dead_letters_;
  std::unique_ptr<ImportFormats> formats_;
  std::unique_ptr<ImportCalls> imports_;
  std::unique_ptr<IngestService> service_;
  std::unique_ptr<SourceSet> sources_;
  event_log::TopicConfig events_topic_;  // as it was made last; changed on the catalog's thread only
  struct Gauges;
  std::unique_ptr<Gauges> gauges_;
};

}  // namespace naru::ingest
