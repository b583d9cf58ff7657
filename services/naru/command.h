// A command of the program: its flags and what it does. The table of all commands is in app.cc.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/naru/connection.h"
#include "services/naru/row_printer.h"
#include "services/naru/terminal.h"

namespace naru {
class Options;
}
namespace naru::catalog {
class TestRunners;
}

namespace naru::cli {

/// What the program ends with; scripts rely on it.
enum ExitCode : int {
  kDone = 0,
  kFailed = 1,
  kUsage = 2,          ///< wrong flags, or input that the server refused as wrong
  kRejectedLines = 3,  ///< some lines or events were rejected, and --strict was given
  kNotAllowed = 4,
  kUnavailable = 5,
};

/// The exit code of an error. `diff` maps differently: see there.
int ExitCodeOf(const absl::Status& status);

/// Prints an error on standard error: what was wrong, each wrong field, and the next command to type where there is
/// one.
void PrintError(const absl::Status& status, const std::string& address, const Terminal& terminal);

/// Makes an error whose message is followed by `next`, a command to type.
absl::Status ErrorWithNext(absl::StatusCode code, absl::string_view reason, absl::string_view message,
                           absl::string_view next);

/// What every command gets.
struct Session {
  Terminal terminal;
  ConnectionFlags connection;
  std::string output = "table";
  /// The checks and tests of all kinds of resources; null where the program does not have them.
  const catalog::TestRunners* runners = nullptr;

  /// The format of results. `output` was checked by the flags already.
  OutputFormat format() const;
  /// A message for people, on standard error.
  void Say(absl::string_view message) const;
  void Warn(absl::string_view message) const;
};

/// One command. Made anew for each run.
class Command {
 public:
  virtual ~Command() = default;
  /// Adds the command's own flags; --address, --output and so on are there already.
  virtual void AddOptions(Options& options) = 0;
  /// Does it and returns the exit code; an error is printed and becomes one.
  virtual absl::StatusOr<int> Run(Session& session) = 0;
};

/// A line of the table of commands.
struct CommandEntry {
  std::string name;      ///< `import`, `dlq list`
  std::string summary;   ///< one sentence
  std::string details;   ///< more, for --help
  std::string examples;  ///< one command line a line
  std::function<std::unique_ptr<Command>()> make;
  bool has_variables = false;  ///< flags may also come from NARU_... variables and --config (servers)
};

std::unique_ptr<Command> MakeImportCommand();
std::unique_ptr<Command> MakePublishCommand();
std::unique_ptr<Command> MakeTailCommand();
std::unique_ptr<Command> MakeQueryCommand();
std::unique_ptr<Command> MakeWatchCommand();
std::unique_ptr<Command> MakeFunnelCommand();
std::unique_ptr<Command> MakeRetentionCommand();
std::unique_ptr<Command> MakeSessionsCommand();
std::unique_ptr<Command> MakeWhyCommand();
std::unique_ptr<Command> MakeLateListCommand();
std::unique_ptr<Command> MakeLateReplayCommand();
std::unique_ptr<Command> MakeTopCommand();
std::unique_ptr<Command> MakeApplyCommand();
std::unique_ptr<Command> MakeDiffCommand();
std::unique_ptr<Command> MakeGetCommand();
std::unique_ptr<Command> MakeDeleteCommand();
std::unique_ptr<Command> MakeExplainCommand();
std::unique_ptr<Command> MakeDlqListCommand();
std::unique_ptr<Command> MakeDlqShowCommand();
std::unique_ptr<Command> MakeDlqReplayCommand();
std::unique_ptr<Command> MakeKeyCreateCommand();
std::unique_ptr<Command> MakeKeyListCommand();
std::unique_ptr<Command> MakeKeyRevokeCommand();
std::unique_ptr<Command> MakeStatusCommand();
std::unique_ptr<Command> MakeSinkListCommand();
std::unique_ptr<Command> MakeSinkPauseCommand();
std::unique_ptr<Command> MakeSinkResumeCommand();
std::unique_ptr<Command> MakeSinkResyncCommand();
std::unique_ptr<Command> MakeSimulateCommand();
std::unique_ptr<Command> MakeContextSetCommand();
std::unique_ptr<Command> MakeContextListCommand();
std::unique_ptr<Command> MakeContextUseCommand();
std::unique_ptr<Command> MakeContextDeleteCommand();

}  // namespace naru::cli
