// How the lines of a file are taken apart, for `naru infer`.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace naru::catalog::v1 {
class InputFormat;
}

namespace naru::cli {

/// A format that reads the lines into `data` as they are, all of one type and without a time: where guessing begins.
/// Errors: INVALID_ARGUMENT (EMPTY_FILE, FORMAT_UNKNOWN).
absl::StatusOr<catalog::v1::InputFormat> GuessParser(absl::string_view text);

/// What that format calls the type of every event.
inline constexpr char kGuessedType[] = "guessed";

}  // namespace naru::cli
