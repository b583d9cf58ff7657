#include "services/naru/json_text.h"

#include <google/protobuf/struct.pb.h>

#include <charconv>
#include <cmath>
#include <map>

namespace naru::cli {
namespace {

// Returns the length of the valid UTF-8 character at the start of `text`, 0 if there is none.
size_t CharacterLength(absl::string_view text) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xC0) != 0x80) return 0;
  }
  if ((lead == 0xE0 && at(1) < 0xA0) || (lead == 0xED && at(1) > 0x9F)) return 0;
  if ((lead == 0xF0 && at(1) < 0x90) || (lead == 0xF4 && at(1) > 0x8F)) return 0;
  return length;
}

void AppendEscaped(unsigned char c, std::string* out) {
  constexpr char kHex[] = "0123456789abcdef";
  switch (c) {
    case '"':
      *out += "\\\"";
      return;
    case '\\':
      *out += "\\\\";
      return;
    case '\n':
      *out += "\\n";
      return;
    case '\r':
      *out += "\\r";
      return;
    case '\t':
      *out += "\\t";
      return;
    default:
      if (c < 0x20 || c == 0x7F) {
        *out += "\\u00";
        *out += kHex[c >> 4];
        *out += kHex[c & 15];
      } else {
        *out += static_cast<char>(c);
      }
  }
}

}  // namespace

void AppendJsonString(absl::string_view text, std::string* out) {
  *out += '"';
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    if (length == 0) {
      *out += "\\ufffd";
      text.remove_prefix(1);
    } else if (length == 1) {
      AppendEscaped(static_cast<unsigned char>(text[0]), out);
      text.remove_prefix(1);
    } else {
      out->append(text.data(), length);
      text.remove_prefix(length);
    }
  }
  *out += '"';
}

void AppendJsonNumber(double number, std::string* out) {
  if (!std::isfinite(number)) {
    *out += "null";
    return;
  }
  // Whole numbers without an exponent up to where doubles hold every integer.
  if (number == std::floor(number) && std::fabs(number) < 9007199254740993.0) {
    *out += std::to_string(static_cast<int64_t>(number));
    return;
  }
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), number);
  out->append(buffer, end.ptr);
}

void AppendJsonValue(const google::protobuf::Value& value, std::string* out) {
  using google::protobuf::Value;
  switch (value.kind_case()) {
    case Value::kNumberValue:
      AppendJsonNumber(value.number_value(), out);
      return;
    case Value::kStringValue:
      AppendJsonString(value.string_value(), out);
      return;
    case Value::kBoolValue:
      *out += value.bool_value() ? "true" : "false";
      return;
    case Value::kStructValue:
      AppendJsonStruct(value.struct_value(), out);
      return;
    case Value::kListValue: {
      JsonArray array;
      for (const Value& element : value.list_value().values()) array.AddRaw(JsonValue(element));
      *out += array.Text();
      return;
    }
    default:
      *out += "null";
  }
}

void AppendJsonStruct(const google::protobuf::Struct& object, std::string* out) {
  const std::map<std::string, google::protobuf::Value> sorted(object.fields().begin(), object.fields().end());
  JsonObject json;
  for (const auto& [key, value] : sorted) json.AddRaw(key, JsonValue(value));
  *out += json.Text();
}

std::string JsonString(absl::string_view text) {
  std::string out;
  AppendJsonString(text, &out);
  return out;
}

std::string JsonNumber(double number) {
  std::string out;
  AppendJsonNumber(number, &out);
  return out;
}

std::string JsonValue(const google::protobuf::Value& value) {
  std::string out;
  AppendJsonValue(value, &out);
  return out;
}

JsonObject& JsonObject::AddRaw(absl::string_view key, absl::string_view json) {
  if (text_.size() > 1) text_ += ',';
  AppendJsonString(key, &text_);
  text_ += ':';
  text_.append(json.data(), json.size());
  return *this;
}

JsonArray& JsonArray::AddRaw(absl::string_view json) {
  if (text_.size() > 1) text_ += ',';
  text_.append(json.data(), json.size());
  return *this;
}

}  // namespace naru::cli
