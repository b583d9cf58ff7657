#include "services/aggregator/user_state.h"

#include <algorithm>
#include <tuple>

#include "services/aggregator/funnel_matcher.h"
#include "services/aggregator/sketch_bytes.h"

namespace naru::aggregator {
namespace {

constexpr uint8_t kFunnelFormat = 1;
constexpr uint8_t kRetentionFormat = 1;

bool AddUnit(int64_t unit, std::vector<int64_t>* units, bool* truncated) {
  const auto at = std::lower_bound(units->begin(), units->end(), unit);
  if (at != units->end() && *at == unit) return false;
  if (units->size() < kMaxUserUnits) {
    units->insert(at, unit);
    return true;
  }
  const bool is_news = !*truncated || at != units->begin();
  *truncated = true;
  if (at == units->begin()) return is_news;
  units->insert(at, unit);
  units->erase(units->begin());
  return true;
}

void PutUnits(const std::vector<int64_t>& units, std::string* out) {
  PutVarint(units.size(), out);
  for (size_t i = 0; i < units.size(); ++i) {
    if (i == 0) {
      PutSigned(units[i], out);
    } else {
      PutVarint(static_cast<uint64_t>(units[i]) - static_cast<uint64_t>(units[i - 1]), out);
    }
  }
}

bool GetUnits(absl::string_view* in, std::vector<int64_t>* units) {
  uint64_t count;
  if (!GetVarint(in, &count) || count > kMaxUserUnits) return false;
  units->resize(count);
  for (size_t i = 0; i < count; ++i) {
    uint64_t delta;
    if (i == 0) {
      if (!GetSigned(in, &(*units)[0])) return false;
      continue;
    }
    if (!GetVarint(in, &delta)) return false;
    (*units)[i] = static_cast<int64_t>(static_cast<uint64_t>((*units)[i - 1]) + delta);
    if ((*units)[i] <= (*units)[i - 1]) return false;
  }
  return true;
}

}  // namespace

void FunnelUser::Add(StepEvent event, absl::string_view group) {
  event.group = -1;
  if ((event.steps & 1) != 0) {
    const auto known = std::find(groups.begin(), groups.end(), group);
    event.group = static_cast<int>(known - groups.begin());
    if (known == groups.end()) groups.emplace_back(group);
  }
  // All of an event takes part, so that the oldest is the same in whatever order they came.
  const auto key = [this](const StepEvent& e) {
    return std::make_tuple(e.time_us, e.identity, e.steps,
                           e.group < 0 ? absl::string_view() : absl::string_view(groups[e.group]));
  };
  const auto at = std::upper_bound(events.begin(), events.end(), event,
                                   [&](const StepEvent& a, const StepEvent& b) { return key(a) < key(b); });
  if (events.size() < kMaxStepEvents) {
    events.insert(at, event);
    return;
  }
  ++truncated;
  if (at == events.begin()) return;
  events.insert(at, event);
  events.erase(events.begin());
}

void EncodeFunnelUser(const FunnelUser& user, std::string* out) {
  out->push_back(static_cast<char>(kFunnelFormat));
  PutVarint(user.truncated, out);
  // Groups in the order of their first event, so that equal users are equal bytes.
  std::vector<int> number(user.groups.size(), -1);
  std::vector<int> order;
  for (const StepEvent& event : user.events) {
    if (event.group < 0 || number[event.group] >= 0) continue;
    number[event.group] = static_cast<int>(order.size());
    order.push_back(event.group);
  }
  PutVarint(order.size(), out);
  for (const int group : order) PutBytes(user.groups[group], out);
  PutVarint(user.events.size(), out);
  int64_t before_us = 0;
  for (const StepEvent& event : user.events) {
    PutSigned(static_cast<int64_t>(static_cast<uint64_t>(event.time_us) - static_cast<uint64_t>(before_us)), out);
    before_us = event.time_us;
    PutVarint(event.steps, out);
    PutFixed64(event.identity, out);
    if ((event.steps & 1) != 0) PutVarint(number[event.group], out);
  }
}

bool DecodeFunnelUser(absl::string_view bytes, FunnelUser* user) {
  user->groups.clear();
  user->events.clear();
  user->truncated = 0;
  if (bytes.empty()) return true;
  uint8_t format;
  uint64_t truncated, groups, events;
  if (!GetByte(&bytes, &format) || format != kFunnelFormat || !GetVarint(&bytes, &truncated)) return false;
  user->truncated = static_cast<int64_t>(truncated);
  if (!GetVarint(&bytes, &groups) || groups > kMaxStepEvents) return false;
  for (uint64_t i = 0; i < groups; ++i) {
    absl::string_view group;
    if (!GetBytes(&bytes, &group)) return false;
    user->groups.emplace_back(group);
  }
  if (!GetVarint(&bytes, &events) || events > kMaxStepEvents) return false;
  int64_t before_us = 0;
  for (uint64_t i = 0; i < events; ++i) {
    StepEvent event;
    int64_t delta;
    uint64_t steps, group;
    if (!GetSigned(&bytes, &delta) || !GetVarint(&bytes, &steps) || steps > UINT32_MAX) return false;
    if (!GetFixed64(&bytes, &event.identity)) return false;
    event.time_us = static_cast<int64_t>(static_cast<uint64_t>(before_us) + static_cast<uint64_t>(delta));
    if (i > 0 && event.time_us < before_us) return false;
    before_us = event.time_us;
    event.steps = static_cast<uint32_t>(steps);
    if ((event.steps & 1) != 0) {
      if (!GetVarint(&bytes, &group) || group >= groups) return false;
      event.group = static_cast<int>(group);
    }
    user->events.push_back(event);
  }
  return bytes.empty();
}

bool RetentionUser::Add(int64_t unit, bool first, bool returned) {
  bool news = false;
  if (first) news = AddUnit(unit, &units.first, &truncated);
  if (returned) news = AddUnit(unit, &units.returned, &truncated) || news;
  return news;
}

void EncodeRetentionUser(const RetentionUser& user, std::string* out) {
  out->push_back(static_cast<char>(kRetentionFormat));
  out->push_back(static_cast<char>(user.truncated ? 1 : 0));
  PutUnits(user.units.first, out);
  PutUnits(user.units.returned, out);
}

bool DecodeRetentionUser(absl::string_view bytes, RetentionUser* user) {
  *user = {};
  if (bytes.empty()) return true;
  uint8_t format, truncated;
  if (!GetByte(&bytes, &format) || format != kRetentionFormat) return false;
  if (!GetByte(&bytes, &truncated) || truncated > 1) return false;
  user->truncated = truncated != 0;
  return GetUnits(&bytes, &user->units.first) && GetUnits(&bytes, &user->units.returned) && bytes.empty();
}

}  // namespace naru::aggregator
