// How far one user came in a funnel: the rules of ClickHouse's windowFunnel with strict_once, made independent of the
// order in which events of the same time come.
//
// A chain is a sequence of different events, the first of which satisfies step 1, the second step 2, and so on; no
// event is earlier than the one before it, and none is later than the first event's time + `within`. How far a user
// came is the length of the longest chain. Times are the same when they are equal to the microsecond; events of the
// same time may follow each other in any order, which is what makes the answer one, whatever order they came in.
//
// The modes, alone or together, are told by walking over (time, step) in this order, each event being there once for
// each step that it satisfies:
//   strict_increase       each event of a chain is later than the one before it.
//   strict_deduplication  the walk ends at an event of a step, other than the first, that was reached before it, be it
//   at
//                         the same time.
//   strict_order          the walk ends, once step 1 was reached, at an event that satisfies no step (of its time, it
//                         comes first), and at an event of a step whose predecessor was not reached.
// What was reached when the walk ends is the answer. It looks at all events that it is given, whether or not they are
// within the time of a chain, as ClickHouse does.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace naru::aggregator {

/// Most steps of a funnel: they are bits of a FunnelEvent.
inline constexpr int kMaxFunnelSteps = 32;

/// Which interruptions end the search.
struct FunnelModes {
  bool strict_order = false;
  bool strict_deduplication = false;
  bool strict_increase = false;
};

/// One event of a user, as far as a funnel is concerned.
struct FunnelEvent {
  int64_t time_us = 0;
  uint32_t steps = 0;     ///< bit i: it satisfies step i + 1
  bool may_start = true;  ///< false: as if it did not satisfy step 1, but then it interrupts nothing either
};

/// How far a user came. Of all chains that long, the one that was complete first; of these, the one that began last;
/// then the one whose second event was first, and so on.
struct FunnelMatch {
  int steps = 0;                                    ///< 0: none
  std::array<int64_t, kMaxFunnelSteps> times_us{};  ///< when step i + 1 was reached; `steps` of them
};

/// Finds it, in time proportional to events x steps where few events share a time. Keeps memory between calls; for one
/// thread.
class FunnelMatcher {
 public:
  /// `step_count` is 1 to kMaxFunnelSteps, `within_us` not negative.
  FunnelMatcher(int step_count, int64_t within_us, FunnelModes modes);

  /// `events` must be sorted by time; in which order those of the same time are changes nothing.
  FunnelMatch Match(absl::Span<const FunnelEvent> events);

 private:
  static constexpr int64_t kNone = INT64_MIN;
  using Events = absl::Span<const FunnelEvent>;

  bool Satisfies(const FunnelEvent& event, int step) const {
    return (event.steps >> (step - 1) & 1) != 0 && (step > 1 || event.may_start);
  }
  bool WithinOf(int64_t start_us, int64_t time_us) const;
  bool Walk(Events same_time);
  bool InterruptedBefore(int step) const;
  int64_t LatestStart(Events same_time, int step);
  void BeginAssigning(size_t events);
  bool Assign(Events same_time, int step);
  bool AssignUnvisited(Events same_time, int step);
  FunnelMatch Retrace(Events events);

  const int step_count_;
  const int64_t within_us_;
  const FunnelModes modes_;

  // Of the walk: the longest chain, and for each length the latest start of a chain that long and the start of the one
  // that was complete first. kNone: there is none.
  int reached_ = 0;
  std::array<int64_t, kMaxFunnelSteps + 1> latest_start_us_{};
  std::array<int64_t, kMaxFunnelSteps + 1> first_start_us_{};
  // Which event of one time takes which step.
  std::vector<int> step_of_;
  std::vector<bool> visited_;
};

}  // namespace naru::aggregator
