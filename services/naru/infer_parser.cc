#include "services/naru/infer_parser.h"

#include <simdjson.h>

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/input_format/columns.h"
#include "common/input_format/record_splitter.h"
#include "common/status/status.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/naru/infer_fields.h"

namespace naru::cli {
namespace {

using catalog::v1::InputFormat;
using input_format::Columns;

constexpr size_t kSampleLines = 500;
/// So many of the sample's lines must fit: real files have a few broken ones.
constexpr double kMostLines = 0.9;

std::vector<absl::string_view> SampleLines(absl::string_view text) {
  std::vector<absl::string_view> lines;
  while (!text.empty() && lines.size() < kSampleLines) {
    const size_t end = std::min(text.find('\n'), text.size());
    absl::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.find_first_not_of(" \t") != absl::string_view::npos) lines.push_back(line);
  }
  return lines;
}

bool Most(size_t fitting, size_t all) {
  return all > 0 && static_cast<double>(fitting) >= kMostLines * static_cast<double>(all);
}

InputFormat Skeleton(const std::string& parser) {
  InputFormat format;
  format.mutable_parser()->set_type(parser);
  format.mutable_event()->mutable_type()->mutable_const_()->set_string_value(kGuessedType);
  return format;
}

/// The array of objects that holds each line's events: there is one, its elements have a time, and the rest is scalars.
class ExplodeGuess {
 public:
  void Add(simdjson::dom::object line) {
    ++lines_;
    int arrays = 0;
    std::string found;
    for (const auto field : line) {
      simdjson::dom::array array;
      if (field.value.is_object()) return;
      if (field.value.get(array) != simdjson::SUCCESS) continue;
      ++arrays;
      if (array.size() == 0 || !(*array.begin()).is_object()) return;
      found = std::string(field.key);
      const simdjson::dom::object element = (*array.begin()).get_object();
      for (const auto inner : element) timed_ = timed_ || IsTimeName(inner.key);
    }
    if (arrays == 1) ++names_[found];
  }
  std::string Name() const {
    if (names_.size() != 1 || !timed_ || !Most(static_cast<size_t>(names_.begin()->second), lines_)) return "";
    return absl::StrContains(names_.begin()->first, ".") ? "" : names_.begin()->first;
  }

 private:
  static bool IsTimeName(std::string_view name) {
    return name == "ts" || name == "t" || name.find("time") != std::string_view::npos || name == "date" || name == "at";
  }
  size_t lines_ = 0;
  bool timed_ = false;
  std::map<std::string, int> names_;
};

bool GuessJson(const std::vector<absl::string_view>& lines, InputFormat* format) {
  simdjson::dom::parser parser;
  ExplodeGuess explode;
  size_t objects = 0;
  for (absl::string_view line : lines) {
    simdjson::dom::object object;
    if (parser.parse(line.data(), line.size(), true).get(object) != simdjson::SUCCESS) continue;
    ++objects;
    explode.Add(object);
  }
  if (!Most(objects, lines.size())) return false;
  *format = Skeleton("json");
  format->set_explode(explode.Name());
  return true;
}

bool GuessApache(const std::vector<absl::string_view>& lines, InputFormat* format) {
  const auto parser = input_format::MakeApacheCombinedParser();
  size_t fitting = 0;
  for (absl::string_view line : lines) {
    Columns columns;
    input_format::LineRejection rejection;
    fitting += parser->Parse(line, &columns, &rejection);
  }
  if (!Most(fitting, lines.size())) return false;
  *format = Skeleton("apache_combined");
  return true;
}

/// Whether a text says something rather than names it: a number, a time, a truth value, or nothing.
bool IsValue(absl::string_view text) {
  google::protobuf::Value value;
  value.set_string_value(std::string(text));
  FieldStats stats;
  stats.Add(value);
  return stats.empty_texts + stats.null_texts + stats.integer_texts + stats.number_texts + stats.boolean_texts > 0 ||
         !TimeLayoutOf(stats, false).empty();
}

bool IsHeader(const std::vector<std::vector<std::string>>& rows) {
  if (rows.size() < 2) return false;
  std::set<std::string> names;
  bool values_below = false;
  bool words = true;
  for (size_t column = 0; column < rows[0].size(); ++column) {
    const std::string& name = rows[0][column];
    if (name.empty() || name.size() > 64 || IsValue(name) || !names.insert(name).second) return false;
    words = words && std::all_of(name.begin(), name.end(), [](unsigned char c) {
              return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == ' ' || c == '.' || c >= 0x80;
            });
    size_t values = 0;
    bool again = false;
    for (size_t row = 1; row < rows.size(); ++row) {
      values += IsValue(rows[row][column]);
      again = again || rows[row][column] == name;
    }
    if (again) return false;
    values_below = values_below || values == rows.size() - 1;
  }
  return values_below || words;
}

std::string DelimiterWord(char delimiter) { return delimiter == '\t' ? "\\t" : std::string(1, delimiter); }

/// Names for columns of files that name none.
void NameColumns(size_t count, bool json_last, InputFormat* format) {
  for (size_t i = 1; i <= count; ++i) {
    format->mutable_parser()->add_columns(json_last && i == count ? "payload" : absl::StrCat("column", i));
  }
  if (json_last) format->mutable_parser()->add_json_columns("payload");
}

/// Columns of which the last is a JSON object.
bool GuessJsonColumn(const std::vector<absl::string_view>& lines, char delimiter, InputFormat* format) {
  std::map<size_t, size_t> counts;
  simdjson::dom::parser parser;
  for (absl::string_view line : lines) {
    const size_t brace = line.find('{');
    if (brace == absl::string_view::npos || brace == 0 || line[brace - 1] != delimiter) continue;
    const absl::string_view json = line.substr(brace);
    simdjson::dom::object object;
    if (parser.parse(json.data(), json.size(), true).get(object) != simdjson::SUCCESS) continue;
    ++counts[static_cast<size_t>(std::count(line.begin(), line.begin() + brace, delimiter)) + 1];
  }
  for (const auto& [count, fitting] : counts) {
    if (!Most(fitting, lines.size())) continue;
    *format = Skeleton("delimited");
    format->mutable_parser()->set_delimiter(DelimiterWord(delimiter));
    NameColumns(count, true, format);
    return true;
  }
  return false;
}

/// Rows of the most common width; empty: too few lines have it.
std::vector<std::vector<std::string>> SplitRows(absl::string_view text, char delimiter) {
  std::vector<std::vector<std::string>> rows;
  std::map<size_t, size_t> widths;
  auto splitter = input_format::RecordSplitter::ForCsv(delimiter);
  input_format::RecordSplitter::Record record;
  size_t lines = 0;
  while (lines < kSampleLines && splitter.Next(text, true, &record)) {
    text.remove_prefix(record.size);
    if (record.text.find_first_not_of(" \t") == absl::string_view::npos) continue;
    ++lines;
    Columns columns;
    input_format::LineRejection rejection;
    if (!input_format::SplitCsv(record.text, delimiter, &columns, &rejection)) continue;
    rows.emplace_back();
    for (const auto& column : columns.values) rows.back().emplace_back(column.text);
    ++widths[rows.back().size()];
  }
  for (const auto& [width, count] : widths) {
    if (width < 2 || !Most(count, lines)) continue;
    rows.erase(std::remove_if(rows.begin(), rows.end(), [w = width](const auto& row) { return row.size() != w; }),
               rows.end());
    return rows;
  }
  return {};
}

bool GuessCsv(absl::string_view text, InputFormat* format) {
  size_t widest = 1;
  for (const char delimiter : {',', '\t', ';', '|'}) {
    const auto rows = SplitRows(text, delimiter);
    if (rows.empty() || rows[0].size() <= widest) continue;
    widest = rows[0].size();
    *format = Skeleton("csv");
    if (delimiter != ',') format->mutable_parser()->set_delimiter(DelimiterWord(delimiter));
    // The header is the first line of the file, or there is none.
    if (IsHeader(rows)) {
      format->mutable_parser()->set_header(true);
    } else {
      NameColumns(widest, false, format);
    }
  }
  return widest > 1;
}

}  // namespace

absl::StatusOr<InputFormat> GuessParser(absl::string_view text) {
  bool undecided = false;
  text = input_format::SkipByteOrderMark(text, true, &undecided);
  const std::vector<absl::string_view> lines = SampleLines(text);
  if (lines.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "EMPTY_FILE", "the file has no lines to look at");
  }
  InputFormat format;
  if (GuessJson(lines, &format) || GuessApache(lines, &format)) return format;
  for (const char delimiter : {'|', '\t', ';', ','}) {
    if (GuessJsonColumn(lines, delimiter, &format)) return format;
  }
  if (GuessCsv(text, &format)) return format;
  const bool document = lines[0] == "[" || lines[0] == "{" || absl::StartsWith(lines[0], "[{");
  return MakeError(absl::StatusCode::kInvalidArgument, "FORMAT_UNKNOWN",
                   document
                       ? "this is one JSON document, not one object a line: make lines of it first, as "
                         "`jq -c '.[]'` does"
                       : "the lines are neither JSON objects, nor columns, nor an access log: write an InputFormat "
                         "with `parser: {type: regex, pattern: ...}` (naru explain InputFormat.parser)");
}

}  // namespace naru::cli
