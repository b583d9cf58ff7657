// Reads any text as resources, and what could be read once more after writing it: nothing may crash, hang or read
// outside, and writing loses nothing.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "common/catalog/apply_plan.h"
#include "common/catalog/builtin.h"
#include "common/catalog/resource_file.h"
#include "common/catalog/validate.h"
#include "naru/catalog/v1/resources.pb.h"

namespace {

using naru::catalog::ResourceSet;

void Require(bool condition, const char* what, const std::string& text) {
  if (condition) return;
  std::fprintf(stderr, "%s:\n%s\n", what, text.c_str());
  std::abort();
}

void CheckResource(const naru::catalog::v1::Resource& resource) {
  const std::string yaml = naru::catalog::ToYaml(resource, true);
  const ResourceSet again = naru::catalog::LoadText("again.yaml", yaml);
  Require(again.problems.empty() && again.resources.size() == 1, "not readable again", yaml);
  Require(naru::catalog::SameContent(resource, *again.resources[0].resource), "not the same again", yaml);
  Require(naru::catalog::Diff(resource, *again.resources[0].resource).empty(), "differs", yaml);
  const auto lookup = [](absl::string_view kind, absl::string_view name) {
    return naru::catalog::FindBuiltin(kind, name).get();
  };
  if (!naru::catalog::Validate(resource, lookup).empty()) return;
  Require(naru::catalog::CheckChange(resource, resource).empty(), "incompatible with itself", yaml);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(bytes), size);
  ResourceSet set = naru::catalog::LoadText("fuzz.yaml", text);
  for (const auto& problem : set.problems) problem.ToString();
  for (const auto& loaded : set.resources) CheckResource(*loaded.resource);
  naru::catalog::CheckOffline(nullptr, &set);
  return 0;
}
