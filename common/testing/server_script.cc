#include "common/testing/server_script.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/testing/testing.h"

namespace naru::testing {
namespace {

// Ended, though whoever adopted it may not have asked for its exit code yet, which can take seconds.
bool IsGone(int pid) {
  if (kill(pid, 0) != 0) return true;
  const std::string stat = ReadFile(absl::StrCat("/proc/", pid, "/stat"));
  const size_t name_end = stat.rfind(')');
  return name_end == std::string::npos || absl::StartsWith(stat.substr(name_end), ") Z");
}

}  // namespace

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
  WaitUntil([pid] { return IsGone(*pid); });
  *pid = -1;
}

void SignalServer(int pid, bool stop) {
  if (pid <= 0) return;
  kill(pid, stop ? SIGSTOP : SIGCONT);
  std::ifstream children(absl::StrCat("/proc/", pid, "/task/", pid, "/children"));
  for (int child = 0; children >> child;) kill(child, stop ? SIGSTOP : SIGCONT);
}

}  // namespace naru::testing
