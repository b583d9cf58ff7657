// Reader and Consumer of the embedded log. Only for .cc files of this folder.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/event_log/event_log.h"
#include "common/event_log/rocks_committer.h"
#include "common/event_log/rocks_cursor.h"
#include "common/event_log/rocks_groups.h"
#include "common/event_log/rocks_store.h"

namespace naru::event_log {

/// Takes batches from several partitions in turn, so that a full one does not starve the others.
class FetchLoop {
 public:
  explicit FetchLoop(RocksStore* store) : store_(store) {}

  void Add(Partition* partition, int64_t position) { cursors_.emplace_back(store_, partition, position); }
  void Remove(int partition);
  PartitionCursor* Find(int partition);
  const std::vector<PartitionCursor>& cursors() const { return cursors_; }
  bool HasMore() const;

  /// What there is now, about `max_bytes`. An error that follows some batches waits for the next call.
  absl::StatusOr<std::vector<FetchedBatch>> Fetch(size_t max_bytes);

 private:
  RocksStore* const store_;
  std::vector<PartitionCursor> cursors_;
  size_t next_ = 0;
  absl::Status pending_;
  int pending_partition_ = -1;
};

class RocksReader : public Reader {
 public:
  RocksReader(RocksStore* store, Topic* topic) : topic_(topic), loop_(store) {}
  FetchLoop* loop() { return &loop_; }
  absl::StatusOr<std::vector<FetchedBatch>> Poll(std::chrono::milliseconds max_wait, size_t max_bytes) override;
  void Cancel() override;

 private:
  Topic* const topic_;
  FetchLoop loop_;
  std::atomic<bool> cancelled_{false};
};

class RocksConsumer : public Consumer {
 public:
  RocksConsumer(RocksStore* store, Committer* committer, GroupTable* groups, std::string group, Topic* topic,
                MemberId member, RebalanceListener listener);
  ~RocksConsumer() override;
  absl::StatusOr<std::vector<FetchedBatch>> Poll(std::chrono::milliseconds max_wait, size_t max_bytes) override;
  void SetPaused(bool paused) override { paused_ = paused; }
  absl::Status Seek(int partition, int64_t offset) override;
  std::vector<int> Assignment() const override;
  void Cancel() override;

  MemberId member() const { return member_; }

 private:
  void DoDuties();
  void Assign(const std::vector<int>& partitions);

  Committer* const committer_;
  GroupTable* const groups_;
  const std::string group_;
  Topic* const topic_;
  const MemberId member_;
  const RebalanceListener listener_;
  FetchLoop loop_;
  bool paused_ = false;
  std::atomic<bool> cancelled_{false};
};

}  // namespace naru::event_log
