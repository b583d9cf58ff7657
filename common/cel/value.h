// A value that an expression takes or gives: 16 bytes, trivially copyable, returned in registers.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "absl/strings/string_view.h"
#include "common/event/event_view.h"

namespace naru::cel {

/// What a value is. Errors are values: an expression that fails gives one.
enum class Kind : uint8_t { kError, kNull, kBool, kInt, kDouble, kString, kTimestamp, kDuration, kList, kStruct };

/// Why an expression failed.
enum class ErrorCode : uint8_t {
  kNone,
  kNoSuchField,      ///< the event has no such field, and its type does not declare it
  kNoSuchOverload,   ///< operator or function does not take these kinds: 1 + "a"
  kDivideByZero,     ///< integer division or modulus by zero
  kOverflow,         ///< an int64, timestamp or duration result is out of range
  kInvalidArgument,  ///< index out of bounds, unknown time zone, ...
  kConversion,       ///< int("abc")
  kTooLarge,         ///< a computed string or list is over its limit
};

/// Returns `no such field`, `no such overload`, ...
absl::string_view ErrorName(ErrorCode code);

/// Returns `int`, `string`, ... as CEL calls it (`map` for kStruct).
absl::string_view KindName(Kind kind);

/// A value. Strings, lists and structs are views: into the event, the program, or the Activation's scratch memory,
/// valid until the Activation loads the next event.
class Value {
 public:
  constexpr Value() : kind_(Kind::kNull), integer_(0) {}
  static Value Null() { return Value(); }
  static Value Bool(bool value) { return Value(Kind::kBool, 0, 0, static_cast<int64_t>(value)); }
  static Value Int(int64_t value) { return Value(Kind::kInt, 0, 0, value); }
  static Value Double(double value) { return Value(Kind::kDouble, 0, value); }
  /// A number of event data: a double that also calculates with ints (data.points * 2).
  static Value Number(double value) { return Value(Kind::kDouble, kNumberFlag, value); }
  static Value String(absl::string_view value) { return Value(Kind::kString, 0, value.size(), value.data()); }
  /// Microseconds since 1970 UTC, years 1 to 9999.
  static Value Timestamp(int64_t micros) { return Value(Kind::kTimestamp, 0, 0, micros); }
  /// Microseconds.
  static Value Duration(int64_t micros) { return Value(Kind::kDuration, 0, 0, micros); }
  /// Elements somewhere else.
  static Value List(const Value* elements, size_t size) { return Value(Kind::kList, 0, size, elements); }
  /// Wire bytes of a google.protobuf.ListValue or Struct.
  static Value WireList(absl::string_view bytes) { return Value(Kind::kList, kWireFlag, bytes.size(), bytes.data()); }
  static Value Struct(absl::string_view bytes) { return Value(Kind::kStruct, kWireFlag, bytes.size(), bytes.data()); }
  /// `detail` names what failed (a field, a function); static or part of the program.
  static Value Error(ErrorCode code, absl::string_view detail = {}) {
    return Value(Kind::kError, static_cast<uint8_t>(code), detail.size(), detail.data());
  }
  /// What a field of an event holds; kAbsent gives kNoSuchField.
  static Value FromEvent(const event::ValueView& view);

  Kind kind() const { return kind_; }
  bool is_error() const { return kind_ == Kind::kError; }
  bool is_null() const { return kind_ == Kind::kNull; }
  bool is_string() const { return kind_ == Kind::kString; }
  /// True only for the bool true: what a filter asks.
  bool IsTrue() const { return kind_ == Kind::kBool && integer_ != 0; }
  bool IsFalse() const { return kind_ == Kind::kBool && integer_ == 0; }
  /// An int or a double.
  bool is_numeric() const { return kind_ == Kind::kInt || kind_ == Kind::kDouble; }

  // Each is only for its kind.
  bool bool_value() const { return integer_ != 0; }
  int64_t int_value() const { return integer_; }
  double double_value() const { return double_; }
  absl::string_view string_value() const { return {chars_, size_}; }
  int64_t timestamp_us() const { return integer_; }
  int64_t duration_us() const { return integer_; }
  ErrorCode error_code() const { return static_cast<ErrorCode>(flags_); }
  absl::string_view error_detail() const { return {chars_, size_}; }
  /// kDouble: it came from event data (see Number).
  bool is_number() const { return kind_ == Kind::kDouble && (flags_ & kNumberFlag) != 0; }
  /// kInt or kDouble as a double (an int beyond 2^53 is rounded).
  double AsDouble() const { return kind_ == Kind::kInt ? static_cast<double>(integer_) : double_; }
  /// kList: its elements are `elements()`, not `wire_bytes()`.
  bool has_elements() const { return kind_ == Kind::kList && (flags_ & kWireFlag) == 0; }
  const Value* elements() const { return elements_; }
  size_t element_count() const { return size_; }
  /// kStruct, and kList from an event.
  absl::string_view wire_bytes() const { return {chars_, size_}; }

  /// For messages and tests: `"a"`, `20`, `1.5`, `null`, `error: no such field: data.x`.
  std::string DebugString() const;

 private:
  static constexpr uint8_t kNumberFlag = 1;
  static constexpr uint8_t kWireFlag = 2;
  Value(Kind kind, uint8_t flags, size_t size, int64_t integer)
      : kind_(kind), flags_(flags), size_(static_cast<uint32_t>(size)), integer_(integer) {}
  Value(Kind kind, uint8_t flags, double value) : kind_(kind), flags_(flags), double_(value) {}
  Value(Kind kind, uint8_t flags, size_t size, const char* chars)
      : kind_(kind), flags_(flags), size_(static_cast<uint32_t>(size)), chars_(chars) {}
  Value(Kind kind, uint8_t flags, size_t size, const Value* elements)
      : kind_(kind), flags_(flags), size_(static_cast<uint32_t>(size)), elements_(elements) {}

  Kind kind_;
  uint8_t flags_ = 0;
  uint32_t size_ = 0;
  union {
    int64_t integer_;
    double double_;
    const char* chars_;
    const Value* elements_;
  };
};
static_assert(sizeof(Value) == 16 && std::is_trivially_copyable_v<Value>);

/// CEL's ==: numbers by their value (an int beside a double as the double next to it), other kinds only equal their
/// own, deep for lists and structs; NaN equals nothing. Neither may be an error.
bool Equals(const Value& a, const Value& b);

/// How two values of comparable kinds stand; kNone: their kinds have no order; kUnordered: a NaN.
enum class Order : uint8_t { kLess, kEqual, kGreater, kUnordered, kNone };
Order Compare(const Value& a, const Value& b);

}  // namespace naru::cel
