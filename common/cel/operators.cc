#include "common/cel/operators.h"

#include <algorithm>
#include <cmath>

#include "common/cel/list_access.h"
#include "common/cel/time_text.h"

namespace naru::cel {
namespace {

Value NoOverload(Op op) { return Value::Error(ErrorCode::kNoSuchOverload, OpText(op)); }

template <Op op>
bool Satisfies(Order order) {
  switch (op) {
    case Op::kLess:
      return order == Order::kLess;
    case Op::kLessEqual:
      return order == Order::kLess || order == Order::kEqual;
    case Op::kGreater:
      return order == Order::kGreater;
    case Op::kGreaterEqual:
      return order == Order::kGreater || order == Order::kEqual;
    default:
      return false;
  }
}

template <Op op>
Value CompareValues(const Value& a, const Value& b) {
  if (a.is_error()) return a;
  if (b.is_error()) return b;
  if constexpr (op == Op::kEqual) return Value::Bool(Equals(a, b));
  if constexpr (op == Op::kNotEqual) return Value::Bool(!Equals(a, b));
  const Order order = Compare(a, b);
  return order == Order::kNone ? NoOverload(op) : Value::Bool(Satisfies<op>(order));
}

template <Op op>
Value EvalCompare(const Node& node, const ActivationState& state) {
  return CompareValues<op>(Run(node.a, state), Run(node.b, state));
}

template <Op op>
bool CompareDoubles(double a, double b) {
  switch (op) {
    case Op::kEqual:
      return a == b;
    case Op::kNotEqual:
      return a != b;
    case Op::kLess:
      return a < b;
    case Op::kLessEqual:
      return a <= b;
    case Op::kGreater:
      return a > b;
    case Op::kGreaterEqual:
      return a >= b;
    default:
      return false;
  }
}

template <Op op>
Value EvalCompareNumber(const Node& node, const ActivationState& state) {
  const Value value = Run(node.a, state);
  if (value.kind() == Kind::kDouble) return Value::Bool(CompareDoubles<op>(value.double_value(), node.number));
  return CompareValues<op>(value, node.constant);
}

/// && and ||: an operand that decides wins over errors, wherever it stands.
template <bool kDeciding>
Value EvalLogic(const Node& node, const ActivationState& state) {
  Value first_error;
  bool failed = false;
  for (const Node* child : node.children) {
    const Value value = Run(child, state);
    if (value.kind() == Kind::kBool) {
      if (value.bool_value() == kDeciding) return value;
    } else if (!failed) {
      failed = true;
      first_error = value.is_error() ? value : NoOverload(kDeciding ? Op::kOr : Op::kAnd);
    }
  }
  return failed ? first_error : Value::Bool(!kDeciding);
}

Value EvalNot(const Node& node, const ActivationState& state) {
  const Value value = Run(node.a, state);
  if (value.kind() == Kind::kBool) return Value::Bool(!value.bool_value());
  return value.is_error() ? value : NoOverload(Op::kNot);
}

Value EvalNegate(const Node& node, const ActivationState& state) {
  const Value value = Run(node.a, state);
  switch (value.kind()) {
    case Kind::kError:
      return value;
    case Kind::kInt:
      return value.int_value() == INT64_MIN ? Value::Error(ErrorCode::kOverflow, "-") : Value::Int(-value.int_value());
    case Kind::kDouble:
      return value.is_number() ? Value::Number(-value.double_value()) : Value::Double(-value.double_value());
    default:
      return NoOverload(Op::kNegate);
  }
}

Value CalculateInts(Op op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case Op::kAdd:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case Op::kSubtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case Op::kMultiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case Op::kDivide:
    case Op::kModulo:
      if (b == 0) return Value::Error(ErrorCode::kDivideByZero, OpText(op));
      // The only quotient that does not fit; its remainder traps as well.
      if (b == -1) return op == Op::kModulo ? Value::Int(0) : CalculateInts(Op::kSubtract, 0, a);
      result = op == Op::kDivide ? a / b : a % b;
      break;
    default:
      return NoOverload(op);
  }
  return overflow ? Value::Error(ErrorCode::kOverflow, OpText(op)) : Value::Int(result);
}

Value CalculateDoubles(Op op, double a, double b, bool number) {
  double result = 0;
  switch (op) {
    case Op::kAdd:
      result = a + b;
      break;
    case Op::kSubtract:
      result = a - b;
      break;
    case Op::kMultiply:
      result = a * b;
      break;
    case Op::kDivide:
      result = a / b;
      break;
    case Op::kModulo:
      // Whole numbers of event data have a remainder as ints have; CEL's doubles have none.
      if (!number || std::trunc(a) != a || std::trunc(b) != b) return NoOverload(op);
      if (b == 0) return Value::Error(ErrorCode::kDivideByZero, OpText(op));
      result = std::fmod(a, b);
      break;
    default:
      return NoOverload(op);
  }
  return number ? Value::Number(result) : Value::Double(result);
}

/// Sums and differences of timestamps and durations.
Value CalculateTimes(Op op, const Value& a, const Value& b) {
  const bool left_time = a.kind() == Kind::kTimestamp;
  const bool right_time = b.kind() == Kind::kTimestamp;
  if (op == Op::kAdd ? left_time && right_time : op != Op::kSubtract || (right_time && !left_time))
    return NoOverload(op);
  const Value micros = CalculateInts(op, a.int_value(), b.int_value());
  if (micros.is_error()) return micros;
  if (left_time != right_time) {
    return IsTimestamp(micros.int_value()) ? Value::Timestamp(micros.int_value())
                                           : Value::Error(ErrorCode::kOverflow, OpText(op));
  }
  return IsDuration(micros.int_value()) ? Value::Duration(micros.int_value())
                                        : Value::Error(ErrorCode::kOverflow, OpText(op));
}

bool IsTime(const Value& value) { return value.kind() == Kind::kTimestamp || value.kind() == Kind::kDuration; }

Value Concatenate(const Value& a, const Value& b, Scratch* scratch) {
  const size_t size = a.string_value().size() + b.string_value().size();
  if (size > kMaxStringBytes) return Value::Error(ErrorCode::kTooLarge, "+");
  auto* out = static_cast<char*>(scratch->Allocate(size));
  if (out == nullptr) return Value::Error(ErrorCode::kTooLarge, "+");
  std::copy(a.string_value().begin(), a.string_value().end(), out);
  std::copy(b.string_value().begin(), b.string_value().end(), out + a.string_value().size());
  return Value::String({out, size});
}

Value ConcatenateLists(const Value& a, const Value& b, Scratch* scratch) {
  const size_t size = SizeOf(a) + SizeOf(b);
  auto* out = static_cast<Value*>(scratch->Allocate(size * sizeof(Value)));
  if (out == nullptr) return Value::Error(ErrorCode::kTooLarge, "+");
  size_t count = 0;
  for (const Value* list : {&a, &b}) {
    ListIterator iterator(*list);
    while (count < size && iterator.Next(&out[count])) ++count;
  }
  return Value::List(out, count);
}

template <Op op>
Value EvalCalculate(const Node& node, const ActivationState& state) {
  return Calculate(op, Run(node.a, state), Run(node.b, state), &state.scratch);
}

Value FindInStruct(const Value& value, absl::string_view key, absl::string_view label) {
  const Value field = Value::FromEvent(event::FindField(value.wire_bytes(), key));
  return field.is_error() ? Value::Error(ErrorCode::kNoSuchField, label) : field;
}

Value EvalIn(const Node& node, const ActivationState& state) {
  const Value value = Run(node.a, state);
  const Value collection = Run(node.b, state);
  if (value.is_error()) return value;
  if (collection.is_error()) return collection;
  if (collection.kind() == Kind::kStruct) {
    if (!value.is_string()) return Value::Bool(false);
    return Value::Bool(event::FindField(collection.wire_bytes(), value.string_value()).kind != event::Kind::kAbsent);
  }
  if (collection.kind() != Kind::kList) return NoOverload(Op::kIn);
  ListIterator iterator(collection);
  Value element;
  while (iterator.Next(&element)) {
    if (!element.is_error() && Equals(value, element)) return Value::Bool(true);
  }
  return Value::Bool(false);
}

}  // namespace

Value Calculate(Op op, const Value& a, const Value& b, Scratch* scratch) {
  if (a.is_error()) return a;
  if (b.is_error()) return b;
  if (a.kind() == Kind::kInt && b.kind() == Kind::kInt) return CalculateInts(op, a.int_value(), b.int_value());
  if (a.is_numeric() && b.is_numeric()) {
    const bool number = a.is_number() || b.is_number();
    if (!number && a.kind() != b.kind()) return NoOverload(op);
    return CalculateDoubles(op, a.AsDouble(), b.AsDouble(), number);
  }
  if (IsTime(a) && IsTime(b)) return CalculateTimes(op, a, b);
  if (op == Op::kAdd && a.is_string() && b.is_string()) return Concatenate(a, b, scratch);
  if (op == Op::kAdd && a.kind() == Kind::kList && b.kind() == Kind::kList) return ConcatenateLists(a, b, scratch);
  return NoOverload(op);
}

Value EvalConstant(const Node& node, const ActivationState&) { return node.constant; }

Value EvalAttribute(const Node& node, const ActivationState& state) { return state.attributes[node.slot]; }

Value EvalData(const Node&, const ActivationState& state) { return Value::Struct(state.data); }

Value EvalSlot(const Node& node, const ActivationState& state) { return state.slots[node.slot]; }

Value EvalSelect(const Node& node, const ActivationState& state) {
  const Value value = Run(node.a, state);
  if (value.kind() == Kind::kStruct) return FindInStruct(value, node.text, node.text);
  return value.is_error() ? value : Value::Error(ErrorCode::kNoSuchOverload, node.text);
}

Value EvalIndex(const Node& node, const ActivationState& state) {
  const Value value = Run(node.a, state);
  const Value index = Run(node.b, state);
  if (value.is_error()) return value;
  if (index.is_error()) return index;
  if (value.kind() == Kind::kStruct && index.is_string()) {
    return FindInStruct(value, index.string_value(), index.string_value());
  }
  if (value.kind() == Kind::kList) {
    if (index.kind() == Kind::kInt) return ElementAt(value, index.int_value());
    if (index.kind() == Kind::kDouble) {
      const double number = index.double_value();
      const bool whole = std::trunc(number) == number && number >= 0 && number < 9007199254740992.0;
      return whole ? ElementAt(value, static_cast<int64_t>(number))
                   : Value::Error(ErrorCode::kInvalidArgument, "index is not a whole number");
    }
  }
  return Value::Error(ErrorCode::kNoSuchOverload, "[]");
}

Value EvalList(const Node& node, const ActivationState& state) {
  auto* elements = static_cast<Value*>(state.scratch.Allocate(node.children.size() * sizeof(Value)));
  if (elements == nullptr) return Value::Error(ErrorCode::kTooLarge, "[]");
  for (size_t i = 0; i < node.children.size(); ++i) {
    elements[i] = Run(node.children[i], state);
    if (elements[i].is_error()) return elements[i];
  }
  return Value::List(elements, node.children.size());
}

Value EvalHasSlot(const Node& node, const ActivationState& state) {
  const Value& value = state.slots[node.slot];
  return Value::Bool(!value.is_error() && !value.is_null());
}

Value EvalHasField(const Node& node, const ActivationState& state) {
  const Value value = Run(node.a, state);
  if (value.kind() == Kind::kStruct) {
    const event::Kind kind = event::FindField(value.wire_bytes(), node.text).kind;
    return Value::Bool(kind != event::Kind::kAbsent && kind != event::Kind::kNull);
  }
  if (value.is_null() || (value.is_error() && value.error_code() == ErrorCode::kNoSuchField)) return Value::Bool(false);
  return value.is_error() ? value : Value::Error(ErrorCode::kNoSuchOverload, "has");
}

Value EvalCall(const Node& node, const ActivationState& state) {
  Value arguments[4];
  const size_t count = node.children.size();
  for (size_t i = 0; i < count; ++i) {
    arguments[i] = Run(node.children[i], state);
    if (arguments[i].is_error()) return arguments[i];
  }
  return node.call(node, arguments, state);
}

Value EvalConditional(const Node& node, const ActivationState& state) {
  const Value condition = Run(node.a, state);
  if (condition.kind() == Kind::kBool) return Run(condition.bool_value() ? node.b : node.c, state);
  return condition.is_error() ? condition : NoOverload(Op::kConditional);
}

Value EvalTypeIs(const Node& node, const ActivationState& state) {
  return Value::Bool((state.type_number == node.slot) == node.constant.bool_value());
}

Value EvalTypeIn(const Node& node, const ActivationState& state) {
  const std::vector<uint64_t>& bits = node.set->type_bits;
  const size_t word = static_cast<size_t>(state.type_number) / 64;
  return Value::Bool(word < bits.size() && (bits[word] >> (state.type_number % 64) & 1) != 0);
}

Value EvalEqualString(const Node& node, const ActivationState& state) {
  const Value value = Run(node.a, state);
  if (value.is_string()) return Value::Bool(value.string_value() == node.text);
  return value.is_error() ? value : Value::Bool(false);
}

Value EvalInStrings(const Node& node, const ActivationState& state) {
  const Value value = Run(node.a, state);
  if (value.is_string()) return Value::Bool(node.set->strings.contains(value.string_value()));
  return value.is_error() ? value : Value::Bool(false);
}

Value EvalInNumbers(const Node& node, const ActivationState& state) {
  const Value value = Run(node.a, state);
  if (value.is_error()) return value;
  if (!value.is_numeric()) return Value::Bool(false);
  return Value::Bool(node.set->numbers.contains(value.AsDouble()));
}

EvalFn OperatorFn(Op op, bool number) {
  switch (op) {
    case Op::kAnd:
      return EvalLogic<false>;
    case Op::kOr:
      return EvalLogic<true>;
    case Op::kNot:
      return EvalNot;
    case Op::kNegate:
      return EvalNegate;
    case Op::kConditional:
      return EvalConditional;
    case Op::kEqual:
      return number ? EvalCompareNumber<Op::kEqual> : EvalCompare<Op::kEqual>;
    case Op::kNotEqual:
      return number ? EvalCompareNumber<Op::kNotEqual> : EvalCompare<Op::kNotEqual>;
    case Op::kLess:
      return number ? EvalCompareNumber<Op::kLess> : EvalCompare<Op::kLess>;
    case Op::kLessEqual:
      return number ? EvalCompareNumber<Op::kLessEqual> : EvalCompare<Op::kLessEqual>;
    case Op::kGreater:
      return number ? EvalCompareNumber<Op::kGreater> : EvalCompare<Op::kGreater>;
    case Op::kGreaterEqual:
      return number ? EvalCompareNumber<Op::kGreaterEqual> : EvalCompare<Op::kGreaterEqual>;
    case Op::kIn:
      return EvalIn;
    case Op::kAdd:
      return EvalCalculate<Op::kAdd>;
    case Op::kSubtract:
      return EvalCalculate<Op::kSubtract>;
    case Op::kMultiply:
      return EvalCalculate<Op::kMultiply>;
    case Op::kDivide:
      return EvalCalculate<Op::kDivide>;
    case Op::kModulo:
      return EvalCalculate<Op::kModulo>;
    case Op::kNone:
      break;
  }
  return EvalConstant;
}

}  // namespace naru::cel
