#include "common/rocks/status.h"

#include <rocksdb/status.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"

namespace naru::rocks {

absl::Status FromRocks(const rocksdb::Status& status, absl::string_view context) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = absl::StrCat(context, ": ", status.ToString());
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kSpaceLimit) {
    return MakeError(absl::StatusCode::kResourceExhausted, "DISK_FULL", message);
  }
  if (status.IsCorruption()) return absl::DataLossError(message);
  if (status.IsNotFound()) return absl::NotFoundError(message);
  if (status.IsShutdownInProgress() || status.IsColumnFamilyDropped()) return absl::CancelledError(message);
  if (status.IsIOError() || status.IsBusy() || status.IsTimedOut() || status.IsAborted() || status.IsTryAgain() ||
      status.IsIncomplete()) {
    return absl::UnavailableError(message);
  }
  return absl::InternalError(message);
}

}  // namespace naru::rocks
