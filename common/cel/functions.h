// The functions that expressions may call: internal to common/cel.
#pragma once

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/cel/program.h"

namespace naru::cel {

/// A set of static types, a bit each.
using TypeSet = uint32_t;
constexpr TypeSet TypeBit(StaticType type) { return 1u << static_cast<int>(type); }

/// One form of a function.
struct Function {
  absl::string_view name;
  bool method;                  ///< called as target.name(...); the target is the first parameter
  std::vector<TypeSet> params;  ///< types allowed for each parameter
  StaticType result;            ///< kDynamic: depends on the arguments
  CallFn call;
};

/// All functions.
absl::Span<const Function> Functions();

/// Returns `int`, `string`, ...
absl::string_view TypeName(StaticType type);

}  // namespace naru::cel
