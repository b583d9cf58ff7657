// Where packs are: folders of resources under deploy/packs.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace naru::cli {

/// Finds the folder of a pack. A path (it has a `/`, or is a folder here) is taken as it is; a name is looked up in
/// $NARU_PACKS_DIR, then in deploy/packs and share/naru/packs of the folders above the program, then of the working
/// directory. Errors: NOT_FOUND naming the packs there are.
absl::StatusOr<std::string> FindPack(const std::string& name_or_path,
                                     const std::function<std::string(const char*)>& environment);

/// The folders that hold packs, in the order of looking.
std::vector<std::string> PackRoots(const std::function<std::string(const char*)>& environment);

}  // namespace naru::cli
