#include "common/catalog/resource_checks.h"

#include "common/input_format/input_format.h"
#include "common/input_format/resource_tests.h"
#include "common/status/status.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {

void RegisterResourceChecks(TestRunners* runners) {
  runners->Register("EventType",
                    [](const v1::Resource& resource, const ResourceLookup&) { return RunEventTypeTests(resource); });
  runners->RegisterCheck("InputFormat", [](const v1::Resource& resource, const ResourceLookup&) {
    const auto format = input_format::InputFormat::Compile(resource.metadata().name(), resource.input_format());
    std::vector<FieldViolation> violations;
    if (format.ok()) return violations;
    violations = GetErrorDetails(format.status()).violations;
    if (violations.empty()) violations.push_back({"spec", std::string(format.status().message())});
    return violations;
  });
  runners->Register("InputFormat", [](const v1::Resource& resource, const ResourceLookup&) {
    return input_format::RunTests(resource);
  });
}

}  // namespace naru::catalog
