#include "common/testing/server_script.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/testing/testing.h"

namespace naru::testing {

absl::StatusOr<StartedServer> StartServer(const std::string& name, const std::string& workdir, int port,
                                          const std::vector<std::string>& arguments) {
  Process::Options options;
  options.args = {SourcePath(absl::StrCat("tests/servers/", name, "/start")), workdir, absl::StrCat(port)};
  options.args.insert(options.args.end(), arguments.begin(), arguments.end());
  options.env["NARU_SERVER_OWNER"] = absl::StrCat(getpid());
  absl::StatusOr<ProcessResult> result = RunProcess(std::move(options), std::chrono::minutes(5));
  if (!result.ok()) return result.status();
  if (result->exit_code != 0) return absl::InternalError(absl::StrCat("no ", name, ": ", result->err));
  StartedServer started;
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(result->out), &started.pid) ||
      !absl::SimpleAtoi(absl::StripAsciiWhitespace(ReadFile(absl::StrCat(workdir, "/port"))), &started.port)) {
    return absl::InternalError(absl::StrCat("no pid in what the start of ", name, " said: ", result->out));
  }
  return started;
}

void KillServer(int* pid) {
  if (*pid <= 0) return;
  kill(*pid, SIGKILL);
  // Not a child of this process, so there is nothing to wait for but its disappearance.
  WaitUntil([pid] { return kill(*pid, 0) != 0; });
  *pid = -1;
}

void SignalServer(int pid, bool stop) {
  if (pid > 0) kill(pid, stop ? SIGSTOP : SIGCONT);
}

}  // namespace naru::testing
