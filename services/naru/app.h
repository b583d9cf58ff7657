// The program's frame: finds the command, reads its flags, runs it, turns its end into an exit code.
#pragma once

#include <vector>

#include "services/naru/command.h"

namespace naru::cli {

/// The commands that talk to servers; main adds those that are servers themselves.
std::vector<CommandEntry> ClientCommands();

/// Runs the command that `argv` names and returns the exit code. Prints help and errors itself. `runners`: see Session.
int RunProgram(int argc, const char* const* argv, const std::vector<CommandEntry>& commands,
               const catalog::TestRunners* runners = nullptr);

/// The text of `naru --help`.
std::string ProgramHelp(const std::vector<CommandEntry>& commands);

}  // namespace naru::cli
