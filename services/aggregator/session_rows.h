// The rows of session windows: those of the counted sessions, as stored, with the running ones added.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/aggregator/metric_plan.h"
#include "services/aggregator/serving_view.h"
#include "services/aggregator/session.h"
#include "services/aggregator/window_query.h"

namespace naru::aggregator {

/// Calls fn(state, offset) for the state of each entity of a source partition with running sessions (as
/// EncodeEntitySessions made it), with the offset in `aggregates` of its last change, until it returns false.
using RunningSessionsFn = std::function<absl::Status(
    int32_t partition, const std::function<bool(absl::string_view state, int64_t offset)>& fn)>;
/// Those in the serving view. Borrows it.
RunningSessionsFn RunningSessionsOf(ServingView& view, const MetricId& metric);

/// For one query: Load, then as any other source. Not thread-safe.
class SessionRowSource : public RowSource {
 public:
  /// Borrows `counted`. `with_empty`: rows that have lost all their sessions, too (for those who were shown them).
  SessionRowSource(RowSource& counted, std::shared_ptr<const MetricPlan> plan, RunningSessionsFn running,
                   bool with_empty);
  ~SessionRowSource() override;

  /// Reads the running sessions that start in windows from `from_us` on and before `to_us`. Errors: those of the
  /// source; RESOURCE_EXHAUSTED where they make too many rows.
  absl::Status Load(int64_t from_us, int64_t to_us);

  int partitions() const override { return counted_.partitions(); }
  std::vector<ViewPane> ListPanes(int32_t partition, int64_t from_us, int64_t to_us) const override;
  absl::Status VisitRows(int32_t partition, int64_t pane_start_us, absl::string_view from_group,
                         const std::function<bool(const ViewRow&)>& fn) override;
  int64_t OpenUntil(const TimeSpan& window) const override;
  std::optional<int64_t> ValidFrom() const override { return counted_.ValidFrom(); }

 private:
  struct RunningRow;
  struct RunningPane;
  absl::Status AddEntity(int32_t partition, const EntitySessions& sessions, int64_t offset, int64_t from_us,
                         int64_t to_us);

  RowSource& counted_;
  const std::shared_ptr<const MetricPlan> plan_;
  const RunningSessionsFn running_;
  const bool with_empty_;
  SessionEvent event_;
  const MetricPlan::TypeRoute route_;
  std::map<std::pair<int32_t, int64_t>, RunningPane> panes_;  // by partition and start
  size_t rows_ = 0;
};

/// Which rows a reader of changes was last told with running sessions in them: these may leave a row without a trace in
/// it, so that nothing that is stored says that it changed. Copyable. Not thread-safe.
class ShownRunningRows {
 public:
  /// Appends those of a window's rows (`all`, with the empty ones) that the reader is to be told: what changed, what
  /// running sessions have left (empty where nothing else was in it), and with `whole` all that is there. Returns
  /// whether the window has rows at all.
  bool Take(const WindowQuery& query, const TimeSpan& window, bool is_final, bool whole, std::vector<ResultRow> all,
            std::vector<ResultRow>* told);
  /// Appends the windows with such rows that are not among `windows`.
  void AppendWindows(std::vector<TimeSpan>* windows) const;
  void Clear() { running_.clear(); }

 private:
  struct Running {
    bool final = false;
    std::set<std::string> keys;
  };
  std::map<std::pair<int64_t, int64_t>, Running> running_;  // by a window's ends
};

}  // namespace naru::aggregator
