// The pipeline over an event log.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/catalog/catalog.h"
#include "common/clock/clock.h"
#include "common/event_log/event_log.h"
#include "common/sync/mutex.h"
#include "services/ingest/bookkeeping.h"
#include "services/ingest/event_check.h"
#include "services/ingest/event_types.h"
#include "services/ingest/pipeline.h"
#include "services/ingest/work_queue.h"

namespace naru {
class MetricRegistry;
}

namespace naru::ingest {

struct LogPipelineOptions {
  EventCheckOptions check;
  std::string transactional_id = "naru-ingest";    ///< on Kafka, of batches with extra records: unique and stable
  size_t max_dead_letter_bytes = size_t{8} << 20;  ///< longer raw bytes are cut (Kafka takes messages of about 1 MiB)
  std::chrono::milliseconds catalog_timeout{5'000};
};

/// Borrows everything; all must outlive it. Thread-safe.
class LogPipeline : public IngestPipeline {
 public:
  /// The topics `events` and `events.dlq` must be there.
  static absl::StatusOr<std::unique_ptr<LogPipeline>> Open(event_log::EventLog& log, catalog::Catalog& catalog,
                                                           Bookkeeping& bookkeeping, const Clock& clock, Random& random,
                                                           MetricRegistry* metrics, LogPipelineOptions options);
  /// Waits for what was submitted.
  ~LogPipeline() override;

  void Submit(Batch batch, Done done) override;
  absl::StatusOr<int64_t> BeginSession() override;

  /// What Submit would say of these events now, without ids, storing or counting anything.
  BatchResult Preview(const std::vector<absl::string_view>& events);

  /// Called with each new table of types (its retention may have changed), from the catalog's thread.
  void OnTypes(std::function<void(const TypeTable&)> callback);

 private:
  struct Job;
  struct Meters;
  LogPipeline(event_log::EventLog& log, catalog::Catalog& catalog, Bookkeeping& bookkeeping, const Clock& clock,
              Random& random, LogPipelineOptions options);

  std::shared_ptr<const TypeTable> types() const;
  void SetTypes(const catalog::Snapshot& snapshot);
  bool CheckEvents(Job* job);
  void CheckAgainstNewestCatalog(std::shared_ptr<Job> job);
  void Continue(std::shared_ptr<Job> job);
  absl::Status Deduplicate(Job* job);
  void BuildRecords(Job* job);
  void AddRecord(Job* job, size_t index);
  void AddDeadLetter(Job* job, v1::RejectReason reason, absl::string_view field, absl::string_view value,
                     absl::string_view expected, const CheckedEvent* event, absl::string_view raw, int64_t position,
                     absl::string_view line_id);
  void CountAndKeep(Job* job);
  void MarkReplayed(Job* job);
  void Store(std::shared_ptr<Job> job);
  void Append(std::shared_ptr<Job> job);
  void AppendInTransaction(std::shared_ptr<Job> job);
  absl::Status OpenTransactions();
  absl::StatusOr<event_log::AppendResult> Commit(Job* job);
  void Finish(std::shared_ptr<Job> job, absl::StatusOr<event_log::AppendResult> appended);
  void Answer(std::shared_ptr<Job> job, const absl::StatusOr<event_log::AppendResult>& appended);
  void Release();

  event_log::EventLog& log_;
  catalog::Catalog& catalog_;
  Bookkeeping& bookkeeping_;
  const Clock& clock_;
  Random& random_;
  const LogPipelineOptions options_;
  const bool embedded_;
  int partitions_ = 0;
  std::unique_ptr<event_log::Producer> producer_;
  std::unique_ptr<event_log::Producer> transactions_;  // only on the queue of that name, as is the session
  int64_t session_ = 0;                                // counts how often the transactional id was taken
  std::unique_ptr<Meters> meters_;

  mutable Mutex mu_;
  CondVar idle_;
  std::shared_ptr<const TypeTable> types_ ABSL_GUARDED_BY(mu_);
  std::function<void(const TypeTable&)> on_types_ ABSL_GUARDED_BY(mu_);
  int64_t jobs_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t subscription_ = 0;

  WorkQueue catalog_queue_;      // waits for the catalog
  WorkQueue transaction_queue_;  // commits, one at a time
};

}  // namespace naru::ingest
