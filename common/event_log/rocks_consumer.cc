#include "common/event_log/rocks_consumer.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"

namespace naru::event_log {
namespace {

using SteadyClock = std::chrono::steady_clock;

// How long a member waits at most while others of its group may turn out to be dead: nobody else notices for it.
constexpr std::chrono::milliseconds kGroupCheck(1000);
// Waits longer than this are this long; a deadline computed from them must not overflow.
constexpr std::chrono::milliseconds kLongestWait = std::chrono::hours(24);

absl::Status Cancelled() { return absl::CancelledError("Cancel was called"); }

std::chrono::microseconds Remaining(SteadyClock::time_point deadline) {
  return std::chrono::duration_cast<std::chrono::microseconds>(deadline - SteadyClock::now());
}

}  // namespace

void FetchLoop::Remove(int partition) {
  if (pending_partition_ == partition) pending_ = absl::OkStatus();
  cursors_.erase(std::remove_if(cursors_.begin(), cursors_.end(),
                                [&](const PartitionCursor& c) { return c.partition()->index == partition; }),
                 cursors_.end());
}

PartitionCursor* FetchLoop::Find(int partition) {
  for (PartitionCursor& cursor : cursors_) {
    if (cursor.partition()->index == partition) return &cursor;
  }
  return nullptr;
}

bool FetchLoop::HasMore() const {
  return !pending_.ok() ||
         std::any_of(cursors_.begin(), cursors_.end(), [](const PartitionCursor& c) { return c.HasMore(); });
}

absl::StatusOr<std::vector<FetchedBatch>> FetchLoop::Fetch(size_t max_bytes) {
  if (!pending_.ok()) return std::exchange(pending_, absl::OkStatus());
  std::vector<FetchedBatch> batches;
  const auto active = static_cast<size_t>(
      std::count_if(cursors_.begin(), cursors_.end(), [](const PartitionCursor& c) { return c.HasMore(); }));
  if (active == 0) return batches;
  const size_t share = std::max<size_t>(1, max_bytes / active);
  size_t bytes = 0;
  const size_t first = next_++ % cursors_.size();
  for (size_t i = 0; i < cursors_.size(); ++i) {
    PartitionCursor& cursor = cursors_[(first + i) % cursors_.size()];
    if (!cursor.HasMore()) continue;
    if (!batches.empty() && bytes >= max_bytes) break;
    absl::StatusOr<size_t> read = cursor.Read(share, &batches);
    if (!read.ok()) {
      if (batches.empty()) return read.status();
      pending_ = read.status();
      pending_partition_ = cursor.partition()->index;
      break;
    }
    bytes += *read;
  }
  return batches;
}

absl::StatusOr<std::vector<FetchedBatch>> RocksReader::Poll(std::chrono::milliseconds max_wait, size_t max_bytes) {
  const auto deadline = SteadyClock::now() + std::min(max_wait, kLongestWait);
  while (true) {
    if (cancelled_) return Cancelled();
    absl::StatusOr<std::vector<FetchedBatch>> batches = loop_.Fetch(max_bytes);
    if (!batches.ok() || !batches->empty()) return batches;
    MutexLock lock(&topic_->mu);
    while (!loop_.HasMore() && !cancelled_) {
      const std::chrono::microseconds left = Remaining(deadline);
      if (left.count() <= 0) return batches;
      topic_->changed.WaitFor(&topic_->mu, left);
    }
  }
}

void RocksReader::Cancel() {
  cancelled_ = true;
  topic_->Wake();
}

RocksConsumer::RocksConsumer(RocksStore* store, Committer* committer, GroupTable* groups, std::string group,
                             Topic* topic, MemberId member, RebalanceListener listener)
    : committer_(committer),
      groups_(groups),
      group_(std::move(group)),
      topic_(topic),
      member_(member),
      listener_(std::move(listener)),
      loop_(store) {}

RocksConsumer::~RocksConsumer() { groups_->Leave(group_, topic_, member_); }

void RocksConsumer::DoDuties() {
  const MemberDuties duties = groups_->BeginPoll(group_, topic_, member_);
  if (!duties.lost.empty()) {
    for (const int p : duties.lost) loop_.Remove(p);
    if (listener_.lost) listener_.lost(duties.lost);
  }
  if (!duties.revoke.empty()) {
    for (const int p : duties.revoke) loop_.Remove(p);
    if (listener_.revoked) listener_.revoked(duties.revoke);
    groups_->Release(group_, topic_, member_, duties.revoke);
  }
  if (!duties.assigned.empty()) Assign(duties.assigned);
}

void RocksConsumer::Assign(const std::vector<int>& partitions) {
  // What the former owner committed before it lost the partitions may still be on its way to the disk.
  committer_->Barrier();
  std::map<int, int64_t> wanted;
  if (listener_.assigned) {
    for (const auto& [partition, offset] : listener_.assigned(partitions)) wanted[partition] = offset;
  }
  const std::map<int, int64_t> committed = groups_->Committed(group_, topic_->name);
  for (const int p : partitions) {
    Partition* partition = topic_->partitions[static_cast<size_t>(p)].get();
    const auto c = committed.find(p);
    int64_t position = c != committed.end() ? c->second : partition->start_offset.load();
    const auto w = wanted.find(p);
    if (w != wanted.end()) position = std::max(position, w->second);
    loop_.Add(partition, std::min(position, partition->end_offset.load()));
  }
}

absl::StatusOr<std::vector<FetchedBatch>> RocksConsumer::Poll(std::chrono::milliseconds max_wait, size_t max_bytes) {
  const auto deadline = SteadyClock::now() + std::min(max_wait, kLongestWait);
  // Membership is kept alive by the time of the last poll, from its end on: a long wait is not silence.
  struct PollEnd {
    RocksConsumer* consumer;
    ~PollEnd() { consumer->groups_->EndPoll(consumer->group_, consumer->topic_, consumer->member_); }
  } const poll_end{this};
  while (true) {
    if (cancelled_) return Cancelled();
    const int64_t version = groups_->Version(group_, topic_);
    DoDuties();
    if (!paused_) {
      absl::StatusOr<std::vector<FetchedBatch>> batches = loop_.Fetch(max_bytes);
      if (!batches.ok() || !batches->empty()) return batches;
    }
    const bool unsettled = groups_->Unsettled(group_, topic_);
    const auto check = SteadyClock::now() + kGroupCheck;
    MutexLock lock(&topic_->mu);
    while (!(loop_.HasMore() && !paused_) && !cancelled_ && groups_->Version(group_, topic_) == version) {
      if (Remaining(deadline).count() <= 0) return std::vector<FetchedBatch>();
      if (unsettled && Remaining(check).count() <= 0) break;
      topic_->changed.WaitFor(&topic_->mu, Remaining(unsettled ? std::min(check, deadline) : deadline));
    }
  }
}

absl::Status RocksConsumer::Seek(int partition, int64_t offset) {
  PartitionCursor* cursor = loop_.Find(partition);
  if (cursor == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("partition ", partition, " of topic ", topic_->name, " is not assigned to this consumer"));
  }
  cursor->SeekTo(std::min(std::max<int64_t>(offset, cursor->partition()->start_offset.load()),
                          cursor->partition()->end_offset.load()));
  return absl::OkStatus();
}

std::vector<int> RocksConsumer::Assignment() const {
  std::vector<int> partitions;
  for (const PartitionCursor& cursor : loop_.cursors()) partitions.push_back(cursor.partition()->index);
  std::sort(partitions.begin(), partitions.end());
  return partitions;
}

void RocksConsumer::Cancel() {
  cancelled_ = true;
  topic_->Wake();
}

}  // namespace naru::event_log
