// naru import --follow: files as they grow, until Ctrl-C.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/naru/command.h"

namespace naru::cli {

struct FollowImportOptions {
  std::vector<std::string> arguments;
  std::string format;
  std::string source;
  std::string positions;  ///< empty: a file of the user's, by server, format, source and arguments
  std::chrono::milliseconds interval{500};
  std::chrono::milliseconds rotate_wait{5'000};
  std::chrono::milliseconds period{10'000};  ///< of lines of totals, where output is not a table
  int show_rejected = 20;
  bool strict = false;
};

/// Follows until the process is told to stop, then prints the totals; the exit code. A server that is away is waited
/// for. Errors: what waiting does not mend (no such format, not allowed, the positions cannot be kept).
absl::StatusOr<int> RunFollowImport(Session& session, const FollowImportOptions& options);

}  // namespace naru::cli
