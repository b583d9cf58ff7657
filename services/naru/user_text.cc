#include "services/naru/user_text.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "services/naru/json_text.h"
#include "services/naru/proto_time.h"
#include "services/naru/time_text.h"
#include "services/naru/window_text.h"

namespace naru::cli {
namespace {

using aggregator::v1::CohortRow;
using aggregator::v1::FunnelRow;
using aggregator::v1::FunnelStepCount;

std::vector<std::string> SortedNames(const FunnelRow& row) {
  std::vector<std::string> names;
  for (const auto& [name, value] : row.group()) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

Cell TimeCell(const google::protobuf::Timestamp& time, absl::string_view time_zone) {
  Cell cell = RawCell(FormatLocal(ToMicros(time), time_zone), JsonString(TimeText(time)));
  cell.csv = TimeText(time);
  return cell;
}

Cell PercentCell(double ratio) {
  return RawCell(absl::StrFormat("%.1f%%", ratio * 100), JsonNumber(ratio), /*right_aligned=*/true);
}

Cell DurationCell(double us) { return RawCell(ShortDuration(us), JsonNumber(us / 1e6), /*right_aligned=*/true); }

std::string StepJson(const FunnelStepCount& step) {
  JsonObject json;
  json.Add("name", step.name()).Add("users", step.user_count());
  if (step.has_from_previous_ratio()) json.Add("from_previous", step.from_previous_ratio());
  if (step.has_from_first_ratio()) json.Add("from_first", step.from_first_ratio());
  if (step.has_median_from_previous_us()) {
    json.Add("median_from_previous_s", static_cast<double>(step.median_from_previous_us()) / 1e6);
  }
  if (step.has_average_from_previous_us()) json.Add("average_from_previous_s", step.average_from_previous_us() / 1e6);
  if (step.has_median_from_first_us()) {
    json.Add("median_from_first_s", static_cast<double>(step.median_from_first_us()) / 1e6);
  }
  if (step.has_average_from_first_us()) json.Add("average_from_first_s", step.average_from_first_us() / 1e6);
  return json.Text();
}

}  // namespace

std::string ShortDuration(double us) {
  static constexpr struct {
    double us;
    const char* unit;
  } kUnits[] = {{86'400e6, "d"}, {3'600e6, "h"}, {60e6, "m"}, {1e6, "s"}};
  if (us < 60e6) return us < 1e6 ? absl::StrFormat("%.0fms", us / 1e3) : absl::StrFormat("%.1fs", us / 1e6);
  for (int i = 0; i < 3; ++i) {
    if (us < kUnits[i].us) continue;
    // In whole numbers of the smaller unit, so that 59.6 s are not shown as 60.
    const auto ratio = static_cast<int64_t>(kUnits[i].us / kUnits[i + 1].us);
    const auto small = static_cast<int64_t>(std::llround(us / kUnits[i + 1].us));
    std::string text = absl::StrCat(small / ratio, kUnits[i].unit);
    if (small % ratio != 0) absl::StrAppend(&text, small % ratio, kUnits[i + 1].unit);
    return text;
  }
  return "";
}

std::string FunnelRowJson(const FunnelRow& row) {
  JsonObject json;
  if (row.has_interval_start_time()) {
    json.Add("interval_start", TimeText(row.interval_start_time()));
    json.Add("interval_end", TimeText(row.interval_end_time()));
  }
  JsonObject group;
  for (const std::string& name : SortedNames(row)) group.AddRaw(name, JsonValue(row.group().at(name)));
  JsonArray steps;
  for (const FunnelStepCount& step : row.steps()) steps.AddRaw(StepJson(step));
  json.AddRaw("group", group.Text()).AddRaw("steps", steps.Text()).Add("final", row.final());
  if (row.truncated_user_count() > 0) json.Add("truncated_users", row.truncated_user_count());
  return json.Text();
}

FunnelColumns::FunnelColumns(const FunnelRow& row)
    : intervals(row.has_interval_start_time()), dimensions(SortedNames(row)) {}

std::vector<std::string> FunnelColumns::Names() const {
  std::vector<std::string> names;
  if (intervals) names.push_back("interval_start");
  names.insert(names.end(), dimensions.begin(), dimensions.end());
  names.insert(names.end(), {"step", "users", "from_previous", "from_first", "median_from_previous",
                             "average_from_previous", "median_from_first", "final"});
  return names;
}

std::vector<Cell> FunnelColumns::Cells(const FunnelRow& row, int index, absl::string_view time_zone) const {
  std::vector<Cell> cells;
  if (intervals) cells.push_back(TimeCell(row.interval_start_time(), time_zone));
  for (const std::string& name : dimensions) {
    const auto found = row.group().find(name);
    cells.push_back(found == row.group().end() ? NullCell() : GroupCell(found->second));
  }
  const FunnelStepCount& step = row.steps(index);
  cells.push_back(TextCell(step.name()));
  cells.push_back(NumberCell(step.user_count()));
  cells.push_back(step.has_from_previous_ratio() ? PercentCell(step.from_previous_ratio()) : NullCell());
  cells.push_back(step.has_from_first_ratio() ? PercentCell(step.from_first_ratio()) : NullCell());
  cells.push_back(step.has_median_from_previous_us() ? DurationCell(static_cast<double>(step.median_from_previous_us()))
                                                     : NullCell());
  cells.push_back(step.has_average_from_previous_us() ? DurationCell(step.average_from_previous_us()) : NullCell());
  cells.push_back(step.has_median_from_first_us() ? DurationCell(static_cast<double>(step.median_from_first_us()))
                                                  : NullCell());
  cells.push_back(BoolCell(row.final()));
  return cells;
}

std::string CohortRowJson(const CohortRow& row) {
  JsonArray returned;
  for (const int64_t count : row.returned_counts()) returned.AddRaw(absl::StrCat(count));
  JsonObject json;
  json.Add("start", TimeText(row.start_time())).Add("end", TimeText(row.end_time())).Add("users", row.user_count());
  json.AddRaw("returned", returned.Text()).Add("final_count", row.final_count());
  if (row.truncated_user_count() > 0) json.Add("truncated_users", row.truncated_user_count());
  return json.Text();
}

std::vector<std::string> CohortColumns(const CohortRow& row) {
  std::vector<std::string> names = {"start", "users"};
  for (int n = 0; n < row.returned_counts_size(); ++n) names.push_back(absl::StrCat(n));
  return names;
}

std::vector<Cell> CohortCells(const CohortRow& row, absl::string_view time_zone) {
  std::vector<Cell> cells = {TimeCell(row.start_time(), time_zone), NumberCell(row.user_count())};
  for (int n = 0; n < row.returned_counts_size(); ++n) {
    const int64_t count = row.returned_counts(n);
    if (count == 0 && n >= row.final_count()) {
      Cell cell = NullCell();
      cell.right_aligned = true;
      cells.push_back(cell);
      continue;
    }
    Cell cell =
        PercentCell(row.user_count() == 0 ? 0 : static_cast<double>(count) / static_cast<double>(row.user_count()));
    cell.csv = absl::StrCat(count);
    cells.push_back(cell);
  }
  return cells;
}

}  // namespace naru::cli
