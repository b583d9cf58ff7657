// The names of what a Sink makes in PostgreSQL.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace naru::catalog {

/// The table of a metric: lower case, `_` for what is neither letter nor digit (`hot-activity` is `hot_activity`), `_`
/// before a leading digit; names over 52 bytes are cut and end with a hash, so that partitions' names fit as well.
std::string SinkTableName(absl::string_view metric);

}  // namespace naru::catalog
