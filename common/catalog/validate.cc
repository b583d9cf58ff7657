#include "common/catalog/validate.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/catalog/nearest.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

constexpr size_t kMaxNameBytes = 128;

bool IsNameByte(char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.'; }

}  // namespace

const std::vector<std::string>& ResourceKinds() {
  static const auto* const kinds = [] {
    auto* names = new std::vector<std::string>();
    const auto* spec = v1::Resource::descriptor()->FindOneofByName("spec");
    for (int i = 0; i < spec->field_count(); ++i) names->push_back(spec->field(i)->message_type()->name());
    std::sort(names->begin(), names->end());
    return names;
  }();
  return *kinds;
}

std::vector<FieldViolation> Validate(const v1::Resource& resource, const ResourceLookup& lookup) {
  (void)lookup;
  std::vector<FieldViolation> problems;
  const std::string& name = resource.metadata().name();
  if (name.empty() || name.size() > kMaxNameBytes || !std::all_of(name.begin(), name.end(), IsNameByte)) {
    problems.push_back({"metadata.name", "letters, digits, `-`, `_`, `.`; 1 to 128 bytes"});
  }
  return problems;
}

std::vector<FieldViolation> CheckChange(const v1::Resource& current, const v1::Resource& next) {
  (void)current;
  (void)next;
  return {};
}

}  // namespace naru::catalog
