#include "services/aggregator/window_watch.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "services/aggregator/row_proto.h"
#include "services/aggregator/session_rows.h"

namespace naru::aggregator {
namespace {

constexpr double kDefaultRateHz = 2;
constexpr double kMaxRateHz = 50;

absl::Status BadToken() {
  ErrorDetails details;
  details.reason = "WATCH_INVALID";
  details.violations.push_back({"version_token", "is not a token of this service"});
  return MakeError(absl::StatusCode::kInvalidArgument, "version_token: is not a token of this service", details);
}

// A window by both its ends: cumulative ones share their starts.
using Ends = std::pair<int64_t, int64_t>;
Ends EndsOf(const TimeSpan& window) { return {window.start_us, window.end_us}; }

// version:frontier:offset,offset,...
struct Token {
  int32_t version = 0;
  int64_t frontier_us = kNever;
  std::vector<int64_t> offsets;
};

std::string Format(const Token& token) {
  return absl::StrCat(token.version, ":", token.frontier_us, ":", absl::StrJoin(token.offsets, ","));
}

bool Parse(const std::string& text, Token* token) {
  const std::vector<std::string> fields = absl::StrSplit(text, ':');
  if (fields.size() != 3 || !absl::SimpleAtoi(fields[0], &token->version) ||
      !absl::SimpleAtoi(fields[1], &token->frontier_us)) {
    return false;
  }
  for (const absl::string_view offset : absl::StrSplit(fields[2], ',')) {
    token->offsets.emplace_back();
    if (!absl::SimpleAtoi(offset, &token->offsets.back())) return false;
  }
  return true;
}

}  // namespace

struct WindowWatch::State {
  State(ServingView& v, PlanDirectory& p, Finality& f) : view(v), plans(p), finality(f) {}
  ServingView& view;
  PlanDirectory& plans;
  Finality& finality;
  v1::QueryWindowsRequest request;
  int64_t interval_us = 500'000;
  std::optional<WindowQuery> query;
  std::shared_ptr<const MetricPlan> plan;
  Token known;  // what the reader has
  bool has_known = false;
  TimeSpan latest_window;
  bool latest_final = false;
  uint64_t seen_changes = 0;
  ShownRunningRows running;  // to the reader

  absl::StatusOr<std::vector<ResultRow>> Read(Token* now, bool reset);
  absl::StatusOr<std::vector<ResultRow>> Collect(RowSource& source, const Token& now, bool reset);
  absl::StatusOr<bool> AddWindow(RowSource& source, const TimeSpan& window, const Token& now, bool whole,
                                 std::vector<ResultRow>* rows);
  absl::StatusOr<std::vector<ResultRow>> CollectLatest(RowSource& source, const Token& now, bool reset);
  std::vector<TimeSpan> WindowsToRead(RowSource& source, const Token& now, bool reset, std::set<Ends>* crossed);
  void AddRemoved(v1::WatchWindowsResponse* message);
};

WindowWatch::WindowWatch(std::unique_ptr<State> state) : state_(std::move(state)) {}
WindowWatch::~WindowWatch() = default;
int64_t WindowWatch::interval_us() const { return state_->interval_us; }

absl::StatusOr<std::unique_ptr<WindowWatch>> WindowWatch::Start(const v1::WatchWindowsRequest& request,
                                                                ServingView& view, PlanDirectory& plans,
                                                                Finality& finality) {
  auto state = std::make_unique<State>(view, plans, finality);
  state->request = request.query();
  state->request.clear_page_token();
  state->request.clear_page_size();
  state->request.clear_after();
  state->request.clear_order_by();
  if (!state->request.row_filter().empty()) {
    ErrorDetails details;
    details.reason = "WATCH_INVALID";
    details.violations.push_back({"row_filter", "is not for watches: a row would have to be taken back"});
    return MakeError(absl::StatusCode::kInvalidArgument, "row_filter: is not for watches; take what passes yourself",
                     details);
  }
  double rate_hz = request.max_rate_hz();
  if (!(rate_hz >= 0) || rate_hz > kMaxRateHz) {
    return MakeError(absl::StatusCode::kInvalidArgument, "WATCH_INVALID",
                     absl::StrCat("max_rate_hz: must be between 0 and ", kMaxRateHz));
  }
  if (rate_hz == 0) rate_hz = kDefaultRateHz;
  state->interval_us = static_cast<int64_t>(1e6 / rate_hz);
  if (!request.version_token().empty()) {
    if (!Parse(request.version_token(), &state->known)) return BadToken();
    // Removals before this process followed the topic are not known: then the reader starts afresh.
    const std::vector<int64_t> start = view.StartOffsets();
    state->has_known = state->known.offsets.size() == start.size();
    for (size_t p = 0; p < start.size() && state->has_known; ++p)
      state->has_known = state->known.offsets[p] >= start[p];
  }
  state->plan = plans.Answering(state->request.metric());
  if (state->plan != nullptr) {
    NARU_ASSIGN_OR_RETURN(WindowQuery query, WindowQuery::Compile(state->request, state->plan));
    state->query = std::move(query);
    // Which of a reader's rows have running sessions in them only the watch knew that showed them.
    state->has_known =
        state->has_known && state->known.version == state->plan->version && state->plan->session == nullptr;
  }
  return std::unique_ptr<WindowWatch>(new WindowWatch(std::move(state)));
}

std::vector<TimeSpan> WindowWatch::State::WindowsToRead(RowSource& source, const Token& now, bool reset,
                                                        std::set<Ends>* crossed) {
  if (reset) return query->Windows(source, now.frontier_us);
  std::vector<TimeSpan> windows = query->WindowsChangedSince(source, known.offsets, now.frontier_us);
  if (known.frontier_us == now.frontier_us) return windows;
  // Windows whose mark changed although no row did.
  const int64_t low = std::min(known.frontier_us, now.frontier_us), high = std::max(known.frontier_us, now.frontier_us);
  std::set<Ends> have;
  for (const TimeSpan& window : windows) have.insert(EndsOf(window));
  for (const TimeSpan& window : query->WindowsEndingIn(source, low, high)) {
    crossed->insert(EndsOf(window));
    if (have.count(EndsOf(window)) == 0) windows.push_back(window);
  }
  return windows;
}

// Adds the rows of a window that the reader is to be told. Returns whether the window has rows at all.
absl::StatusOr<bool> WindowWatch::State::AddWindow(RowSource& source, const TimeSpan& window, const Token& now,
                                                   bool whole, std::vector<ResultRow>* rows) {
  NARU_ASSIGN_OR_RETURN(std::vector<ResultRow> all, query->WindowRows(source, window, now.frontier_us, known.offsets));
  const bool is_final = WindowQuery::IsFinal(source, window, now.frontier_us);
  return running.Take(*query, window, is_final, whole, std::move(all), rows);
}

// All that one turn reads belongs together: what was counted between two reads would be there twice, or not at all.
absl::StatusOr<std::vector<ResultRow>> WindowWatch::State::Read(Token* now, bool reset) {
  const MetricId id{plan->name, plan->version};
  ViewRowSource counted(view, id);
  if (plan->session == nullptr) return Collect(counted, *now, reset);
  SessionRowSource source(counted, plan, RunningSessionsOf(view, id), /*with_empty=*/!reset);
  const ShownRunningRows running_before = running;
  const TimeSpan latest_window_before = latest_window;
  const bool latest_final_before = latest_final;
  std::vector<ResultRow> rows;
  NARU_RETURN_IF_ERROR(view.ReadConsistently([&]() -> absl::Status {
    running = running_before;
    latest_window = latest_window_before;
    query->Refresh();
    latest_final = latest_final_before;
    now->offsets = view.CommittedOffsets(id);
    NARU_RETURN_IF_ERROR(source.Load(query->pane_from_us(), query->pane_to_us()));
    NARU_ASSIGN_OR_RETURN(rows, Collect(source, *now, reset));
    return absl::OkStatus();
  }));
  return rows;
}

absl::StatusOr<std::vector<ResultRow>> WindowWatch::State::Collect(RowSource& source, const Token& now, bool reset) {
  if (reset) running.Clear();
  if (query->latest_window()) return CollectLatest(source, now, reset);
  std::vector<ResultRow> rows;
  std::set<Ends> crossed;
  std::vector<TimeSpan> windows = WindowsToRead(source, now, reset, &crossed);
  running.AppendWindows(&windows);
  // The newest windows first, so that a cut takes the oldest; of those that begin together the shortest first, of which
  // the longer ones are made.
  std::sort(windows.begin(), windows.end(), [](const TimeSpan& a, const TimeSpan& b) {
    return a.start_us != b.start_us ? a.start_us > b.start_us : a.end_us < b.end_us;
  });
  for (const TimeSpan& window : windows) {
    if (query->final_only() && !WindowQuery::IsFinal(source, window, now.frontier_us)) continue;
    NARU_RETURN_IF_ERROR(AddWindow(source, window, now, reset || crossed.count(EndsOf(window)) > 0, &rows).status());
    if (rows.size() >= kMaxWatchRows) break;
  }
  if (rows.size() > kMaxWatchRows) rows.resize(kMaxWatchRows);
  std::sort(rows.begin(), rows.end(), [](const ResultRow& a, const ResultRow& b) {
    return a.window != b.window ? EndsOf(a.window) < EndsOf(b.window) : a.key < b.key;
  });
  return rows;
}

absl::StatusOr<std::vector<ResultRow>> WindowWatch::State::CollectLatest(RowSource& source, const Token& now,
                                                                         bool reset) {
  std::vector<TimeSpan> windows = query->Windows(source, now.frontier_us);
  for (auto window = windows.rbegin(); window != windows.rend(); ++window) {
    const bool is_final = WindowQuery::IsFinal(source, *window, now.frontier_us);
    if (query->final_only() && !is_final) continue;
    const bool whole = reset || *window != latest_window || is_final != latest_final;
    std::vector<ResultRow> rows;
    NARU_ASSIGN_OR_RETURN(const bool any, AddWindow(source, *window, now, whole, &rows));
    if (!any) continue;
    latest_window = *window;
    latest_final = is_final;
    if (rows.size() > kMaxWatchRows) rows.resize(kMaxWatchRows);
    return rows;
  }
  return std::vector<ResultRow>();
}

// Windows of which no pane is left.
void WindowWatch::State::AddRemoved(v1::WatchWindowsResponse* message) {
  ViewRowSource source(view, {plan->name, plan->version});
  std::set<int64_t> gone;
  std::map<int64_t, int64_t> windows;  // the longest of each start
  std::vector<TimeSpan> of_pane;
  for (const RemovedPane& pane : view.RemovedSince({plan->name, plan->version}, known.offsets)) {
    of_pane.clear();
    query->grid().AppendWindowsOf(pane.start_us, &of_pane);
    for (const TimeSpan& window : of_pane) {
      int64_t& end_us = windows.try_emplace(window.start_us, window.end_us).first->second;
      end_us = std::max(end_us, window.end_us);
    }
  }
  for (const auto& [start_us, end_us] : windows) {
    bool left = false;
    for (int p = 0; p < view.partitions() && !left; ++p) left = !source.ListPanes(p, start_us, end_us).empty();
    if (!left) gone.insert(start_us);
  }
  for (const int64_t start_us : gone) {
    auto* time = message->add_removed_window_start_times();
    time->set_seconds(start_us / 1'000'000 - (start_us % 1'000'000 < 0 ? 1 : 0));
    time->set_nanos(static_cast<int32_t>((start_us - time->seconds() * 1'000'000) * 1000));
  }
}

absl::StatusOr<std::vector<v1::WatchWindowsResponse>> WindowWatch::Turn() {
  State& s = *state_;
  std::vector<v1::WatchWindowsResponse> messages;
  std::shared_ptr<const MetricPlan> plan = s.plans.Answering(s.request.metric());
  if (plan == nullptr) {
    NARU_RETURN_IF_ERROR(s.plans.Failure(s.request.metric()));
    if (s.plans.NewestVersion(s.request.metric()) > 0) return messages;  // it is about to be compiled
    return MakeError(absl::StatusCode::kNotFound, "METRIC_NOT_FOUND",
                     absl::StrCat("there is no metric ", s.request.metric()));
  }
  if (s.plan == nullptr || s.plan != plan) {
    const bool same_version = s.plan != nullptr && s.plan->version == plan->version;
    NARU_ASSIGN_OR_RETURN(WindowQuery query, WindowQuery::Compile(s.request, plan));
    s.query = std::move(query);
    s.has_known = s.has_known && same_version;
    s.plan = plan;
  }
  const uint64_t changes = s.view.change_count();
  Token now;
  now.version = plan->version;
  now.offsets = s.view.CommittedOffsets({plan->name, plan->version});
  now.frontier_us = s.finality.Frontier(*plan);
  const bool reset = !s.has_known;
  if (!reset && changes == s.seen_changes && now.frontier_us == s.known.frontier_us) return messages;
  s.query->Refresh();
  NARU_ASSIGN_OR_RETURN(const std::vector<ResultRow> rows, s.Read(&now, reset));
  v1::WatchWindowsResponse message;
  message.set_reset(reset);
  if (!reset) s.AddRemoved(&message);
  for (const ResultRow& row : rows) {
    if (static_cast<size_t>(message.rows_size()) >= kMaxWatchMessageRows) {
      messages.push_back(std::move(message));
      message.Clear();
    }
    RowToProto(*s.query, row, message.add_rows());
  }
  // Only the last message of a turn carries the token: before it the reader does not have all rows.
  message.set_version_token(Format(now));
  if (reset || message.rows_size() > 0 || message.removed_window_start_times_size() > 0 || !messages.empty()) {
    messages.push_back(std::move(message));
  }
  s.known = std::move(now);
  s.has_known = true;
  s.seen_changes = changes;
  return messages;
}

}  // namespace naru::aggregator
