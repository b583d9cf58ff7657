// Evaluation of operators, fields and lists: internal to common/cel.
#pragma once

#include "common/cel/ast.h"
#include "common/cel/program.h"

namespace naru::cel {

Value EvalConstant(const Node& node, const ActivationState& state);
Value EvalAttribute(const Node& node, const ActivationState& state);
Value EvalData(const Node& node, const ActivationState& state);
Value EvalSlot(const Node& node, const ActivationState& state);
Value EvalSelect(const Node& node, const ActivationState& state);
Value EvalIndex(const Node& node, const ActivationState& state);
Value EvalList(const Node& node, const ActivationState& state);
Value EvalHasSlot(const Node& node, const ActivationState& state);
Value EvalHasField(const Node& node, const ActivationState& state);
Value EvalCall(const Node& node, const ActivationState& state);
Value EvalConditional(const Node& node, const ActivationState& state);
Value EvalTypeIs(const Node& node, const ActivationState& state);
Value EvalTypeIn(const Node& node, const ActivationState& state);
Value EvalEqualString(const Node& node, const ActivationState& state);
Value EvalInStrings(const Node& node, const ActivationState& state);
Value EvalInNumbers(const Node& node, const ActivationState& state);

/// The function of a binary or unary operator, or of a chain of && or ||. With `number`, the right operand is a number
/// literal that a double holds exactly (in Node::number): only for comparisons.
EvalFn OperatorFn(Op op, bool number);

/// The sum, difference, ... of two values; errors are given back.
Value Calculate(Op op, const Value& a, const Value& b, Scratch* scratch);

}  // namespace naru::cel
