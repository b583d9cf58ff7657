// Turns a tree into nodes: resolves names, checks types, computes constant parts. Internal to common/cel.
#pragma once

#include "common/cel/ast.h"
#include "common/cel/program.h"

namespace naru::cel {

/// Compiles `ast` into `*program`, adding what it reads to `*environment`. False: refused, with `*problem` filled.
bool CompileAst(const Ast& ast, const CompileOptions& options, EnvironmentData* environment, ProgramData* program,
                CompileProblem* problem);

}  // namespace naru::cel
