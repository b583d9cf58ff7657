// Runs the examples (`tests`) of an InputFormat resource.
#pragma once

#include <vector>

#include "common/status/status.h"

namespace naru::catalog::v1 {
class Resource;
}

namespace naru::input_format {

/// Parses each test's `input` (records as in a file; with a header, its first line is one) and compares with `rejected` (the
/// reason of some rejection) or `output` (events in order; only what is named is compared). Returns what failed, with fields
/// like `tests[2].output[0].data.age`; empty: all passed. A format that does not compile is one failure.
std::vector<FieldViolation> RunTests(const catalog::v1::Resource& resource);

}  // namespace naru::input_format
