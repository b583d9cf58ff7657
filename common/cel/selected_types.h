// Which event types an expression can be true for. Internal to common/cel.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/cel/ast.h"

namespace naru::cel {

/// Names of event types, sorted; absent: any type.
using TypeSelection = std::optional<std::vector<std::string>>;

/// The event types for which `ast` can be true, as far as comparisons of `type` with literals tell:
/// `type == "A" && ...`, `type in ["A", "B"]`, and what `&&`, `||` and conditionals make of them.
TypeSelection SelectedTypes(const Ast& ast);

/// What both allow.
TypeSelection Intersect(const TypeSelection& a, const TypeSelection& b);

}  // namespace naru::cel
