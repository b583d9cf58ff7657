// The commands that need the services themselves.
#pragma once

#include <vector>

#include "services/naru/command.h"

namespace naru::cli {

/// `up`: all services in this process; `test`: the tests of resources, for which all services are needed.
std::vector<CommandEntry> ServerCommands();

/// Registers the checks and tests of every kind of resource.
void RegisterRunners(catalog::TestRunners* runners);

}  // namespace naru::cli
