#include "common/cel/compiler.h"

#include <re2/re2.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/cel/functions.h"
#include "common/cel/list_access.h"
#include "common/cel/operators.h"
#include "common/cel/parser.h"
#include "common/cel/selected_types.h"
#include "common/cel/suggest.h"
#include "common/cel/time_text.h"

namespace naru::cel {
namespace {

constexpr absl::string_view kAttributeNames[] = {"id", "source", "type", "subject", "session", "time", "received_time"};
static_assert(std::size(kAttributeNames) == kAttributeCount);

constexpr double kExactInt = 9007199254740992.0;

StaticType TypeOfValue(const Value& value) {
  switch (value.kind()) {
    case Kind::kNull:
      return StaticType::kNull;
    case Kind::kBool:
      return StaticType::kBool;
    case Kind::kInt:
      return StaticType::kInt;
    case Kind::kDouble:
      return StaticType::kDouble;
    case Kind::kString:
      return StaticType::kString;
    case Kind::kTimestamp:
      return StaticType::kTimestamp;
    case Kind::kDuration:
      return StaticType::kDuration;
    case Kind::kList:
      return StaticType::kList;
    case Kind::kStruct:
      return StaticType::kStruct;
    case Kind::kError:
      break;
  }
  return StaticType::kDynamic;
}

bool IsNumeric(StaticType type) {
  return type == StaticType::kInt || type == StaticType::kDouble || type == StaticType::kNumber;
}

/// Type of `a op b`; false when these types have no such operation.
bool ArithmeticType(Op op, StaticType a, StaticType b, StaticType* result) {
  using enum StaticType;
  *result = kDynamic;
  if (a == kDynamic || b == kDynamic) return a != kNull && b != kNull && a != kBool && b != kBool;
  if (IsNumeric(a) && IsNumeric(b)) {
    const bool number = a == kNumber || b == kNumber;
    *result = number ? kNumber : a;
    return number || (a == b && !(op == Op::kModulo && a == kDouble));
  }
  if (op == Op::kAdd && a == b && (a == kString || a == kList)) {
    *result = a;
    return true;
  }
  const bool time_a = a == kTimestamp;
  const bool time_b = b == kTimestamp;
  if ((!time_a && a != kDuration) || (!time_b && b != kDuration)) return false;
  *result = time_a != time_b ? kTimestamp : kDuration;
  return op == Op::kAdd ? !(time_a && time_b) : op == Op::kSubtract && (time_a || !time_b);
}

bool Comparable(StaticType a, StaticType b, bool order) {
  using enum StaticType;
  if (order && (a == kNull || b == kNull || a == kList || b == kList || a == kStruct || b == kStruct)) return false;
  if (a == kDynamic || b == kDynamic || a == kNull || b == kNull) return true;
  return a == b || (IsNumeric(a) && IsNumeric(b));
}

/// A literal number that comparisons with doubles may use as a double.
bool IsExactNumber(const Value& value) {
  return value.is_numeric() && !std::isnan(value.AsDouble()) &&
         (value.kind() == Kind::kDouble || std::abs(value.AsDouble()) <= kExactInt);
}

class Compiler {
 public:
  Compiler(const CompileOptions& options, EnvironmentData* environment, ProgramData* program, CompileProblem* problem)
      : options_(options), environment_(environment), program_(program), problem_(problem), types_(options.types) {}

  Node* Compile(const Ast& ast) {
    switch (ast.kind) {
      case AstKind::kLiteral:
        return Constant(ast.literal, TypeOfValue(ast.literal));
      case AstKind::kString:
        return Constant(Value::String(Keep(ast.text)), StaticType::kString);
      case AstKind::kName:
        return Name(ast);
      case AstKind::kSelect:
        return Select(ast, true);
      case AstKind::kIndex:
        return Index(ast, true);
      case AstKind::kCall:
        return ast.text == "has" && !ast.has_target ? Has(ast) : Call(ast);
      case AstKind::kList:
        return List(ast);
      case AstKind::kOperator:
        return Operator(ast);
    }
    return nullptr;
  }

  Node* Fail(const Ast& ast, std::string message) {
    Locate(program_->source, ast.position.offset, problem_);
    problem_->message = std::move(message);
    return nullptr;
  }

 private:
  absl::string_view Keep(absl::string_view text) { return program_->strings.emplace_back(text); }

  Node* Make(EvalFn fn, StaticType type) {
    Node& node = program_->nodes.emplace_back();
    node.fn = fn;
    node.type = type;
    return &node;
  }

  Node* Constant(const Value& value, StaticType type) {
    Node* node = Make(EvalConstant, type);
    node->constant = value;
    node->is_constant = true;
    return node;
  }

  /// Computes a node whose operands are all constant. One that fails stays: || may still absorb its error.
  Node* Fold(Node* node) {
    const Value value = Run(node, program_->folding);
    if (value.is_error()) return node;
    return Constant(value, node->type);
  }

  Node* Name(const Ast& ast) {
    if (environment_->kind != EnvironmentData::Kind::kEvents) return Variable(ast);
    for (int i = 0; i < kAttributeCount; ++i) {
      if (ast.text != kAttributeNames[i]) continue;
      const bool optional = i == kSubject || i == kSession;
      const StaticType type = i >= kTime ? StaticType::kTimestamp
                              : optional ? StaticType::kDynamic
                                         : StaticType::kString;
      Node* node = Make(EvalAttribute, type);
      node->slot = i;
      return node;
    }
    if (ast.text == "data") return Make(EvalData, StaticType::kStruct);
    std::vector<std::string> names(std::begin(kAttributeNames), std::end(kAttributeNames));
    names.push_back("data");
    if (environment_->slot_by_name.contains(ast.text) ||
        DataType({ast.text}, nullptr).value_or(StaticType::kDynamic) != StaticType::kDynamic) {
      return Fail(ast, absl::StrCat("`", ast.text, "` is a field of data: write data.", ast.text));
    }
    const std::string near = Nearest(ast.text, names);
    return Fail(ast, near.empty() ? absl::StrCat("`", ast.text, "` is not known; an event has ",
                                                 absl::StrJoin(names, ", "), "; its fields are data.", ast.text, " ...")
                                  : absl::StrCat("`", ast.text, "` is not known; did you mean `", near, "`?"));
  }

  Node* Variable(const Ast& ast) {
    const bool any = environment_->kind == EnvironmentData::Kind::kAnyVariables;
    if (!any && !environment_->slot_by_name.contains(ast.text)) {
      const std::string near = Nearest(ast.text, environment_->names);
      return Fail(ast, absl::StrCat("`", ast.text, "` is not known; ",
                                    near.empty() ? absl::StrCat("there are ", absl::StrJoin(environment_->names, ", "))
                                                 : absl::StrCat("did you mean `", near, "`?")));
    }
    Node* node = Make(EvalSlot, StaticType::kDynamic);
    node->slot = environment_->SlotOf(ast.text);
    return node;
  }

  /// The path below `data` that a chain of selections names; empty: it is something else.
  std::vector<std::string> PathOf(const Ast& ast) const {
    if (environment_->kind != EnvironmentData::Kind::kEvents) return {};
    if (ast.kind != AstKind::kSelect && ast.kind != AstKind::kIndex) return {};
    if (ast.kind == AstKind::kIndex && ast.children[1]->kind != AstKind::kString) return {};
    const std::string& name = ast.kind == AstKind::kSelect ? ast.text : ast.children[1]->text;
    const Ast& target = *ast.children[0];
    if (target.kind == AstKind::kName) return target.text == "data" ? std::vector{name} : std::vector<std::string>();
    std::vector<std::string> path = PathOf(target);
    if (!path.empty()) path.push_back(name);
    return path;
  }

  std::optional<StaticType> DataType(const std::vector<std::string>& path, std::string* problem) const {
    StaticType type = StaticType::kDynamic;
    if (options_.data_types == nullptr) return type;
    std::string ignored;
    const std::vector<std::string>* types = types_.has_value() ? &*types_ : nullptr;
    if (!options_.data_types->Find(path, types, &type, problem == nullptr ? &ignored : problem)) return std::nullopt;
    return type;
  }

  /// The target of a selection; paths below `data` are recorded once, at their full length.
  Node* Target(const Ast& ast, bool record) {
    if (ast.kind == AstKind::kSelect) return Select(ast, record);
    if (ast.kind == AstKind::kIndex) return Index(ast, record);
    return Compile(ast);
  }

  Node* Select(const Ast& ast, bool record) { return Field(ast, ast.text, record); }

  Node* Field(const Ast& ast, const std::string& name, bool record) {
    const std::vector<std::string> path = PathOf(ast);
    StaticType type = StaticType::kDynamic;
    if (!path.empty()) {
      std::string problem;
      const std::optional<StaticType> known = DataType(path, &problem);
      if (!known.has_value()) return Fail(ast, std::move(problem));
      type = *known;
      if (record) program_->data_fields.push_back(absl::StrJoin(path, "."));
    }
    const Ast& target = *ast.children[0];
    if (!path.empty() && target.kind == AstKind::kName) {
      Node* node = Make(EvalSlot, type);
      node->slot = environment_->SlotOf(name);
      return node;
    }
    Node* from = Target(target, path.empty());
    if (from == nullptr) return nullptr;
    if (from->type != StaticType::kDynamic && from->type != StaticType::kStruct) {
      return Fail(ast, absl::StrCat("a ", TypeName(from->type), " has no field `", name, "`"));
    }
    Node* node = Make(EvalSelect, type);
    node->a = from;
    node->text = name;
    return node;
  }

  Node* Index(const Ast& ast, bool record) {
    if (ast.children[1]->kind == AstKind::kString) return Field(ast, ast.children[1]->text, record);
    Node* from = Target(*ast.children[0], true);
    Node* index = from == nullptr ? nullptr : Compile(*ast.children[1]);
    if (index == nullptr) return nullptr;
    using enum StaticType;
    const bool fits = from->type == kDynamic || index->type == kDynamic ||
                      (from->type == kList && IsNumeric(index->type)) ||
                      (from->type == kStruct && index->type == kString);
    if (!fits || (from->type != kDynamic && from->type != kList && from->type != kStruct)) {
      return Fail(ast, absl::StrCat("a ", TypeName(from->type), " cannot be indexed with a ", TypeName(index->type)));
    }
    Node* node = Make(EvalIndex, kDynamic);
    node->a = from;
    node->b = index;
    return from->is_constant && index->is_constant ? Fold(node) : node;
  }

  Node* Has(const Ast& ast) {
    const Ast* field = ast.children.size() == 1 ? ast.children[0].get() : nullptr;
    const bool by_name =
        field != nullptr && (field->kind == AstKind::kSelect ||
                             (field->kind == AstKind::kIndex && field->children[1]->kind == AstKind::kString));
    if (!by_name) return Fail(ast, "has takes one field: has(data.name)");
    const Node* found = Target(*field, true);
    if (found == nullptr) return nullptr;
    if (found->fn == EvalSlot) {
      Node* node = Make(EvalHasSlot, StaticType::kBool);
      node->slot = found->slot;
      return node;
    }
    Node* node = Make(EvalHasField, StaticType::kBool);
    node->a = found->a;
    node->text = found->text;
    return node;
  }

  Node* List(const Ast& ast) {
    std::vector<const Node*> elements;
    bool constant = true;
    for (const auto& child : ast.children) {
      const Node* element = Compile(*child);
      if (element == nullptr) return nullptr;
      constant = constant && element->is_constant;
      elements.push_back(element);
    }
    if (!constant) {
      Node* node = Make(EvalList, StaticType::kList);
      node->children = std::move(elements);
      return node;
    }
    std::vector<Value>& values = program_->lists.emplace_back();
    for (const Node* element : elements) values.push_back(element->constant);
    return Constant(Value::List(values.data(), values.size()), StaticType::kList);
  }

  Node* Call(const Ast& ast) {
    std::vector<const Node*> arguments;
    bool constant = true;
    for (const auto& child : ast.children) {
      const Node* argument = Compile(*child);
      if (argument == nullptr) return nullptr;
      constant = constant && argument->is_constant;
      arguments.push_back(argument);
    }
    const Function* function = FindFunction(ast, arguments);
    if (function == nullptr) return nullptr;
    Node* node = Make(EvalCall, function->result);
    node->call = function->call;
    node->children = std::move(arguments);
    node->text = ast.text;
    if (!Prepare(ast, node)) return nullptr;
    return constant ? Fold(node) : node;
  }

  const Function* FindFunction(const Ast& ast, const std::vector<const Node*>& arguments) {
    std::vector<std::string> forms;
    std::vector<std::string> names;
    for (const Function& function : Functions()) {
      names.emplace_back(function.name);
      if (function.name != ast.text) continue;
      bool fits = function.method == ast.has_target && function.params.size() == arguments.size();
      for (size_t i = 0; fits && i < arguments.size(); ++i) {
        fits = (function.params[i] & TypeBit(arguments[i]->type)) != 0;
      }
      if (fits) return &function;
      forms.push_back(FormText(function));
    }
    if (forms.empty()) {
      const std::string near = Nearest(ast.text, names);
      Fail(ast, absl::StrCat("there is no function `", ast.text, "`", near.empty() ? "" : "; did you mean `", near,
                             near.empty() ? "" : "`?"));
      return nullptr;
    }
    std::vector<absl::string_view> types;
    for (const Node* argument : arguments) types.push_back(TypeName(argument->type));
    Fail(ast, absl::StrCat("`", ast.text, "` is written ", absl::StrJoin(forms, " or "), ", not with (",
                           absl::StrJoin(types, ", "), ")"));
    return nullptr;
  }

  static std::string FormText(const Function& function) {
    std::vector<std::string> params;
    for (TypeSet set : function.params) {
      std::vector<absl::string_view> names;
      for (int i = 1; i <= static_cast<int>(StaticType::kStruct); ++i) {
        if ((set & (1u << i)) != 0) names.push_back(TypeName(static_cast<StaticType>(i)));
      }
      params.push_back(names.size() > 4 ? "any" : absl::StrJoin(names, "|"));
    }
    if (!function.method) return absl::StrCat(function.name, "(", absl::StrJoin(params, ", "), ")");
    const std::string target = params.front();
    params.erase(params.begin());
    return absl::StrCat(target, ".", function.name, "(", absl::StrJoin(params, ", "), ")");
  }

  /// Does once what some functions would otherwise do for each event.
  bool Prepare(const Ast& ast, Node* node) {
    const size_t count = node->children.size();
    if (ast.text == "matches") return PreparePattern(ast, node);
    const bool truncate = ast.text == "truncate";
    if (truncate && node->children[1]->is_constant) {
      const absl::string_view unit = node->children[1]->constant.string_value();
      for (absl::string_view known : {"minute", "hour", "day", "week", "month", "year"}) {
        if (unit == known) return PrepareZone(ast, node, 2);
      }
      Fail(*ast.children[1], absl::StrCat("`", unit, "` is not a unit: minute, hour, day, week, month or year"));
      return false;
    }
    const bool part = count == 2 && ast.text.substr(0, 3) == "get";
    return truncate ? PrepareZone(ast, node, 2) : !part || PrepareZone(ast, node, 1);
  }

  bool PrepareZone(const Ast& ast, Node* node, size_t index) {
    if (node->children.size() <= index) return true;
    if (!node->children[index]->is_constant) {
      Fail(*ast.children[index], "a time zone must be a literal: \"Asia/Seoul\"");
      return false;
    }
    const Value& name = node->children[index]->constant;
    if (!name.is_string() || !FindZone(name.string_value(), &node->zone)) {
      Fail(*ast.children[index], absl::StrCat(name.DebugString(),
                                              " is not a time zone; write an IANA name (\"Asia/Seoul\") or "
                                              "an offset (\"+09:00\")"));
      return false;
    }
    node->zone_slot = environment_->zone_count++;
    return true;
  }

  bool PreparePattern(const Ast& ast, Node* node) {
    const Node* pattern = node->children[1];
    if (!pattern->is_constant || !pattern->constant.is_string()) {
      Fail(*ast.children[1], "`matches` needs a literal pattern, as it is compiled once");
      return false;
    }
    RE2::Options options;
    options.set_max_mem(kMaxRegexBytes);
    options.set_log_errors(false);
    const absl::string_view text = pattern->constant.string_value();
    auto compiled = std::make_shared<const RE2>(re2::StringPiece(text.data(), text.size()), options);
    if (!compiled->ok()) {
      Fail(*ast.children[1], absl::StrCat("the pattern is not valid RE2: ", compiled->error()));
      return false;
    }
    node->pattern = std::move(compiled);
    return true;
  }

  /// Compiles an operand. What stands beside it narrows the event types that it is checked against: where another
  /// operand of && is false its own errors do not count, and a conditional's first branch runs only where the condition
  /// is true.
  const Node* Operand(const Ast& ast, size_t index) {
    if (options_.data_types == nullptr) return Compile(*ast.children[index]);
    const TypeSelection before = types_;
    for (size_t i = 0; i < ast.children.size(); ++i) {
      if (ast.op == Op::kAnd && i != index) types_ = Intersect(types_, SelectedTypes(*ast.children[i]));
    }
    if (ast.op == Op::kConditional && index == 1) types_ = Intersect(types_, SelectedTypes(*ast.children[0]));
    const Node* operand = Compile(*ast.children[index]);
    types_ = before;
    return operand;
  }

  Node* Operator(const Ast& ast) {
    std::vector<const Node*> operands;
    bool constant = true;
    for (size_t i = 0; i < ast.children.size(); ++i) {
      const Node* operand = Operand(ast, i);
      if (operand == nullptr) return nullptr;
      constant = constant && operand->is_constant;
      operands.push_back(operand);
    }
    StaticType type = StaticType::kBool;
    if (!CheckOperator(ast, operands, &type)) return nullptr;
    if (Node* special = Specialise(ast.op, operands); special != nullptr && !constant) return special;
    Node* node = Make(nullptr, type);
    const bool number = ast.op >= Op::kEqual && ast.op <= Op::kGreaterEqual && operands[1]->is_constant &&
                        IsExactNumber(operands[1]->constant);
    if (number) {
      node->constant = operands[1]->constant;
      node->number = operands[1]->constant.AsDouble();
    }
    node->fn = OperatorFn(ast.op, number);
    node->a = operands[0];
    node->b = operands.size() > 1 ? operands[1] : nullptr;
    node->c = operands.size() > 2 ? operands[2] : nullptr;
    if (ast.op == Op::kAnd || ast.op == Op::kOr) node->children = std::move(operands);
    return constant ? Fold(node) : node;
  }

  bool CheckOperator(const Ast& ast, const std::vector<const Node*>& operands, StaticType* result) {
    using enum StaticType;
    const StaticType a = operands[0]->type;
    const StaticType b = operands.size() > 1 ? operands[1]->type : kDynamic;
    bool fits = true;
    switch (ast.op) {
      case Op::kAnd:
      case Op::kOr:
      case Op::kNot:
        for (size_t i = 0; i < operands.size(); ++i) {
          if (operands[i]->type == kBool || operands[i]->type == kDynamic) continue;
          Fail(*ast.children[i], absl::StrCat("`", OpText(ast.op), "` takes bools, not ", Described(ast, operands, i)));
          return false;
        }
        return true;
      case Op::kConditional:
        fits = a == kBool || a == kDynamic;
        *result = b == operands[2]->type ? b : kDynamic;
        break;
      case Op::kNegate:
        fits = a == kDynamic || IsNumeric(a);
        *result = a;
        break;
      case Op::kEqual:
      case Op::kNotEqual:
        fits = Comparable(a, b, false);
        break;
      case Op::kLess:
      case Op::kLessEqual:
      case Op::kGreater:
      case Op::kGreaterEqual:
        fits = Comparable(a, b, true);
        break;
      case Op::kIn:
        fits = b == kDynamic || b == kList || (b == kStruct && (a == kString || a == kDynamic));
        if (fits && !CheckElements(ast, operands)) return false;
        break;
      default:
        fits = ArithmeticType(ast.op, a, b, result);
        break;
    }
    if (fits) return true;
    Fail(ast, ast.op == Op::kNegate || ast.op == Op::kConditional
                  ? absl::StrCat("`", OpText(ast.op), "` does not take ", Described(ast, operands, 0))
                  : absl::StrCat("`", OpText(ast.op), "` does not take ", Described(ast, operands, 0), " and ",
                                 Described(ast, operands, 1), ConversionHint(a, b)));
    return false;
  }

  /// `string data.name`, `int`.
  std::string Described(const Ast& ast, const std::vector<const Node*>& operands, size_t i) const {
    const std::vector<std::string> path = PathOf(*ast.children[i]);
    const absl::string_view type = TypeName(operands[i]->type);
    return path.empty() ? std::string(type) : absl::StrCat(type, " data.", absl::StrJoin(path, "."));
  }

  static absl::string_view ConversionHint(StaticType a, StaticType b) {
    using enum StaticType;
    const auto pair = [&](StaticType x, StaticType y) { return (a == x && b == y) || (a == y && b == x); };
    if (IsNumeric(a) && IsNumeric(b)) return a != b ? "; convert one with double() or int()" : "";
    if ((a == kString && IsNumeric(b)) || (IsNumeric(a) && b == kString)) {
      return "; write the literal as the field is, or convert with string() or double()";
    }
    if (pair(kString, kTimestamp)) return "; convert the text with timestamp()";
    if (pair(kString, kDuration)) return "; convert the text with duration()";
    return "";
  }

  /// A field in a list of literals none of which it can equal: a mistake, as with `==`.
  bool CheckElements(const Ast& ast, const std::vector<const Node*>& operands) {
    const Node& value = *operands[0];
    const Node& list = *operands[1];
    if (value.is_constant || value.type == StaticType::kDynamic || !list.is_constant) return true;
    if (!list.constant.has_elements() || list.constant.element_count() == 0) return true;
    const StaticType first = TypeOfValue(list.constant.elements()[0]);
    for (size_t i = 0; i < list.constant.element_count(); ++i) {
      if (Comparable(value.type, TypeOfValue(list.constant.elements()[i]), false)) return true;
    }
    Fail(ast, absl::StrCat("`in` does not find ", Described(ast, operands, 0), " in a list of ", TypeName(first), "s",
                           ConversionHint(value.type, first)));
    return false;
  }

  bool IsTypeAttribute(const Node* node) const { return node->fn == EvalAttribute && node->slot == kType; }

  /// Faster forms of comparisons with literals; null: there is none.
  Node* Specialise(Op op, const std::vector<const Node*>& operands) {
    if (operands.size() != 2 || !operands[1]->is_constant) return nullptr;
    const Value& constant = operands[1]->constant;
    if ((op == Op::kEqual || op == Op::kNotEqual) && constant.is_string()) {
      if (IsTypeAttribute(operands[0])) {
        Node* node = Make(EvalTypeIs, StaticType::kBool);
        node->slot = environment_->TypeNumber(constant.string_value());
        node->constant = Value::Bool(op == Op::kEqual);
        return node;
      }
      if (op == Op::kEqual) {
        Node* node = Make(EvalEqualString, StaticType::kBool);
        node->a = operands[0];
        node->text = std::string(constant.string_value());
        return node;
      }
    }
    return op == Op::kIn && constant.has_elements() ? SpecialiseIn(operands[0], constant) : nullptr;
  }

  Node* SpecialiseIn(const Node* value, const Value& list) {
    auto set = std::make_unique<ConstantSet>();
    for (size_t i = 0; i < list.element_count(); ++i) {
      const Value& element = list.elements()[i];
      if (element.is_string()) {
        set->strings.insert(element.string_value());
      } else if (IsExactNumber(element)) {
        set->numbers.insert(element.AsDouble());
      } else {
        return nullptr;
      }
    }
    if (!set->strings.empty() && !set->numbers.empty()) return nullptr;
    Node* node = Make(set->numbers.empty() ? EvalInStrings : EvalInNumbers, StaticType::kBool);
    if (IsTypeAttribute(value)) {
      node->fn = EvalTypeIn;
      for (absl::string_view type : set->strings) {
        const auto number = static_cast<size_t>(environment_->TypeNumber(type));
        if (set->type_bits.size() <= number / 64) set->type_bits.resize(number / 64 + 1);
        set->type_bits[number / 64] |= uint64_t{1} << (number % 64);
      }
    }
    node->a = value;
    node->set = std::move(set);
    return node;
  }

  const CompileOptions& options_;
  EnvironmentData* environment_;
  ProgramData* program_;
  CompileProblem* problem_;
  TypeSelection types_;  ///< of the events that the part being compiled is evaluated for
};

}  // namespace

bool CompileAst(const Ast& ast, const CompileOptions& options, EnvironmentData* environment, ProgramData* program,
                CompileProblem* problem) {
  Compiler compiler(options, environment, program, problem);
  const Node* root = compiler.Compile(ast);
  if (root == nullptr) return false;
  if (options.filter && root->type != StaticType::kBool && root->type != StaticType::kDynamic) {
    compiler.Fail(ast, absl::StrCat("a filter must be true or false; this is a ", TypeName(root->type)));
    return false;
  }
  program->root = root;
  program->event_types = SelectedTypes(ast);
  std::sort(program->data_fields.begin(), program->data_fields.end());
  program->data_fields.erase(std::unique(program->data_fields.begin(), program->data_fields.end()),
                             program->data_fields.end());
  return true;
}

}  // namespace naru::cel
