#include "services/ingest/topic_follower.h"

#include "absl/strings/str_cat.h"
#include "common/log/log.h"
#include "common/status/status.h"

namespace naru::ingest {
namespace {

constexpr std::chrono::milliseconds kFollowWait{250};
constexpr size_t kFollowFetchBytes = 4 << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<TopicFollower>> TopicFollower::Start(event_log::EventLog& log, const std::string& topic,
                                                                    std::vector<event_log::ReadPosition> from,
                                                                    Callback callback) {
  std::unique_ptr<TopicFollower> follower(new TopicFollower(log, topic, std::move(callback)));
  {
    MutexLock lock(&follower->mu_);
    for (const event_log::ReadPosition& position : from) {
      if (position.kind == event_log::ReadPosition::Kind::kOffset)
        follower->positions_[position.partition] = position.value;
    }
  }
  NARU_ASSIGN_OR_RETURN(follower->reader_, log.OpenReader(topic, std::move(from)));
  TopicFollower* raw = follower.get();
  follower->thread_ = std::thread([raw] { raw->Run(); });
  return follower;
}

TopicFollower::~TopicFollower() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    moved_.SignalAll();
  }
  if (reader_ != nullptr) reader_->Cancel();
  if (thread_.joinable()) thread_.join();
}

void TopicFollower::Run() {
  while (true) {
    const auto batches = reader_->Poll(kFollowWait, kFollowFetchBytes);
    if (batches.ok()) {
      for (const event_log::FetchedBatch& batch : *batches) {
        callback_(batch);
        MutexLock lock(&mu_);
        positions_[batch.partition] = batch.next_offset;
      }
    } else if (!absl::IsCancelled(batches.status())) {
      NARU_LOG_EVERY_SECONDS(10, WARNING, "cannot read the log; trying again",
                             {{"topic", topic_}, {"error", batches.status()}});
    }
    MutexLock lock(&mu_);
    if (stopping_) return;
    moved_.SignalAll();
    // Gaps are reported once and skipped; anything else is worth a moment's rest.
    const bool rest = !batches.ok() && !absl::IsOutOfRange(batches.status()) && !absl::IsDataLoss(batches.status());
    if (rest) moved_.WaitFor(&mu_, std::chrono::milliseconds(200));
    if (stopping_) return;
  }
}

std::map<int, int64_t> TopicFollower::Positions() const {
  MutexLock lock(&mu_);
  return positions_;
}

absl::StatusOr<TopicFollower::Mark> TopicFollower::MarkEnd() {
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo info, log_.DescribeTopic(topic_));
  Mark mark;
  for (const event_log::PartitionInfo& partition : info.partitions) {
    if (partition.end_offset > partition.start_offset) mark.ends[partition.partition] = partition.end_offset;
  }
  return mark;
}

bool TopicFollower::PassedLocked(const Mark& mark) const {
  for (const auto& [partition, end] : mark.ends) {
    const auto it = positions_.find(partition);
    if (it == positions_.end() || it->second < end) return false;
  }
  return true;
}

bool TopicFollower::Passed(const Mark& mark) const {
  MutexLock lock(&mu_);
  return PassedLocked(mark);
}

absl::Status TopicFollower::WaitFor(const Mark& mark, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  MutexLock lock(&mu_);
  while (!PassedLocked(mark)) {
    const auto left =
        std::chrono::duration_cast<std::chrono::microseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0 || stopping_) {
      return MakeError(absl::StatusCode::kDeadlineExceeded, "LOG_NOT_READ",
                       absl::StrCat("the topic ", topic_, " was not read to its end in time"));
    }
    moved_.WaitFor(&mu_, left);
  }
  return absl::OkStatus();
}

}  // namespace naru::ingest
