// Completion scripts for shells.
#pragma once

#include <string>
#include <vector>

#include "services/naru/command.h"

namespace naru::cli {

/// Prints the completion script of `shell` (bash) on standard output; the exit code.
int PrintCompletion(const std::string& shell, const std::vector<CommandEntry>& commands);

}  // namespace naru::cli
