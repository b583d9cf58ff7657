// Rows as they change. A watch keeps no rows: it remembers up to which offsets of `aggregates` its reader knows them,
// and at each turn reads what is newer. So a slow reader gets the newest row of each key, whatever happened in between.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/aggregator/finality.h"
#include "services/aggregator/plan_directory.h"
#include "services/aggregator/serving_view.h"
#include "services/aggregator/window_query.h"

namespace naru::aggregator::v1 {
class WatchWindowsRequest;
class WatchWindowsResponse;
}  // namespace naru::aggregator::v1

namespace naru::aggregator {

/// Most rows that one turn of a watch gives, and that a message holds.
inline constexpr size_t kMaxWatchRows = 10'000;
inline constexpr size_t kMaxWatchMessageRows = 500;

/// One reader's place. Not thread-safe.
class WindowWatch {
 public:
  /// Errors: as WindowQuery::Compile; INVALID_ARGUMENT for a bad token or rate.
  static absl::StatusOr<std::unique_ptr<WindowWatch>> Start(const v1::WatchWindowsRequest& request, ServingView& view,
                                                            PlanDirectory& plans, Finality& finality);
  ~WindowWatch();

  /// What is new since the last turn: nothing, or messages to be sent in this order. The first turn gives a message in
  /// any case. Errors: NOT_FOUND when the metric was deleted; those of the view.
  absl::StatusOr<std::vector<v1::WatchWindowsResponse>> Turn();
  /// Time between two turns.
  int64_t interval_us() const;

 private:
  struct State;
  explicit WindowWatch(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace naru::aggregator
