#include "common/cel/selected_types.h"

#include <algorithm>
#include <iterator>

namespace naru::cel {
namespace {

TypeSelection Unite(const TypeSelection& a, const TypeSelection& b) {
  if (!a.has_value() || !b.has_value()) return std::nullopt;
  std::vector<std::string> both;
  std::set_union(a->begin(), a->end(), b->begin(), b->end(), std::back_inserter(both));
  return both;
}

bool IsType(const Ast& ast) { return ast.kind == AstKind::kName && ast.text == "type"; }

TypeSelection OfComparison(const Ast& ast) {
  const Ast& left = *ast.children[0];
  const Ast& right = *ast.children[1];
  if (ast.op == Op::kEqual) {
    if (IsType(left) && right.kind == AstKind::kString) return std::vector<std::string>{right.text};
    if (IsType(right) && left.kind == AstKind::kString) return std::vector<std::string>{left.text};
    return std::nullopt;
  }
  if (!IsType(left) || right.kind != AstKind::kList) return std::nullopt;
  std::vector<std::string> types;
  for (const auto& element : right.children) {
    if (element->kind != AstKind::kString) return std::nullopt;
    types.push_back(element->text);
  }
  std::sort(types.begin(), types.end());
  types.erase(std::unique(types.begin(), types.end()), types.end());
  return types;
}

}  // namespace

TypeSelection Intersect(const TypeSelection& a, const TypeSelection& b) {
  if (!a.has_value()) return b;
  if (!b.has_value()) return a;
  std::vector<std::string> both;
  std::set_intersection(a->begin(), a->end(), b->begin(), b->end(), std::back_inserter(both));
  return both;
}

TypeSelection SelectedTypes(const Ast& ast) {
  if (ast.kind != AstKind::kOperator) return std::nullopt;
  TypeSelection selected;
  switch (ast.op) {
    case Op::kEqual:
    case Op::kIn:
      return OfComparison(ast);
    case Op::kAnd:
      for (const auto& child : ast.children) selected = Intersect(selected, SelectedTypes(*child));
      return selected;
    case Op::kOr:
      selected = SelectedTypes(*ast.children[0]);
      for (size_t i = 1; i < ast.children.size(); ++i) selected = Unite(selected, SelectedTypes(*ast.children[i]));
      return selected;
    case Op::kConditional:
      return Unite(Intersect(SelectedTypes(*ast.children[0]), SelectedTypes(*ast.children[1])),
                   SelectedTypes(*ast.children[2]));
    default:
      return std::nullopt;
  }
}

}  // namespace naru::cel
