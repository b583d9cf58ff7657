#include "common/catalog/test_runners.h"

#include <utility>

#include "common/log/log.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {

void TestRunners::Register(absl::string_view kind, TestRunner runner) {
  runners_[std::string(kind)] = std::move(runner);
}

void TestRunners::RegisterCheck(absl::string_view kind, SpecCheck check) {
  checks_[std::string(kind)] = std::move(check);
}

bool TestRunners::Has(absl::string_view kind) const { return runners_.find(kind) != runners_.end(); }

std::vector<FieldViolation> TestRunners::Check(const v1::Resource& resource, const ResourceLookup& lookup) const {
  const auto found = checks_.find(resource.kind());
  return found == checks_.end() ? std::vector<FieldViolation>() : found->second(resource, lookup);
}

std::vector<FieldViolation> TestRunners::Run(const v1::Resource& resource, const ResourceLookup& lookup) const {
  if (resource.tests().empty()) return {};
  const auto found = runners_.find(resource.kind());
  if (found == runners_.end()) {
    NARU_LOG(WARNING, "tests were not run: this program does not know the kind",
             {{"kind", resource.kind()}, {"name", resource.metadata().name()}});
    return {};
  }
  return found->second(resource, lookup);
}

}  // namespace naru::catalog
