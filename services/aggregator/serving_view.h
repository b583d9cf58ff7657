// What queries read: every partition of `aggregates`, followed into a store of this process. Rows are on disk; the
// panes used lately are also in memory, within a budget. Also what a new owner of a partition starts from.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/clock/clock.h"
#include "common/event_log/event_log.h"
#include "common/sync/mutex.h"
#include "services/aggregator/aggregate_record.h"
#include "services/aggregator/entity_store.h"
#include "services/aggregator/pane_store.h"

namespace naru::aggregator {

struct ServingViewOptions {
  std::string family = "aggregates_view";         ///< of the store; nothing else may be in it
  size_t memory_budget_bytes = size_t{64} << 20;  ///< for panes in memory; at least one pane is always kept
};

/// A row as the view has it. Views are only good inside the callback that gets it.
struct ViewRow {
  absl::string_view group;
  absl::string_view value;  ///< as EncodeRow made it
  int64_t offset = 0;       ///< in `aggregates`, of its last change
  bool running = false;     ///< session windows: sessions that run are in it; see session_rows.h
};

/// A pane as the view has it.
struct ViewPane {
  int64_t start_us = 0;
  PaneRecord record;
  int64_t offset = 0;  ///< in `aggregates`, of its last change
};

/// A pane that is gone.
struct RemovedPane {
  MetricId metric;
  int32_t partition = 0;
  int64_t start_us = 0;
  int64_t offset = 0;
};

/// Thread-safe. Destroy before the log and the store.
///
/// What one commit changed in a partition becomes visible at once, also where it is read from the topic in several
/// pieces: its last record is the partition's head. ReadConsistently is for readers of several kinds of records.
class ServingView : public PaneSource, public EntitySource {
 public:
  ServingView(event_log::EventLog& log, event_log::LocalStore& store, const Clock& clock, ServingViewOptions options);
  ~ServingView() override;

  /// Reads what the store has of `partitions` partitions, and begins to follow the rest in a thread of its own. The
  /// topic must exist. Errors: those of the store and the log.
  absl::Status Start(int partitions);
  /// Ends the thread and all waits.
  void Stop();
  int partitions() const { return partitions_.load(); }

  // Positions.

  /// Everything in `aggregates` before this offset is in the view.
  int64_t AppliedOffset(int32_t partition) const;
  std::vector<int64_t> AppliedOffsets() const;
  /// No row that was read so far holds anything at or after these offsets. Ahead of AppliedOffsets while records are
  /// being applied.
  std::vector<int64_t> SeenOffsets() const;
  /// Nothing was known of removals before these offsets; see RemovedSince.
  std::vector<int64_t> StartOffsets() const;
  /// How far the group has read a source partition, as far as the view knows; 0 = nothing.
  int64_t HeadOffset(int32_t partition) const;
  /// Waits until `condition` holds, which is asked after each change. False: the time is over, or the view stopped.
  bool WaitUntil(const std::function<bool()>& condition, std::chrono::microseconds timeout);
  /// Grows with each change of the view.
  uint64_t change_count() const { return changes_.load(); }

  // Metrics.

  std::vector<MetricId> Metrics() const;
  std::optional<Progress> GetProgress(const MetricId& metric, int32_t partition) const;
  /// The metric's definition, from any partition; empty: not known.
  std::string GetSpec(const MetricId& metric) const;
  /// For each partition: all that was committed for the metric before this offset is in the view, and no commit lies on
  /// both sides of it. That is AppliedOffset, but behind it where the view had to take a commit in part (its end did
  /// not come, or it is very large). Who remembers up to where it knows rows remembers these: of a commit that is there
  /// in part, a pane's record comes before its rows.
  std::vector<int64_t> CommittedOffsets(const MetricId& metric) const;
  /// For each partition: where the metric's last commit that is in the view ended; 0: none is.
  std::vector<int64_t> LastCommits(const MetricId& metric) const;
  /// Whether the metric has caught up in all partitions.
  bool Joined(const MetricId& metric) const;
  /// Panes with start in [from_us, to_us), by start.
  std::vector<ViewPane> ListPanes(const MetricId& metric, int32_t partition, int64_t from_us, int64_t to_us) const;
  /// Number of groups and about how many bytes, over all panes and partitions.
  void Measure(const MetricId& metric, int64_t* groups, int64_t* bytes) const;
  /// Removals after these offsets (one for each partition), oldest first; the last few thousand are known.
  std::vector<RemovedPane> RemovedSince(const MetricId& metric, const std::vector<int64_t>& offsets) const;

  // Rows.

  /// Calls fn for each row of a pane whose group is not less than `from_group`, in the order of groups, until it
  /// returns false. Reads the pane into memory if need be. fn must not call the view. Errors: those of the store.
  absl::Status VisitRows(const MetricId& metric, int32_t partition, int64_t pane_start_us, absl::string_view from_group,
                         const std::function<bool(const ViewRow&)>& fn);
  /// Whether any partition has the group in a pane with start in [from_us, to_us).
  bool GroupExists(const MetricId& metric, int64_t from_us, int64_t to_us, absl::string_view group);
  absl::Status LoadPane(const MetricId& metric, int32_t partition, int64_t pane_start_us,
                        const std::function<void(absl::string_view, absl::string_view)>& fn) override;
  // Entities: on disk only, as EntitySource says; all may be called from any thread. fn must not call the view.

  absl::StatusOr<std::optional<std::string>> ReadEntity(const MetricId& metric, int32_t partition,
                                                        const EntityId& id) override;
  absl::Status VisitEntities(const MetricId& metric, int32_t partition, const EntityId& from,
                             const EntityFn& fn) override;
  absl::Status VisitIndex(const MetricId& metric, int32_t partition, absl::string_view from, absl::string_view to,
                          const IndexFn& fn) override;
  /// The same with the offset in `aggregates` of each entity's last change.
  absl::Status VisitEntitiesWithOffsets(
      const MetricId& metric, int32_t partition, const EntityId& from,
      const std::function<bool(const EntityId& id, absl::string_view value, int64_t offset)>& fn);

  /// Runs `read`, again if the view changed meanwhile, so that all it has read belongs together; at the third time
  /// nothing changes while it runs. It must not wait for the view. Returns its error, if it has one.
  absl::Status ReadConsistently(const std::function<absl::Status()>& read);

  /// Up to `limit` keys of the metric in the partition, in order, its progress last.
  absl::StatusOr<std::vector<std::string>> ListKeys(const MetricId& metric, int32_t partition, size_t limit);
  /// Up to `limit` keys of rows of a pane.
  absl::StatusOr<std::vector<std::string>> ListRowKeys(const MetricId& metric, int32_t partition, int64_t pane_start_us,
                                                       size_t limit);

  int64_t memory_bytes() const { return cached_bytes_.load(); }
  /// OK while the topic can be followed; else the last error.
  absl::Status Health() const;

 private:
  struct CachedRow {
    int64_t offset;
    std::string value;
  };
  using Rows = absl::btree_map<std::string, CachedRow, std::less<>>;
  struct PaneView {
    PaneRecord record;
    int64_t offset = 0;
    std::unique_ptr<Rows> rows;  // null: on disk only
    size_t bytes = 0;            // of rows
    uint64_t last_used = 0;
  };
  struct PartitionView {
    Mutex mu;
    std::optional<Progress> progress ABSL_GUARDED_BY(mu);
    int64_t committed_offset ABSL_GUARDED_BY(mu) = 0;  // after the last progress record, which ends a commit
    int64_t last_offset ABSL_GUARDED_BY(mu) = -1;      // of the last other record, which a progress record follows
    std::map<int64_t, PaneView> panes ABSL_GUARDED_BY(mu);
  };
  struct MetricView {
    std::vector<std::unique_ptr<PartitionView>> partitions;
    Mutex mu;
    std::string spec ABSL_GUARDED_BY(mu);
  };

  std::shared_ptr<MetricView> Find(const MetricId& metric) const;
  std::shared_ptr<MetricView> FindOrAdd(const MetricId& metric);
  absl::Status LoadPositions();
  absl::Status LoadMetrics();
  absl::Status Wipe();
  void LoadMeta(absl::string_view key, absl::string_view value);
  void Run();
  void Gather(event_log::FetchedBatch batch);
  bool ApplyGathered(bool all);
  absl::Status Apply(const std::vector<event_log::FetchedBatch>& batches);
  void ApplyRecord(const event_log::FetchedRecord& record, const RecordKey& key);
  void ApplyRow(const event_log::FetchedRecord& record, const RecordKey& key, PartitionView* view);
  absl::Status EnsureRows(const MetricId& metric, int32_t partition, int64_t pane_start_us, PaneView* pane);
  void EvictIfNeeded();
  void Changed();
  void SetHealth(absl::Status status);

  event_log::EventLog& log_;
  event_log::LocalStore& store_;
  const Clock& clock_;
  const ServingViewOptions options_;

  mutable Mutex mu_;
  CondVar changed_;
  std::map<MetricId, std::shared_ptr<MetricView>> metrics_ ABSL_GUARDED_BY(mu_);
  std::vector<int64_t> applied_ ABSL_GUARDED_BY(mu_);
  std::vector<int64_t> seen_ ABSL_GUARDED_BY(mu_);
  std::vector<int64_t> start_ ABSL_GUARDED_BY(mu_);
  std::vector<int64_t> heads_ ABSL_GUARDED_BY(mu_);
  std::deque<RemovedPane> removed_ ABSL_GUARDED_BY(mu_);
  absl::Status health_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  Mutex apply_mu_ ABSL_ACQUIRED_BEFORE(mu_);  // held while a commit is put into the view
  std::atomic<uint64_t> applies_{0};
  std::map<int32_t, std::vector<event_log::FetchedBatch>> gathered_;  // pieces of commits; only the thread's

  std::atomic<int> partitions_{0};
  std::atomic<uint64_t> changes_{0};
  std::atomic<uint64_t> uses_{0};
  std::atomic<int64_t> cached_bytes_{0};
  Mutex reader_mu_;
  std::unique_ptr<event_log::Reader> reader_ ABSL_GUARDED_BY(reader_mu_);
  bool following_ = false;  // set before the thread starts: what is applied from then on is new
  std::thread thread_;
};

}  // namespace naru::aggregator
