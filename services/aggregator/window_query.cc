#include "services/aggregator/window_query.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/cel/cel.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "services/aggregator/query_common.h"

namespace naru::aggregator {
namespace {

// `, did you mean ...` or what there is.
std::string Suggestion(const std::string& name, const std::vector<std::string>& known) {
  const std::string nearest = NearestWord(name, known);
  if (!nearest.empty()) return absl::StrCat("; did you mean `", nearest, "`?");
  std::string all;
  for (const std::string& word : known) absl::StrAppend(&all, all.empty() ? "" : ", ", word);
  return absl::StrCat("; there are: ", all.empty() ? "none" : all);
}

std::vector<std::string> DimensionNames(const MetricPlan& plan) {
  std::vector<std::string> names;
  for (const DimensionPlan& dimension : plan.dimensions) names.push_back(dimension.name);
  return names;
}

std::vector<std::string> MeasureNames(const MetricPlan& plan) {
  std::vector<std::string> names;
  for (const MeasurePlan& measure : plan.measures) names.push_back(measure.name);
  return names;
}

// What a row's filter sees: errors, lists and histograms are null.
cel::Value ToCel(const MeasureResult& result) {
  switch (result.kind) {
    case MeasureResult::Kind::kInteger:
      return cel::Value::Int(result.integer);
    case MeasureResult::Kind::kNumber:
      return cel::Value::Number(result.number);
    case MeasureResult::Kind::kBool:
      return cel::Value::Bool(result.integer != 0);
    case MeasureResult::Kind::kText:
      return cel::Value::String(result.text);
    default:
      return cel::Value::Null();
  }
}

bool Before(const TimeSpan& a, const TimeSpan& b) {
  return a.start_us != b.start_us ? a.start_us < b.start_us : a.end_us < b.end_us;
}

// What a group has come to while partitions and panes are merged.
struct Accumulator {
  explicit Accumulator(const CellLayout* layout) : cell(layout) {}
  Cell cell;
  Revisions revisions;
  bool changed = false;
  bool running = false;
};

// The groups of a window, or of the part of it that was merged so far.
struct Merged {
  TimeSpan span;
  bool truncated = false;
  int64_t rows = 0;  // that were merged
  absl::flat_hash_map<std::string, Accumulator> groups;
};

}  // namespace

struct WindowQuery::State {
  std::shared_ptr<const MetricPlan> plan;
  std::optional<WindowGrid> derived_grid;  // of `window_size`
  std::vector<int> dimensions;
  std::vector<int> measures;
  bool all_dimensions = true;  // rows' groups are the stored groups
  int64_t from_us = kNever;
  int64_t to_us = kForever;
  bool latest_window = false;
  bool final_only = false;
  size_t page_size = kDefaultPageSize;

  // Order: windows (and then groups), or a value of the row.
  enum class OrderBy : uint8_t { kWindow, kDimension, kMeasure } order_by = OrderBy::kWindow;
  size_t order_index = 0;  // into dimensions or measures
  bool descending = false;

  // Where the page begins: after a row (kWindow), or so many rows in.
  bool has_after = false;
  TimeSpan after_window;
  std::string after_key;
  size_t skip = 0;
  uint64_t fingerprint = 0;

  std::unique_ptr<cel::Environment> environment;
  cel::Program filter;
  std::unique_ptr<cel::Activation> activation;
  std::unique_ptr<cel::Environment> row_environment;
  cel::Program row_filter;
  std::unique_ptr<cel::Activation> row_activation;
  std::vector<GroupValue> decoded;
  std::vector<absl::string_view> parts;
  std::optional<Merged> prefix;  // of cumulative windows: the last one
  std::vector<int64_t> prefix_since;
  std::optional<int64_t> valid_from_us;
  bool knows_valid_from = false;

  const WindowGrid& grid() const { return derived_grid.has_value() ? *derived_grid : plan->grid; }
  absl::Status TakeColumns(const v1::QueryWindowsRequest& request);
  absl::Status TakeOrder(const std::string& order);
  absl::Status TakeToken(const std::string& token);
  absl::Status TakeFilter(const std::string& filter);
  absl::Status TakeRowFilter(const std::string& filter);
  bool Passes(absl::string_view group);
  bool RowPasses(const ResultRow& row);
  bool Project(absl::string_view group, std::string* key);
  absl::StatusOr<std::vector<ResultRow>> Merge(RowSource& source, const TimeSpan& window, int64_t frontier_us,
                                               const std::vector<int64_t>& since, absl::string_view after_key,
                                               size_t limit);
  absl::Status AddPanes(RowSource& source, const TimeSpan& span, const std::vector<int64_t>& since,
                        absl::string_view after, size_t source_limit, Merged* merged);
  absl::Status AddPane(RowSource& source, int partition, const ViewPane& pane, int64_t since_offset,
                       absl::string_view after, size_t source_limit, Merged* merged);
  absl::StatusOr<std::vector<ResultRow>> MergeCumulative(RowSource& source, const TimeSpan& window, int64_t frontier_us,
                                                         const std::vector<int64_t>& since, absl::string_view after,
                                                         size_t limit);
  std::vector<ResultRow> FinishRows(const Merged& merged, const TimeSpan& window, bool is_final,
                                    absl::string_view after, size_t limit) const;
  void FinishRow(const TimeSpan& window, bool is_final, bool truncated, const std::string& key,
                 const Accumulator& accumulator, ResultRow* row) const;
  int32_t RevisionsOf(const TimeSpan& window, const Revisions& revisions) const;
  bool Less(const ResultRow& a, const ResultRow& b) const;
  std::string MakeToken(absl::string_view position) const;
};

absl::Status WindowQuery::State::TakeColumns(const v1::QueryWindowsRequest& request) {
  if (request.group_by_none() && request.group_by_size() > 0)
    return InvalidQuery("group_by", "must be empty with group_by_none");
  std::set<std::string> seen;
  for (const std::string& name : request.group_by()) {
    const int index = plan->FindDimension(name);
    if (index < 0)
      return InvalidQuery("group_by",
                          absl::StrCat("`", name, "` is not a dimension", Suggestion(name, DimensionNames(*plan))));
    if (!seen.insert(name).second) return InvalidQuery("group_by", absl::StrCat("`", name, "` is there twice"));
    dimensions.push_back(index);
  }
  if (dimensions.empty() && !request.group_by_none()) {
    for (size_t i = 0; i < plan->dimensions.size(); ++i) dimensions.push_back(static_cast<int>(i));
  }
  all_dimensions = dimensions.size() == plan->dimensions.size() && std::is_sorted(dimensions.begin(), dimensions.end());
  seen.clear();
  for (const std::string& name : request.measures()) {
    const int index = plan->FindMeasure(name);
    if (index < 0)
      return InvalidQuery("measures",
                          absl::StrCat("`", name, "` is not a measure", Suggestion(name, MeasureNames(*plan))));
    if (seen.insert(name).second) measures.push_back(index);
  }
  if (measures.empty()) {
    for (size_t i = 0; i < plan->measures.size(); ++i) measures.push_back(static_cast<int>(i));
  }
  return absl::OkStatus();
}

absl::Status WindowQuery::State::TakeOrder(const std::string& order) {
  const std::vector<std::string> words = absl::StrSplit(order, ' ', absl::SkipWhitespace());
  if (words.empty()) return absl::OkStatus();
  if (words.size() > 2 || (words.size() == 2 && words[1] != "desc" && words[1] != "asc")) {
    return InvalidQuery("order_by", absl::StrCat("`", order, "` must be a name, optionally followed by asc or desc"));
  }
  descending = words.size() == 2 && words[1] == "desc";
  const std::string& name = words[0];
  if (name == "window_start") return absl::OkStatus();
  const int dimension = plan->FindDimension(name);
  for (size_t i = 0; dimension >= 0 && i < dimensions.size(); ++i) {
    if (dimensions[i] != dimension) continue;
    order_by = OrderBy::kDimension;
    order_index = i;
    return absl::OkStatus();
  }
  if (dimension >= 0) return InvalidQuery("order_by", absl::StrCat("`", name, "` is not in group_by"));
  const int measure = plan->FindMeasure(name);
  if (measure >= 0) {
    auto found = std::find(measures.begin(), measures.end(), measure);
    if (found == measures.end()) return InvalidQuery("order_by", absl::StrCat("`", name, "` is not in measures"));
    order_by = OrderBy::kMeasure;
    order_index = static_cast<size_t>(found - measures.begin());
    return absl::OkStatus();
  }
  std::vector<std::string> known = DimensionNames(*plan);
  for (const std::string& word : MeasureNames(*plan)) known.push_back(word);
  known.push_back("window_start");
  return InvalidQuery("order_by", absl::StrCat("`", name, "` is not a measure or dimension", Suggestion(name, known)));
}

// The position is, for windows, `start:end key`, the key being the group's, else a row number.
std::string WindowQuery::State::MakeToken(absl::string_view position) const {
  return MakePageToken(plan->version, fingerprint, position);
}

absl::Status WindowQuery::State::TakeToken(const std::string& token) {
  if (token.empty()) return absl::OkStatus();
  PageToken read;
  if (!ReadPageToken(token, &read)) return NoPageToken();
  NARU_RETURN_IF_ERROR(CheckPageToken(read.version, read.fingerprint, *plan, fingerprint, "the metric"));
  const std::string& position = read.position;
  if (order_by != OrderBy::kWindow) {
    uint64_t number;
    if (!absl::SimpleAtoi(position, &number) || number > kMaxOrderedRows) return NoPageToken();
    skip = number;
    return absl::OkStatus();
  }
  const size_t space = position.find(' ');
  const std::vector<std::string> window = absl::StrSplit(position.substr(0, space), ':');
  if (space == std::string::npos || window.size() != 2 || !absl::SimpleAtoi(window[0], &after_window.start_us) ||
      !absl::SimpleAtoi(window[1], &after_window.end_us)) {
    return NoPageToken();
  }
  has_after = true;
  after_key = position.substr(space + 1);
  return absl::OkStatus();
}

absl::Status WindowQuery::State::TakeFilter(const std::string& source) {
  if (source.empty()) return absl::OkStatus();
  environment = std::make_unique<cel::Environment>(cel::Environment::ForVariables(DimensionNames(*plan)));
  cel::CompileOptions options;
  options.filter = true;
  absl::StatusOr<cel::Program> program = environment->Compile(source, options);
  if (!program.ok()) return InvalidQuery("filter", program.status().message());
  filter = *std::move(program);
  activation = std::make_unique<cel::Activation>(environment.get());
  return absl::OkStatus();
}

absl::StatusOr<WindowQuery> WindowQuery::Compile(const v1::QueryWindowsRequest& request,
                                                 std::shared_ptr<const MetricPlan> plan) {
  auto state = std::make_unique<State>();
  state->plan = std::move(plan);
  NARU_RETURN_IF_ERROR(TakeTimes(request, &state->from_us, &state->to_us));
  NARU_RETURN_IF_ERROR(TakePageSize(request.page_size(), kMaxPageSize, &state->page_size));
  state->latest_window = request.latest_window();
  state->final_only = request.final_only();
  if (!request.window_size().empty()) {
    NARU_ASSIGN_OR_RETURN(state->derived_grid, state->plan->grid.WithSize(request.window_size()));
  }
  NARU_RETURN_IF_ERROR(state->TakeColumns(request));
  NARU_RETURN_IF_ERROR(state->TakeOrder(request.order_by()));
  NARU_RETURN_IF_ERROR(state->TakeFilter(request.filter()));
  NARU_RETURN_IF_ERROR(state->TakeRowFilter(request.row_filter()));
  state->fingerprint = FingerprintOf(request);
  NARU_RETURN_IF_ERROR(state->TakeToken(request.page_token()));
  return WindowQuery(std::move(state));
}

WindowQuery::WindowQuery(std::unique_ptr<State> state) : state_(std::move(state)) {}
WindowQuery::WindowQuery(WindowQuery&&) noexcept = default;
WindowQuery& WindowQuery::operator=(WindowQuery&&) noexcept = default;
WindowQuery::~WindowQuery() = default;

const MetricPlan& WindowQuery::plan() const { return *state_->plan; }
const std::vector<int>& WindowQuery::dimensions() const { return state_->dimensions; }
const std::vector<int>& WindowQuery::measures() const { return state_->measures; }
int64_t WindowQuery::pane_from_us() const { return state_->from_us; }
int64_t WindowQuery::pane_to_us() const { return state_->grid().derived() ? kForever : state_->to_us; }
bool WindowQuery::latest_window() const { return state_->latest_window; }
bool WindowQuery::final_only() const { return state_->final_only; }

// Names of what rows have: their dimensions, then their measures.
absl::Status WindowQuery::State::TakeRowFilter(const std::string& source) {
  if (source.empty()) return absl::OkStatus();
  std::vector<std::string> names;
  for (const int i : dimensions) names.push_back(plan->dimensions[i].name);
  for (const int i : measures) names.push_back(plan->measures[i].name);
  row_environment = std::make_unique<cel::Environment>(cel::Environment::ForVariables(names));
  cel::CompileOptions options;
  options.filter = true;
  absl::StatusOr<cel::Program> program = row_environment->Compile(source, options);
  if (!program.ok()) return InvalidQuery("row_filter", program.status().message());
  row_filter = *std::move(program);
  row_activation = std::make_unique<cel::Activation>(row_environment.get());
  return absl::OkStatus();
}

bool WindowQuery::State::RowPasses(const ResultRow& row) {
  if (!row_filter.valid()) return true;
  row_activation->Clear();
  int variable = 0;
  for (const GroupValue& value : row.group) row_activation->Set(variable++, value.ToCel());
  for (const MeasureResult& measure : row.measures) row_activation->Set(variable++, ToCel(measure));
  return row_filter.Matches(*row_activation);
}

bool WindowQuery::State::Passes(absl::string_view group) {
  if (!filter.valid()) return true;
  if (!DecodeGroup(group, plan->dimensions.size(), &decoded)) return false;
  activation->Clear();
  for (size_t i = 0; i < decoded.size(); ++i) activation->Set(static_cast<int>(i), decoded[i].ToCel());
  return filter.Matches(*activation);
}

bool WindowQuery::State::Project(absl::string_view group, std::string* key) {
  key->clear();
  if (all_dimensions || group == kOtherGroup) {
    // Without dimensions nothing tells the other groups apart.
    if (!dimensions.empty()) key->append(group.data(), group.size());
    return true;
  }
  if (!SplitGroup(group, plan->dimensions.size(), &parts)) return false;
  for (const int i : dimensions) key->append(parts[i].data(), parts[i].size());
  return true;
}

absl::Status WindowQuery::State::AddPane(RowSource& source, int partition, const ViewPane& pane, int64_t since_offset,
                                         absl::string_view after, size_t source_limit, Merged* merged) {
  merged->truncated = merged->truncated || pane.record.truncated;
  const CellLayout& layout = plan->layout;
  absl::Status status;
  std::string key;
  size_t taken = 0;
  NARU_RETURN_IF_ERROR(source.VisitRows(partition, pane.start_us, all_dimensions ? after : "", [&](const ViewRow& row) {
    if (!Passes(row.group) || !Project(row.group, &key)) return true;
    if (!after.empty() && key <= after) return true;
    Accumulator& group = merged->groups.try_emplace(key, &layout).first->second;
    if (!MergeRow(row.value, layout, group.cell.data(), &group.revisions)) {
      status = MakeError(absl::StatusCode::kDataLoss, "STATE_DAMAGED", "a stored row cannot be read");
      return false;
    }
    group.changed = group.changed || row.offset >= since_offset;
    group.running = group.running || row.running;
    ++merged->rows;
    return ++taken < source_limit && merged->groups.size() <= kMaxMergedGroups;
  }));
  NARU_RETURN_IF_ERROR(status);
  if (merged->groups.size() <= kMaxMergedGroups) return absl::OkStatus();
  return MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_GROUPS",
                   absl::StrCat("a window has more than ", kMaxMergedGroups, " groups; group by fewer dimensions"));
}

absl::Status WindowQuery::State::AddPanes(RowSource& source, const TimeSpan& span, const std::vector<int64_t>& since,
                                          absl::string_view after, size_t source_limit, Merged* merged) {
  for (int p = 0; p < source.partitions(); ++p) {
    const int64_t since_offset = p < static_cast<int>(since.size()) ? since[p] : INT64_MAX;
    for (const ViewPane& pane : source.ListPanes(p, span.start_us, span.end_us)) {
      NARU_RETURN_IF_ERROR(AddPane(source, p, pane, since_offset, after, source_limit, merged));
    }
  }
  return absl::OkStatus();
}

// A cumulative window is the one before and a step more.
absl::StatusOr<std::vector<ResultRow>> WindowQuery::State::MergeCumulative(RowSource& source, const TimeSpan& window,
                                                                           int64_t frontier_us,
                                                                           const std::vector<int64_t>& since,
                                                                           absl::string_view after, size_t limit) {
  if (!prefix.has_value() || prefix->span.start_us != window.start_us || prefix->span.end_us > window.end_us ||
      prefix_since != since) {
    prefix.emplace();
    prefix->span = {window.start_us, window.start_us};
    prefix_since = since;
  }
  const TimeSpan rest{prefix->span.end_us, window.end_us};
  prefix->span.end_us = window.end_us;
  const absl::Status status = AddPanes(source, rest, since, "", SIZE_MAX, &*prefix);
  if (status.ok()) return FinishRows(*prefix, window, IsFinal(source, window, frontier_us), after, limit);
  prefix.reset();
  return status;
}

absl::StatusOr<std::vector<ResultRow>> WindowQuery::State::Merge(RowSource& source, const TimeSpan& window,
                                                                 int64_t frontier_us, const std::vector<int64_t>& since,
                                                                 absl::string_view after, size_t limit) {
  if (!knows_valid_from) valid_from_us = source.ValidFrom();
  knows_valid_from = true;
  if (grid().cumulative()) return MergeCumulative(source, window, frontier_us, since, after, limit);
  // Each source's first `limit` groups contain its share of the first `limit` groups of all.
  const size_t source_limit = all_dimensions && limit > 0 ? limit : SIZE_MAX;
  Merged merged;
  NARU_RETURN_IF_ERROR(AddPanes(source, window, since, after, source_limit, &merged));
  return FinishRows(merged, window, IsFinal(source, window, frontier_us), after, limit);
}

std::vector<ResultRow> WindowQuery::State::FinishRows(const Merged& merged, const TimeSpan& window, bool is_final,
                                                      absl::string_view after, size_t limit) const {
  std::vector<const std::pair<const std::string, Accumulator>*> order;
  for (const auto& group : merged.groups) {
    if (after.empty() || group.first > after) order.push_back(&group);
  }
  const auto less = [](const auto* a, const auto* b) { return a->first < b->first; };
  if (limit > 0 && order.size() > limit) {
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(limit), order.end(), less);
    order.resize(limit);
  } else {
    std::sort(order.begin(), order.end(), less);
  }
  std::vector<ResultRow> rows(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    FinishRow(window, is_final, merged.truncated, order[i]->first, order[i]->second, &rows[i]);
  }
  return rows;
}

// A change is noted with the end of the metric's last window that was final then. Windows of another size are revised
// by each change of what was final in the metric.
int32_t WindowQuery::State::RevisionsOf(const TimeSpan& window, const Revisions& revisions) const {
  int32_t all = 0;
  for (const auto& [end_us, count] : revisions) all += grid().derived() || end_us >= window.end_us ? count : 0;
  return all;
}

void WindowQuery::State::FinishRow(const TimeSpan& window, bool is_final, bool truncated, const std::string& key,
                                   const Accumulator& accumulator, ResultRow* row) const {
  row->window = window;
  row->key = key;
  DecodeGroup(key, dimensions.size(), &row->group);
  for (const int i : measures) {
    row->measures.emplace_back();
    plan->layout.Finish(i, accumulator.cell.data(), &row->measures.back());
  }
  row->final = is_final;
  row->revision = row->final ? 1 + RevisionsOf(window, accumulator.revisions) : 0;
  row->truncated = truncated;
  row->changed = accumulator.changed;
  row->running = accumulator.running;
  if (valid_from_us.has_value() && window.start_us < *valid_from_us) row->valid_from_us = valid_from_us;
  if (plan->session == nullptr) return;
  MeasureResult sessions;
  plan->layout.Finish(plan->measures.size(), accumulator.cell.data(), &sessions);
  row->empty = sessions.integer == 0;
}

ResultRow WindowQuery::EmptyRow(const TimeSpan& window, const std::string& key, bool is_final) const {
  ResultRow row;
  state_->FinishRow(window, is_final, /*truncated=*/false, key, Accumulator(&state_->plan->layout), &row);
  row.changed = true;
  return row;
}

std::vector<TimeSpan> WindowQuery::Windows(const RowSource& source, int64_t frontier_us) const {
  return WindowsChangedSince(source, {}, frontier_us);
}

std::vector<TimeSpan> WindowQuery::WindowsChangedSince(const RowSource& source, const std::vector<int64_t>& offsets,
                                                       int64_t frontier_us) const {
  const WindowGrid& grid = state_->grid();
  const int64_t to_us = std::min(state_->to_us, kMaxTimeUs);
  if (state_->from_us >= to_us) return {};
  const int64_t last_us = grid.PaneOf(std::max(to_us, kMinTimeUs + 1) - 1).start_us;
  return CollectWindows(source, state_->from_us, grid.LastWindowEnd(last_us), offsets, frontier_us);
}

std::vector<TimeSpan> WindowQuery::WindowsEndingIn(const RowSource& source, int64_t after_us, int64_t until_us) const {
  const WindowGrid& grid = state_->grid();
  // The first window that ends after a time holds the pane of that time, if it began by then.
  std::vector<TimeSpan> windows;
  grid.AppendWindowsOf(grid.PaneOf(std::clamp(after_us, kMinTimeUs, kMaxTimeUs - 1)).start_us, &windows);
  const int64_t from_us = std::max(state_->from_us, windows.back().start_us);
  windows = CollectWindows(source, from_us, until_us, {}, until_us);
  const bool ends_only = !grid.cumulative();
  windows.erase(
      std::remove_if(windows.begin(), windows.end(),
                     [&](const TimeSpan& w) { return w.end_us <= after_us || (ends_only && w.end_us > until_us); }),
      windows.end());
  return windows;
}

std::vector<TimeSpan> WindowQuery::CollectCumulative(const RowSource& source, int64_t pane_from_us, int64_t pane_to_us,
                                                     const std::vector<int64_t>& offsets, int64_t frontier_us) const {
  struct Period {
    int64_t first_us = kForever;  // pane that is asked for
    int64_t last_us = kNever;     // pane that is there
  };
  const WindowGrid& grid = state_->grid();
  std::map<int64_t, Period> periods;
  TimeSpan at{0, 0};
  for (int p = 0; p < source.partitions(); ++p) {
    for (const ViewPane& pane : source.ListPanes(p, pane_from_us, pane_to_us)) {
      if (!at.Contains(pane.start_us)) at = grid.WindowAt(grid.LastWindowStart(pane.start_us));
      if (at.start_us < state_->from_us || at.start_us >= state_->to_us) continue;
      Period& period = periods[at.start_us];
      period.last_us = std::max(period.last_us, pane.start_us);
      if (p < static_cast<int>(offsets.size()) && pane.offset < offsets[p]) continue;
      period.first_us = std::min(period.first_us, pane.start_us);
    }
  }
  std::vector<TimeSpan> result, of_pane;
  for (const auto& [start_us, period] : periods) {
    if (period.first_us == kForever) continue;
    of_pane.clear();
    grid.AppendWindowsOf(period.first_us, &of_pane);
    const int64_t begun_us = std::max(period.last_us, frontier_us);
    int64_t step_us = kNever;  // where the window's last step begins; that of the shortest holds the pane
    for (auto window = of_pane.rbegin(); window != of_pane.rend() && step_us <= begun_us; ++window) {
      result.push_back(*window);
      step_us = window->end_us;
    }
  }
  return result;
}

std::vector<TimeSpan> WindowQuery::CollectWindows(const RowSource& source, int64_t pane_from_us, int64_t pane_to_us,
                                                  const std::vector<int64_t>& offsets, int64_t frontier_us) const {
  const WindowGrid& grid = state_->grid();
  if (grid.cumulative()) return CollectCumulative(source, pane_from_us, pane_to_us, offsets, frontier_us);
  const int64_t from_us = state_->from_us, to_us = state_->to_us;
  std::map<int64_t, int64_t> windows;
  std::vector<TimeSpan> of_pane;
  int64_t last_start_us = kNever;
  for (int p = 0; p < source.partitions(); ++p) {
    for (const ViewPane& pane : source.ListPanes(p, pane_from_us, pane_to_us)) {
      if (p < static_cast<int>(offsets.size()) && pane.offset < offsets[p]) continue;
      if (pane.start_us == last_start_us) continue;
      last_start_us = pane.start_us;
      of_pane.clear();
      grid.AppendWindowsOf(pane.start_us, &of_pane);
      for (const TimeSpan& window : of_pane) {
        if (window.start_us >= from_us && window.start_us < to_us) windows[window.start_us] = window.end_us;
      }
    }
  }
  std::vector<TimeSpan> result;
  for (const auto& [start_us, end_us] : windows) result.push_back({start_us, end_us});
  return result;
}

absl::StatusOr<std::vector<ResultRow>> WindowQuery::WindowRows(RowSource& source, const TimeSpan& window,
                                                               int64_t frontier_us, const std::vector<int64_t>& since) {
  return state_->Merge(source, window, frontier_us, since, "", 0);
}

absl::StatusOr<std::vector<PartialRow>> WindowQuery::Partials(RowSource& source, const TimeSpan& window, size_t limit,
                                                              int64_t* omitted) {
  std::vector<PartialRow> partials;
  const Accumulator empty(&state_->plan->layout);
  for (int p = 0; p < source.partitions(); ++p) {
    for (const ViewPane& pane : source.ListPanes(p, window.start_us, window.end_us)) {
      if (partials.size() >= limit) {
        ++*omitted;
        continue;
      }
      Merged merged;
      NARU_RETURN_IF_ERROR(state_->AddPane(source, p, pane, INT64_MAX, "", SIZE_MAX, &merged));
      PartialRow partial;
      partial.partition = p;
      partial.pane = state_->plan->grid.PaneOf(pane.start_us);
      partial.record = pane.record;
      partial.offset = pane.offset;
      partial.group_count = merged.rows;
      const Accumulator& all = merged.groups.empty() ? empty : merged.groups.begin()->second;
      for (const int i : state_->measures) {
        partial.measures.emplace_back();
        state_->plan->layout.Finish(i, all.cell.data(), &partial.measures.back());
      }
      partials.push_back(std::move(partial));
    }
  }
  return partials;
}

std::optional<int64_t> ViewRowSource::ValidFrom() const {
  std::optional<int64_t> valid_from_us;
  for (int p = 0; p < view_.partitions(); ++p) {
    const std::optional<Progress> progress = view_.GetProgress(metric_, p);
    if (!progress.has_value() || !progress->valid_from_us.has_value()) continue;
    valid_from_us = std::max(valid_from_us.value_or(kNever), *progress->valid_from_us);
  }
  return valid_from_us;
}

void WindowQuery::Refresh() {
  state_->prefix.reset();
  state_->knows_valid_from = false;
}
const WindowGrid& WindowQuery::grid() const { return state_->grid(); }

bool WindowQuery::State::Less(const ResultRow& a, const ResultRow& b) const {
  if (order_by == OrderBy::kMeasure) {
    const MeasureResult &x = a.measures[order_index], &y = b.measures[order_index];
    if (MeasureResult::Less(x, y)) return !descending;
    if (MeasureResult::Less(y, x)) return descending;
  } else if (order_by == OrderBy::kDimension) {
    std::string x, y;
    AppendGroupValue(a.group[order_index].ToCel(), &x);
    AppendGroupValue(b.group[order_index].ToCel(), &y);
    if (x != y) return descending ? x > y : x < y;
  }
  if (a.window != b.window) return Before(a.window, b.window);
  return a.key < b.key;
}

absl::StatusOr<ResultPage> WindowQuery::Run(RowSource& source, int64_t frontier_us) {
  State& state = *state_;
  Refresh();
  std::vector<TimeSpan> windows = Windows(source, frontier_us);
  if (state.final_only) {
    windows.erase(std::remove_if(windows.begin(), windows.end(),
                                 [&](const TimeSpan& window) { return !IsFinal(source, window, frontier_us); }),
                  windows.end());
  }
  const bool by_window = state.order_by == State::OrderBy::kWindow;
  if (state.latest_window || (by_window && state.descending)) std::reverse(windows.begin(), windows.end());
  ResultPage page;
  std::vector<ResultRow> kept;
  const auto less = [&state](const ResultRow& a, const ResultRow& b) { return state.Less(a, b); };
  // One row more than the page shows whether there is another page.
  const size_t wanted = by_window ? state.page_size + 1 : state.skip + state.page_size + 1;
  if (wanted > kMaxOrderedRows + 1) return InvalidQuery("page_token", "goes too far; ask for a shorter range of time");
  for (const TimeSpan& window : windows) {
    if (by_window && state.has_after) {
      if (state.descending ? Before(state.after_window, window) : Before(window, state.after_window)) continue;
    }
    const bool resumed = by_window && state.has_after && window == state.after_window;
    if (resumed && state.after_key.empty()) {  // the one group of a window without dimensions was shown
      if (state.latest_window) break;
      continue;
    }
    NARU_ASSIGN_OR_RETURN(std::vector<ResultRow> rows,
                          state.Merge(source, window, frontier_us, {}, resumed ? state.after_key : "",
                                      by_window && !state.row_filter.valid() ? wanted - kept.size() : 0));
    rows.erase(std::remove_if(rows.begin(), rows.end(), [&](const ResultRow& row) { return !state.RowPasses(row); }),
               rows.end());
    const bool any = !rows.empty() || resumed;
    for (ResultRow& row : rows) kept.push_back(std::move(row));
    if (!by_window && kept.size() > 2 * wanted + 1000) {
      std::nth_element(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(wanted), kept.end(), less);
      kept.resize(wanted);
    }
    if ((by_window && kept.size() >= wanted) || (state.latest_window && any)) break;
  }
  if (!by_window) {
    std::sort(kept.begin(), kept.end(), less);
    kept.erase(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(std::min(state.skip, kept.size())));
  }
  if (kept.size() > state.page_size) {
    kept.resize(state.page_size);
    page.rows = std::move(kept);
    page.next_token = TokenAfter(page, state.page_size);
    return page;
  }
  page.rows = std::move(kept);
  return page;
}

std::string WindowQuery::TokenAfter(const ResultPage& page, size_t rows) const {
  const State& state = *state_;
  if (state.order_by != State::OrderBy::kWindow) return state.MakeToken(absl::StrCat(state.skip + rows));
  const ResultRow& last = page.rows[rows - 1];
  return state.MakeToken(absl::StrCat(last.window.start_us, ":", last.window.end_us, " ", last.key));
}

}  // namespace naru::aggregator
