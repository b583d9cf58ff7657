// One atomic step: what changed in the states, what is deleted, what was late, and how far the events were read.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/event_log/event_log.h"
#include "services/aggregator/finality.h"
#include "services/aggregator/source_partition.h"

namespace naru::aggregator {

/// Late events of one partition that wait for the next commit.
struct LateBatch {
  int32_t partition = 0;
  std::vector<LateEvent> events;
};

/// Builds a transaction out of partitions' changes, and marks them as stored once it is committed. Used once.
class Commit {
 public:
  Commit(ServingView& view, Finality& finality, int64_t now_us) : view_(view), finality_(finality), now_us_(now_us) {}

  /// Makes the partition's states what a commit stores of them; before Add. Errors: of reading what is stored; then the
  /// states are of no use any more.
  absl::Status Prepare(SourcePartition* partition);
  /// Adds all that changed in a partition. The partition must not change until the commit is over.
  void Add(SourcePartition* partition);
  /// Adds late events; borrows them.
  void AddLate(const LateBatch& late);
  bool empty() const { return parts_.empty(); }
  int64_t bytes() const { return bytes_; }

  /// Commits; on success everything added is marked as stored. `patient`: nobody waits for it. Errors: those of
  /// Producer::Commit; then the states are still to be stored.
  absl::Status Run(event_log::Producer& producer, event_log::Consumer* consumer, const std::string& group,
                   bool patient);

 private:
  struct Part {
    SourcePartition* partition = nullptr;
    std::deque<std::string> strings;  // keys and values; a deque keeps them where they are
    std::vector<event_log::Record> records;
    int64_t next_offset = 0;
    size_t tombstones = 0;
  };
  int64_t FrontierShown(const MetricState& state, const SourcePartition& partition);
  void AddState(MetricState* state, Part* part);
  void AddPane(MetricState* state, Pane* pane, int64_t frontier_us, Part* part);
  void AddEntities(const MetricState& state, Part* part);
  void BumpRevisions(const MetricState& state, Pane* pane, int64_t frontier_us);
  void AddRecord(std::string key, std::string value, Part* part);
  void AddTombstone(std::string key, Part* part);
  void MarkStored(Part* part, int64_t last_offset);

  ServingView& view_;
  Finality& finality_;
  const int64_t now_us_;
  std::deque<Part> parts_;
  std::deque<std::vector<event_log::Record>> late_records_;
  std::vector<event_log::AppendBatch> late_;
  int64_t bytes_ = 0;
};

}  // namespace naru::aggregator
