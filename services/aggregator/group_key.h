// Groups as bytes: the values of a metric's dimensions, one after the other, so encoded that the order of the bytes is
// the order of the values (null, false, true, numbers, strings, timestamps). Equal values of int and double are equal
// bytes. Part of stored keys: the encoding never changes.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/cel/value.h"

namespace naru::aggregator {

/// Longest text that a group value may have, in bytes.
inline constexpr size_t kMaxGroupTextBytes = 1024;

/// The group that takes what is beyond `max_groups`; sorts after all others.
inline constexpr absl::string_view kOtherGroup("\xFE", 1);
/// How its values are shown.
inline constexpr absl::string_view kOtherName = "__other__";

/// Appends one value. Returns false, appending nothing, for what cannot be a group: lists, structs, errors, NaN, texts
/// over kMaxGroupTextBytes.
bool AppendGroupValue(const cel::Value& value, std::string* key);

/// One value of a group, taken out of its key.
struct GroupValue {
  cel::Kind kind = cel::Kind::kNull;  ///< kNull, kBool, kInt, kDouble, kString, kTimestamp, kDuration
  int64_t integer = 0;                ///< kBool, kInt, kTimestamp and kDuration (microseconds)
  double number = 0;                  ///< kDouble
  std::string text;                   ///< kString

  /// As a variable of an expression; borrows `text`.
  cel::Value ToCel() const;
  friend bool operator==(const GroupValue&, const GroupValue&) = default;
};

/// Takes one value off the front of `*key`. Returns false for bytes that are not one.
bool ReadGroupValue(absl::string_view* key, GroupValue* value);

/// Takes `count` values out of a whole key. kOtherGroup gives `count` times kOtherName. False for damaged bytes.
bool DecodeGroup(absl::string_view key, size_t count, std::vector<GroupValue>* values);

/// Splits a key into its values' bytes, without decoding them.
bool SplitGroup(absl::string_view key, size_t count, std::vector<absl::string_view>* parts);

}  // namespace naru::aggregator
