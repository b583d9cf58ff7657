// The commands that are servers themselves.
#pragma once

#include <vector>

#include "services/naru/command.h"

namespace naru::cli {

/// `up`: all services in this process.
std::vector<CommandEntry> ServerCommands();

}  // namespace naru::cli
