// naru context: addresses and keys by name.
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "services/naru/command.h"
#include "services/naru/contexts.h"

namespace naru::cli {
namespace {

std::string Path() {
  return ContextsPath([](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  });
}

absl::Status UnknownContext(const std::string& name) {
  return ErrorWithNext(absl::StatusCode::kNotFound, "CONTEXT_NOT_FOUND",
                       absl::StrCat("there is no context `", name, "`"), "naru context list");
}

class ContextSetCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("NAME", &names_, "Name of the context.", 1, 1);
    options.Add("use", &use_, "Make it the current one.");
  }

  absl::StatusOr<int> Run(Session& session) override {
    NARU_ASSIGN_OR_RETURN(ContextFile file, LoadContexts(Path()));
    const ConnectionFlags& given = session.connection;
    SavedContext& saved = file.contexts[names_[0]];
    saved = {given.address, given.api_key,        given.tls, given.tls_ca, given.tls_cert,
             given.tls_key, given.tls_server_name};
    if (use_ || file.current.empty()) file.current = names_[0];
    NARU_RETURN_IF_ERROR(SaveContexts(Path(), file));
    session.Say(absl::StrCat("context `", names_[0], "` (", given.address, ") is kept in ", Path(),
                             file.current == names_[0] ? "; commands use it from now on" : ""));
    return kDone;
  }

 private:
  std::vector<std::string> names_;
  bool use_ = false;
};

class ContextListCommand : public Command {
 public:
  void AddOptions(Options&) override {}

  absl::StatusOr<int> Run(Session& session) override {
    NARU_ASSIGN_OR_RETURN(const ContextFile file, LoadContexts(Path()));
    RowPrinter printer(stdout, session.format(), session.terminal.colour,
                       {"name", "address", "api_key", "tls", "current"});
    for (const auto& [name, saved] : file.contexts) {
      // The id tells keys apart; the secret after the second underscore stays in the file.
      const std::string id = saved.api_key.substr(0, saved.api_key.rfind('_'));
      const bool tls = saved.tls || !saved.tls_ca.empty() || !saved.tls_cert.empty();
      printer.Add({TextCell(name), TextCell(saved.address), id.empty() ? NullCell() : TextCell(id + "_..."),
                   BoolCell(tls), BoolCell(name == file.current)});
    }
    return kDone;
  }
};

class ContextUseCommand : public Command {
 public:
  void AddOptions(Options& options) override { options.Positional("NAME", &names_, "Name of the context.", 1, 1); }

  absl::StatusOr<int> Run(Session& session) override {
    NARU_ASSIGN_OR_RETURN(ContextFile file, LoadContexts(Path()));
    if (file.contexts.count(names_[0]) == 0) return UnknownContext(names_[0]);
    file.current = names_[0];
    NARU_RETURN_IF_ERROR(SaveContexts(Path(), file));
    session.Say(absl::StrCat("commands go to `", names_[0], "` from now on"));
    return kDone;
  }

 private:
  std::vector<std::string> names_;
};

class ContextDeleteCommand : public Command {
 public:
  void AddOptions(Options& options) override { options.Positional("NAME", &names_, "Name of the context.", 1, 1); }

  absl::StatusOr<int> Run(Session&) override {
    NARU_ASSIGN_OR_RETURN(ContextFile file, LoadContexts(Path()));
    if (file.contexts.erase(names_[0]) == 0) return UnknownContext(names_[0]);
    if (file.current == names_[0]) file.current.clear();
    NARU_RETURN_IF_ERROR(SaveContexts(Path(), file));
    return kDone;
  }

 private:
  std::vector<std::string> names_;
};

}  // namespace

std::unique_ptr<Command> MakeContextSetCommand() { return std::make_unique<ContextSetCommand>(); }
std::unique_ptr<Command> MakeContextListCommand() { return std::make_unique<ContextListCommand>(); }
std::unique_ptr<Command> MakeContextUseCommand() { return std::make_unique<ContextUseCommand>(); }
std::unique_ptr<Command> MakeContextDeleteCommand() { return std::make_unique<ContextDeleteCommand>(); }

}  // namespace naru::cli
