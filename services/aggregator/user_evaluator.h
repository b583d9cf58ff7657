// Runs the `tests` of Funnel and Retention resources without a server.
#pragma once

#include <vector>

#include "common/catalog/test_runners.h"

namespace naru::aggregator {

/// Rows are those of `naru funnel` and `naru retention` as JSON: a funnel's `{group, steps, final, truncated_users}`,
/// by all dimensions where `group` is named, else everybody together; a retention's `{start, end, users, returned,
/// final_count, truncated_users}`. See catalog::TestRunner.
std::vector<FieldViolation> RunFunnelTests(const catalog::v1::Resource& resource,
                                           const catalog::ResourceLookup& lookup);
std::vector<FieldViolation> RunRetentionTests(const catalog::v1::Resource& resource,
                                              const catalog::ResourceLookup& lookup);
void RegisterUserTests(catalog::TestRunners* runners);

}  // namespace naru::aggregator
