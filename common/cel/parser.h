// Parses an expression's text by CEL's grammar (less map and message literals).
#pragma once

#include <memory>

#include "absl/strings/string_view.h"
#include "common/cel/ast.h"
#include "common/cel/cel.h"

namespace naru::cel {

/// Returns the tree, or null with `*problem` filled.
std::unique_ptr<Ast> Parse(absl::string_view source, CompileProblem* problem);

/// Fills line and column of a byte offset.
void Locate(absl::string_view source, size_t offset, CompileProblem* problem);

}  // namespace naru::cel
