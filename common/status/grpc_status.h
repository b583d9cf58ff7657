// The one place where errors of the program become errors of gRPC, and back.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace grpc {
class Status;
}

namespace naru {

/// Returns the gRPC form: code, message, and a serialised google.rpc.Status with one ErrorInfo (its domain is `domain`
/// where the error names none), BadRequest where there are field violations, RetryInfo where there is a delay.
/// The details are cut where they would not fit in a trailer (about 6 KiB); the code and the ErrorInfo always stay.
grpc::Status ToGrpcStatus(const absl::Status& status, absl::string_view domain);

/// The inverse, for clients. An error without readable details gets a reason made from its code.
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace naru
