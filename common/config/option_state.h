// What is kept of each option; shared by the files of this folder.
#pragma once

#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/config/config.h"

namespace naru {

struct OptionState {
  std::string name;
  std::string help;
  std::string section;
  std::string value_name;    ///< `TEXT`, `DURATION`, ...
  std::string default_text;  ///< as shown before parsing
  std::string source;        ///< `default`, `--name`, `NARU_NAME`, `file:line`
  char letter = 0;
  bool is_bool = false;
  bool is_list = false;
  bool is_text = false;  ///< needs quotes where YAML would misread it
  bool secret = false;
  bool required = false;
  bool hidden = false;
  bool flags_only = false;
  bool built_in = false;  ///< --help and its like: not part of the configuration
  std::vector<std::string> one_of;
  double minimum = -std::numeric_limits<double>::infinity();
  double maximum = std::numeric_limits<double>::infinity();
  /// Sets the target from the values given (one, except for lists); the error's message says what would be right.
  std::function<absl::Status(const std::vector<std::string>&)> set;
  std::function<std::vector<std::string>()> show;
  std::function<double()> number;  ///< empty for what is not a number
};

/// A value that was found for an option.
struct Assignment {
  std::vector<std::string> values;
  std::string source;
};

struct Options::State {
  struct PositionalArguments {
    std::string name;
    std::string help;
    std::vector<std::string>* target = nullptr;
    int minimum = 0;
    int maximum = 0;
  };

  std::string program;
  std::string description;
  std::string epilog;
  std::string section = "Options";
  std::vector<std::unique_ptr<OptionState>> options;
  std::map<std::string, OptionState*> by_name;
  std::optional<PositionalArguments> positional;
  std::vector<std::function<std::vector<FieldViolation>()>> checks;
  bool stop_at_first_positional = false;
  bool flags_only = false;
  Action action = Action::kRun;
  std::string config_file;
  bool help = false;
  bool version = false;
  bool print_config = false;
  bool check_config = false;
  std::vector<FieldViolation> problems;

  OptionState* Add(absl::string_view name, absl::string_view help_text);
  OptionState* Find(absl::string_view name) const;
  OptionState* FindLetter(char letter) const;
  /// Names that a person may have meant, for NearestWord.
  std::vector<std::string> Names() const;
  void Problem(std::string where, std::string what);

  void ReadArguments(const std::vector<std::string>& args, std::map<std::string, Assignment>* found);
  void ReadFlag(const std::vector<std::string>& args, size_t* at, std::map<std::string, Assignment>* found);
  void ReadFile(const std::string& path, std::map<std::string, Assignment>* found);
  void Apply(OptionState* option, const Assignment& assignment);
  void TakePositional(std::vector<std::string> values);
};

/// One scalar or list of a configuration file.
struct FileEntry {
  std::string key;  ///< nested keys joined by `_`, `-` made `_`
  std::vector<std::string> values;
  bool is_list = false;
  int line = 0;
};

/// Reads a YAML file. Errors: NOT_FOUND, INVALID_ARGUMENT with the line.
absl::StatusOr<std::vector<FileEntry>> ReadConfigFile(const std::string& path);

}  // namespace naru
