// Group commit: one thread takes all that waits, writes it as one batch with one sync, and calls back in order.
// Only for .cc files of this folder.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/event_log/block.h"
#include "common/event_log/event_log.h"
#include "common/event_log/rocks_store.h"
#include "common/sync/mutex.h"

namespace rocksdb {
class WriteBatch;
}  // namespace rocksdb

namespace naru::event_log {

/// One atomic write that waits for its turn.
struct CommitRequest {
  /// The blocks of one AppendBatch.
  struct Append {
    Partition* partition = nullptr;
    std::vector<EncodedBlock> blocks;
  };
  struct LocalPut {
    rocksdb::ColumnFamilyHandle* family = nullptr;
    std::string key;
    std::optional<std::string> value;  ///< absent: deletes
  };
  std::vector<Append> appends;
  std::vector<LocalPut> local;  ///< also keys of the family `meta`

  /// Asked on the commit thread right before the write; an error keeps this request out of it.
  std::function<absl::Status()> admit;
  /// Called on the commit thread after the write, before `done` of any request.
  std::function<void()> applied;
  /// Called last, in the order of Submit. Must not block.
  Producer::Callback done;

  /// It may wait a little for others to be written with.
  bool patient = false;

  absl::Status status;  ///< not OK: only calls `done`
  AppendResult result;

  /// Memory that it holds.
  size_t Bytes() const;
};

/// Thread-safe.
class Committer {
 public:
  explicit Committer(RocksStore* store);
  /// Writes what waits, calls back, ends the thread.
  ~Committer();
  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;

  /// Hands the request over. If it finds too much under way, it becomes a failure (RESOURCE_EXHAUSTED, reason
  /// TOO_MUCH_IN_FLIGHT), or with `wait` blocks until there is room. A request larger than all the room is taken when
  /// nothing else is under way.
  void Submit(std::unique_ptr<CommitRequest> request, bool wait);
  /// Submit and wait for the outcome.
  absl::StatusOr<AppendResult> SubmitAndWait(std::unique_ptr<CommitRequest> request);
  /// Returns when all that was submitted before has been written or has failed.
  void Barrier();
  /// Writes down where the partitions end. For closing: nobody appends any more.
  void NoteEnds();

 private:
  using Group = std::vector<std::unique_ptr<CommitRequest>>;
  void Run();
  size_t TakeGroup(Group* group);
  void CommitGroup(Group* group);
  absl::Status Stage(CommitRequest* request, rocksdb::WriteBatch* batch);
  void StageAppend(CommitRequest::Append* append, AppendedBatch* appended, rocksdb::WriteBatch* batch);
  void Publish(const Group& group);
  void WakeReaders();
  void GiveUp(Group* group, const absl::Status& status);

  RocksStore* const store_;
  const size_t max_in_flight_bytes_;

  mutable Mutex mu_;
  CondVar work_;
  CondVar room_;
  std::deque<std::unique_ptr<CommitRequest>> queue_ ABSL_GUARDED_BY(mu_);
  size_t eager_ ABSL_GUARDED_BY(mu_) = 0;  // of queue_: those that are not patient
  std::chrono::steady_clock::time_point patience_ends_
      ABSL_GUARDED_BY(mu_);  // of the first in queue_, if it is patient
  size_t in_flight_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  // Commit thread only: the tails as they were before the group, by partition, so that a failed write can be undone.
  std::vector<std::pair<Partition*, Partition::Tail>> touched_;
  std::unique_ptr<rocksdb::WriteBatch> batch_;

  std::thread thread_;
};

}  // namespace naru::event_log
