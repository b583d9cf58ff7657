#include "common/event/schema.h"

#include <re2/re2.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/clock/rfc3339.h"
#include "common/event/event_proto.h"
#include "common/event/event_writer.h"
#include "common/event/short_copy.h"
#include "common/event/utf8.h"
#include "common/status/status.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::event {
namespace {

constexpr int kMaxLevels = 8;
constexpr size_t kShownValueBytes = 64;
constexpr size_t kShownEnumValues = 12;
constexpr double kMaxExactInteger = 9007199254740992.0;  // 2^53

enum class FieldKind : uint8_t { kAny, kString, kInteger, kNumber, kBoolean, kTimestamp, kArray, kObject };
enum class UnknownPolicy : uint8_t { kKeep, kDrop, kReject };
/// kUnsure: a key came twice, so that only the careful check can tell.
enum class Verdict : uint8_t { kYes, kNo, kUnsure };

size_t CountCharacters(absl::string_view text) {
  size_t n = 0;
  for (char c : text) n += (static_cast<uint8_t>(c) & 0xc0) != 0x80;
  return n;
}

std::string NumberText(double number) { return ValueToText(ValueView{.kind = Kind::kNumber, .number = number}); }

// ", from 1 to 5 characters" and the like; empty when there is no limit.
std::string RangeText(absl::string_view from, absl::string_view to, absl::string_view unit) {
  if (!from.empty() && !to.empty()) return absl::StrCat(" from ", from, " to ", to, unit);
  if (!from.empty()) return absl::StrCat(" of at least ", from, unit);
  if (!to.empty()) return absl::StrCat(" of at most ", to, unit);
  return "";
}

}  // namespace

struct TypeSchema::Object {
  struct Check {
    std::string name;
    FieldKind kind = FieldKind::kAny;
    bool personal = false;
    bool scalar_limits = false;  ///< any of the limits below
    bool required = false;
    double minimum = -HUGE_VAL, maximum = HUGE_VAL;
    size_t min_length = 0, max_length = SIZE_MAX, max_items = SIZE_MAX;
    std::unique_ptr<RE2> pattern;
    bool has_enum = false;
    absl::flat_hash_set<std::string> strings;
    absl::flat_hash_set<double> numbers;
    bool allows_true = false, allows_false = false;
    std::unique_ptr<Check> items;
    std::unique_ptr<Object> object;
    std::string expected_kind, expected_range, expected_enum;

    Verdict Accepts(const ValueView& value, bool* drops) const;
    bool KindFits(const ValueView& value) const;
    SchemaError ScalarError(const ValueView& value) const;
    bool Diagnose(const ValueView& value, const std::string& path, SchemaProblem* problem, bool* drops) const;
    void Fail(SchemaError error, const ValueView& value, const std::string& path, SchemaProblem* problem) const;
    bool Rewrite(const ValueView& value, std::string* bytes) const;
  };

  std::vector<Check> fields;  ///< by name
  absl::flat_hash_map<std::string, int> index;
  mutable std::unique_ptr<std::atomic<uint32_t>[]> successors;
  std::vector<int> required;  ///< in the order of the resource
  UnknownPolicy unknown = UnknownPolicy::kKeep;

  int Find(absl::string_view name, size_t guess) const {
    if (guess < fields.size() && SameText(fields[guess].name, name)) return static_cast<int>(guess);
    const auto it = index.find(name);
    return it == index.end() ? -1 : it->second;
  }
  /// Which field came after field `at` last time (-1: at the beginning): senders keep an order of their own and leave
  /// the same fields out. Only a guess, so threads may overwrite each other's.
  std::atomic<uint32_t>& Successor(int at) const { return successors[at + 1]; }
  Verdict Accepts(absl::string_view bytes, bool* drops) const;
  bool Diagnose(absl::string_view bytes, const std::string& path, SchemaProblem* problem, bool* drops) const;
  void Rewrite(absl::string_view bytes, std::string* out) const;
};

// --- The fast way: one walk, no text made ------------------------------------------------------------------------

bool TypeSchema::Object::Check::KindFits(const ValueView& value) const {
  switch (kind) {
    case FieldKind::kAny:
      return true;
    case FieldKind::kString:
      return value.kind == Kind::kString;
    case FieldKind::kNumber:
      return value.kind == Kind::kNumber;
    case FieldKind::kInteger:
      return value.kind == Kind::kNumber && std::fabs(value.number) <= kMaxExactInteger &&
             value.number == std::floor(value.number);
    case FieldKind::kBoolean:
      return value.kind == Kind::kBool;
    case FieldKind::kTimestamp:
      return value.kind == Kind::kString && ParseRfc3339(value.bytes).ok();
    case FieldKind::kArray:
      return value.kind == Kind::kList;
    case FieldKind::kObject:
      return value.kind == Kind::kStruct;
  }
  return false;
}

SchemaError TypeSchema::Object::Check::ScalarError(const ValueView& value) const {
  if (has_enum) {
    const bool allowed = value.kind == Kind::kString   ? strings.contains(value.bytes)
                         : value.kind == Kind::kNumber ? numbers.contains(value.number)
                         : value.kind == Kind::kBool   ? (value.boolean ? allows_true : allows_false)
                                                       : false;
    if (!allowed) return SchemaError::kEnum;
  }
  if (value.kind == Kind::kNumber && !(value.number >= minimum && value.number <= maximum)) return SchemaError::kRange;
  if (value.kind == Kind::kString) {
    // Characters are at most bytes and at least a quarter of them: only what is between has to be counted.
    const size_t n = value.bytes.size();
    if (n > max_length || n < min_length * 4) {
      const size_t characters = CountCharacters(value.bytes);
      if (characters > max_length || characters < min_length) return SchemaError::kRange;
    }
    if (pattern != nullptr && !RE2::PartialMatch(re2::StringPiece(value.bytes.data(), value.bytes.size()), *pattern)) {
      return SchemaError::kRange;
    }
  }
  return SchemaError::kOk;
}

Verdict TypeSchema::Object::Check::Accepts(const ValueView& value, bool* drops) const {
  if (!KindFits(value)) return Verdict::kNo;
  if (scalar_limits && ScalarError(value) != SchemaError::kOk) return Verdict::kNo;
  if (value.kind == Kind::kStruct && object != nullptr) return object->Accepts(value.bytes, drops);
  if (value.kind == Kind::kList && (items != nullptr || max_items != SIZE_MAX)) {
    ListCursor cursor(value.bytes);
    ValueView element;
    size_t n = 0;
    while (cursor.Next(&element)) {
      if (++n > max_items) return Verdict::kNo;
      if (items == nullptr || element.kind == Kind::kNull) continue;
      const Verdict verdict = items->Accepts(element, drops);
      if (verdict != Verdict::kYes) return verdict;
    }
  }
  return Verdict::kYes;
}

Verdict TypeSchema::Object::Accepts(absl::string_view bytes, bool* drops) const {
  absl::InlinedVector<uint64_t, 4> seen((fields.size() + 63) / 64, 0);
  int before = -1;
  size_t required_present = 0;
  StructCursor cursor(bytes);
  absl::string_view key;
  ValueView value;
  while (cursor.Next(&key, &value)) {
    const uint32_t guess = Successor(before).load(std::memory_order_relaxed);
    const int at = Find(key, guess);
    if (at < 0) {
      if (unknown == UnknownPolicy::kReject && value.kind != Kind::kNull) return Verdict::kNo;
      if (unknown == UnknownPolicy::kDrop) *drops = true;
      continue;
    }
    if (guess != static_cast<uint32_t>(at))
      Successor(before).store(static_cast<uint32_t>(at), std::memory_order_relaxed);
    before = at;
    const uint64_t bit = uint64_t{1} << (at & 63);
    if (seen[at >> 6] & bit) return Verdict::kUnsure;
    seen[at >> 6] |= bit;
    if (value.kind == Kind::kNull) continue;
    required_present += fields[at].required;
    const Verdict verdict = fields[at].Accepts(value, drops);
    if (verdict != Verdict::kYes) return verdict;
  }
  return required_present == required.size() ? Verdict::kYes : Verdict::kNo;
}

// --- The careful way: keys given twice, and saying what is wrong --------------------------------------------------

void TypeSchema::Object::Check::Fail(SchemaError error, const ValueView& value, const std::string& path,
                                     SchemaProblem* problem) const {
  if (problem == nullptr) return;
  problem->error = error;
  problem->field = path;
  problem->value = personal ? "" : std::string(CutUtf8(ValueToText(value), kShownValueBytes));
  problem->expected = error == SchemaError::kKind   ? expected_kind
                      : error == SchemaError::kEnum ? expected_enum
                                                    : expected_range;
}

bool TypeSchema::Object::Check::Diagnose(const ValueView& value, const std::string& path, SchemaProblem* problem,
                                         bool* drops) const {
  SchemaError error = KindFits(value) ? SchemaError::kOk : SchemaError::kKind;
  if (error == SchemaError::kOk) error = ScalarError(value);
  if (error != SchemaError::kOk) {
    Fail(error, value, path, problem);
    return false;
  }
  if (value.kind == Kind::kStruct && object != nullptr) return object->Diagnose(value.bytes, path, problem, drops);
  if (value.kind != Kind::kList) return true;
  ListCursor cursor(value.bytes);
  ValueView element;
  for (size_t i = 0; cursor.Next(&element); ++i) {
    if (i >= max_items) {
      Fail(SchemaError::kRange, value, path, problem);
      return false;
    }
    if (items == nullptr || element.kind == Kind::kNull) continue;
    if (!items->Diagnose(element, absl::StrCat(path, "[", i, "]"), problem, drops)) return false;
  }
  return true;
}

bool TypeSchema::Object::Diagnose(absl::string_view bytes, const std::string& path, SchemaProblem* problem,
                                  bool* drops) const {
  absl::flat_hash_map<absl::string_view, size_t> position;
  std::vector<std::pair<absl::string_view, ValueView>> last;
  ForEachField(bytes, [&](absl::string_view key, const ValueView& value) {
    const auto [it, inserted] = position.try_emplace(key, last.size());
    if (inserted) {
      last.emplace_back(key, value);
    } else {
      last[it->second].second = value;
    }
    return true;
  });
  for (int at : required) {
    const auto it = position.find(fields[at].name);
    if (it != position.end() && last[it->second].second.kind != Kind::kNull) continue;
    if (problem != nullptr) {
      *problem = {SchemaError::kRequired, absl::StrCat(path, ".", fields[at].name), "", fields[at].expected_range};
    }
    return false;
  }
  for (const auto& [key, value] : last) {
    const int at = Find(key, SIZE_MAX);
    if (at < 0) {
      if (unknown == UnknownPolicy::kDrop) *drops = true;
      if (unknown != UnknownPolicy::kReject || value.kind == Kind::kNull) continue;
      if (problem != nullptr) {
        // The value of a field that nobody described may say anything about a person, so it is not shown.
        *problem = {SchemaError::kUnknown, absl::StrCat(path, ".", CutUtf8(key, kShownValueBytes)), "",
                    "a field that the type names"};
      }
      return false;
    }
    if (value.kind == Kind::kNull) continue;
    if (!fields[at].Diagnose(value, absl::StrCat(path, ".", key), problem, drops)) return false;
  }
  return true;
}

// --- Leaving out what is not named -------------------------------------------------------------------------------

// Writes the rewritten content of a struct or list to `*bytes`; false when the value stays as it is.
bool TypeSchema::Object::Check::Rewrite(const ValueView& value, std::string* bytes) const {
  if (value.kind == Kind::kStruct && object != nullptr) {
    object->Rewrite(value.bytes, bytes);
    return true;
  }
  if (value.kind != Kind::kList || items == nullptr) return false;
  ListWriter writer(bytes);
  ForEachElement(value.bytes, [&](const ValueView& element) {
    std::string nested;
    ValueView copy = element;
    if (items->Rewrite(element, &nested)) copy.bytes = nested;
    writer.AddValue(copy);
    return true;
  });
  return true;
}

void TypeSchema::Object::Rewrite(absl::string_view bytes, std::string* out) const {
  StructWriter writer(out);
  ForEachField(bytes, [&](absl::string_view key, const ValueView& value) {
    const int at = Find(key, SIZE_MAX);
    if (at < 0) {
      if (unknown != UnknownPolicy::kDrop) writer.AddValue(key, value);
      return true;
    }
    std::string nested;
    ValueView copy = value;
    if (fields[at].Rewrite(value, &nested)) copy.bytes = nested;
    writer.AddValue(key, copy);
    return true;
  });
}

// --- Compiling ---------------------------------------------------------------------------------------------------

namespace {

std::optional<FieldKind> KindOf(const std::string& word) {
  if (word.empty()) return FieldKind::kAny;
  if (word == "string") return FieldKind::kString;
  if (word == "integer") return FieldKind::kInteger;
  if (word == "number") return FieldKind::kNumber;
  if (word == "boolean") return FieldKind::kBoolean;
  if (word == "timestamp") return FieldKind::kTimestamp;
  if (word == "array") return FieldKind::kArray;
  if (word == "object") return FieldKind::kObject;
  return std::nullopt;
}

const char* KindText(FieldKind kind) {
  switch (kind) {
    case FieldKind::kAny:
      return "a value";
    case FieldKind::kString:
      return "a string";
    case FieldKind::kInteger:
      return "an integer";
    case FieldKind::kNumber:
      return "a number";
    case FieldKind::kBoolean:
      return "true or false";
    case FieldKind::kTimestamp:
      return "an RFC 3339 time";
    case FieldKind::kArray:
      return "a list";
    case FieldKind::kObject:
      return "an object";
  }
  return "";
}

// Builds the checks and collects every mistake on the way.
class Compiler {
 public:
  explicit Compiler(UnknownPolicy unknown) : unknown_(unknown) {}

  template <typename ObjectT, typename Properties, typename Required>
  std::unique_ptr<ObjectT> CompileObject(const Properties& properties, const Required& required,
                                         const std::string& path, int level, bool personal) {
    auto object = std::make_unique<ObjectT>();
    object->unknown = unknown_;
    if (level > kMaxLevels) {
      Problem(path, absl::StrCat("nested deeper than ", kMaxLevels, " levels"));
      object->successors = std::make_unique<std::atomic<uint32_t>[]>(1);
      return object;
    }
    std::vector<std::string> names;
    for (const auto& [name, field] : properties) names.push_back(name);
    for (const std::string& name : required) {
      if (properties.find(name) == properties.end()) names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    object->fields.resize(names.size());
    object->successors = std::make_unique<std::atomic<uint32_t>[]>(names.size() + 1);
    for (size_t i = 0; i <= names.size(); ++i) object->successors[i] = static_cast<uint32_t>(i);
    const catalog::v1::Field any;
    for (size_t i = 0; i < names.size(); ++i) {
      const auto it = properties.find(names[i]);
      CompileField<ObjectT>(it == properties.end() ? any : it->second, absl::StrCat(path, ".properties.", names[i]),
                            level, personal, &object->fields[i]);
      object->fields[i].name = names[i];
      object->index.emplace(names[i], i);
    }
    for (const std::string& name : required) {
      auto& field = object->fields[object->index.at(name)];
      if (field.required) continue;  // named twice
      field.required = true;
      object->required.push_back(object->index.at(name));
    }
    return object;
  }

  std::vector<FieldViolation> violations;

 private:
  template <typename ObjectT>
  void CompileField(const catalog::v1::Field& field, const std::string& path, int level, bool personal,
                    typename ObjectT::Check* check) {
    const std::optional<FieldKind> kind = KindOf(field.type());
    if (!kind.has_value()) {
      Problem(path + ".type", absl::StrCat("unknown type `", field.type(),
                                           "`; one of string, integer, number, boolean, timestamp, array, object"));
      return;
    }
    check->kind = *kind;
    check->personal = personal || field.x_personal();  // what is inside something personal is personal
    CompileLimits(field, path, check);
    CompileEnum(field, path, check);
    check->scalar_limits = check->has_enum || check->pattern != nullptr || field.has_minimum() || field.has_maximum() ||
                           field.has_min_length() || field.has_max_length();
    Describe(field, check);
    if (field.has_items()) {
      if (*kind != FieldKind::kArray) Problem(path + ".items", "only a field of type array has items");
      if (level >= kMaxLevels)
        return Problem(path + ".items", absl::StrCat("nested deeper than ", kMaxLevels, " levels"));
      check->items = std::make_unique<typename ObjectT::Check>();
      CompileField<ObjectT>(field.items(), path + ".items", level + 1, check->personal, check->items.get());
    }
    if (field.properties_size() > 0 || field.required_size() > 0) {
      if (*kind != FieldKind::kObject) Problem(path + ".properties", "only a field of type object has properties");
      check->object = CompileObject<ObjectT>(field.properties(), field.required(), path, level + 1, check->personal);
    }
  }

  template <typename CheckT>
  void CompileLimits(const catalog::v1::Field& field, const std::string& path, CheckT* check) {
    const FieldKind kind = check->kind;
    const bool number = kind == FieldKind::kNumber || kind == FieldKind::kInteger || kind == FieldKind::kAny;
    const bool text = kind == FieldKind::kString || kind == FieldKind::kTimestamp || kind == FieldKind::kAny;
    if ((field.has_minimum() || field.has_maximum()) && !number) {
      Problem(path + ".minimum", "minimum and maximum are for numbers");
    }
    if ((field.has_min_length() || field.has_max_length() || !field.pattern().empty()) && !text) {
      Problem(path + ".pattern", "minLength, maxLength and pattern are for strings");
    }
    if (field.has_minimum()) check->minimum = field.minimum();
    if (field.has_maximum()) check->maximum = field.maximum();
    if (!(check->minimum <= check->maximum)) Problem(path + ".minimum", "minimum is above maximum");
    if (field.has_min_length()) check->min_length = std::max(0, field.min_length());
    if (field.has_max_length()) check->max_length = std::max(0, field.max_length());
    if (check->min_length > check->max_length || field.min_length() < 0 || field.max_length() < 0) {
      Problem(path + ".minLength", "minLength is above maxLength, or one of them is negative");
    }
    if (field.has_max_items()) {
      if (kind != FieldKind::kArray) Problem(path + ".maxItems", "maxItems is for arrays");
      if (field.max_items() < 0) Problem(path + ".maxItems", "maxItems is negative");
      check->max_items = std::max(0, field.max_items());
    }
    if (!field.pattern().empty()) {
      RE2::Options options;
      options.set_log_errors(false);
      options.set_max_mem(1 << 20);
      check->pattern = std::make_unique<RE2>(field.pattern(), options);
      if (!check->pattern->ok()) {
        Problem(path + ".pattern", absl::StrCat("not an RE2 regular expression: ", check->pattern->error()));
        check->pattern.reset();
      }
    }
  }

  template <typename CheckT>
  void CompileEnum(const catalog::v1::Field& field, const std::string& path, CheckT* check) {
    const FieldKind kind = check->kind;
    for (const google::protobuf::Value& value : field.enum_()) {
      check->has_enum = true;
      using V = google::protobuf::Value;
      bool fits = false;
      switch (value.kind_case()) {
        case V::kStringValue:
          fits = kind == FieldKind::kAny || kind == FieldKind::kString || kind == FieldKind::kTimestamp;
          check->strings.insert(value.string_value());
          break;
        case V::kNumberValue:
          fits = kind == FieldKind::kAny || kind == FieldKind::kNumber || kind == FieldKind::kInteger;
          check->numbers.insert(value.number_value());
          break;
        case V::kBoolValue:
          fits = kind == FieldKind::kAny || kind == FieldKind::kBoolean;
          (value.bool_value() ? check->allows_true : check->allows_false) = true;
          break;
        case V::kNullValue:
          fits = true;
          break;  // null counts as absent: allowed anyway
        default:
          break;
      }
      if (!fits) Problem(path + ".enum", absl::StrCat("a value of the enumeration is not ", KindText(kind)));
    }
  }

  template <typename CheckT>
  static void Describe(const catalog::v1::Field& field, CheckT* check) {
    check->expected_kind = KindText(check->kind);
    if (check->kind == FieldKind::kInteger) check->expected_kind = "an integer between -2^53 and 2^53";
    check->expected_range =
        absl::StrCat(KindText(check->kind),
                     RangeText(field.has_minimum() ? NumberText(field.minimum()) : "",
                               field.has_maximum() ? NumberText(field.maximum()) : "", ""),
                     RangeText(field.has_min_length() ? absl::StrCat(field.min_length()) : "",
                               field.has_max_length() ? absl::StrCat(field.max_length()) : "", " characters"),
                     RangeText("", field.has_max_items() ? absl::StrCat(field.max_items()) : "", " elements"),
                     field.pattern().empty() ? "" : absl::StrCat(" matching ", field.pattern()));
    if (field.has_minimum() || field.has_maximum()) check->expected_kind = check->expected_range;
    std::vector<std::string> shown;
    for (const google::protobuf::Value& value : field.enum_()) {
      if (shown.size() == kShownEnumValues) {
        shown.push_back("...");
        break;
      }
      using V = google::protobuf::Value;
      if (value.kind_case() == V::kStringValue) shown.push_back(value.string_value());
      if (value.kind_case() == V::kNumberValue) shown.push_back(NumberText(value.number_value()));
      if (value.kind_case() == V::kBoolValue) shown.push_back(value.bool_value() ? "true" : "false");
    }
    check->expected_enum = absl::StrCat("one of ", absl::StrJoin(shown, ", "));
  }

  void Problem(std::string field, std::string description) {
    violations.push_back(FieldViolation{std::move(field), std::move(description)});
  }

  const UnknownPolicy unknown_;
};

}  // namespace

TypeSchema::TypeSchema() = default;
TypeSchema::TypeSchema(TypeSchema&&) noexcept = default;
TypeSchema& TypeSchema::operator=(TypeSchema&&) noexcept = default;
TypeSchema::~TypeSchema() = default;

absl::StatusOr<TypeSchema> TypeSchema::Compile(const catalog::v1::EventType& type) {
  UnknownPolicy unknown = UnknownPolicy::kKeep;
  if (type.unknown_fields() == "drop") unknown = UnknownPolicy::kDrop;
  if (type.unknown_fields() == "reject") unknown = UnknownPolicy::kReject;
  Compiler compiler(unknown);
  if (unknown == UnknownPolicy::kKeep && !type.unknown_fields().empty() && type.unknown_fields() != "keep") {
    compiler.violations.push_back(
        {"spec.unknown_fields", absl::StrCat("`", type.unknown_fields(), "` is not keep, drop or reject")});
  }
  TypeSchema schema;
  schema.root_ =
      compiler.CompileObject<Object>(type.schema().properties(), type.schema().required(), "spec.schema", 1, false);
  if (!compiler.violations.empty()) {
    ErrorDetails details;
    details.reason = "INVALID_SCHEMA";
    details.violations = compiler.violations;
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(details.violations[0].field, ": ", details.violations[0].description), details);
  }
  return schema;
}

bool TypeSchema::Check(absl::string_view data, SchemaProblem* problem, bool* drops) const {
  bool dropped = false;
  const Verdict verdict = root_->Accepts(data, &dropped);
  bool accepted = verdict == Verdict::kYes;
  // Also a plain no is looked at again: a later value for the same key may mend it.
  if (!accepted) {
    dropped = false;
    accepted = root_->Diagnose(data, "data", problem, &dropped);
  }
  if (drops != nullptr) *drops = dropped;
  return accepted;
}

void TypeSchema::DropUnknown(absl::string_view data, std::string* out) const { root_->Rewrite(data, out); }

}  // namespace naru::event
