#include "common/catalog/builtin.h"

#include <algorithm>
#include <cstdlib>

#include "common/catalog/embedded.h"
#include "common/catalog/resource_file.h"
#include "common/log/log.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

using Resources = std::vector<std::shared_ptr<const v1::Resource>>;

Resources* Load() {
  auto* const resources = new Resources();
  for (const EmbeddedFile* file = kBuiltinFiles; file->size > 0; ++file) {
    ResourceSet set = LoadText(file->name, {reinterpret_cast<const char*>(file->bytes), file->size});
    for (const FileProblem& problem : set.problems) {
      // A program that was built wrongly: nothing that it would do with half of its formats is right.
      NARU_LOG(ERROR, "built-in resource cannot be read", {{"problem", problem.ToString()}});
      std::abort();
    }
    for (LoadedResource& loaded : set.resources) resources->push_back(std::move(loaded.resource));
  }
  return resources;
}

}  // namespace

const std::vector<std::shared_ptr<const v1::Resource>>& BuiltinResources() {
  static const Resources* const resources = Load();
  return *resources;
}

std::shared_ptr<const v1::Resource> FindBuiltin(absl::string_view kind, absl::string_view name) {
  for (const auto& resource : BuiltinResources()) {
    if (resource->kind() == kind && resource->metadata().name() == name) return resource;
  }
  return nullptr;
}

}  // namespace naru::catalog
