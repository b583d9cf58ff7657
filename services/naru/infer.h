// Guesses what a file of events is: which InputFormat reads it, and which EventTypes its events have.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::cli {

struct InferOptions {
  std::string name = "events";  ///< of the InputFormat; the event type's name is made of it
  std::string event_type;       ///< name of the event type; empty: a field of the lines, or made of `name`
  int shown_events = 10;
};

/// A guess, tried on all lines that were given.
struct Inference {
  catalog::v1::Resource format;
  std::vector<catalog::v1::Resource> types;  ///< by name
  std::vector<std::string> events;           ///< the first ones, as JSON
  int64_t line_count = 0;                    ///< that are not blank, without a header
  int64_t event_count = 0;                   ///< that came of them and that their types take
  int64_t rejected_count = 0;                ///< lines and events that would be rejected
  std::string first_rejection;               ///< line, reason and what was expected
  std::vector<std::string> remarks;          ///< what was assumed, for people
};

/// Looks at the decompressed text of a file: lines of JSON, CSV (`,` `;` tab `|`, with or without a header), columns
/// with JSON in the last one, or a combined access log. Errors: INVALID_ARGUMENT (EMPTY_FILE, FORMAT_UNKNOWN) with what
/// to do.
absl::StatusOr<Inference> InferEvents(absl::string_view text, const InferOptions& options);

}  // namespace naru::cli
