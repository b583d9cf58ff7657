// Writes JSON as the command line prints it: one line, keys in the order they are added, 64-bit integers as numbers.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace google::protobuf {
class Struct;
class Value;
}  // namespace google::protobuf

namespace naru::cli {

/// Appends a JSON string. Bytes that are not UTF-8 become U+FFFD, so that the output is always JSON.
void AppendJsonString(absl::string_view text, std::string* out);

/// Appends the shortest number that reads back to the same double; NaN and infinities become null.
void AppendJsonNumber(double number, std::string* out);

/// Appends a google.protobuf.Value, object keys sorted.
void AppendJsonValue(const google::protobuf::Value& value, std::string* out);

/// Appends a google.protobuf.Struct, keys sorted.
void AppendJsonStruct(const google::protobuf::Struct& object, std::string* out);

std::string JsonString(absl::string_view text);
std::string JsonNumber(double number);
std::string JsonValue(const google::protobuf::Value& value);

/// Builds one object. `Text()` closes it.
class JsonObject {
 public:
  JsonObject& Add(absl::string_view key, absl::string_view text) { return AddRaw(key, JsonString(text)); }
  JsonObject& Add(absl::string_view key, const char* text) { return AddRaw(key, JsonString(text)); }
  JsonObject& Add(absl::string_view key, const std::string& text) { return AddRaw(key, JsonString(text)); }
  JsonObject& Add(absl::string_view key, int64_t number) { return AddRaw(key, std::to_string(number)); }
  JsonObject& Add(absl::string_view key, int32_t number) { return AddRaw(key, std::to_string(number)); }
  JsonObject& Add(absl::string_view key, double number) { return AddRaw(key, JsonNumber(number)); }
  JsonObject& Add(absl::string_view key, bool value) { return AddRaw(key, value ? "true" : "false"); }
  JsonObject& AddNull(absl::string_view key) { return AddRaw(key, "null"); }
  /// Adds text that is JSON already.
  JsonObject& AddRaw(absl::string_view key, absl::string_view json);
  bool empty() const { return text_.size() == 1; }
  std::string Text() const { return text_ + "}"; }

 private:
  std::string text_ = "{";
};

/// Builds one array.
class JsonArray {
 public:
  JsonArray& AddRaw(absl::string_view json);
  JsonArray& Add(absl::string_view text) { return AddRaw(JsonString(text)); }
  std::string Text() const { return text_ + "]"; }

 private:
  std::string text_ = "[";
};

}  // namespace naru::cli
