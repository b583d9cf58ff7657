// A YAML tree read into a Resource by the proto's description.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/catalog/resource_file.h"
#include "common/catalog/yaml_tree.h"

namespace naru::catalog {

/// Reads `tree` and reports every problem: unknown keys (with the nearest known one), keys given twice, values of
/// another kind. Fills `*loaded` with what could be read. Returns whether there was no problem.
bool ReadResource(const YamlTree& tree, absl::string_view file, LoadedResource* loaded,
                  std::vector<FileProblem>* problems);

}  // namespace naru::catalog
