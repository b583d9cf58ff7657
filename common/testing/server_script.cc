#include "common/testing/server_script.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <vector>

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

std::vector<int> ChildrenOf(int pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/task/", pid, "/children"));
  std::vector<int> children;
  for (int child = 0; file >> child;) children.push_back(child);
  return children;
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
  // With its children: what PostgreSQL started for a connection goes on answering for a while without its parent.
  std::vector<int> pids = ChildrenOf(*pid);
  pids.insert(pids.begin(), *pid);
  for (const int each : pids) kill(each, SIGKILL);
  // Not children of this process, so there is nothing to wait for but their disappearance.
  WaitUntil([&pids] { return std::all_of(pids.begin(), pids.end(), IsGone); });
  *pid = -1;
}

void SignalServer(int pid, bool stop) {
  if (pid <= 0) return;
  kill(pid, stop ? SIGSTOP : SIGCONT);
  for (const int child : ChildrenOf(pid)) kill(child, stop ? SIGSTOP : SIGCONT);
}

}  // namespace naru::testing
