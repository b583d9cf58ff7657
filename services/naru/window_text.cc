#include "services/naru/window_text.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/clock/rfc3339.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "services/naru/json_text.h"
#include "services/naru/proto_time.h"
#include "services/naru/time_text.h"

namespace naru::cli {
namespace {

using aggregator::v1::MeasureValue;
using aggregator::v1::WindowRow;

std::string PlainText(const google::protobuf::Value& value) {
  using google::protobuf::Value;
  if (value.kind_case() == Value::kStringValue) return value.string_value();
  if (value.kind_case() == Value::KIND_NOT_SET || value.kind_case() == Value::kNullValue) return "-";
  return JsonValue(value);
}

Cell TopCell(const aggregator::v1::TopK& top) {
  JsonArray json;
  std::string text;
  for (const auto& item : top.items()) {
    JsonObject entry;
    entry.AddRaw("key", JsonValue(item.key())).Add("count", item.count());
    if (item.max_error() > 0) entry.Add("max_error", item.max_error());
    json.AddRaw(entry.Text());
    absl::StrAppend(&text, text.empty() ? "" : ", ", PlainText(item.key()), " ", WithThousands(item.count()));
  }
  return RawCell(text, json.Text());
}

// `<=10: 3, <=100: 5, >100: 0`.
Cell HistogramCell(const aggregator::v1::Histogram& histogram) {
  JsonArray bounds, counts;
  std::string text;
  for (int i = 0; i < histogram.counts_size(); ++i) {
    const bool last = i >= histogram.bounds_size();
    const double bound = last ? histogram.bounds(histogram.bounds_size() - 1) : histogram.bounds(i);
    if (!last) bounds.AddRaw(JsonNumber(bound));
    counts.AddRaw(std::to_string(histogram.counts(i)));
    absl::StrAppend(&text, text.empty() ? "" : ", ", last ? ">" : "<=", JsonNumber(bound), ": ",
                    WithThousands(histogram.counts(i)));
  }
  JsonObject json;
  json.AddRaw("bounds", bounds.Text()).AddRaw("counts", counts.Text());
  return RawCell(text, json.Text());
}

template <typename Map>
std::vector<std::string> SortedKeys(const Map& map) {
  std::vector<std::string> keys;
  for (const auto& [key, unused] : map) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  return keys;
}

}  // namespace

Cell MeasureCell(const MeasureValue& value) {
  switch (value.value_case()) {
    case MeasureValue::kInteger:
      return NumberCell(value.integer());
    case MeasureValue::kNumber:
      return NumberCell(value.number());
    case MeasureValue::kText:
      return TextCell(value.text());
    case MeasureValue::kBoolean:
      return BoolCell(value.boolean());
    case MeasureValue::kTop:
      return TopCell(value.top());
    case MeasureValue::kHistogram:
      if (value.histogram().bounds().empty()) return NullCell();
      return HistogramCell(value.histogram());
    case MeasureValue::kError: {
      JsonObject json;
      json.Add("error", value.error());
      return {value.error(), json.Text(), false, Colour::kRed};
    }
    default:
      return NullCell();
  }
}

Cell GroupCell(const google::protobuf::Value& value) {
  using google::protobuf::Value;
  if (value.kind_case() == Value::kStringValue) return TextCell(value.string_value());
  if (value.kind_case() == Value::kNumberValue) return {JsonValue(value), JsonValue(value), true, Colour::kNone};
  if (value.kind_case() == Value::KIND_NOT_SET || value.kind_case() == Value::kNullValue) return NullCell();
  return RawCell(JsonValue(value), JsonValue(value));
}

std::string WindowRowJson(const WindowRow& row) {
  JsonObject group;
  for (const std::string& key : SortedKeys(row.group())) group.AddRaw(key, JsonValue(row.group().at(key)));
  JsonObject measures;
  JsonObject errors;
  for (const std::string& key : SortedKeys(row.measures())) {
    const MeasureValue& value = row.measures().at(key);
    measures.AddRaw(key, MeasureCell(value).json);
    if (value.relative_error() > 0) errors.Add(key, value.relative_error());
  }
  JsonObject json;
  json.Add("window_start", TimeText(row.window_start_time())).Add("window_end", TimeText(row.window_end_time()));
  json.AddRaw("group", group.Text()).AddRaw("measures", measures.Text());
  json.Add("final", row.final()).Add("revision", row.revision());
  if (!errors.empty()) json.AddRaw("relative_error", errors.Text());
  if (row.truncated()) json.Add("truncated", true);
  if (row.has_valid_from_time()) json.Add("valid_from", TimeText(row.valid_from_time()));
  return json.Text();
}

WindowColumns::WindowColumns(const WindowRow& row)
    : dimensions(SortedKeys(row.group())), measures(SortedKeys(row.measures())) {}

std::vector<std::string> WindowColumns::Names() const {
  std::vector<std::string> names = {"window_start", "window_end"};
  names.insert(names.end(), dimensions.begin(), dimensions.end());
  names.insert(names.end(), measures.begin(), measures.end());
  names.insert(names.end(), {"final", "revision"});
  return names;
}

std::vector<Cell> WindowColumns::Cells(const WindowRow& row, absl::string_view time_zone) const {
  const auto time_cell = [&](const google::protobuf::Timestamp& time) {
    Cell cell = RawCell(FormatLocal(ToMicros(time), time_zone), JsonString(TimeText(time)));
    cell.csv = TimeText(time);
    return cell;
  };
  std::vector<Cell> cells = {time_cell(row.window_start_time()), time_cell(row.window_end_time())};
  for (const std::string& name : dimensions) {
    const auto found = row.group().find(name);
    cells.push_back(found == row.group().end() ? NullCell() : GroupCell(found->second));
  }
  for (const std::string& name : measures) {
    const auto found = row.measures().find(name);
    cells.push_back(found == row.measures().end() ? NullCell() : MeasureCell(found->second));
  }
  cells.push_back(BoolCell(row.final()));
  cells.push_back(NumberCell(int64_t{row.revision()}));
  return cells;
}

}  // namespace naru::cli
