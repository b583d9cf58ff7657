#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "services/aggregator/query_common.h"
#include "services/aggregator/row_proto.h"
#include "services/aggregator/user_query.h"
#include "services/aggregator/user_state.h"

namespace naru::aggregator {
namespace {

// Groups of which it is remembered whether they pass the filter and where they go.
constexpr size_t kMaxKnownGroups = 100'000;

// The rows: by interval (0 without), then group.
using RowKey = std::pair<int64_t, std::string>;

// A time that a user took, with the user's hash.
struct Sample {
  uint64_t hash;
  int64_t time_us;
};

// What the users of one row did at one step.
struct StepTotals {
  int64_t users = 0;
  double from_previous_us = 0, from_first_us = 0;  // sums
  std::vector<Sample> previous, first;
};

struct RowTotals {
  std::vector<StepTotals> steps;
  int64_t truncated_users = 0;
};

// The lower median.
std::optional<int64_t> Median(std::vector<Sample>* samples) {
  if (samples->empty()) return std::nullopt;
  const auto middle = samples->begin() + static_cast<std::ptrdiff_t>((samples->size() - 1) / 2);
  std::nth_element(samples->begin(), middle, samples->end(),
                   [](const Sample& a, const Sample& b) { return a.time_us < b.time_us; });
  return middle->time_us;
}

}  // namespace

struct FunnelQuery::State {
  explicit State(std::shared_ptr<const MetricPlan> p)
      : plan(std::move(p)),
        matcher(static_cast<int>(plan->users->steps.size()), plan->users->within_us, plan->users->modes) {}

  std::shared_ptr<const MetricPlan> plan;
  FunnelMatcher matcher;
  int64_t from_us = kNever;
  int64_t to_us = kForever;
  std::vector<int> dimensions;              // that rows are grouped by
  std::optional<CohortCalendar> intervals;  // absent: the whole time together
  std::unique_ptr<cel::Environment> environment;
  cel::Program filter;
  std::unique_ptr<cel::Activation> activation;
  size_t page_size = kMaxUserPageSize;
  uint64_t fingerprint = 0;
  std::optional<RowKey> after;

  std::map<RowKey, RowTotals> rows;
  size_t samples = 0;
  uint64_t sampled_below = UINT64_MAX;  // hashes of users whose times are kept
  // Where groups go; absent: they do not pass the filter.
  absl::flat_hash_map<std::string, std::optional<std::string>> known_groups;
  std::vector<GroupValue> values;
  std::vector<absl::string_view> parts;
  // Of the user that is being looked at.
  FunnelUser user;
  std::vector<FunnelEvent> events;
  std::vector<int> start_of;  // of each event: index into starts, or -1
  std::vector<RowKey> starts;

  absl::Status TakeGroups(const v1::QueryFunnelRequest& request);
  absl::Status TakeFilter(const std::string& source);
  absl::Status TakeToken(const v1::QueryFunnelRequest& request);
  std::optional<std::string> Project(const std::string& group);
  void FindStarts();
  absl::Status Count(const RowKey& key, const FunnelMatch& match, uint64_t hash);
  void AddSample(uint64_t hash, int64_t time_us, std::vector<Sample>* to);
  void ThinOut();
  void FinishRow(const RowKey& key, RowTotals* totals, int64_t frontier_us, v1::FunnelRow* row);
};

absl::Status FunnelQuery::State::TakeGroups(const v1::QueryFunnelRequest& request) {
  for (const std::string& name : request.group_by()) {
    const int index = plan->FindDimension(name);
    if (index < 0) {
      return InvalidQuery("group_by", absl::StrCat("`", name, "` is not a dimension of the funnel", KnownNames(*plan)));
    }
    if (std::find(dimensions.begin(), dimensions.end(), index) != dimensions.end()) {
      return InvalidQuery("group_by", absl::StrCat("`", name, "` is there twice"));
    }
    dimensions.push_back(index);
  }
  if (request.interval().empty()) return absl::OkStatus();
  auto calendar = CohortCalendar::Create(request.interval(), plan->users->zone);
  if (!calendar.ok()) return InvalidQuery("interval", calendar.status().message());
  intervals = *calendar;
  return absl::OkStatus();
}

absl::Status FunnelQuery::State::TakeFilter(const std::string& source) {
  if (source.empty()) return absl::OkStatus();
  std::vector<std::string> names;
  for (const DimensionPlan& dimension : plan->dimensions) names.push_back(dimension.name);
  environment = std::make_unique<cel::Environment>(cel::Environment::ForVariables(names));
  cel::CompileOptions options;
  options.filter = true;
  absl::StatusOr<cel::Program> program = environment->Compile(source, options);
  if (!program.ok()) return InvalidQuery("filter", program.status().message());
  filter = *std::move(program);
  activation = std::make_unique<cel::Activation>(environment.get());
  return absl::OkStatus();
}

// version.fingerprint.interval.group, the group in base64: the last row of the page before.
absl::Status FunnelQuery::State::TakeToken(const v1::QueryFunnelRequest& request) {
  fingerprint = FingerprintOf(request);
  if (request.page_token().empty()) return absl::OkStatus();
  const std::vector<std::string> fields = absl::StrSplit(request.page_token(), '.');
  int version;
  uint64_t print;
  RowKey key;
  const bool readable = fields.size() == 4 && absl::SimpleAtoi(fields[0], &version) &&
                        absl::SimpleAtoi(fields[1], &print) && absl::SimpleAtoi(fields[2], &key.first) &&
                        absl::WebSafeBase64Unescape(fields[3], &key.second);
  if (!readable) return NoPageToken();
  NARU_RETURN_IF_ERROR(CheckPageToken(version, print, *plan, fingerprint, "the funnel"));
  after = std::move(key);
  return absl::OkStatus();
}

absl::StatusOr<FunnelQuery> FunnelQuery::Compile(const v1::QueryFunnelRequest& request,
                                                 std::shared_ptr<const MetricPlan> plan) {
  auto state = std::make_unique<State>(std::move(plan));
  NARU_RETURN_IF_ERROR(TakeTimes(request, &state->from_us, &state->to_us));
  NARU_RETURN_IF_ERROR(TakePageSize(request.page_size(), kMaxUserPageSize, &state->page_size));
  NARU_RETURN_IF_ERROR(state->TakeGroups(request));
  NARU_RETURN_IF_ERROR(state->TakeFilter(request.filter()));
  NARU_RETURN_IF_ERROR(state->TakeToken(request));
  return FunnelQuery(std::move(state));
}

FunnelQuery::FunnelQuery(std::unique_ptr<State> state) : state_(std::move(state)) {}
FunnelQuery::FunnelQuery(FunnelQuery&&) noexcept = default;
FunnelQuery& FunnelQuery::operator=(FunnelQuery&&) noexcept = default;
FunnelQuery::~FunnelQuery() = default;

std::optional<std::string> FunnelQuery::State::Project(const std::string& group) {
  if (const auto known = known_groups.find(group); known != known_groups.end()) return known->second;
  std::optional<std::string> projected;
  bool passes = SplitGroup(group, plan->dimensions.size(), &parts);
  if (passes && filter.valid()) {
    passes = DecodeGroup(group, plan->dimensions.size(), &values);
    activation->Clear();
    for (size_t i = 0; i < values.size(); ++i) activation->Set(static_cast<int>(i), values[i].ToCel());
    passes = passes && filter.Matches(*activation);
  }
  if (passes) {
    projected.emplace();
    for (const int i : dimensions) projected->append(parts[i].data(), parts[i].size());
  }
  if (known_groups.size() >= kMaxKnownGroups) known_groups.clear();
  known_groups.emplace(group, projected);
  return projected;
}

// Which rows the user has first steps in, and which events these are.
void FunnelQuery::State::FindStarts() {
  events.clear();
  start_of.clear();
  starts.clear();
  std::vector<std::optional<std::string>> groups;
  for (const std::string& group : user.groups) groups.push_back(Project(group));
  for (const StepEvent& event : user.events) {
    if (event.time_us < from_us) continue;
    events.push_back({event.time_us, event.steps, false});
    start_of.push_back(-1);
    if (event.group < 0 || event.time_us >= to_us || !groups[event.group].has_value()) continue;
    const RowKey key{intervals.has_value() ? intervals->UnitOf(event.time_us) : 0, *groups[event.group]};
    const auto found = std::find(starts.begin(), starts.end(), key);
    start_of.back() = static_cast<int>(found - starts.begin());
    if (found == starts.end()) starts.push_back(key);
  }
}

absl::Status FunnelQuery::Add(absl::string_view state, uint64_t hash) {
  State& s = *state_;
  if (!DecodeFunnelUser(state, &s.user)) {
    return MakeError(absl::StatusCode::kDataLoss, "STATE_DAMAGED", "a stored user of the funnel cannot be read");
  }
  s.FindStarts();
  for (size_t start = 0; start < s.starts.size(); ++start) {
    for (size_t i = 0; i < s.events.size(); ++i) s.events[i].may_start = s.start_of[i] == static_cast<int>(start);
    NARU_RETURN_IF_ERROR(s.Count(s.starts[start], s.matcher.Match(s.events), hash));
  }
  return absl::OkStatus();
}

absl::Status FunnelQuery::State::Count(const RowKey& key, const FunnelMatch& match, uint64_t hash) {
  auto row = rows.find(key);
  if (row == rows.end()) {
    if (rows.size() >= kMaxFunnelRows) {
      return MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_GROUPS",
                       absl::StrCat("the answer has more than ", kMaxFunnelRows,
                                    " rows; ask for less time, a longer interval or fewer groups"));
    }
    row = rows.emplace(key, RowTotals()).first;
    row->second.steps.resize(plan->users->steps.size());
  }
  if (user.truncated > 0) ++row->second.truncated_users;
  for (int i = 0; i < match.steps; ++i) {
    StepTotals& step = row->second.steps[i];
    ++step.users;
    if (i == 0) continue;
    const int64_t from_previous = match.times_us[i] - match.times_us[i - 1];
    const int64_t from_first = match.times_us[i] - match.times_us[0];
    step.from_previous_us += static_cast<double>(from_previous);
    step.from_first_us += static_cast<double>(from_first);
    AddSample(hash, from_previous, &step.previous);
    AddSample(hash, from_first, &step.first);
  }
  if (samples > kMaxFunnelTimes) ThinOut();
  return absl::OkStatus();
}

void FunnelQuery::State::AddSample(uint64_t hash, int64_t time_us, std::vector<Sample>* to) {
  if (hash > sampled_below) return;
  to->push_back({hash, time_us});
  ++samples;
}

// Half of the users, the same whatever order they come in.
void FunnelQuery::State::ThinOut() {
  while (samples > kMaxFunnelTimes && sampled_below > 0) {
    sampled_below /= 2;
    samples = 0;
    for (auto& [key, row] : rows) {
      for (StepTotals& step : row.steps) {
        for (std::vector<Sample>* list : {&step.previous, &step.first}) {
          list->erase(std::remove_if(list->begin(), list->end(),
                                     [this](const Sample& sample) { return sample.hash > sampled_below; }),
                      list->end());
          samples += list->size();
        }
      }
    }
  }
}

void FunnelQuery::State::FinishRow(const RowKey& key, RowTotals* totals, int64_t frontier_us, v1::FunnelRow* row) {
  int64_t end_us = to_us;
  if (intervals.has_value()) {
    const TimeSpan span = intervals->SpanOf(key.first);
    end_us = std::min(end_us, span.end_us);
    TimeToProto(span.start_us, row->mutable_interval_start_time());
    TimeToProto(span.end_us, row->mutable_interval_end_time());
  }
  row->set_final(end_us != kForever && frontier_us != kNever && end_us <= frontier_us - plan->users->within_us);
  row->set_truncated_user_count(totals->truncated_users);
  if (DecodeGroup(key.second, dimensions.size(), &values)) {
    for (size_t i = 0; i < dimensions.size(); ++i) {
      GroupValueToProto(values[i], &(*row->mutable_group())[plan->dimensions[dimensions[i]].name]);
    }
  }
  for (size_t i = 0; i < totals->steps.size(); ++i) {
    StepTotals& step = totals->steps[i];
    v1::FunnelStepCount* count = row->add_steps();
    count->set_name(plan->users->steps[i]);
    count->set_user_count(step.users);
    const double users = static_cast<double>(step.users);
    const int64_t before = i == 0 ? step.users : totals->steps[i - 1].users;
    if (before > 0) count->set_from_previous_ratio(users / static_cast<double>(before));
    if (totals->steps[0].users > 0) {
      count->set_from_first_ratio(users / static_cast<double>(totals->steps[0].users));
    }
    if (i == 0 || step.users == 0) continue;
    count->set_average_from_previous_us(step.from_previous_us / users);
    count->set_average_from_first_us(step.from_first_us / users);
    if (const auto median = Median(&step.previous)) count->set_median_from_previous_us(*median);
    if (const auto median = Median(&step.first)) count->set_median_from_first_us(*median);
  }
}

void FunnelQuery::Finish(int64_t frontier_us, v1::QueryFunnelResponse* response) {
  State& s = *state_;
  response->set_funnel_version(s.plan->version);
  size_t bytes = 0;
  for (auto it = s.after.has_value() ? s.rows.upper_bound(*s.after) : s.rows.begin(); it != s.rows.end(); ++it) {
    v1::FunnelRow* row = response->add_rows();
    s.FinishRow(it->first, &it->second, frontier_us, row);
    bytes += row->ByteSizeLong() + 4;
    const bool full = bytes > kMaxUserPageBytes || static_cast<size_t>(response->rows_size()) >= s.page_size;
    if (!full || std::next(it) == s.rows.end()) continue;
    response->set_next_page_token(absl::StrCat(s.plan->version, ".", s.fingerprint, ".", it->first.first, ".",
                                               absl::WebSafeBase64Escape(it->first.second)));
    return;
  }
}

}  // namespace naru::aggregator
