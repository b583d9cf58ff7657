// What is kept of one user of a funnel or a retention: the state of an Entity (entity_store.h). It depends only on
// which events came, not on their order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/aggregator/cohort.h"

namespace naru::aggregator {

/// Most events of one user that a funnel keeps: the newest by time.
inline constexpr size_t kMaxStepEvents = 1'000;
/// Most units of one user, of each of the two lists, that a retention keeps: the newest.
inline constexpr size_t kMaxUserUnits = 4'000;

/// An event as a funnel keeps it.
struct StepEvent {
  int64_t time_us = 0;
  uint64_t identity = 0;  ///< hash of (source, id): which of several of a time are kept
  uint32_t steps = 0;     ///< bit i: it satisfies step i + 1
  int group = -1;         ///< of one that satisfies step 1: index into FunnelUser::groups; else -1
};

/// A user of a funnel.
struct FunnelUser {
  std::vector<std::string> groups;  ///< keys of the dimensions' values
  std::vector<StepEvent> events;    ///< by (time, identity)
  int64_t truncated = 0;            ///< how many older ones were cut off

  /// Adds an event; `group` is the key of its dimensions' values (for step 1 only).
  void Add(StepEvent event, absl::string_view group);
};
void EncodeFunnelUser(const FunnelUser& user, std::string* out);
/// Empty bytes are a user of whom nothing is known. False for damaged bytes.
bool DecodeFunnelUser(absl::string_view bytes, FunnelUser* user);

/// A user of a retention.
struct RetentionUser {
  CohortUser units;
  bool truncated = false;  ///< older units were cut off

  /// Returns whether anything is new.
  bool Add(int64_t unit, bool first, bool returned);
};
void EncodeRetentionUser(const RetentionUser& user, std::string* out);
bool DecodeRetentionUser(absl::string_view bytes, RetentionUser* user);

}  // namespace naru::aggregator
