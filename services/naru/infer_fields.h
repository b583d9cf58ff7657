// What the values of a field have in common, for `naru infer`.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "absl/strings/string_view.h"
#include "google/protobuf/struct.pb.h"

namespace naru::catalog::v1 {
class Field;
class Schema;
}  // namespace naru::catalog::v1

namespace naru::cli {

/// Counts of one field's values; null and absent ones are not counted. Not thread-safe.
struct FieldStats {
  static constexpr size_t kMaxDistinct = 64;

  int64_t seen = 0;
  int64_t strings = 0, integers = 0, numbers = 0, booleans = 0, lists = 0, objects = 0;  ///< seen is their sum
  // Of strings; `numeric` are numbers that are not integers.
  int64_t integer_texts = 0, number_texts = 0, boolean_texts = 0, null_texts = 0, empty_texts = 0;
  size_t longest = 0;
  std::set<std::string> distinct;       ///< scalars as text, while they are few
  std::set<std::string> null_words;     ///< of NullWords(), that came
  bool many = false;                    ///< there are more than kMaxDistinct
  std::unordered_set<uint64_t> hashes;  ///< of all texts, where `count_all`
  bool count_all = false;
  double low = 0, high = 0;                 ///< of numbers and of texts that are numbers
  std::vector<bool> layouts;                ///< of TimeLayouts(): fits all strings so far
  std::map<std::string, FieldStats> below;  ///< fields of objects, and of the objects of a list

  void Add(const google::protobuf::Value& value);
  bool IsScalar() const { return seen > 0 && lists == 0 && objects == 0; }
  /// Strings that would be absent if the null-like words were null values.
  int64_t RealTexts() const { return strings - null_texts - empty_texts; }
};

/// Words that files write for "nothing".
const std::vector<std::string>& NullWords();

/// Layouts of times that are tried on strings, best first.
const std::vector<std::string>& TimeLayouts();

/// The layout that fits every value of the field; empty: it holds no times. `hinted`: its name says that it does, which
/// numbers of seconds need.
std::string TimeLayoutOf(const FieldStats& stats, bool hinted);

/// Adds the fields of an object.
void AddObject(const google::protobuf::Struct& object, std::map<std::string, FieldStats>* fields);

/// A schema that takes every value that was counted in `total` objects.
void MakeSchema(const std::map<std::string, FieldStats>& fields, int64_t total, catalog::v1::Schema* schema);

}  // namespace naru::cli
