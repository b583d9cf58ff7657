// For tests: the slow, obvious reference of funnels.
#pragma once

#include <algorithm>
#include <tuple>
#include <vector>

#include "services/aggregator/funnel_matcher.h"

namespace naru::aggregator {

/// The rules of funnel_matcher.h by trying everything: all chains are kept, in a walk over (time, step).
class FunnelReference {
 public:
  FunnelReference(int steps, int64_t within_us, FunnelModes modes)
      : steps_(steps), within_us_(within_us), modes_(modes) {}

  FunnelMatch Match(const std::vector<FunnelEvent>& events) {
    struct Item {
      int64_t time_us;
      int step;  // 0: the event satisfies none
      size_t event;
    };
    std::vector<Item> items;
    for (size_t i = 0; i < events.size(); ++i) {
      if (events[i].steps == 0 && modes_.strict_order) items.push_back({events[i].time_us, 0, i});
      for (int step = 1; step <= steps_; ++step) {
        if ((events[i].steps >> (step - 1) & 1) == 0 || (step == 1 && !events[i].may_start)) continue;
        items.push_back({events[i].time_us, step, i});
      }
    }
    std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
      return std::tie(a.time_us, a.step) < std::tie(b.time_us, b.step);
    });
    for (size_t begin = 0, end; begin < items.size(); begin = end) {
      for (end = begin;
           end < items.size() && items[end].time_us == items[begin].time_us && items[end].step == items[begin].step;) {
        ++end;
      }
      const int step = items[begin].step;
      if (step == 0) {
        if (!chains_.empty()) break;
        continue;
      }
      if (step > 1 && modes_.strict_deduplication && Longest() >= step) break;
      if (step > 1 && modes_.strict_order && !chains_.empty() && Longest() < step - 1) break;
      std::vector<Chain> grown;
      for (size_t i = begin; i < end; ++i) {
        if (step == 1) grown.push_back({{items[i].event}, {items[i].time_us}});
        for (const Chain& chain : chains_) {
          if (static_cast<int>(chain.events.size()) != step - 1) continue;
          if (items[i].time_us - chain.times[0] > within_us_) continue;
          if (modes_.strict_increase && chain.times.back() >= items[i].time_us) continue;
          if (std::count(chain.events.begin(), chain.events.end(), items[i].event) > 0) continue;
          grown.push_back(chain);
          grown.back().events.push_back(items[i].event);
          grown.back().times.push_back(items[i].time_us);
        }
      }
      chains_.insert(chains_.end(), grown.begin(), grown.end());
      if (Longest() == steps_) break;
      if (step > 1 && modes_.strict_deduplication && Longest() >= step && end - begin > 1) break;
    }
    return Best();
  }

 private:
  struct Chain {
    std::vector<size_t> events;
    std::vector<int64_t> times;
  };
  int Longest() const {
    size_t longest = 0;
    for (const Chain& chain : chains_) longest = std::max(longest, chain.events.size());
    return static_cast<int>(longest);
  }
  FunnelMatch Best() const {
    FunnelMatch match;
    match.steps = Longest();
    const Chain* best = nullptr;
    const auto key = [](const Chain& chain) {
      return std::make_tuple(chain.times.back(), -chain.times[0], chain.times);
    };
    for (const Chain& chain : chains_) {
      if (static_cast<int>(chain.events.size()) != match.steps) continue;
      if (best == nullptr || key(chain) < key(*best)) best = &chain;
    }
    for (int i = 0; i < match.steps; ++i) match.times_us[i] = best->times[i];
    return match;
  }

  const int steps_;
  const int64_t within_us_;
  const FunnelModes modes_;
  std::vector<Chain> chains_;
};

}  // namespace naru::aggregator
