#include "services/naru/infer_fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/cel/zone_offset.h"
#include "common/input_format/time_layout.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::cli {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

constexpr double kMaxExactInteger = 9007199254740992.0;
constexpr int kMaxSchemaDepth = 6;
constexpr size_t kMaxEnumValues = 12;
constexpr size_t kMaxEnumBytes = 64;
/// A value of an enum comes so often on average; otherwise few values are few lines.
constexpr int64_t kRepeatsOfEnum = 10;
/// Numbers are times between these: 2000 and 2100.
constexpr double kFirstTime = 946684800;
constexpr double kLastTime = 4102444800;

const std::vector<input_format::TimeLayout>& CompiledLayouts() {
  static const auto* const layouts = [] {
    auto* made = new std::vector<input_format::TimeLayout>();
    for (const std::string& layout : TimeLayouts()) made->push_back(*input_format::TimeLayout::Compile(layout, ""));
    return made;
  }();
  return *layouts;
}

/// Whether a text is a number that reads back as it is written: `007` and `+1` are names.
bool ReadNumber(absl::string_view text, double* number, bool* integer) {
  const absl::string_view digits = absl::StartsWith(text, "-") ? text.substr(1) : text;
  if (digits.empty() || !absl::ascii_isdigit(digits[0])) return false;
  if (digits.size() > 1 && digits[0] == '0' && absl::ascii_isdigit(digits[1])) return false;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), *number);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return false;
  *integer = std::all_of(digits.begin(), digits.end(), [](char c) { return absl::ascii_isdigit(c); });
  return std::isfinite(*number);
}

void AddRange(double number, bool first, FieldStats* stats) {
  stats->low = first ? number : std::min(stats->low, number);
  stats->high = first ? number : std::max(stats->high, number);
}

void AddDistinct(const std::string& text, FieldStats* stats) {
  stats->longest = std::max(stats->longest, text.size());
  if (stats->count_all) stats->hashes.insert(std::hash<std::string>()(text));
  if (stats->many) return;
  stats->distinct.insert(text);
  stats->many = stats->distinct.size() > FieldStats::kMaxDistinct;
}

void AddText(const std::string& text, FieldStats* stats) {
  AddDistinct(text, stats);
  double number = 0;
  bool integer = false;
  const bool first = stats->integers + stats->numbers + stats->integer_texts + stats->number_texts == 0;
  if (text.empty()) {
    ++stats->empty_texts;
    return;
  }
  if (std::find(NullWords().begin(), NullWords().end(), text) != NullWords().end()) {
    ++stats->null_texts;
    stats->null_words.insert(text);
    return;
  }
  if (ReadNumber(text, &number, &integer)) {
    ++(integer ? stats->integer_texts : stats->number_texts);
    AddRange(number, first, stats);
  } else if (absl::EqualsIgnoreCase(text, "true") || absl::EqualsIgnoreCase(text, "false")) {
    ++stats->boolean_texts;
  }
  if (stats->layouts.empty()) stats->layouts.assign(TimeLayouts().size(), true);
  cel::ZoneOffset zone;
  int64_t micros = 0;
  for (size_t i = 0; i < stats->layouts.size(); ++i) {
    if (stats->layouts[i]) stats->layouts[i] = CompiledLayouts()[i].Parse(text, &zone, &micros);
  }
}

void FillField(const FieldStats& stats, int depth, catalog::v1::Field* field);

void FillProperties(const std::map<std::string, FieldStats>& fields, int64_t total, int depth,
                    google::protobuf::Map<std::string, catalog::v1::Field>* properties,
                    google::protobuf::RepeatedPtrField<std::string>* required) {
  for (const auto& [name, stats] : fields) {
    catalog::v1::Field& field = (*properties)[name];
    FillField(stats, depth, &field);
    if (stats.seen == total) {
      required->Add(std::string(name));
    } else {
      field.set_nullable(true);
    }
  }
}

void FillEnum(const FieldStats& stats, catalog::v1::Field* field) {
  const bool few = !stats.many && stats.distinct.size() <= kMaxEnumValues && stats.longest <= kMaxEnumBytes;
  if (!few || stats.seen < kRepeatsOfEnum * static_cast<int64_t>(stats.distinct.size())) return;
  for (const std::string& value : stats.distinct) field->add_enum_()->set_string_value(value);
}

void FillField(const FieldStats& stats, int depth, catalog::v1::Field* field) {
  if (stats.seen == 0) return;
  if (stats.strings == stats.seen) {
    field->set_type(!stats.layouts.empty() && stats.layouts[0] && stats.RealTexts() == stats.seen ? "timestamp"
                                                                                                  : "string");
    if (field->type() == "string") FillEnum(stats, field);
  } else if (stats.integers == stats.seen) {
    field->set_type("integer");
  } else if (stats.integers + stats.numbers == stats.seen) {
    field->set_type("number");
  } else if (stats.booleans == stats.seen) {
    field->set_type("boolean");
  } else if (stats.lists == stats.seen) {
    field->set_type("array");
  } else if (stats.objects == stats.seen) {
    field->set_type("object");
    if (depth < kMaxSchemaDepth) {
      FillProperties(stats.below, stats.objects, depth + 1, field->mutable_properties(), field->mutable_required());
    }
  }
}

}  // namespace

const std::vector<std::string>& NullWords() {
  static const auto* const words =
      new std::vector<std::string>{"NULL", "null", "NA", "N/A", "NaN", "nan", "None", "none", "\\N", "-"};
  return *words;
}

const std::vector<std::string>& TimeLayouts() {
  static const auto* const layouts = new std::vector<std::string>{
      "rfc3339",
      "%Y-%m-%dT%H:%M:%E*S%z",
      "%Y-%m-%dT%H:%M:%E*S",
      "%Y-%m-%d %H:%M:%E*S %z",
      "%Y-%m-%d %H:%M:%E*S %Z",
      "%Y-%m-%d %H:%M:%E*S%z",
      "%Y-%m-%d %H:%M:%E*S",
      "%Y/%m/%d %H:%M:%E*S",
      "%d/%b/%Y:%H:%M:%S %z",
      "%m/%d/%Y %H:%M:%S",
      "%d/%m/%Y %H:%M:%S",
      "%a, %d %b %Y %H:%M:%S %z",
      "%a %b %d %H:%M:%S %Y",
      "%Y-%m-%d %H:%M",
      "%Y-%m-%dT%H:%M",
      "%Y-%m-%d",
      "%Y/%m/%d",
  };
  return *layouts;
}

std::string TimeLayoutOf(const FieldStats& stats, bool hinted) {
  if (!stats.IsScalar() || stats.booleans > 0) return "";
  const int64_t numeric = stats.integers + stats.numbers + stats.integer_texts + stats.number_texts;
  if (numeric == stats.seen) {
    const auto within = [&](double unit) { return stats.low >= kFirstTime * unit && stats.high <= kLastTime * unit; };
    if (within(1e3)) return "unix_ms";
    if (within(1e6)) return "unix_us";
    return hinted && within(1) ? "unix" : "";
  }
  if (stats.RealTexts() != stats.seen) return "";
  for (size_t i = 0; i < stats.layouts.size(); ++i) {
    if (stats.layouts[i]) return TimeLayouts()[i];
  }
  return "";
}

void FieldStats::Add(const Value& value) {
  switch (value.kind_case()) {
    case Value::kStringValue:
      ++strings;
      AddText(value.string_value(), this);
      break;
    case Value::kNumberValue: {
      const double number = value.number_value();
      const bool integer = std::trunc(number) == number && std::abs(number) <= kMaxExactInteger;
      AddRange(number, integers + numbers + integer_texts + number_texts == 0, this);
      ++(integer ? integers : numbers);
      AddDistinct(integer ? absl::StrCat(static_cast<int64_t>(number)) : absl::StrCat(number), this);
      break;
    }
    case Value::kBoolValue:
      ++booleans;
      AddDistinct(value.bool_value() ? "true" : "false", this);
      break;
    case Value::kListValue:
      ++lists;
      break;
    case Value::kStructValue:
      ++objects;
      AddObject(value.struct_value(), &below);
      break;
    default:
      return;
  }
  ++seen;
}

void AddObject(const Struct& object, std::map<std::string, FieldStats>* fields) {
  for (const auto& [name, value] : object.fields()) (*fields)[name].Add(value);
}

void MakeSchema(const std::map<std::string, FieldStats>& fields, int64_t total, catalog::v1::Schema* schema) {
  FillProperties(fields, total, 1, schema->mutable_properties(), schema->mutable_required());
}

}  // namespace naru::cli
