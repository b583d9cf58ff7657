// How a program logs, as options.
#pragma once

#include <string>

namespace naru {

class Options;

/// The names that common/log knows.
struct LogOptions {
  std::string level = "info";
  std::string format = "text";
};

/// Adds `log_level` and `log_format`.
void AddLogOptions(Options* options, LogOptions* log);
/// Makes them so; after parsing.
void ApplyLogOptions(const LogOptions& log);

}  // namespace naru
