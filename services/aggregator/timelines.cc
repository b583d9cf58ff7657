#include "services/aggregator/timelines.h"

#include <algorithm>
#include <utility>

namespace naru::aggregator {

Timeline& Timelines::FindOrAdd(absl::string_view id) {
  for (size_t i = 0; i < all_.size(); ++i) {
    if (absl::string_view(all_[i].id) == id) {
      last_ = i;
      return all_[i];
    }
  }
  if (all_.size() >= kMaxTimelines) {
    // Live is never forgotten; of the others first what ended, then what has been silent for longest.
    auto worst = all_.end();
    for (auto it = all_.begin(); it != all_.end(); ++it) {
      if (it->id.empty()) continue;
      if (worst == all_.end() || it->ended > worst->ended ||
          (it->ended == worst->ended && it->last_received_us < worst->last_received_us)) {
        worst = it;
      }
    }
    if (worst != all_.end()) {
      all_.erase(worst);
      ++erased_;
    }
  }
  all_.emplace_back();
  all_.back().id = std::string(id);
  last_ = all_.size() - 1;
  return all_.back();
}

void Timelines::End(absl::string_view id, int64_t received_us) {
  Timeline& timeline = Find(id);
  timeline.ended = true;
  timeline.last_received_us = std::max(timeline.last_received_us, received_us);
  size_t ended = 0;
  auto oldest = all_.end();
  for (auto it = all_.begin(); it != all_.end(); ++it) {
    if (!it->ended) continue;
    ++ended;
    if (oldest == all_.end() || it->last_received_us < oldest->last_received_us) oldest = it;
  }
  if (ended > kMaxEndedTimelines) {
    all_.erase(oldest);
    ++erased_;
  }
  last_ = 0;
}

const Timeline* Timelines::Get(absl::string_view id) const {
  if (last_ < all_.size() && absl::string_view(all_[last_].id) == id) return &all_[last_];
  for (const Timeline& timeline : all_) {
    if (absl::string_view(timeline.id) == id) return &timeline;
  }
  return nullptr;
}

int64_t Timelines::LastReceived() const {
  int64_t last_us = kNever;
  for (const Timeline& timeline : all_) last_us = std::max(last_us, timeline.last_received_us);
  return last_us;
}

void Timelines::Restore(std::vector<Timeline> timelines) {
  all_ = std::move(timelines);
  last_ = 0;
}

TimelineStanding StandingOf(const Timeline& timeline, int64_t idle_timeout_us, int64_t now_us, bool caught_up) {
  const bool live = timeline.id.empty();
  if (!live && timeline.ended) return TimelineStanding::kEnded;
  const int64_t silent_us = timeline.last_received_us == kNever ? kForever : now_us - timeline.last_received_us;
  if (!caught_up || silent_us < (live ? idle_timeout_us : kSilentImportUs)) return TimelineStanding::kOpen;
  return live ? TimelineStanding::kIdle : TimelineStanding::kSilent;
}

int64_t PartitionFrontier(const std::vector<Timeline>& timelines, int64_t out_of_orderness_us, int64_t idle_timeout_us,
                          int64_t now_us, bool caught_up) {
  int64_t frontier = kForever;
  bool has_live = false;
  for (const Timeline& timeline : timelines) {
    has_live = has_live || timeline.id.empty();
    int64_t watermark = timeline.max_time_us == kNever ? kNever : timeline.max_time_us - out_of_orderness_us;
    const TimelineStanding standing = StandingOf(timeline, idle_timeout_us, now_us, caught_up);
    if (standing == TimelineStanding::kEnded || standing == TimelineStanding::kSilent) continue;
    if (standing == TimelineStanding::kIdle) watermark = std::max(watermark, now_us - out_of_orderness_us);
    frontier = std::min(frontier, watermark);
  }
  // A partition without live events may get one at any time, but none older than the clock allows.
  if (!has_live) frontier = std::min(frontier, caught_up ? now_us - out_of_orderness_us : kNever);
  return frontier;
}

int64_t LiveWatermark(const std::vector<Timeline>& timelines, int64_t out_of_orderness_us) {
  for (const Timeline& timeline : timelines) {
    if (timeline.id.empty() && timeline.max_time_us != kNever) return timeline.max_time_us - out_of_orderness_us;
  }
  return kNever;
}

}  // namespace naru::aggregator
