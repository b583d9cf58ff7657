// Whether resources make sense, beyond what their protos say.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/catalog/test_runners.h"
#include "common/status/status.h"

namespace naru::catalog::v1 {
class Resource;
}

namespace naru::catalog {

/// Checks one resource: metadata, spec, expressions, references (through `lookup`). Returns every problem; `field` is a
/// path in the YAML's words: `metadata.name`, `spec.measures[2].expr`. Thread-safe; does not block.
std::vector<FieldViolation> Validate(const v1::Resource& resource, const ResourceLookup& lookup);

/// Checks that `next` may replace `current` (same kind and name): what accepted events before must go on being accepted
/// unless the type's compatibility is `none`; `partition_by` never changes. Returns every problem with its reason.
std::vector<FieldViolation> CheckChange(const v1::Resource& current, const v1::Resource& next);

/// The kinds of resources there are, sorted: `EventType`, `InputFormat`, ...
const std::vector<std::string>& ResourceKinds();

}  // namespace naru::catalog
