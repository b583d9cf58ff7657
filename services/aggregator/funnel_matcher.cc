#include "services/aggregator/funnel_matcher.h"

#include <algorithm>

namespace naru::aggregator {
namespace {

// Events of the same time as the first.
absl::Span<const FunnelEvent> SameTime(absl::Span<const FunnelEvent> events) {
  size_t end = 1;
  while (end < events.size() && events[end].time_us == events[0].time_us) ++end;
  return events.subspan(0, end);
}

}  // namespace

FunnelMatcher::FunnelMatcher(int step_count, int64_t within_us, FunnelModes modes)
    : step_count_(step_count), within_us_(within_us), modes_(modes) {}

bool FunnelMatcher::WithinOf(int64_t start_us, int64_t time_us) const {
  // start <= time, so the difference as unsigned cannot overflow.
  return static_cast<uint64_t>(time_us) - static_cast<uint64_t>(start_us) <= static_cast<uint64_t>(within_us_);
}

FunnelMatch FunnelMatcher::Match(absl::Span<const FunnelEvent> events) {
  reached_ = 0;
  latest_start_us_.fill(kNone);
  first_start_us_.fill(kNone);
  for (Events rest = events; !rest.empty();) {
    const Events same_time = SameTime(rest);
    if (!Walk(same_time) || reached_ == step_count_) break;
    rest.remove_prefix(same_time.size());
  }
  return Retrace(events);
}

bool FunnelMatcher::InterruptedBefore(int step) const {
  if (modes_.strict_deduplication && reached_ >= step) return true;
  return modes_.strict_order && reached_ > 0 && reached_ < step - 1;
}

// Takes all events of one time. False: the walk is over.
bool FunnelMatcher::Walk(Events same_time) {
  const int64_t time_us = same_time[0].time_us;
  if (modes_.strict_order && reached_ > 0) {
    for (const FunnelEvent& event : same_time) {
      if (event.steps == 0) return false;
    }
  }
  // Chains that were there before: those that grow by events of this time are put aside until all have been looked at.
  std::array<int64_t, kMaxFunnelSteps + 1> latest = latest_start_us_;
  bool over = false;
  for (int step = 1; step <= step_count_ && !over; ++step) {
    size_t count = 0;
    for (const FunnelEvent& event : same_time) count += Satisfies(event, step);
    if (count == 0) continue;
    if (step > 1 && InterruptedBefore(step)) {
      over = true;
      break;
    }
    if (reached_ < step - 1) continue;
    const int64_t start_us = step == 1 ? time_us : LatestStart(same_time, step);
    if (start_us == kNone || !WithinOf(start_us, time_us)) continue;
    latest[step] = std::max(latest[step], start_us);
    if (reached_ < step) {
      reached_ = step;
      first_start_us_[step] = start_us;
    }
    over = reached_ == step_count_ || (step > 1 && modes_.strict_deduplication && count > 1);
  }
  latest_start_us_ = latest;
  return !over;
}

// Of the chains that an event of this time makes `step` long, the latest start; kNone: there is none. Shorter chains
// start later (what reaches a step has reached those before it), so as many steps as can be are taken at this time.
int64_t FunnelMatcher::LatestStart(Events same_time, int step) {
  if (modes_.strict_increase || same_time.size() == 1) return latest_start_us_[step - 1];
  BeginAssigning(same_time.size());
  int before = step;
  while (before > 0 && Assign(same_time, before)) --before;
  return before == 0 ? same_time[0].time_us : latest_start_us_[before];
}

void FunnelMatcher::BeginAssigning(size_t events) { step_of_.assign(events, 0); }

// Gives one more step an event of its own, moving others to other events if need be. False: there are too few events.
bool FunnelMatcher::Assign(Events same_time, int step) {
  visited_.assign(same_time.size(), false);
  return AssignUnvisited(same_time, step);
}

bool FunnelMatcher::AssignUnvisited(Events same_time, int step) {
  for (size_t i = 0; i < same_time.size(); ++i) {
    if (visited_[i] || !Satisfies(same_time[i], step)) continue;
    visited_[i] = true;
    if (step_of_[i] != 0 && !AssignUnvisited(same_time, step_of_[i])) continue;
    step_of_[i] = step;
    return true;
  }
  return false;
}

// The chain itself: from its start on, each step as early as it can be.
FunnelMatch FunnelMatcher::Retrace(Events events) {
  FunnelMatch match;
  if (reached_ == 0) return match;
  const int64_t start_us = first_start_us_[reached_];
  const auto begin =
      std::lower_bound(events.begin(), events.end(), start_us,
                       [](const FunnelEvent& event, int64_t time_us) { return event.time_us < time_us; });
  for (Events rest = events.subspan(begin - events.begin()); match.steps < reached_ && !rest.empty();) {
    const Events same_time = SameTime(rest);
    BeginAssigning(same_time.size());
    while (match.steps < reached_ && Assign(same_time, match.steps + 1)) {
      match.times_us[match.steps++] = same_time[0].time_us;
      if (modes_.strict_increase) break;
    }
    rest.remove_prefix(same_time.size());
  }
  return match;
}

}  // namespace naru::aggregator
