// Which files an import takes.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace naru::cli {

/// Turns arguments into files, in order: `-` (standard input) and files stay, a directory gives all regular files under
/// it by name (hidden ones left out), a pattern with `*`, `?` or `[` that names no file gives what it matches.
/// Errors: NOT_FOUND naming the argument.
absl::StatusOr<std::vector<std::string>> FindInputFiles(const std::vector<std::string>& arguments);

}  // namespace naru::cli
