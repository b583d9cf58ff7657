#include <xxhash.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/clock/rfc3339.h"
#include "common/event/event_writer.h"
#include "common/event/utf8.h"
#include "common/input_format/format_plan.h"
#include "common/input_format/input_format.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::input_format {
namespace {

using event::Kind;
using event::ValueView;
using Type = ValueSource::Type;

constexpr absl::string_view kIntegerLimit = "an integer from -9007199254740992 to 9007199254740992";

/// A number as people write it: integers without a point or exponent.
absl::string_view NumberText(double number, std::array<char, 32>* buffer) {
  char* begin = buffer->data();
  char* end = begin + buffer->size();
  const bool whole = std::trunc(number) == number && std::abs(number) <= static_cast<double>(kMaxExactInteger);
  const auto result =
      whole ? std::to_chars(begin, end, static_cast<int64_t>(number)) : std::to_chars(begin, end, number);
  return {begin, static_cast<size_t>(result.ptr - begin)};
}

/// Puts `path` before the field of a rejection; false.
bool Below(absl::string_view path, LineRejection* rejection) {
  const bool index = !rejection->field.empty() && rejection->field[0] == '[';
  rejection->field = absl::StrCat(path, rejection->field.empty() || index ? "" : ".", rejection->field);
  return false;
}

bool IsBlank(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return absl::ascii_isspace(c); });
}

bool ToInteger(ValueView* value, LineRejection* rejection) {
  double number = value->number;
  if (value->kind == Kind::kString) {
    const absl::string_view text = value->bytes;
    const size_t skip = text.size() > 1 && text[0] == '+' && text[1] != '-' ? 1 : 0;
    int64_t integer = 0;
    const auto result = std::from_chars(text.data() + skip, text.data() + text.size(), integer);
    const bool too_large = integer > kMaxExactInteger || integer < -kMaxExactInteger;
    if (result.ec == std::errc::result_out_of_range || (result.ec == std::errc() && too_large)) {
      return Reject(ingest::v1::FIELD_RANGE, "", text, kIntegerLimit, rejection);
    }
    if (result.ec != std::errc() || result.ptr != text.data() + text.size()) {
      return Reject(ingest::v1::PARSE, "", text, "an integer", rejection);
    }
    number = static_cast<double>(integer);
  } else if (value->kind != Kind::kNumber || std::trunc(number) != number) {
    std::array<char, 32> buffer;
    const absl::string_view shown = value->kind == Kind::kNumber ? NumberText(number, &buffer) : "";
    return Reject(ingest::v1::PARSE, "", shown, "an integer", rejection);
  }
  if (std::abs(number) > static_cast<double>(kMaxExactInteger)) {
    std::array<char, 32> buffer;
    return Reject(ingest::v1::FIELD_RANGE, "", NumberText(number, &buffer), kIntegerLimit, rejection);
  }
  *value = {.kind = Kind::kNumber, .number = number};
  return true;
}

bool ToNumber(ValueView* value, LineRejection* rejection) {
  if (value->kind == Kind::kNumber) return true;
  if (value->kind != Kind::kString) return Reject(ingest::v1::PARSE, "", "", "a number", rejection);
  const absl::string_view text = value->bytes;
  const size_t skip = text.size() > 1 && text[0] == '+' && text[1] != '-' ? 1 : 0;
  double number = 0;
  const auto result = std::from_chars(text.data() + skip, text.data() + text.size(), number);
  if (result.ptr != text.data() + text.size() || result.ec == std::errc::invalid_argument) {
    return Reject(ingest::v1::PARSE, "", text, "a number", rejection);
  }
  if (result.ec != std::errc() || !std::isfinite(number)) {
    return Reject(ingest::v1::NOT_FINITE, "", text, "a finite number", rejection);
  }
  *value = {.kind = Kind::kNumber, .number = number};
  return true;
}

bool ToBoolean(ValueView* value, LineRejection* rejection) {
  if (value->kind == Kind::kBool) return true;
  if (value->kind == Kind::kNumber && (value->number == 0 || value->number == 1)) {
    *value = {.kind = Kind::kBool, .boolean = value->number == 1};
    return true;
  }
  bool boolean = false;
  if (value->kind != Kind::kString || !absl::SimpleAtob(value->bytes, &boolean)) {
    return Reject(ingest::v1::PARSE, "", value->kind == Kind::kString ? value->bytes : "", "true or false", rejection);
  }
  *value = {.kind = Kind::kBool, .boolean = boolean};
  return true;
}

}  // namespace

struct LineParser::State {
  explicit State(std::shared_ptr<const InputFormat> input_format)
      : format(std::move(input_format)), plan(format->plan()), zones(plan.zone_slots) {
    if (plan.spec.parser().type() == "json") {
      json = std::make_unique<JsonReader>(&plan.line_keys, &plan.element_keys, &plan.null_values);
    }
    for (const JsonColumn& column : plan.json_columns) {
      column_readers.push_back(
          column.is_json ? std::make_unique<JsonReader>(&column.keys, &no_keys, &plan.null_values) : nullptr);
    }
    column_states.resize(plan.json_columns.size());
    activation = std::make_unique<cel::Activation>(&*plan.environment);
  }

  enum class ColumnState : uint8_t { kUnread, kRead, kAbsent };

  std::shared_ptr<const InputFormat> format;
  const FormatPlan& plan;
  std::vector<cel::ZoneOffset> zones;
  std::unique_ptr<JsonReader> json;
  JsonKeys no_keys;
  Columns columns;
  std::vector<std::unique_ptr<JsonReader>> column_readers;
  std::vector<ColumnState> column_states;
  std::unique_ptr<cel::Activation> activation;
  bool variables_set = false;
  ByteArena arena;
  std::string padded;  ///< the line, where the caller's bytes end with it
  std::string template_text;
  WireBuffer data;
  bool in_element = false;

  absl::string_view Text(const ValueView& value);
  absl::string_view HashText(uint64_t hash);
  bool IsNullValue(absl::string_view text) const;
  bool ReadJsonColumn(int column, LineRejection* rejection);
  bool Read(const FieldPath& path, int depth, ValueView* value, bool* from_line, LineRejection* rejection);
  bool ReadColumn(const FieldPath& path, ValueView* value, LineRejection* rejection);
  bool ReadJson(const FieldPath& path, int depth, ValueView* value, bool* from_line, LineRejection* rejection);
  bool FillTemplate(const ValueSource& source, ValueView* value, LineRejection* rejection);
  bool SetVariables(LineRejection* rejection);
  bool Evaluate(const ValueSource& source, ValueView* value, LineRejection* rejection);
  bool Convert(const ValueSource& source, ValueView* value, LineRejection* rejection);
  bool Extract(const ValueSource& source, ValueView* value, bool* from_line, LineRejection* rejection);
  bool Attribute(const ValueSource& source, absl::string_view* text, bool* from_line, LineRejection* rejection);
  bool ReadTime(event::EventFields* fields, LineRejection* rejection);
  bool WriteData(LineRejection* rejection);
  bool WriteColumns(LineRejection* rejection);
  bool BuildEvent(const LineContext& context, int element, EventBuffer* events, LineRejection* rejection);
  bool OpenLine(absl::string_view line, const LineContext& context, LineRejection* rejection);
};

/// A scalar as text, in memory that lives until the next event; objects and lists have none.
absl::string_view LineParser::State::Text(const ValueView& value) {
  std::array<char, 32> buffer;
  switch (value.kind) {
    case Kind::kString: return value.bytes;
    case Kind::kNumber: return arena.Copy(NumberText(value.number, &buffer));
    case Kind::kBool: return value.boolean ? "true" : "false";
    default: return {};
  }
}

/// 16 hexadecimal digits.
absl::string_view LineParser::State::HashText(uint64_t hash) {
  static constexpr char kDigits[] = "0123456789abcdef";
  char* out = arena.Allocate(16);
  for (int i = 0; i < 16; ++i) out[i] = kDigits[(hash >> (60 - 4 * i)) & 15];
  return {out, 16};
}

bool LineParser::State::IsNullValue(absl::string_view text) const {
  return std::find(plan.null_values.begin(), plan.null_values.end(), text) != plan.null_values.end();
}

bool LineParser::State::ReadJsonColumn(int column, LineRejection* rejection) {
  ColumnState& state = column_states[column];
  if (state != ColumnState::kUnread) return true;
  const Column& text = columns.values[column];
  state = !text.present || IsBlank(text.text) || IsNullValue(text.text) ? ColumnState::kAbsent : ColumnState::kRead;
  return state == ColumnState::kAbsent || column_readers[column]->Parse(text.text, rejection) ||
         Below(plan.column_names[column], rejection);
}

bool LineParser::State::ReadColumn(const FieldPath& path, ValueView* value, LineRejection* rejection) {
  if (plan.json_columns[path.column].is_json) {
    if (!ReadJsonColumn(path.column, rejection)) return false;
    if (column_states[path.column] == ColumnState::kAbsent) return true;
    JsonReader& reader = *column_readers[path.column];
    if (path.line_key >= 0) {
      return reader.Get(JsonReader::Scope::kLine, path.line_key, path.line_below, 2, value, rejection) ||
             Below(path.text, rejection);
    }
    WireBuffer object;
    if (!reader.EncodeObject(JsonReader::Scope::kLine, UsedFields(), &object, rejection)) {
      return Below(plan.column_names[path.column], rejection);
    }
    *value = {.kind = Kind::kStruct, .bytes = arena.Copy(object.view())};
    return true;
  }
  const Column& column = columns.values[path.column];
  if (!column.present || IsNullValue(column.text)) return true;
  *value = {.kind = Kind::kString, .bytes = column.text};
  return !plan.columns->IsNumber(path.column) || ToNumber(value, rejection);
}

bool LineParser::State::ReadJson(const FieldPath& path, int depth, ValueView* value, bool* from_line,
                                 LineRejection* rejection) {
  if (in_element && path.element_key >= 0) {
    if (!json->Get(JsonReader::Scope::kElement, path.element_key, path.element_below, depth, value, rejection)) return false;
    if (value->kind != Kind::kAbsent) return true;
  }
  if (path.line_key < 0) return true;
  *from_line = true;
  return json->Get(JsonReader::Scope::kLine, path.line_key, path.line_below, depth, value, rejection);
}

bool LineParser::State::Read(const FieldPath& path, int depth, ValueView* value, bool* from_line,
                             LineRejection* rejection) {
  *value = ValueView();
  if (json == nullptr) return ReadColumn(path, value, rejection);
  return ReadJson(path, depth, value, from_line, rejection) || Below(path.text, rejection);
}

bool LineParser::State::FillTemplate(const ValueSource& source, ValueView* value, LineRejection* rejection) {
  std::string& text = template_text;
  text.clear();
  bool any = false;
  for (const ValueSource::TemplatePart& part : source.parts) {
    text += part.literal;
    if (!part.path.has_value()) continue;
    ValueView field;
    bool from_line = false;
    if (!Read(*part.path, 2, &field, &from_line, rejection)) return false;
    any = any || (field.kind != Kind::kAbsent && field.kind != Kind::kNull);
    const absl::string_view piece = Text(field);
    text.append(piece.data(), piece.size());
  }
  const bool has_fields = std::any_of(source.parts.begin(), source.parts.end(),
                                      [](const auto& part) { return part.path.has_value(); });
  if (any || !has_fields) *value = {.kind = Kind::kString, .bytes = arena.Copy(text)};
  return true;
}

bool LineParser::State::SetVariables(LineRejection* rejection) {
  if (variables_set) return true;
  variables_set = true;
  activation->Clear();
  for (size_t i = 0; i < plan.variables.size(); ++i) {
    ValueView value;
    bool from_line = false;
    if (!Read(plan.variables[i], 2, &value, &from_line, rejection)) return false;
    if (value.kind != Kind::kAbsent) activation->Set(static_cast<int>(i), cel::Value::FromEvent(value));
  }
  return true;
}

bool LineParser::State::Evaluate(const ValueSource& source, ValueView* value, LineRejection* rejection) {
  if (!SetVariables(rejection)) return false;
  const cel::Value result = source.program.Eval(*activation);
  switch (result.kind()) {
    case cel::Kind::kNull: return true;
    case cel::Kind::kError:
      if (result.error_code() == cel::ErrorCode::kNoSuchField) return true;
      return Reject(ingest::v1::PARSE, source.label, result.DebugString(), absl::StrCat("a result of ", source.program.source()),
                    rejection);
    case cel::Kind::kBool: *value = {.kind = Kind::kBool, .boolean = result.bool_value()}; return true;
    case cel::Kind::kInt:
    case cel::Kind::kDouble:
      *value = {.kind = Kind::kNumber, .number = result.AsDouble()};
      if (result.kind() == cel::Kind::kInt && std::abs(value->number) > static_cast<double>(kMaxExactInteger)) {
        return Reject(ingest::v1::FIELD_RANGE, source.label, result.DebugString(), kIntegerLimit, rejection);
      }
      return std::isfinite(value->number) ||
             Reject(ingest::v1::NOT_FINITE, source.label, result.DebugString(), "a finite number", rejection);
    case cel::Kind::kString: *value = {.kind = Kind::kString, .bytes = arena.Copy(result.string_value())}; return true;
    case cel::Kind::kTimestamp:
      *value = {.kind = Kind::kString, .bytes = arena.Copy(FormatRfc3339(result.timestamp_us()))};
      return true;
    case cel::Kind::kStruct: *value = {.kind = Kind::kStruct, .bytes = arena.Copy(result.wire_bytes())}; return true;
    case cel::Kind::kList:
      if (!result.has_elements()) {
        *value = {.kind = Kind::kList, .bytes = arena.Copy(result.wire_bytes())};
        return true;
      }
      [[fallthrough]];
    case cel::Kind::kDuration:
      return Reject(ingest::v1::PARSE, source.label, result.DebugString(), "a text, a number, a bool or a time", rejection);
  }
  return true;
}

bool LineParser::State::Convert(const ValueSource& source, ValueView* value, LineRejection* rejection) {
  // An empty text is a text, but no number, bool or time.
  if (source.type != Type::kString && value->kind == Kind::kString && value->bytes.empty()) {
    *value = ValueView();
    return true;
  }
  switch (source.type) {
    case Type::kAsParsed: return true;
    case Type::kString:
      if (value->kind == Kind::kStruct || value->kind == Kind::kList) {
        return Reject(ingest::v1::PARSE, "", "", "a text, a number or a bool", rejection);
      }
      *value = {.kind = Kind::kString, .bytes = Text(*value)};
      return true;
    case Type::kInteger: return ToInteger(value, rejection);
    case Type::kNumber: return ToNumber(value, rejection);
    case Type::kBoolean: return ToBoolean(value, rejection);
    case Type::kTimestamp: {
      int64_t micros = 0;
      const bool number = value->kind == Kind::kNumber && source.layout->FromNumber(value->number, &micros);
      if (!number && !source.layout->Parse(Text(*value), &zones[source.zone_slot], &micros)) {
        return Reject(ingest::v1::TIME, "", Text(*value), source.layout->description(), rejection);
      }
      *value = {.kind = Kind::kString, .bytes = arena.Copy(FormatRfc3339(micros))};
      return true;
    }
  }
  return true;
}

bool LineParser::State::Extract(const ValueSource& source, ValueView* value, bool* from_line, LineRejection* rejection) {
  if (source.plain) return Read(source.path, 2, value, from_line, rejection);
  *value = ValueView();
  switch (source.kind) {
    case ValueSource::Kind::kNone: return true;
    case ValueSource::Kind::kFrom:
      if (!Read(source.path, 2, value, from_line, rejection)) return false;
      break;
    case ValueSource::Kind::kConst:
      *value = source.constant;
      value->bytes = source.constant_bytes;
      break;
    case ValueSource::Kind::kTemplate:
      if (!FillTemplate(source, value, rejection)) return false;
      break;
    case ValueSource::Kind::kExpr:
      if (!Evaluate(source, value, rejection)) return false;
      break;
  }
  if (value->kind == Kind::kAbsent || value->kind == Kind::kNull) return true;
  if (source.hash) {
    const absl::string_view text = value->kind == Kind::kStruct || value->kind == Kind::kList ? value->bytes : Text(*value);
    *value = {.kind = Kind::kString, .bytes = HashText(XXH3_64bits(text.data(), text.size()))};
    return true;
  }
  if (source.type == Type::kAsParsed || Convert(source, value, rejection)) return true;
  if (rejection->field.empty()) rejection->field = source.kind == ValueSource::Kind::kFrom ? source.path.text : source.label;
  return false;
}

bool LineParser::State::Attribute(const ValueSource& source, absl::string_view* text, bool* from_line,
                                  LineRejection* rejection) {
  if (source.kind == ValueSource::Kind::kNone) return true;
  ValueView value;
  if (!Extract(source, &value, from_line, rejection)) return false;
  if (value.kind == Kind::kString) {
    *text = value.bytes;
    return true;
  }
  if (value.kind == Kind::kStruct || value.kind == Kind::kList) {
    return Reject(ingest::v1::PARSE, source.kind == ValueSource::Kind::kFrom ? source.path.text : source.label, "",
                  absl::StrCat("a text or a number for `", source.label, "`"), rejection);
  }
  *text = Text(value);
  return true;
}

bool LineParser::State::ReadTime(event::EventFields* fields, LineRejection* rejection) {
  if (!plan.time_path.has_value()) return true;
  ValueView value;
  bool from_line = false;
  if (!Read(*plan.time_path, 2, &value, &from_line, rejection)) return false;
  if (value.kind == Kind::kAbsent || value.kind == Kind::kNull) {
    return plan.time_optional ||
           Reject(ingest::v1::TIME, plan.time_path->text, "", plan.time_layout->description(), rejection);
  }
  fields->has_time = true;
  if (value.kind == Kind::kNumber && plan.time_layout->FromNumber(value.number, &fields->time_us)) return true;
  const absl::string_view text = Text(value);
  return plan.time_layout->Parse(text, &zones[0], &fields->time_us) ||
         Reject(ingest::v1::TIME, plan.time_path->text, text, plan.time_layout->description(), rejection);
}

bool LineParser::State::WriteColumns(LineRejection* rejection) {
  for (int column : plan.whole_columns) {
    FieldPath path;
    path.column = column;
    ValueView value;
    if (!ReadColumn(path, &value, rejection)) return false;
    if (value.kind != Kind::kAbsent) data.AddField(plan.column_names[column], value);
  }
  return true;
}

bool LineParser::State::WriteData(LineRejection* rejection) {
  data.Clear();
  bool from_line = false;
  ValueView value;
  if (plan.data_from.has_value()) {
    if (!Read(*plan.data_from, 1, &value, &from_line, rejection)) return false;
    if (value.kind == Kind::kAbsent || value.kind == Kind::kNull) return true;
    if (value.kind != Kind::kStruct) {
      return Reject(ingest::v1::PARSE, plan.data_from->text, Text(value), "an object", rejection);
    }
    data.Append(value.bytes);
    return true;
  }
  if (plan.whole) {
    if (json == nullptr) return WriteColumns(rejection);
    return json->EncodeObject(in_element ? JsonReader::Scope::kElement : JsonReader::Scope::kLine, plan.used, &data,
                              rejection);
  }
  for (const auto& [name, source] : plan.data) {
    if (!Extract(source, &value, &from_line, rejection)) return false;
    if (value.kind != Kind::kAbsent) data.AddField(name, value);
  }
  return true;
}

bool LineParser::State::BuildEvent(const LineContext& context, int element, EventBuffer* events,
                                   LineRejection* rejection) {
  variables_set = false;
  event::EventFields fields;
  bool id_from_line = false;
  bool from_line = false;
  if (!ReadTime(&fields, rejection) || !Attribute(plan.id, &fields.id, &id_from_line, rejection) ||
      !Attribute(plan.type, &fields.type, &from_line, rejection) ||
      !Attribute(plan.subject, &fields.subject, &from_line, rejection) ||
      !Attribute(plan.session, &fields.session, &from_line, rejection)) {
    return false;
  }
  if (fields.type.empty()) {
    const bool has_path = plan.type.kind == ValueSource::Kind::kFrom;
    return Reject(ingest::v1::MISSING_ATTRIBUTE, has_path ? absl::string_view(plan.type.path.text) : "type", "", "a type",
                  rejection);
  }
  fields.source = context.import_source;
  if (fields.source.empty() && !Attribute(plan.source, &fields.source, &from_line, rejection)) return false;
  if (fields.source.empty()) fields.source = plan.name;
  // What the elements of one line share does not tell them apart.
  std::string element_id;
  if (fields.id.empty() || id_from_line) {
    if (fields.id.empty()) fields.id = context.line_id;
    if (element >= 0 && !fields.id.empty()) {
      element_id = absl::StrCat(fields.id, "-", element);
      fields.id = element_id;
    }
  }
  if (!WriteData(rejection)) return false;
  fields.data = data.view();
  events->bytes.AddEvent(fields);
  events->ends.push_back(events->bytes.size());
  return true;
}

bool LineParser::State::OpenLine(absl::string_view line, const LineContext& context, LineRejection* rejection) {
  if (line.size() > kMaxLineBytes) {
    return Reject(ingest::v1::LINE_TOO_LONG, "", line, absl::StrCat("at most ", kMaxLineBytes, " bytes"), rejection);
  }
  if (!context.padded) {
    padded.assign(line.data(), line.size());
    padded.append(kPaddingBytes, '\0');
    line = absl::string_view(padded).substr(0, line.size());
  }
  in_element = false;
  if (json != nullptr) {
    json->Reset();
    return json->Parse(line, rejection);
  }
  std::fill(column_states.begin(), column_states.end(), ColumnState::kUnread);
  for (const auto& reader : column_readers) {
    if (reader != nullptr) reader->Reset();
  }
  if (plan.columns == nullptr) return Reject(ingest::v1::PARSE, "", line, "a header before the first line", rejection);
  if (!event::ValidUtf8(line)) return Reject(ingest::v1::INVALID_UTF8, "", line, "valid UTF-8", rejection);
  return plan.columns->Parse(line, &columns, rejection);
}

LineParser::LineParser(std::shared_ptr<const InputFormat> format) : state_(std::make_unique<State>(std::move(format))) {}
LineParser::~LineParser() = default;

void LineParser::Parse(absl::string_view line, const LineContext& context, EventBuffer* events,
                       std::vector<LineRejection>* rejections) {
  State& state = *state_;
  state.arena.Reset();
  LineRejection rejection;
  if (!state.OpenLine(line, context, &rejection)) {
    rejections->push_back(std::move(rejection));
    return;
  }
  if (!state.plan.explode) {
    if (!state.BuildEvent(context, -1, events, &rejection)) rejections->push_back(std::move(rejection));
    return;
  }
  size_t count = 0;
  if (!state.json->OpenArray(state.plan.explode_path, &count, &rejection)) {
    rejections->push_back(std::move(rejection));
    return;
  }
  state.in_element = true;
  for (size_t i = 0; i < count; ++i) {
    state.arena.Reset();
    LineRejection element_rejection;
    if (state.json->SelectElement(i, &element_rejection) &&
        state.BuildEvent(context, static_cast<int>(i), events, &element_rejection)) {
      continue;
    }
    element_rejection.element = static_cast<int>(i);
    rejections->push_back(std::move(element_rejection));
  }
}

}  // namespace naru::input_format
