#include "common/server/log_options.h"

#include "common/config/config.h"
#include "common/log/log.h"

namespace naru {

void AddLogOptions(Options* options, LogOptions* log) {
  options->Section("Logs");
  options->Add("log_level", &log->level, "Which entries are written to standard error.")
      .OneOf({"debug", "info", "warning", "error"});
  options->Add("log_format", &log->format, "Lines for people, or JSON for programs.").OneOf({"text", "json"});
}

void ApplyLogOptions(const LogOptions& log) {
  log::SetLevel(log::ParseLevel(log.level).value_or(log::Level::kInfo));
  log::SetFormat(log::ParseFormat(log.format).value_or(log::Format::kText));
}

}  // namespace naru
