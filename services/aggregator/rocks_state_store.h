// The serving view's store where the log is not in this process: a RocksDB of its own.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/event_log/event_log.h"

namespace naru::aggregator {

/// Opens (or makes) the store in a directory, for one process at a time. What it holds can be rebuilt from
/// `aggregates`, so it is never synced. Errors: as the disk gives them; UNAVAILABLE when another process has the
/// directory.
absl::StatusOr<std::unique_ptr<event_log::LocalStore>> OpenRocksStateStore(const std::string& directory,
                                                                           size_t memory_budget_bytes);

}  // namespace naru::aggregator
