// Starts and ends servers through the scripts of tests/servers. For the fixtures of this folder.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace naru::testing {

struct StartedServer {
  int pid = -1;
  int port = 0;
};

/// Runs tests/servers/NAME/start WORKDIR PORT ARGUMENTS. The server ends with this process. Errors: INTERNAL with what
/// the script said.
absl::StatusOr<StartedServer> StartServer(const std::string& name, const std::string& workdir, int port,
                                          const std::vector<std::string>& arguments);
/// kill -9; blocks until it is gone. `*pid` becomes -1.
void KillServer(int* pid);
/// SIGSTOP or SIGCONT, to the server and the processes that it started.
void SignalServer(int pid, bool stop);

}  // namespace naru::testing
