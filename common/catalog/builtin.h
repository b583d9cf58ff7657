// Resources that every catalog has: the input formats `apache-combined`, `ndjson` and `cloudevents`.
#pragma once

#include <memory>
#include <vector>

#include "absl/strings/string_view.h"

namespace naru::catalog::v1 {
class Resource;
}

namespace naru::catalog {

/// All of them, by kind, then name. They live as long as the process. Thread-safe.
const std::vector<std::shared_ptr<const v1::Resource>>& BuiltinResources();
/// One of them, or null. Thread-safe.
std::shared_ptr<const v1::Resource> FindBuiltin(absl::string_view kind, absl::string_view name);

}  // namespace naru::catalog
