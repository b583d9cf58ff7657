#include "common/catalog/builtin.h"

#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {

const std::vector<std::shared_ptr<const v1::Resource>>& BuiltinResources() {
  static const auto* const resources = new std::vector<std::shared_ptr<const v1::Resource>>();
  return *resources;
}

std::shared_ptr<const v1::Resource> FindBuiltin(absl::string_view kind, absl::string_view name) {
  for (const auto& resource : BuiltinResources()) {
    if (resource->kind() == kind && resource->metadata().name() == name) return resource;
  }
  return nullptr;
}

}  // namespace naru::catalog
