// The tree that the parser makes of an expression's text.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/cel/value.h"

namespace naru::cel {

enum class AstKind : uint8_t { kLiteral, kString, kName, kSelect, kIndex, kCall, kList, kOperator };

enum class Op : uint8_t {
  kNone,
  kAnd,
  kOr,
  kNot,
  kNegate,
  kConditional,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kModulo,
};

/// Returns `&&`, `+`, ...
absl::string_view OpText(Op op);

/// Where something stands in the text.
struct Position {
  size_t offset = 0;  ///< in bytes
};

/// One node. `children`: operands; arguments of a call (first its target, if `has_target`); elements of a list.
struct Ast {
  AstKind kind = AstKind::kLiteral;
  Op op = Op::kNone;
  bool has_target = false;
  Position position;
  Value literal;     ///< kLiteral: null, bool, int, double
  std::string text;  ///< kString: the text; kName, kSelect (field), kCall (function): the name
  std::vector<std::unique_ptr<Ast>> children;
};

}  // namespace naru::cel
