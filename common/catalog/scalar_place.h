// Where a character of a YAML scalar's value stands in the file: quotes, escapes, folded lines and blocks considered.
#pragma once

#include <optional>

#include "absl/strings/string_view.h"
#include "common/catalog/resource_file.h"

namespace naru::catalog {

/// Finds line `line`, column `column` (from 1, in characters) of the value of the scalar that begins at `start` of
/// `document`, whose first line is line `first_line` of the file. Nothing where the value has no such place, and for
/// block scalars that state their indentation (`|2`).
std::optional<Position> PlaceInScalar(absl::string_view document, int first_line, Position start, int line, int column);

}  // namespace naru::catalog
