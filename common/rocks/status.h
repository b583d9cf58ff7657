// RocksDB's errors as ours.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace rocksdb {
class Status;
}  // namespace rocksdb

namespace naru::rocks {

/// The same error with "`context`: " before its message. Damage is DATA_LOSS, a full disk RESOURCE_EXHAUSTED (reason
/// DISK_FULL), what may pass by itself UNAVAILABLE, the rest INTERNAL.
absl::Status FromRocks(const rocksdb::Status& status, absl::string_view context);

}  // namespace naru::rocks
