// One partition of the source topic that this aggregator owns: every metric's state in it, and the readers that bring
// new metrics up to where the group is.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/event_log/event_log.h"
#include "services/aggregator/event_kernel.h"
#include "services/aggregator/metric_state.h"
#include "services/aggregator/replay_filter.h"
#include "services/aggregator/serving_view.h"

namespace naru::aggregator {

/// Belongs to the thread that counts events.
class SourcePartition {
 public:
  /// `next_offset` is where the group goes on. `drop_repeats`: the log may hold an event twice (Kafka).
  SourcePartition(event_log::EventLog& log, ServingView& view, int32_t partition, int64_t next_offset,
                  bool drop_repeats, uint64_t* use_counter);

  /// Reads back the ids of the ten minutes before the group's position, where repeats are dropped.
  absl::Status RestoreReplays();
  /// Takes the metrics to be computed: new ones begin with what the view has of them, or at the start of the log; those
  /// that are gone are forgotten.
  absl::Status AdoptPlans(const std::shared_ptr<const PlanSet>& plans);
  /// Counts a batch that the group's consumer got. False: a commit must come first, then the same batch again.
  absl::StatusOr<bool> Process(const event_log::FetchedBatch& batch, EventKernel* kernel, std::vector<LateEvent>* late);
  /// Goes on with what is due (MetricState::behind). Returns whether a commit must come before anything else.
  absl::StatusOr<bool> Continue();
  /// Counts about `max_bytes` of older events for each metric that is behind the group. Returns whether any is.
  absl::StatusOr<bool> Rebuild(EventKernel* kernel, size_t max_bytes, std::vector<LateEvent>* late);

  int32_t partition() const { return partition_; }
  int64_t next_offset() const { return next_offset_; }
  const std::map<MetricId, std::unique_ptr<MetricState>>& states() const { return states_; }
  /// The group's position has moved since the last commit.
  bool head_changed = false;
  /// Received time of the first record counted since the last commit: what was shown before did not know of it.
  int64_t first_received_us = kForever;
  /// Rows, panes and metrics to be deleted with the next commit.
  std::vector<std::string> tombstones;
  /// No more of a deleted metric is listed until the view has passed this offset of `aggregates`.
  int64_t tombstones_until = -1;

 private:
  struct RebuildReader {
    std::unique_ptr<event_log::Reader> reader;
    std::vector<MetricId> metrics;
    std::deque<event_log::FetchedBatch> batches;  // read, but not yet counted
    int64_t resume_at = 0;                        // in the first of them
    bool by_time = false;                         // begins at a time: an empty answer may mean that nothing is there
    std::unique_ptr<ReplayFilter> replays;
  };
  absl::Status StartRebuilds();
  absl::StatusOr<bool> RunRebuild(RebuildReader* rebuild, EventKernel* kernel, size_t max_bytes,
                                  std::vector<LateEvent>* late);
  std::vector<MetricState*> Find(const std::vector<MetricId>& ids);
  void Join(RebuildReader* rebuild);

  event_log::EventLog& log_;
  ServingView& view_;
  const int32_t partition_;
  int64_t next_offset_;
  const bool drop_repeats_;
  uint64_t* use_counter_;
  std::unique_ptr<ReplayFilter> replays_;
  std::map<MetricId, std::unique_ptr<MetricState>> states_;
  std::vector<std::unique_ptr<RebuildReader>> rebuilds_;
  int64_t resume_at_ = 0;  // in the group's batch, where a commit had to come first
};

}  // namespace naru::aggregator
