// The one binary a person types.
#include "common/catalog/test_runners.h"
#include "services/naru/app.h"
#include "services/naru/up_command.h"

int main(int argc, char** argv) {
  std::vector<naru::cli::CommandEntry> commands = naru::cli::ServerCommands();
  for (naru::cli::CommandEntry& entry : naru::cli::ClientCommands()) commands.push_back(std::move(entry));
  naru::catalog::TestRunners runners;
  naru::cli::RegisterRunners(&runners);
  return naru::cli::RunProgram(argc, argv, commands, &runners);
}
