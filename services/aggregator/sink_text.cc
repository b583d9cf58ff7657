#include "services/aggregator/sink_text.h"

#include <charconv>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/clock/rfc3339.h"

namespace naru::aggregator {
namespace {

constexpr int64_t kFirstYear = -62'135'596'800'000'000;
constexpr int64_t kLastYear = 253'402'300'800'000'000;
constexpr absl::string_view kNullText = "~";
constexpr absl::string_view kAllText = "all";

std::string Shortest(double number) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), number);
  return std::string(buffer, end.ptr);
}

// Whether a number would be written like this.
bool ReadsAsNumber(const std::string& text) {
  const size_t first = text[0] == '-' ? 1 : 0;
  const bool digits =
      text.size() > first && text.size() < 21 && text.find_first_not_of("0123456789", first) == text.npos;
  if (digits) return text[first] != '0' || text == "0";
  double number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  return read.ec == std::errc() && read.ptr == text.data() + text.size() &&
         absl::EqualsIgnoreCase(NumberText(number), text);
}

std::string EscapedText(const std::string& text) {
  const bool ambiguous = !text.empty() && (text[0] == '@' || text == kNullText || text == "true" || text == "false" ||
                                           text == kOtherName || ReadsAsNumber(text));
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool special = c == '%' || c == ':' || c == ',' || c < 0x20 || c == 0x7f;
    if (special || (ambiguous && i == 0)) {
      absl::StrAppendFormat(&out, "%%%02X", c);
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

void AppendValueJson(const GroupValue& value, std::string* out) {
  const std::optional<std::string> text = GroupValueText(value);
  if (!text.has_value()) {
    out->append("null");
  } else if (value.kind == cel::Kind::kBool || value.kind == cel::Kind::kInt || value.kind == cel::Kind::kDuration ||
             (value.kind == cel::Kind::kDouble && std::isfinite(value.number))) {
    out->append(*text);
  } else {
    AppendJsonText(*text, out);
  }
}

}  // namespace

std::string WindowTimeText(int64_t time_us) {
  if (time_us < kFirstYear) return "-infinity";
  return time_us >= kLastYear ? "infinity" : FormatRfc3339(time_us);
}

std::string WindowName(const TimeSpan& window, bool cumulative) {
  const std::string start = WindowTimeText(window.start_us);
  return cumulative ? absl::StrCat(start, "/", WindowTimeText(window.end_us)) : start;
}

std::string NumberText(double number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
  if (number == std::trunc(number) && std::abs(number) < 1e15) return absl::StrCat(static_cast<int64_t>(number));
  return Shortest(number);
}

std::optional<std::string> GroupValueText(const GroupValue& value) {
  switch (value.kind) {
    case cel::Kind::kBool:
      return value.integer != 0 ? "true" : "false";
    case cel::Kind::kInt:
      return absl::StrCat(value.integer);
    case cel::Kind::kDouble:
      return NumberText(value.number);
    case cel::Kind::kString:
      return value.text;
    case cel::Kind::kTimestamp:
      return FormatRfc3339(value.integer);
    case cel::Kind::kDuration:
      return NumberText(static_cast<double>(value.integer) / 1e6);
    default:
      return std::nullopt;
  }
}

std::string GroupText(const ResultRow& row) {
  if (row.key == kOtherGroup) return std::string(kOtherName);
  if (row.group.empty()) return std::string(kAllText);
  std::string out;
  for (const GroupValue& value : row.group) {
    if (&value != &row.group.front()) out.push_back(',');
    if (value.kind == cel::Kind::kString) {
      out += EscapedText(value.text);
    } else if (value.kind == cel::Kind::kTimestamp) {
      // A string could say the same; a time never begins with `@`, and a string that does is escaped.
      absl::StrAppend(&out, "@", EscapedText(FormatRfc3339(value.integer)));
    } else if (value.kind == cel::Kind::kDuration) {
      absl::StrAppend(&out, "@", NumberText(static_cast<double>(value.integer) / 1e6));
    } else {
      absl::StrAppend(&out, GroupValueText(value).value_or(std::string(kNullText)));
    }
  }
  return out;
}

std::optional<std::string> MeasureText(const MeasureResult& result, const MeasureShape& shape) {
  switch (result.kind) {
    case MeasureResult::Kind::kInteger:
      return absl::StrCat(result.integer);
    case MeasureResult::Kind::kNumber:
      return NumberText(result.number);
    case MeasureResult::Kind::kText:
      return result.text;
    case MeasureResult::Kind::kBool:
      return result.integer != 0 ? "true" : "false";
    case MeasureResult::Kind::kHistogram:
      return MeasureJson(result, shape);
    case MeasureResult::Kind::kNull:
    case MeasureResult::Kind::kError:
    case MeasureResult::Kind::kTop:
      break;
  }
  return std::nullopt;
}

std::string MeasureJson(const MeasureResult& result, const MeasureShape& shape) {
  std::string out;
  switch (result.kind) {
    case MeasureResult::Kind::kNull:
    case MeasureResult::Kind::kError:
      return "null";
    case MeasureResult::Kind::kInteger:
    case MeasureResult::Kind::kBool:
      return *MeasureText(result, shape);
    case MeasureResult::Kind::kNumber:
      // What JSON has no number for goes as text, which stores read as well.
      if (std::isfinite(result.number)) return NumberText(result.number);
      return absl::StrCat("\"", NumberText(result.number), "\"");
    case MeasureResult::Kind::kText:
      AppendJsonText(result.text, &out);
      return out;
    case MeasureResult::Kind::kHistogram:
      return absl::StrCat(
          "{\"bounds\":[",
          absl::StrJoin(shape.bounds, ",", [](std::string* text, double bound) { *text += NumberText(bound); }),
          "],\"counts\":[", absl::StrJoin(result.counts, ","), "]}");
    case MeasureResult::Kind::kTop:
      break;
  }
  out = "[";
  for (const TopEntry& entry : result.top) {
    absl::StrAppend(&out, out.size() > 1 ? "," : "", "{\"key\":");
    AppendValueJson(entry.key, &out);
    absl::StrAppend(&out, ",\"count\":", entry.count, ",\"max_error\":", entry.max_error, "}");
  }
  return out + "]";
}

std::string MeasureErrorsJson(const std::vector<MeasureResult>& results, const std::vector<std::string>& names) {
  std::string out;
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i].kind != MeasureResult::Kind::kError) continue;
    out.push_back(out.empty() ? '{' : ',');
    AppendJsonText(names[i], &out);
    out.push_back(':');
    AppendJsonText(results[i].error, &out);
  }
  if (!out.empty()) out.push_back('}');
  return out;
}

void AppendJsonText(absl::string_view text, std::string* out) {
  out->push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(out, "\\u%04x", static_cast<unsigned char>(c));
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

}  // namespace naru::aggregator
