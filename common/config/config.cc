#include "common/config/config.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/config/option_state.h"
#include "common/config/version.h"

namespace naru {
namespace {

std::string Normalise(absl::string_view name) { return absl::StrReplaceAll(name, {{"-", "_"}}); }

std::string VariableName(absl::string_view option) { return absl::StrCat("NARU_", absl::AsciiStrToUpper(option)); }

size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string NearestWord(absl::string_view word, const std::vector<std::string>& known) {
  std::string nearest;
  // A third of the letters may differ: enough for a slip of the finger, too little to suggest something else.
  size_t best = std::max<size_t>(1, word.size() / 3) + 1;
  if (word.size() > 64) return nearest;
  for (const std::string& candidate : known) {
    const size_t distance = EditDistance(word, candidate);
    if (distance < best) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

Options::Options(std::string program, std::string description) : state_(std::make_unique<State>()) {
  state_->program = std::move(program);
  state_->description = std::move(description);
}
Options::~Options() = default;

void Options::Positional(absl::string_view name, std::vector<std::string>* target, absl::string_view help, int minimum,
                         int maximum) {
  state_->positional = State::PositionalArguments{std::string(name), std::string(help), target, minimum, maximum};
}
void Options::StopAtFirstPositional() { state_->stop_at_first_positional = true; }
void Options::Section(absl::string_view heading) { state_->section = std::string(heading); }
void Options::Epilog(absl::string_view text) { state_->epilog = std::string(text); }
void Options::FlagsOnly() {
  state_->flags_only = true;
  for (auto& option : state_->options) option->flags_only = true;
}
void Options::Validate(std::function<std::vector<FieldViolation>()> check) {
  state_->checks.push_back(std::move(check));
}
Options::Action Options::action() const { return state_->action; }
bool Options::IsSet(absl::string_view name) const {
  const OptionState* option = state_->Find(name);
  return option != nullptr && option->source != "default";
}

OptionState* Options::State::Find(absl::string_view name) const {
  const auto it = by_name.find(Normalise(name));
  return it == by_name.end() ? nullptr : it->second;
}

OptionState* Options::State::FindLetter(char letter) const {
  for (const auto& option : options) {
    if (option->letter == letter) return option.get();
  }
  return nullptr;
}

std::vector<std::string> Options::State::Names() const {
  std::vector<std::string> names;
  for (const auto& option : options) names.push_back(option->name);
  return names;
}

void Options::State::Problem(std::string where, std::string what) {
  problems.push_back({std::move(where), std::move(what)});
}

void Options::State::ReadFlag(const std::vector<std::string>& args, size_t* at,
                              std::map<std::string, Assignment>* found) {
  const std::string& arg = args[*at];
  const bool is_long = absl::StartsWith(arg, "--");
  const size_t equals = arg.find('=');
  const std::string typed = arg.substr(0, equals);
  bool negated = false;
  OptionState* option = is_long ? Find(typed.substr(2)) : arg.size() == 2 ? FindLetter(arg[1]) : nullptr;
  if (option == nullptr && is_long && absl::StartsWith(Normalise(typed.substr(2)), "no_")) {
    option = Find(typed.substr(5));
    negated = option != nullptr && option->is_bool;
    if (!negated) option = nullptr;
  }
  if (option == nullptr) {
    const std::string nearest = is_long ? NearestWord(Normalise(typed.substr(2)), Names()) : "";
    Problem(typed,
            absl::StrCat("unknown flag", nearest.empty() ? "" : absl::StrCat("; did you mean --", nearest, "?")));
    return;
  }
  std::string value;
  if (equals != std::string::npos && is_long) {
    if (negated) return Problem(typed, "takes no value");
    value = arg.substr(equals + 1);
  } else if (option->is_bool) {
    value = negated ? "false" : "true";
  } else if (*at + 1 < args.size() && !absl::StartsWith(args[*at + 1], "--")) {
    value = args[++*at];
  } else {
    return Problem(typed, absl::StrCat("needs a value: ", typed, " ", option->value_name));
  }
  Assignment& assignment = (*found)[option->name];
  assignment.source = absl::StrCat("--", option->name);
  if (!option->is_list) assignment.values.clear();
  assignment.values.push_back(std::move(value));
}

void Options::State::ReadArguments(const std::vector<std::string>& args, std::map<std::string, Assignment>* found) {
  std::vector<std::string> rest;
  for (size_t i = 0; i < args.size(); ++i) {
    const bool is_flag = args[i].size() > 1 && args[i][0] == '-';
    if (is_flag && args[i] != "--") {
      ReadFlag(args, &i, found);
      continue;
    }
    if (args[i] == "--" || stop_at_first_positional) {
      rest.insert(rest.end(), args.begin() + static_cast<int64_t>(i) + (args[i] == "--" ? 1 : 0), args.end());
      break;
    }
    rest.push_back(args[i]);
  }
  for (auto& [name, assignment] : *found) {
    if (!Find(name)->is_list) continue;
    std::vector<std::string> split;
    for (const std::string& value : assignment.values) {
      for (absl::string_view item : absl::StrSplit(value, ',', absl::SkipEmpty())) split.emplace_back(item);
    }
    assignment.values = std::move(split);
  }
  TakePositional(std::move(rest));
}

void Options::State::TakePositional(std::vector<std::string> values) {
  if (!positional) {
    for (const std::string& value : values) Problem(value, "unexpected argument");
    return;
  }
  const auto count = static_cast<int>(values.size());
  if (count < positional->minimum && !help && !version) {
    Problem(positional->name,
            count == 0 ? "is missing" : absl::StrCat("at least ", positional->minimum, " are needed"));
  } else if (count > positional->maximum) {
    Problem(values[positional->maximum], "unexpected argument");
  }
  *positional->target = std::move(values);
}

void Options::State::ReadFile(const std::string& path, std::map<std::string, Assignment>* found) {
  const absl::StatusOr<std::vector<FileEntry>> entries = ReadConfigFile(path);
  if (!entries.ok()) return Problem("--config", std::string(entries.status().message()));
  for (const FileEntry& entry : *entries) {
    const std::string source = absl::StrCat(path, ":", entry.line);
    const OptionState* option = Find(entry.key);
    if (option == nullptr || option->built_in || option->flags_only) {
      const std::string nearest = NearestWord(entry.key, Names());
      Problem(source, absl::StrCat("unknown name `", entry.key, "`",
                                   nearest.empty() ? "" : absl::StrCat("; did you mean `", nearest, "`?")));
    } else if (entry.is_list && !option->is_list) {
      Problem(source, absl::StrCat("`", entry.key, "` takes one value, not a list"));
    } else {
      (*found)[entry.key] = {entry.values, source};
    }
  }
}

void Options::State::Apply(OptionState* option, const Assignment& assignment) {
  const absl::Status status = option->set(assignment.values);
  const std::string what = absl::StrCat("`", option->name, "` ");
  const bool own_source = assignment.source == absl::StrCat("--", option->name);
  if (!status.ok()) {
    return Problem(assignment.source, absl::StrCat(own_source ? "" : what, std::string(status.message())));
  }
  option->source = assignment.source;
  if (option->number && (option->number() < option->minimum || option->number() > option->maximum)) {
    Problem(assignment.source, absl::StrCat(own_source ? "" : what, assignment.values[0], " is outside [",
                                            option->minimum, ", ", option->maximum, "]"));
  }
  if (!option->one_of.empty()) {
    for (const std::string& value : option->show()) {
      if (std::find(option->one_of.begin(), option->one_of.end(), value) == option->one_of.end()) {
        Problem(assignment.source, absl::StrCat(own_source ? "" : what, "`", value,
                                                "` is not one of: ", absl::StrJoin(option->one_of, ", ")));
      }
    }
  }
}

void Options::AddBuiltIn() {
  State& state = *state_;
  if (state.Find("help") != nullptr) return;
  const auto add = [&](absl::string_view name, absl::string_view help, bool* target) {
    Add(name, target, help);
    state.Find(name)->built_in = true;
  };
  state.section = "Help";
  add("help", "Shows this.", &state.help);
  Option(state.Find("help")).Short('h');
  add("version", "Shows the version.", &state.version);
  if (state.flags_only) return;
  Add("config", &state.config_file, "YAML file with any of these options: `name: value`.").ValueName("FILE");
  state.Find("config")->built_in = true;
  add("print_config", "Shows every value and where it came from, then ends.", &state.print_config);
  add("check_config", "Reports every problem of the configuration, then ends.", &state.check_config);
}

absl::Status Options::Parse(const std::vector<std::string>& args, const Environment& environment) {
  State& state = *state_;
  AddBuiltIn();
  // --help and --version win over everything else that may be wrong.
  for (const std::string& arg : args) {
    if (arg == "--" || (state.stop_at_first_positional && !absl::StartsWith(arg, "-"))) break;
    state.help |= arg == "--help" || arg == "-h";
    state.version |= arg == "--version";
  }
  std::map<std::string, Assignment> flags;
  std::map<std::string, Assignment> file;
  state.ReadArguments(args, &flags);
  if (const auto it = flags.find("config"); it != flags.end()) {
    state.config_file = it->second.values[0];
  } else if (const auto path = environment("NARU_CONFIG"); path && !state.flags_only && !path->empty()) {
    state.config_file = *path;
  }
  if (!state.config_file.empty()) state.ReadFile(state.config_file, &file);
  for (const auto& option : state.options) {
    const std::string variable = VariableName(option->name);
    if (const auto flag = flags.find(option->name); flag != flags.end()) {
      state.Apply(option.get(), flag->second);
    } else if (std::optional<std::string> value;
               !option->built_in && !option->flags_only && (value = environment(variable))) {
      Assignment assignment{{*value}, variable};
      if (option->is_list) assignment.values = absl::StrSplit(*value, ',', absl::SkipEmpty());
      state.Apply(option.get(), assignment);
    } else if (const auto it = file.find(option->name); it != file.end()) {
      state.Apply(option.get(), it->second);
    } else if (option->required) {
      state.Problem(absl::StrCat("--", option->name), "must be set");
    }
  }
  for (const auto& check : state.checks) {
    for (FieldViolation& violation : check()) state.problems.push_back(std::move(violation));
  }
  state.action = state.help           ? Action::kHelp
                 : state.version      ? Action::kVersion
                 : state.print_config ? Action::kPrintConfig
                 : state.check_config ? Action::kCheckConfig
                                      : Action::kRun;
  if (state.problems.empty() || state.help || state.version) return absl::OkStatus();
  ErrorDetails details;
  details.reason = "CONFIG";
  details.violations = std::exchange(state.problems, {});
  const std::string message = absl::StrCat(
      details.violations[0].field, ": ", details.violations[0].description,
      details.violations.size() > 1 ? absl::StrCat(" (and ", details.violations.size() - 1, " more)") : "");
  return MakeError(absl::StatusCode::kInvalidArgument, message, std::move(details));
}

std::string FormatProblems(const absl::Status& status) {
  std::string text;
  for (const FieldViolation& violation : GetErrorDetails(status).violations) {
    absl::StrAppend(&text, violation.field, ": ", violation.description, "\n");
  }
  return text.empty() ? absl::StrCat(std::string(status.message()), "\n") : text;
}

std::optional<int> Options::ParseCommandLine(int argc, const char* const* argv) {
  const std::vector<std::string> args(argv + std::min(argc, 1), argv + argc);
  const absl::Status status = Parse(args, [](absl::string_view name) -> std::optional<std::string> {
    const char* value = std::getenv(std::string(name).c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  });
  if (!status.ok()) {
    std::fprintf(stderr, "%s%s --help shows all options.\n", FormatProblems(status).c_str(), state_->program.c_str());
    return 2;
  }
  switch (action()) {
    case Action::kRun:
      return std::nullopt;
    case Action::kHelp:
      std::fputs(Help().c_str(), stdout);
      break;
    case Action::kVersion:
      std::printf("%s %s\n", state_->program.c_str(), Version());
      break;
    case Action::kPrintConfig:
      std::fputs(PrintConfig().c_str(), stdout);
      break;
    case Action::kCheckConfig:
      std::fputs("the configuration is valid\n", stdout);
      break;
  }
  std::fflush(stdout);
  return 0;
}

}  // namespace naru
