// Errors with a machine-readable reason. Inside the program they are absl::Status; one function turns them into gRPC.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace naru {

/// One wrong field of a request or a file.
struct FieldViolation {
  std::string field;        ///< path: `events[3].time`, `spec.window.size`
  std::string description;  ///< what was wrong and what would be right
};

/// What travels with an error beside its code and message.
struct ErrorDetails {
  std::string reason;  ///< UPPER_SNAKE_CASE, stable
  std::string domain;  ///< `ingest.naru.dev`; empty: filled in by the server with its own
  std::map<std::string, std::string> metadata;
  std::vector<FieldViolation> violations;
  std::optional<std::chrono::milliseconds> retry_after;
};

/// Makes an error. `message` names the field, the value (never a secret) and what would be right.
absl::Status MakeError(absl::StatusCode code, absl::string_view reason, absl::string_view message);
absl::Status MakeError(absl::StatusCode code, absl::string_view message, ErrorDetails details);

/// The details put in by MakeError; for other errors a reason made from the code (`UNAVAILABLE`).
ErrorDetails GetErrorDetails(const absl::Status& status);

/// Returns `status` with "`context`: " before its message; code and details stay.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

}  // namespace naru

/// Returns the error of `expr` from the enclosing function, if it is one.
#define NARU_RETURN_IF_ERROR(expr)              \
  do {                                          \
    if (absl::Status naru_status = (expr); !naru_status.ok()) return naru_status; \
  } while (false)

#define NARU_CONCAT_INNER_(a, b) a##b
#define NARU_CONCAT_(a, b) NARU_CONCAT_INNER_(a, b)

/// Assigns the value of the StatusOr `expr` to `lhs` (may be a declaration), or returns its error.
#define NARU_ASSIGN_OR_RETURN(lhs, expr) NARU_ASSIGN_OR_RETURN_(NARU_CONCAT_(naru_statusor_, __LINE__), lhs, expr)
#define NARU_ASSIGN_OR_RETURN_(tmp, lhs, expr) \
  auto tmp = (expr);                           \
  if (!tmp.ok()) return tmp.status();          \
  lhs = *std::move(tmp)
