// Questions about users: how far they came in a funnel, who came back. Made of the users' records, one by one; the
// answer depends on which there are, not on their order.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/aggregator/cohort.h"
#include "services/aggregator/group_key.h"
#include "services/aggregator/user_plan.h"
#include "services/aggregator/user_state.h"

namespace naru::aggregator::v1 {
class CohortRow;
class FunnelRow;
class QueryFunnelRequest;
class QueryFunnelResponse;
class QueryRetentionRequest;
class QueryRetentionResponse;
}  // namespace naru::aggregator::v1

namespace naru::aggregator {

/// Most rows of a funnel's answer, over all pages.
inline constexpr size_t kMaxFunnelRows = 10'000;
/// Most rows of a page of either answer.
inline constexpr int kMaxUserPageSize = 1'000;
/// Medians are exact up to so many times in an answer; beyond, of the times of a part of the users that is drawn
/// evenly.
inline constexpr size_t kMaxFunnelTimes = 2'000'000;

/// A question about a funnel, checked against its plan. Not thread-safe.
class FunnelQuery {
 public:
  /// Errors: INVALID_ARGUMENT with a field violation for times, groups, interval, filter, page that make no sense.
  static absl::StatusOr<FunnelQuery> Compile(const v1::QueryFunnelRequest& request,
                                             std::shared_ptr<const MetricPlan> plan);
  FunnelQuery(FunnelQuery&&) noexcept;
  FunnelQuery& operator=(FunnelQuery&&) noexcept;
  ~FunnelQuery();

  /// Takes a user: the state of an entity. `hash` is the user's, evenly distributed. Errors: DATA_LOSS for damaged
  /// bytes; RESOURCE_EXHAUSTED for more than kMaxFunnelRows rows.
  absl::Status Add(absl::string_view state, uint64_t hash);
  /// Appends the page's rows and the token of the next page. What ends at or before `frontier_us` is final.
  void Finish(int64_t frontier_us, v1::QueryFunnelResponse* response);

 private:
  struct State;
  explicit FunnelQuery(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// A question about a retention.
class RetentionQuery {
 public:
  /// Errors: as FunnelQuery::Compile.
  static absl::StatusOr<RetentionQuery> Compile(const v1::QueryRetentionRequest& request,
                                                std::shared_ptr<const MetricPlan> plan);

  absl::Status Add(absl::string_view state);
  void Finish(int64_t frontier_us, v1::QueryRetentionResponse* response);

 private:
  RetentionQuery(std::shared_ptr<const MetricPlan> plan, CohortCounter counter)
      : plan_(std::move(plan)), counter_(std::move(counter)) {}

  std::shared_ptr<const MetricPlan> plan_;
  CohortCounter counter_;
  RetentionUser user_;
  size_t page_size_ = kMaxUserPageSize;
  std::optional<int64_t> after_unit_;
};

}  // namespace naru::aggregator
