// Bookkeeping on Kafka: what the log itself says, and the little that it cannot.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock/clock.h"
#include "common/event_log/event_log.h"
#include "common/sync/mutex.h"
#include "services/ingest/bookkeeping.h"
#include "services/ingest/topic_follower.h"

namespace naru::ingest {

struct LogBookkeepingOptions {
  /// For sealed generations of ids; empty: a temporary directory, so that the window is read back at each start.
  std::string directory;
  std::string instance;  ///< stable and unique: the name of this replica's own numbers
  std::chrono::seconds longest_window{86'400};
  const Clock* clock = Clock::System();
  Random* random = Random::System();
  int id_table_bits = 19;
  std::chrono::milliseconds flush_interval{1'000};      ///< of the count of duplicates, to the ledger
  std::chrono::milliseconds snapshot_interval{30'000};  ///< of what was counted in the log
};

/// Follows `events` (ids and accepted), `events.dlq` (rejected) and `naru.ledger`. Stored and rejected events are
/// counted in the log, from the last snapshot in the ledger on; duplicates and filtered ones are in no log, so each
/// replica writes its own count of them every second. Thread-safe.
///
/// Keys in the ledger: `ingest/counts` (snapshot), `ingest/local/INSTANCE`, `ingest/replayed/PARTITION/OFFSET`.
class LogBookkeeping : public Bookkeeping {
 public:
  /// Returns before ids are read back; Ready says when. Errors: those of the log and the file system.
  static absl::StatusOr<std::unique_ptr<LogBookkeeping>> Open(event_log::EventLog& log, LogBookkeepingOptions options,
                                                              std::vector<std::string>* notes);
  /// Writes its counts.
  ~LogBookkeeping() override;

  dedup::IdWindow& window() override { return *window_; }
  std::vector<event_log::LocalWrite> Begin(uint64_t sequence, uint32_t time_s, absl::Span<const dedup::IdHash> ids,
                                           const Counts& counts) override;
  void End(uint64_t sequence, bool durable) override;
  Counts Totals() const override;
  absl::Status CatchUp() override;
  absl::StatusOr<bool> WasReplayed(int32_t partition, int64_t offset) override;
  void MarkReplayed(int32_t partition, int64_t offset, absl::string_view type,
                    std::vector<event_log::LocalWrite>* local, std::vector<LedgerRecord>* ledger) override;
  absl::Status Ready() const override;

 private:
  LogBookkeeping(event_log::EventLog& log, LogBookkeepingOptions options) : log_(log), options_(std::move(options)) {}
  absl::Status Start(std::vector<std::string>* notes);
  absl::Status OpenWindow(std::vector<std::string>* notes);
  absl::Status FollowEvents();
  void OnEvents(const event_log::FetchedBatch& batch);
  void OnDeadLetters(const event_log::FetchedBatch& batch);
  void OnLedger(const event_log::FetchedBatch& batch);
  void ApplyLedger(absl::string_view key, absl::string_view value);
  void FlushLoop();
  void Flush(bool snapshot);

  event_log::EventLog& log_;
  LogBookkeepingOptions options_;
  bool temporary_directory_ = false;
  std::map<int, int64_t> ids_from_;  // events before these offsets are in sealed generations
  int64_t ids_since_us_ = 0;

  mutable Mutex mu_;
  Counts logged_ ABSL_GUARDED_BY(mu_);  // counted in the log before the positions below
  std::map<int, int64_t> counted_events_ ABSL_GUARDED_BY(mu_);
  int64_t counted_letters_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<int, int64_t> remembered_ ABSL_GUARDED_BY(mu_);  // ids of events before these offsets are in the window
  Counts own_ ABSL_GUARDED_BY(mu_);                         // duplicates and filtered ones of this replica
  bool own_changed_ ABSL_GUARDED_BY(mu_) = false;
  bool logged_changed_ ABSL_GUARDED_BY(mu_) = false;
  std::map<std::string, Counts> others_ ABSL_GUARDED_BY(mu_);
  std::map<std::pair<int32_t, int64_t>, std::string> replayed_ ABSL_GUARDED_BY(mu_);  // with the type stored again
  std::vector<std::pair<uint64_t, Counts>> under_way_ ABSL_GUARDED_BY(mu_);
  bool ledger_read_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  CondVar wakes_;

  mutable std::atomic<bool> ready_{false};
  TopicFollower::Mark ready_mark_;
  std::unique_ptr<event_log::Producer> producer_;
  std::unique_ptr<dedup::IdWindow> window_;
  std::unique_ptr<TopicFollower> ledger_, letters_, events_;  // after what their callbacks use
  std::thread flusher_;
};

}  // namespace naru::ingest
