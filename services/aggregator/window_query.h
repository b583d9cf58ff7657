// Rows of windows: partitions and panes merged, groups filtered and put together, ordered, cut into pages.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/aggregator/group_key.h"
#include "services/aggregator/measure.h"
#include "services/aggregator/metric_plan.h"
#include "services/aggregator/serving_view.h"

namespace naru::aggregator::v1 {
class QueryWindowsRequest;
}

namespace naru::aggregator {

/// Limits of an answer.
inline constexpr int kDefaultPageSize = 1000;
inline constexpr int kMaxPageSize = 10'000;
inline constexpr size_t kMaxMergedGroups = 2'000'000;  ///< of one window
inline constexpr size_t kMaxOrderedRows = 100'000;     ///< how far pages in the order of a measure go

/// Where rows come from: the serving view, or states in memory.
class RowSource {
 public:
  virtual ~RowSource() = default;
  virtual int partitions() const = 0;
  virtual std::vector<ViewPane> ListPanes(int32_t partition, int64_t from_us, int64_t to_us) const = 0;
  virtual absl::Status VisitRows(int32_t partition, int64_t pane_start_us, absl::string_view from_group,
                                 const std::function<bool(const ViewRow&)>& fn) = 0;
  /// A window is not final before the frontier has passed this as well as its end.
  virtual int64_t OpenUntil(const TimeSpan& /*window*/) const { return kNever; }
  /// Of events that were received before this time not all are counted: the log no longer reached back to them. Absent:
  /// all are.
  virtual std::optional<int64_t> ValidFrom() const { return std::nullopt; }
};

/// The rows of one metric in the serving view. Borrows it.
class ViewRowSource : public RowSource {
 public:
  ViewRowSource(ServingView& view, MetricId metric) : view_(view), metric_(std::move(metric)) {}
  int partitions() const override { return view_.partitions(); }
  std::vector<ViewPane> ListPanes(int32_t partition, int64_t from_us, int64_t to_us) const override {
    return view_.ListPanes(metric_, partition, from_us, to_us);
  }
  absl::Status VisitRows(int32_t partition, int64_t pane_start_us, absl::string_view from_group,
                         const std::function<bool(const ViewRow&)>& fn) override {
    return view_.VisitRows(metric_, partition, pane_start_us, from_group, fn);
  }
  std::optional<int64_t> ValidFrom() const override;

 private:
  ServingView& view_;
  const MetricId metric_;
};

/// One window of one group, finished.
struct ResultRow {
  TimeSpan window;
  std::string key;                      ///< of the group: orders rows
  std::vector<GroupValue> group;        ///< one for each of WindowQuery::dimensions()
  std::vector<MeasureResult> measures;  ///< one for each of WindowQuery::measures()
  bool final = false;
  int32_t revision = 0;
  bool truncated = false;
  bool changed = false;                  ///< since the offsets given to WindowRows
  bool running = false;                  ///< running sessions are in it
  bool empty = false;                    ///< it has lost all its sessions
  std::optional<int64_t> valid_from_us;  ///< the window began before this; see RowSource::ValidFrom
};

/// What one partition has in one pane, of the groups that a query asks for.
struct PartialRow {
  int32_t partition = 0;
  TimeSpan pane;
  PaneRecord record;
  int64_t offset = 0;       ///< in `aggregates`, of the pane's last change
  int64_t group_count = 0;  ///< of those asked for
  std::vector<MeasureResult> measures;
};

/// A page of rows.
struct ResultPage {
  std::vector<ResultRow> rows;
  std::string next_token;
};

/// A request checked against a metric. Not thread-safe (its filter evaluates in its own memory). Movable.
class WindowQuery {
 public:
  /// Errors: INVALID_ARGUMENT with a field violation for unknown measures, dimensions, order, bad filters, sizes and
  /// tokens.
  static absl::StatusOr<WindowQuery> Compile(const v1::QueryWindowsRequest& request,
                                             std::shared_ptr<const MetricPlan> plan);
  WindowQuery(WindowQuery&&) noexcept;
  WindowQuery& operator=(WindowQuery&&) noexcept;
  ~WindowQuery();

  const MetricPlan& plan() const;
  /// Indices into the plan's dimensions and measures, in the order of a row's values.
  const std::vector<int>& dimensions() const;
  const std::vector<int>& measures() const;

  /// The page that was asked for. Windows that end at or before `frontier_us` are final.
  /// Errors: RESOURCE_EXHAUSTED for a window of more than kMaxMergedGroups groups; those of the source.
  absl::StatusOr<ResultPage> Run(RowSource& source, int64_t frontier_us);
  /// The token for what follows the first `rows` (at least 1) rows of the page.
  std::string TokenAfter(const ResultPage& page, size_t rows) const;

  /// Windows that have panes and lie in the asked range, by start and end. Of cumulative ones those whose last step has
  /// begun: data came in it or after, or it is not after `frontier_us`.
  std::vector<TimeSpan> Windows(const RowSource& source, int64_t frontier_us = kNever) const;
  /// The same, of those that a pane changed in since `offsets` (one for each partition).
  std::vector<TimeSpan> WindowsChangedSince(const RowSource& source, const std::vector<int64_t>& offsets,
                                            int64_t frontier_us = kNever) const;
  /// The same, of those that end after `after_us` and not after `until_us`; of cumulative ones also those whose last
  /// step began in between.
  std::vector<TimeSpan> WindowsEndingIn(const RowSource& source, int64_t after_us, int64_t until_us) const;
  /// All rows of one window by group; `changed` is set where a partial has an offset not below `since` (empty: none).
  /// Cumulative windows of the same start are quickest in the order of their ends: what the last one was made of is
  /// kept until Refresh, which must be called before the source is looked at anew (Run does).
  absl::StatusOr<std::vector<ResultRow>> WindowRows(RowSource& source, const TimeSpan& window, int64_t frontier_us,
                                                    const std::vector<int64_t>& since);
  /// The row of a window that has lost all that was in it.
  ResultRow EmptyRow(const TimeSpan& window, const std::string& key, bool is_final) const;
  static bool IsFinal(const RowSource& source, const TimeSpan& window, int64_t frontier_us) {
    return window.end_us <= frontier_us && source.OpenUntil(window) <= frontier_us;
  }
  /// Panes with start in [from, to) hold all that is asked for.
  int64_t pane_from_us() const;
  int64_t pane_to_us() const;
  void Refresh();
  /// What a window of a query that merges all groups is made of, by partition and pane; at most `limit`, `*omitted`
  /// says how many more there are.
  absl::StatusOr<std::vector<PartialRow>> Partials(RowSource& source, const TimeSpan& window, size_t limit,
                                                   int64_t* omitted);
  /// The windows that are asked for: the metric's, or those of `window_size`.
  const WindowGrid& grid() const;
  bool latest_window() const;
  bool final_only() const;

 private:
  struct State;
  explicit WindowQuery(std::unique_ptr<State> state);
  std::vector<TimeSpan> CollectWindows(const RowSource& source, int64_t pane_from_us, int64_t pane_to_us,
                                       const std::vector<int64_t>& offsets, int64_t frontier_us) const;
  std::vector<TimeSpan> CollectCumulative(const RowSource& source, int64_t pane_from_us, int64_t pane_to_us,
                                          const std::vector<int64_t>& offsets, int64_t frontier_us) const;
  std::unique_ptr<State> state_;
};

}  // namespace naru::aggregator
