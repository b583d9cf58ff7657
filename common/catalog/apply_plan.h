// What applying resources would do, worked out without writing anything.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/catalog/snapshot.h"
#include "common/catalog/test_runners.h"

namespace naru::catalog::v1 {
class ApplyResourcesResponse;
}

namespace naru::catalog {

/// Validates `resources` together and against `snapshot`, compares etags, runs the tests (`runners` may be null), and
/// says for each whether it is created, updated or unchanged, with the resource as it would be stored at `now_us`.
/// Errors: INVALID_ARGUMENT with every problem; ABORTED (ETAG_MISMATCH). Thread-safe.
absl::StatusOr<v1::ApplyResourcesResponse> PlanApply(const Snapshot& snapshot,
                                                     const std::vector<v1::Resource>& resources,
                                                     const TestRunners* runners, int64_t now_us);

/// Whether two resources say the same: everything but what the catalog sets (version, etag, update_time).
bool SameContent(const v1::Resource& a, const v1::Resource& b);

/// Names of resources that refer to (kind, name), as `Source ciao-django`.
std::vector<std::string> Referrers(const Snapshot& snapshot, absl::string_view kind, absl::string_view name);

}  // namespace naru::catalog
