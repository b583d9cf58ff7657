// Kafka's errors as absl::Status: the code says what to do, the reason says which error it was.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

struct rd_kafka_error_s;

namespace naru::kafka {

/// Reason of the ABORTED status that a producer or group member gets whose successor took over.
inline constexpr char kFenced[] = "FENCED";

/// The status of a librdkafka error code (rd_kafka_resp_err_t); OK for 0. `context` says what was attempted.
/// UNAVAILABLE: retry. RESOURCE_EXHAUSTED: retry later. ABORTED with reason FENCED: a successor took over. Any other
/// ABORTED: the client cannot go on and must be made anew. NOT_FOUND, PERMISSION_DENIED, INVALID_ARGUMENT,
/// OUT_OF_RANGE, DATA_LOSS, FAILED_PRECONDITION: as elsewhere, a retry does not help. The reason is `KAFKA_` and
/// Kafka's own name.
absl::Status StatusOf(int code, absl::string_view context);

/// The same for librdkafka's error object, which is destroyed; OK for null.
absl::Status TakeError(rd_kafka_error_s* error, absl::string_view context);

/// Whether `status` says that a successor took over.
bool IsFenced(const absl::Status& status);

/// Whether trying again may help: UNAVAILABLE, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED.
bool IsRetriable(const absl::Status& status);

}  // namespace naru::kafka
