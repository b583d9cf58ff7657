#include "services/aggregator/finality.h"

#include <algorithm>

#include "common/status/status.h"

namespace naru::aggregator {
namespace {

constexpr int64_t kRefreshUs = 1'000'000;

}  // namespace

absl::StatusOr<std::vector<int64_t>> Finality::ReadLogEnds() {
  NARU_ASSIGN_OR_RETURN(const event_log::TopicInfo topic, log_.DescribeTopic(event_log::kEventsTopic));
  std::vector<int64_t> ends(topic.partitions.size(), 0), starts(topic.partitions.size(), 0);
  for (const event_log::PartitionInfo& info : topic.partitions) {
    if (info.partition >= static_cast<int>(ends.size())) continue;
    ends[info.partition] = info.end_offset;
    starts[info.partition] = info.start_offset;
  }
  MutexLock lock(&mu_);
  ends_ = ends;
  starts_ = std::move(starts);
  read_at_us_ = Clock::System()->MonotonicMicros();  // how old an answer is, whatever time tests make it
  return ends;
}

std::vector<int64_t> Finality::LogEnds() {
  {
    MutexLock lock(&mu_);
    if (read_at_us_ != INT64_MIN && Clock::System()->MonotonicMicros() - read_at_us_ < kRefreshUs) return ends_;
  }
  const absl::StatusOr<std::vector<int64_t>> ends = ReadLogEnds();
  return ends.ok() ? *ends : std::vector<int64_t>();
}

int64_t Finality::FrontierShownUntil(const MetricPlan& plan, int64_t until_us) {
  int64_t frontier = kForever;
  for (int p = 0; p < view_.partitions(); ++p) {
    const std::optional<Progress> progress = view_.GetProgress({plan.name, plan.version}, p);
    if (!progress.has_value()) return kNever;
    frontier = std::min(frontier, PartitionFrontier(progress->timelines, plan.out_of_orderness_us, plan.idle_timeout_us,
                                                    until_us, /*caught_up=*/true));
  }
  return frontier;
}

std::vector<PartitionStanding> Finality::Partitions(const MetricPlan& plan) {
  const std::vector<int64_t> ends = LogEnds();
  std::vector<int64_t> starts;
  {
    MutexLock lock(&mu_);
    starts = starts_;
  }
  const int64_t now_us = clock_.NowMicros();
  std::vector<PartitionStanding> partitions(static_cast<size_t>(view_.partitions()));
  for (size_t p = 0; p < partitions.size(); ++p) {
    PartitionStanding& standing = partitions[p];
    if (p < ends.size()) standing.end_offset = ends[p];
    if (p < starts.size()) standing.start_offset = starts[p];
    standing.progress = view_.GetProgress({plan.name, plan.version}, static_cast<int32_t>(p));
    if (!standing.progress.has_value()) continue;
    standing.caught_up = p < ends.size() && standing.progress->next_offset >= ends[p];
    standing.frontier_us = PartitionFrontier(standing.progress->timelines, plan.out_of_orderness_us,
                                             plan.idle_timeout_us, now_us, standing.caught_up);
  }
  return partitions;
}

int64_t Finality::Frontier(const MetricPlan& plan) {
  int64_t frontier = kForever;
  for (const PartitionStanding& standing : Partitions(plan)) frontier = std::min(frontier, standing.frontier_us);
  return frontier;
}

}  // namespace naru::aggregator
