#include "common/cel/value.h"

#include <charconv>
#include <cmath>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/cel/list_access.h"
#include "common/cel/time_text.h"

namespace naru::cel {
namespace {

/// The fields of a struct by key; of equal keys the last.
absl::flat_hash_map<absl::string_view, event::ValueView> Fields(const Value& value) {
  absl::flat_hash_map<absl::string_view, event::ValueView> fields;
  event::ForEachField(value.wire_bytes(), [&](absl::string_view key, const event::ValueView& field) {
    fields[key] = field;
    return true;
  });
  return fields;
}

bool EqualStructs(const Value& a, const Value& b) {
  if (a.wire_bytes() == b.wire_bytes()) {
    // Equal bytes are equal values unless a NaN hides in them, which events never hold.
    return true;
  }
  const auto left = Fields(a);
  const auto right = Fields(b);
  if (left.size() != right.size()) return false;
  for (const auto& [key, value] : left) {
    const auto other = right.find(key);
    if (other == right.end() || !Equals(Value::FromEvent(value), Value::FromEvent(other->second))) return false;
  }
  return true;
}

bool EqualLists(const Value& a, const Value& b) {
  ListIterator left(a);
  ListIterator right(b);
  Value x;
  Value y;
  while (true) {
    const bool more = left.Next(&x);
    if (more != right.Next(&y)) return false;
    if (!more) return true;
    if (x.is_error() || y.is_error() || !Equals(x, y)) return false;
  }
}

Order OrderOf(int64_t a, int64_t b) { return a < b ? Order::kLess : a > b ? Order::kGreater : Order::kEqual; }

Order OrderOf(double a, double b) {
  if (a < b) return Order::kLess;
  if (a > b) return Order::kGreater;
  return a == b ? Order::kEqual : Order::kUnordered;
}

}  // namespace

absl::string_view ErrorName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNone:
      return "no error";
    case ErrorCode::kNoSuchField:
      return "no such field";
    case ErrorCode::kNoSuchOverload:
      return "no such overload";
    case ErrorCode::kDivideByZero:
      return "divide by zero";
    case ErrorCode::kOverflow:
      return "out of range";
    case ErrorCode::kInvalidArgument:
      return "invalid argument";
    case ErrorCode::kConversion:
      return "cannot be converted";
    case ErrorCode::kTooLarge:
      return "too large";
  }
  return "unknown error";
}

absl::string_view KindName(Kind kind) {
  switch (kind) {
    case Kind::kError:
      return "error";
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kDouble:
      return "double";
    case Kind::kString:
      return "string";
    case Kind::kTimestamp:
      return "timestamp";
    case Kind::kDuration:
      return "duration";
    case Kind::kList:
      return "list";
    case Kind::kStruct:
      return "map";
  }
  return "unknown";
}

Value Value::FromEvent(const event::ValueView& view) {
  switch (view.kind) {
    case event::Kind::kAbsent:
      return Error(ErrorCode::kNoSuchField);
    case event::Kind::kNull:
      return Null();
    case event::Kind::kNumber:
      return Number(view.number);
    case event::Kind::kString:
      return String(view.bytes);
    case event::Kind::kBool:
      return Bool(view.boolean);
    case event::Kind::kStruct:
      return Struct(view.bytes);
    case event::Kind::kList:
      return WireList(view.bytes);
  }
  return Null();
}

bool Equals(const Value& a, const Value& b) {
  if (a.is_numeric() && b.is_numeric()) return Compare(a, b) == Order::kEqual;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kNull:
      return true;
    case Kind::kBool:
      return a.bool_value() == b.bool_value();
    case Kind::kString:
      return a.string_value() == b.string_value();
    case Kind::kTimestamp:
    case Kind::kDuration:
      return a.int_value() == b.int_value();
    case Kind::kList:
      return EqualLists(a, b);
    case Kind::kStruct:
      return EqualStructs(a, b);
    default:
      return false;
  }
}

Order Compare(const Value& a, const Value& b) {
  if (a.kind() == Kind::kInt && b.kind() == Kind::kInt) return OrderOf(a.int_value(), b.int_value());
  // As the reference does: an int beside a double is compared as the double next to it.
  if (a.is_numeric() && b.is_numeric()) return OrderOf(a.AsDouble(), b.AsDouble());
  if (a.kind() != b.kind()) return Order::kNone;
  switch (a.kind()) {
    case Kind::kBool:
    case Kind::kTimestamp:
    case Kind::kDuration:
      return OrderOf(a.int_value(), b.int_value());
    case Kind::kString: {
      const int order = a.string_value().compare(b.string_value());
      return order < 0 ? Order::kLess : order > 0 ? Order::kGreater : Order::kEqual;
    }
    default:
      return Order::kNone;
  }
}

size_t SizeOf(const Value& collection) {
  if (collection.has_elements()) return collection.element_count();
  if (collection.kind() == Kind::kStruct) return Fields(collection).size();
  size_t size = 0;
  event::ForEachElement(collection.wire_bytes(), [&](const event::ValueView&) {
    ++size;
    return true;
  });
  return size;
}

Value ElementAt(const Value& list, int64_t index) {
  if (index >= 0 && list.has_elements()) {
    if (static_cast<size_t>(index) < list.element_count()) return list.elements()[index];
  } else if (index >= 0) {
    ListIterator iterator(list);
    Value value;
    for (int64_t i = 0; iterator.Next(&value); ++i) {
      if (i == index) return value;
    }
  }
  return Value::Error(ErrorCode::kInvalidArgument, "index out of bounds");
}

std::string Value::DebugString() const {
  switch (kind_) {
    case Kind::kError:
      return absl::StrCat("error: ", ErrorName(error_code()), error_detail().empty() ? "" : ": ", error_detail());
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return bool_value() ? "true" : "false";
    case Kind::kInt:
      return absl::StrCat(int_value());
    case Kind::kDouble:
      return DoubleText(double_value());
    case Kind::kString:
      return absl::StrCat("\"", absl::Utf8SafeCEscape(string_value()), "\"");
    case Kind::kTimestamp:
      return TimestampText(timestamp_us());
    case Kind::kDuration:
      return DurationText(duration_us());
    case Kind::kList: {
      std::string out = "[";
      ListIterator iterator(*this);
      Value element;
      while (iterator.Next(&element)) absl::StrAppend(&out, out.size() > 1 ? ", " : "", element.DebugString());
      return out + "]";
    }
    case Kind::kStruct: {
      std::string out = "{";
      event::ForEachField(wire_bytes(), [&](absl::string_view key, const event::ValueView& field) {
        absl::StrAppend(&out, out.size() > 1 ? ", " : "", "\"", absl::Utf8SafeCEscape(key),
                        "\": ", FromEvent(field).DebugString());
        return true;
      });
      return out + "}";
    }
  }
  return "";
}

}  // namespace naru::cel
