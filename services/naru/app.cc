#include "services/naru/app.h"

#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/config/config.h"
#include "common/config/version.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "services/naru/completion.h"
#include "services/naru/contexts.h"
#include "services/naru/text_width.h"

namespace naru::cli {
namespace {

std::string GetVariable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::vector<std::string> Words(absl::string_view text) { return absl::StrSplit(text, ' ', absl::SkipEmpty()); }

// Entries whose name begins with `word` and another word: `dlq` -> `dlq list`, `dlq show`.
std::vector<const CommandEntry*> Group(const std::vector<CommandEntry>& commands, absl::string_view word) {
  std::vector<const CommandEntry*> found;
  for (const CommandEntry& entry : commands) {
    if (absl::StartsWith(entry.name, absl::StrCat(word, " "))) found.push_back(&entry);
  }
  return found;
}

const CommandEntry* Find(const std::vector<CommandEntry>& commands, absl::string_view name) {
  const auto found =
      std::find_if(commands.begin(), commands.end(), [&](const auto& entry) { return entry.name == name; });
  return found == commands.end() ? nullptr : &*found;
}

std::string List(const std::vector<const CommandEntry*>& entries) {
  size_t width = 0;
  for (const CommandEntry* entry : entries) width = std::max(width, entry->name.size());
  std::string out;
  for (const CommandEntry* entry : entries) {
    absl::StrAppend(&out, "  ", PadToWidth(entry->name, width), "  ", entry->summary, "\n");
  }
  return out;
}

std::string GroupHelp(const std::vector<CommandEntry>& commands, absl::string_view word) {
  return absl::StrCat("Usage: naru ", word, " COMMAND [flags]\n\nCommands:\n", List(Group(commands, word)), "\n`naru ",
                      word, " COMMAND --help` shows flags and examples.\n");
}

int Complain(absl::string_view message, absl::string_view next) {
  std::fprintf(stderr, "error: %s\n  next: %s\n", std::string(message).c_str(), std::string(next).c_str());
  return kUsage;
}

int UnknownCommand(const std::vector<CommandEntry>& commands, absl::string_view typed, absl::string_view group) {
  std::vector<std::string> known;
  for (const CommandEntry& entry : commands) {
    const std::vector<std::string> words = Words(entry.name);
    if (group.empty()) known.push_back(words[0]);
    if (!group.empty() && words.size() > 1 && words[0] == group) known.push_back(words[1]);
  }
  const std::string nearest = NearestWord(typed, known);
  const std::string prefix = group.empty() ? "naru " : absl::StrCat("naru ", group, " ");
  return Complain(absl::StrCat("there is no command `", prefix, typed, "`"),
                  nearest.empty() ? absl::StrCat(prefix, "--help") : absl::StrCat(prefix, nearest, " --help"));
}

void AddOutputOptions(Options& options, Session* session) {
  options.Section("Output");
  options.Add("output", &session->output, "Form of the results on standard output.")
      .Short('o')
      .OneOf({"table", "json", "jsonl", "csv"});
}

int RunCommand(const CommandEntry& entry, const std::vector<std::string>& args, const catalog::TestRunners* runners) {
  Session session;
  session.runners = runners;
  session.terminal = DetectTerminal();
  std::unique_ptr<Command> command = entry.make();
  Options options(absl::StrCat("naru ", entry.name),
                  entry.details.empty() ? entry.summary : absl::StrCat(entry.summary, "\n", entry.details));
  // Servers log what operators want to know; commands speak for themselves.
  if (!entry.has_variables) log::SetLevel(log::Level::kWarning);
  command->AddOptions(options);
  if (!entry.has_variables) {
    options.FlagsOnly();
    AddOutputOptions(options, &session);
    session.connection.AddTo(options);
  }
  std::string examples;
  for (absl::string_view line : absl::StrSplit(entry.examples, '\n', absl::SkipEmpty())) {
    absl::StrAppend(&examples, "  ", line, "\n");
  }
  if (!examples.empty()) options.Epilog(absl::StrCat("Examples:\n", examples));

  std::vector<const char*> argv = {"naru"};
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  if (const std::optional<int> exit_code = options.ParseCommandLine(static_cast<int>(argv.size()), argv.data())) {
    return *exit_code;
  }
  if (!entry.has_variables) {
    const absl::Status resolved = ResolveConnection(GetVariable, ContextsPath(GetVariable), &session.connection);
    if (!resolved.ok()) {
      PrintError(resolved, session.connection.address, session.terminal);
      return ExitCodeOf(resolved);
    }
  }
  const absl::StatusOr<int> exit_code = command->Run(session);
  std::fflush(stdout);
  if (!exit_code.ok()) {
    PrintError(exit_code.status(), session.connection.address, session.terminal);
    return ExitCodeOf(exit_code.status());
  }
  // A full disk or closed pipe under standard output is not "done".
  if (std::ferror(stdout) != 0 && *exit_code == kDone) return kFailed;
  return *exit_code;
}

}  // namespace

std::string ProgramHelp(const std::vector<CommandEntry>& commands) {
  std::vector<const CommandEntry*> all;
  for (const CommandEntry& entry : commands) all.push_back(&entry);
  return absl::StrCat(
      "naru: events in, durable and accounted for, and live windows out.\n\nUsage: naru COMMAND [flags]\n\nCommands:\n",
      List(all), "\n`naru COMMAND --help` shows flags and examples. Commands go to --address (default ",
      kDefaultAddress,
      ",\n$NARU_ADDRESS, or the current `naru context`). Results are on standard output, messages on standard error.\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 lines rejected with --strict, 4 not allowed, "
      "5 unavailable.\n\nStart here:\n"
      "  naru up --data_dir .naru --pack ciao_labella     the whole platform in this process\n"
      "  naru simulate --pack ciao_labella --events 10000 visitors to look at\n"
      "  naru top                                         live windows\n");
}

int RunProgram(int argc, const char* const* argv, const std::vector<CommandEntry>& commands,
               const catalog::TestRunners* runners) {
  // Libraries keep their remarks to themselves: errors come back as such, and are told in our words.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  google::protobuf::SetLogHandler(nullptr);
  std::vector<std::string> args(argv + std::min(argc, 1), argv + argc);
  if (args.empty()) {
    std::fputs(ProgramHelp(commands).c_str(), stderr);
    return kUsage;
  }
  if (args[0] == "--help" || args[0] == "-h" || (args[0] == "help" && args.size() == 1)) {
    std::fputs(ProgramHelp(commands).c_str(), stdout);
    return kDone;
  }
  if (args[0] == "help") {
    args.erase(args.begin());
    args.push_back("--help");
  }
  if (args[0] == "--version" || args[0] == "version") {
    std::printf("naru %s\n", Version());
    return kDone;
  }
  if (args[0] == "completion") return PrintCompletion(args.size() > 1 ? args[1] : "", commands);
  if (args.size() >= 2) {
    if (const CommandEntry* entry = Find(commands, absl::StrCat(args[0], " ", args[1]))) {
      return RunCommand(*entry, {args.begin() + 2, args.end()}, runners);
    }
  }
  if (const CommandEntry* entry = Find(commands, args[0]))
    return RunCommand(*entry, {args.begin() + 1, args.end()}, runners);
  if (!Group(commands, args[0]).empty()) {
    if (args.size() == 1) {
      std::fputs(GroupHelp(commands, args[0]).c_str(), stderr);
      return kUsage;
    }
    if (args[1] == "--help" || args[1] == "-h") {
      std::fputs(GroupHelp(commands, args[0]).c_str(), stdout);
      return kDone;
    }
    return UnknownCommand(commands, args[1], args[0]);
  }
  if (absl::StartsWith(args[0], "-")) {
    return Complain(absl::StrCat("`", args[0], "` stands before the command; flags come after it"), "naru --help");
  }
  return UnknownCommand(commands, args[0], "");
}

}  // namespace naru::cli
