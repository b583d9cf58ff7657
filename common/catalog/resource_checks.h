// The checks and test runners of kinds that need no service: event types and input formats. Programs that also compute
// windows add theirs for metrics.
#pragma once

#include <vector>

#include "common/catalog/test_runners.h"

namespace naru::catalog {

/// Registers the runner of EventType, and the check and the runner of InputFormat.
void RegisterResourceChecks(TestRunners* runners);

/// Runs the examples of an EventType resource: each event is checked as ingest would check it (sizes, required
/// attributes, schema), with `type` and `source` filled in where it has none. An event that the type excludes is
/// accepted.
std::vector<FieldViolation> RunEventTypeTests(const v1::Resource& resource);

}  // namespace naru::catalog
