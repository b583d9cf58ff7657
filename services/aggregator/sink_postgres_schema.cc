#include "services/aggregator/sink_postgres_schema.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/catalog/sink_table_name.h"
#include "common/clock/rfc3339.h"
#include "common/postgres/postgres_connection.h"
#include "services/aggregator/sink_text.h"

namespace naru::aggregator {
namespace {

using postgres::QuoteName;

constexpr int64_t kDayUs = int64_t{86'400} * 1'000'000;
constexpr int64_t kLongestRetentionByDayUs = 62 * kDayUs;
constexpr size_t kMaxIdentifierBytes = 63;
constexpr char kOldPartition[] = "_pold";
constexpr char kOldPartitionEnd[] = "0001-01-01T00:00:00Z";

std::string TypeOf(MeasureKind kind) {
  switch (kind) {
    case MeasureKind::kCount:
    case MeasureKind::kCountDistinct:
      return "bigint";
    case MeasureKind::kSum:
    case MeasureKind::kMin:
    case MeasureKind::kMax:
      return "numeric";  // integers are exact, however large
    case MeasureKind::kAvg:
    case MeasureKind::kVariance:
    case MeasureKind::kStddev:
    case MeasureKind::kPercentile:
    case MeasureKind::kRatio:
      return "double precision";
    case MeasureKind::kFirst:
    case MeasureKind::kLast:
    case MeasureKind::kTopK:
    case MeasureKind::kHistogram:
      return "jsonb";
  }
  return "jsonb";
}

// A dimension's or measure's column. `naru_` is for ours.
std::string ColumnName(const std::string& name, std::set<std::string>* taken) {
  std::string column = name;
  if (column.size() > kMaxIdentifierBytes) column.resize(kMaxIdentifierBytes);
  if (absl::StartsWith(column, "naru_")) column = absl::StrCat("_", column.substr(0, kMaxIdentifierBytes - 1));
  while (!taken->insert(column).second) column = absl::StrCat("_", column.substr(0, kMaxIdentifierBytes - 1));
  return column;
}

// Rows of different groups never share it; two in 2^64 groups might.
std::string GroupUuid(absl::string_view key) {
  const XXH128_hash_t hash = XXH3_128bits(key.data(), key.size());
  return absl::StrFormat("%016x%016x", hash.high64, hash.low64);
}

std::string DateText(const CivilDate& date) {
  return absl::StrFormat("%04d-%02d-%02dT00:00:00Z", date.year, date.month, date.day);
}

CivilDate NextMonth(CivilDate date) {
  date.day = 1;
  if (++date.month <= 12) return date;
  date.month = 1;
  ++date.year;
  return date;
}

int64_t FloorDay(int64_t time_us) { return (time_us >= 0 ? time_us : time_us - (kDayUs - 1)) / kDayUs; }

}  // namespace

SinkTable::SinkTable(const SinkLayout& layout, const std::string& schema)
    : layout_(layout),
      schema_(schema.empty() ? "public" : schema),
      name_(catalog::SinkTableName(layout.metric)),
      by_day_(layout.retention_us <= kLongestRetentionByDayUs && layout.window_us < kDayUs) {
  columns_ = {
      {"window_start", "timestamp with time zone"}, {"window_end", "timestamp with time zone"}, {"naru_group", "uuid"}};
  std::set<std::string> taken = {"window_start", "window_end", "final", "revision", "truncated"};
  for (const std::string& dimension : layout.dimensions) columns_.push_back({ColumnName(dimension, &taken), "text"});
  for (size_t i = 0; i < layout.measures.size(); ++i) {
    columns_.push_back({ColumnName(layout.measures[i], &taken), TypeOf(layout.shapes[i].kind)});
  }
  columns_.insert(columns_.end(), {{"final", "boolean"},
                                   {"revision", "integer"},
                                   {"truncated", "boolean"},
                                   {"naru_metric_version", "integer"},
                                   {"naru_epoch", "bigint"},
                                   {"naru_position", "bigint"},
                                   {"naru_expire_time", "timestamp with time zone"},
                                   {"naru_errors", "jsonb"},
                                   {"naru_valid_from", "timestamp with time zone"}});
}

std::string SinkTable::Quoted(absl::string_view table) const {
  return absl::StrCat(QuoteName(schema_), ".", QuoteName(table));
}

std::string SinkTable::CreateTable() const {
  std::string columns;
  for (const SinkColumn& column : columns_) absl::StrAppend(&columns, QuoteName(column.name), " ", column.type, ", ");
  return absl::StrCat("CREATE TABLE ", Quoted(), " (", columns,
                      "PRIMARY KEY (window_start, window_end, naru_group)) PARTITION BY RANGE (window_start)");
}

std::string SinkTable::CreateSinks() const {
  return absl::StrCat("CREATE TABLE IF NOT EXISTS ", Sinks(),
                      " (metric text PRIMARY KEY, sink text NOT NULL, table_name text NOT NULL UNIQUE, metric_version "
                      "integer NOT NULL, epoch bigint NOT NULL, sequence bigint NOT NULL, update_time timestamptz NOT "
                      "NULL DEFAULT now())");
}

std::string SinkTable::Upsert() const {
  std::vector<std::string> names, types, sets;
  for (size_t i = 0; i < columns_.size(); ++i) {
    const std::string name = QuoteName(columns_[i].name);
    names.push_back(name);
    types.push_back(absl::StrCat("c", i, " ", columns_[i].type));
    if (i > 2) sets.push_back(absl::StrCat(name, " = excluded.", name));
  }
  std::vector<std::string> values;
  for (size_t i = 0; i < columns_.size(); ++i) values.push_back(absl::StrCat("c", i));
  return absl::StrCat("INSERT INTO ", Quoted(), " AS t (", absl::StrJoin(names, ", "), ") SELECT ",
                      absl::StrJoin(values, ", "), " FROM json_to_recordset($1::json) AS r(",
                      absl::StrJoin(types, ", "), ") ON CONFLICT (window_start, window_end, naru_group) DO UPDATE SET ",
                      absl::StrJoin(sets, ", "),
                      " WHERE (excluded.naru_epoch, excluded.naru_metric_version, excluded.naru_position) >= "
                      "(t.naru_epoch, t.naru_metric_version, t.naru_position)");
}

std::string SinkTable::Remove() const {
  return absl::StrCat("DELETE FROM ", Quoted(),
                      " AS t USING json_to_recordset($1::json) AS r(s timestamptz, e timestamptz, g uuid) WHERE "
                      "t.window_start = r.s AND t.window_end = r.e AND t.naru_group = r.g AND (t.naru_epoch, "
                      "t.naru_metric_version, t.naru_position) <= ($2::bigint, $3::integer, $4::bigint)");
}

SinkTable::Partition SinkTable::PartitionOf(int64_t window_start_us) const {
  const std::string start = WindowTimeText(window_start_us);
  if (start == "-infinity") return {absl::StrCat(name_, kOldPartition), "MINVALUE", kOldPartitionEnd};
  const int64_t day = FloorDay(window_start_us);
  CivilDate date = CivilFromDays(day);
  if (by_day_) {
    return {absl::StrFormat("%s_p%04d%02d%02d", name_, date.year, date.month, date.day), DateText(date),
            DateText(CivilFromDays(day + 1))};
  }
  date.day = 1;
  return {absl::StrFormat("%s_p%04d%02d", name_, date.year, date.month), DateText(date), DateText(NextMonth(date))};
}

bool SinkTable::PartitionEnd(absl::string_view partition, int64_t* end_us) const {
  if (!absl::ConsumePrefix(&partition, name_)) return false;
  if (partition == kOldPartition) {
    *end_us = kNever;
    return true;
  }
  CivilDate date{0, 0, 1};
  int number = 0;
  if (!absl::ConsumePrefix(&partition, "_p") || (partition.size() != 8 && partition.size() != 6) ||
      !absl::SimpleAtoi(partition, &number)) {
    return false;
  }
  const bool day = partition.size() == 8;
  if (day) {
    date.day = number % 100;
    number /= 100;
  }
  date.month = number % 100;
  date.year = number / 100;
  if (date.month < 1 || date.month > 12 || date.day < 1 || date.day > 31) return false;
  if (!day) date = NextMonth(date);
  *end_us = (DaysFromCivil(date.year, date.month, date.day) + (day ? 1 : 0)) * kDayUs;
  return true;
}

void SinkTable::AppendPlaceJson(const SinkRow& row, std::string* out) {
  absl::StrAppend(out, "{\"s\":\"", WindowTimeText(row.result.window.start_us), "\",\"e\":\"",
                  WindowTimeText(row.result.window.end_us), "\",\"g\":\"", GroupUuid(row.result.key), "\"}");
}

void SinkTable::AppendRowJson(const SinkRow& row, int64_t epoch, int64_t position, std::string* out) const {
  const ResultRow& result = row.result;
  size_t column = 0;
  const auto raw = [&](absl::string_view json) {
    absl::StrAppend(out, column == 0 ? "{\"c" : ",\"c", column, "\":", json);
    ++column;
  };
  const auto text = [&](absl::string_view value) {
    std::string json;
    AppendJsonText(value, &json);
    raw(json);
  };
  text(WindowTimeText(result.window.start_us));
  text(WindowTimeText(result.window.end_us));
  text(GroupUuid(result.key));
  for (const GroupValue& value : result.group) {
    const std::optional<std::string> shown = GroupValueText(value);
    if (shown.has_value()) {
      text(*shown);
    } else {
      raw("null");
    }
  }
  for (size_t i = 0; i < result.measures.size(); ++i) raw(MeasureJson(result.measures[i], layout_.shapes[i]));
  raw(result.final ? "true" : "false");
  raw(absl::StrCat(result.revision));
  raw(result.truncated ? "true" : "false");
  raw(absl::StrCat(layout_.metric_version));
  raw(absl::StrCat(epoch));
  raw(absl::StrCat(position));
  text(WindowTimeText(row.expire_time_us));
  const std::string errors = MeasureErrorsJson(result.measures, layout_.measures);
  raw(errors.empty() ? "null" : errors);
  if (result.valid_from_us.has_value()) {
    text(WindowTimeText(*result.valid_from_us));
  } else {
    raw("null");
  }
  out->push_back('}');
}

}  // namespace naru::aggregator
