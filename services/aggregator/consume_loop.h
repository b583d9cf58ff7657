// The service's heart: consume -> update states -> commit {changed partials, progress, offsets}. One thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/clock/clock.h"
#include "common/event_log/event_log.h"
#include "common/sync/mutex.h"
#include "services/aggregator/commit.h"
#include "services/aggregator/event_kernel.h"
#include "services/aggregator/finality.h"
#include "services/aggregator/plan_directory.h"
#include "services/aggregator/serving_view.h"
#include "services/aggregator/source_partition.h"

namespace naru::aggregator {

struct ConsumeLoopOptions {
  std::string group = "naru-aggregator";
  /// Stable name of this instance: with it a restart fences what is left of the one before.
  std::string instance = "0";
  std::chrono::milliseconds commit_interval{200};
  std::chrono::milliseconds max_commit_interval{5000};
  /// The commit interval stretches so that changed partials take no more than this.
  int64_t commit_bytes_per_second = 8'000'000;
  /// A commit is due when this much has changed, whatever the time.
  int64_t max_commit_bytes = int64_t{12} << 20;
  /// For the states in memory; clean panes beyond it are dropped (and read again when needed).
  size_t memory_budget_bytes = size_t{64} << 20;
  size_t poll_bytes = size_t{4} << 20;
  /// After few events the next ones are gathered for so long: windows change with commits only, and a wake-up for each
  /// event that comes takes the processor from those who bring them.
  std::chrono::milliseconds linger{10};
  std::chrono::milliseconds maintenance_interval{10'000};
  /// How long a session that failed waits before the next; doubled up to 30 s.
  std::chrono::milliseconds retry_delay{500};
  /// The log may hold an event twice (Kafka).
  bool drop_repeats = false;
};

/// Counts since the start; for metrics and tests.
struct ConsumeLoopStats {
  int64_t events = 0;
  int64_t skipped_records = 0;
  int64_t commits = 0;
  int64_t committed_bytes = 0;
  int64_t sessions = 0;  ///< how often the states were thrown away and read again
  int64_t fenced = 0;
  int64_t state_bytes = 0;
};

/// Thread-safe from outside. Borrows everything; destroy before them.
class ConsumeLoop {
 public:
  ConsumeLoop(event_log::EventLog& log, ServingView& view, PlanDirectory& plans, Finality& finality, const Clock& clock,
              ConsumeLoopOptions options);
  ~ConsumeLoop();

  void Start();
  /// Commits what was counted and ends the thread. Twice does nothing more.
  void Stop();
  /// Ends the thread without committing, as a crash would; for tests.
  void Abandon();
  /// Somebody waits for what was just published: the next commit comes soon.
  void Hurry() { hurry_.store(true, std::memory_order_relaxed); }
  ConsumeLoopStats stats() const;
  /// OK while a session runs; else the last error.
  absl::Status Health() const;

 private:
  /// What lives as long as nothing goes wrong: one producer, one consumer, the states of its partitions.
  struct Session {
    std::unique_ptr<event_log::Producer> producer;
    std::unique_ptr<event_log::Consumer> consumer;
    std::map<int32_t, std::unique_ptr<SourcePartition>> partitions;
    std::unique_ptr<EventKernel> kernel;
    std::map<int32_t, LateBatch> late;
    std::vector<int> newly_assigned;
    absl::Status failure;  // found inside a callback of the consumer
    std::chrono::steady_clock::time_point last_commit;
    std::chrono::steady_clock::time_point last_maintenance;
    std::chrono::steady_clock::time_point last_eviction;
    uint64_t pane_uses = 0;
    bool rebuilding = false;
    bool behind = false;  // more is due than one commit should hold
    bool paused = false;
  };

  void Run();
  void SleepBeforeRetry(std::chrono::milliseconds delay);
  absl::Status RunSession();
  absl::Status OpenSession(Session* session);
  absl::Status Step(Session* session);
  absl::Status AdoptPlans(Session* session);
  absl::StatusOr<std::vector<std::pair<int, int64_t>>> Assign(Session* session, const std::vector<int>& partitions);
  absl::Status Revoke(Session* session, const std::vector<int>& partitions);
  absl::Status Consume(Session* session, std::chrono::milliseconds wait);
  void Linger(const Session& session, size_t records);
  absl::Status CommitAll(Session* session);
  absl::Status CommitPartitions(Session* session, const std::vector<SourcePartition*>& partitions,
                                bool patient = false);
  bool CommitDue(const Session& session) const;
  std::chrono::milliseconds PollWait(const Session& session) const;
  absl::Status CommitBetween(Session* session);
  static int64_t DirtyBytes(const Session& session);
  static bool AnythingToCommit(const Session& session);
  absl::Status Maintain(Session* session);
  absl::Status ExpirePanes(SourcePartition* partition);
  absl::Status ExpireEntities(SourcePartition* partition);
  std::vector<int64_t> FindExpired(SourcePartition* partition, const MetricState& state);
  absl::Status RemoveObsolete(SourcePartition* partition);
  void EvictStates(Session* session);
  size_t EvictEntities(Session* session, size_t bytes);
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }
  void SetHealth(absl::Status status);

  event_log::EventLog& log_;
  ServingView& view_;
  PlanDirectory& plans_;
  Finality& finality_;
  const Clock& clock_;
  const ConsumeLoopOptions options_;

  std::atomic<bool> stopping_{false};
  std::atomic<bool> abandoned_{false};
  std::atomic<bool> hurry_{false};
  mutable Mutex mu_;
  CondVar wake_;
  event_log::Consumer* consumer_ ABSL_GUARDED_BY(mu_) = nullptr;  // to be cancelled
  ConsumeLoopStats stats_ ABSL_GUARDED_BY(mu_);
  absl::Status health_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace naru::aggregator
