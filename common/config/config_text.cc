// What people read: --help and --print_config.
#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/config/option_state.h"

namespace naru {
namespace {

constexpr size_t kHelpColumn = 34;
constexpr size_t kWidth = 110;

// Adds `text` in lines that begin at kHelpColumn; the first goes on where `out` stands.
void AppendWrapped(absl::string_view text, std::string* out) {
  size_t column = kHelpColumn;
  bool first = true;
  for (absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (!first && column + 1 + word.size() > kWidth) {
      absl::StrAppend(out, "\n", std::string(kHelpColumn, ' '));
      column = kHelpColumn;
      first = true;
    }
    absl::StrAppend(out, first ? "" : " ", word);
    column += word.size() + (first ? 0 : 1);
    first = false;
  }
  out->push_back('\n');
}

std::string FlagText(const OptionState& option) {
  std::string text = option.letter == 0 ? "      " : absl::StrCat("  -", std::string(1, option.letter), ", ");
  absl::StrAppend(&text, "--", option.name, option.is_bool ? "" : " ", option.is_bool ? "" : option.value_name);
  return text;
}

std::string HelpText(const OptionState& option) {
  std::string text = option.help;
  if (option.required) {
    absl::StrAppend(&text, " (required)");
  } else if (!option.secret && !option.built_in && !option.default_text.empty() &&
             !(option.is_bool && option.default_text == "false")) {
    absl::StrAppend(&text, " (default ", option.default_text, ")");
  }
  return text;
}

// Plain where YAML certainly reads it as it stands.
std::string YamlText(const std::string& value) {
  const bool plain = !value.empty() && std::all_of(value.begin(), value.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '/';
  });
  if (plain) return value;
  std::string quoted = "\"";
  for (const char c : value) {
    switch (c) {
      case '"':
        quoted += "\\\"";
        break;
      case '\\':
        quoted += "\\\\";
        break;
      case '\n':
        quoted += "\\n";
        break;
      case '\r':
        quoted += "\\r";
        break;
      case '\t':
        quoted += "\\t";
        break;
      default:
        // Anything else below space would end the text or be lost.
        if (static_cast<unsigned char>(c) < 0x20) {
          absl::StrAppend(&quoted, "\\x", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
        } else {
          quoted += c;
        }
    }
  }
  return quoted + "\"";
}

}  // namespace

std::string Options::Help() const {
  std::string text = absl::StrCat("Usage: ", state_->program, " [OPTIONS]");
  if (state_->positional) {
    const auto& positional = *state_->positional;
    const std::string name = absl::StrCat(positional.name, positional.maximum > 1 ? "..." : "");
    absl::StrAppend(&text, " ", positional.minimum == 0 ? absl::StrCat("[", name, "]") : name);
  }
  absl::StrAppend(&text, "\n\n", state_->description, "\n");
  if (state_->positional && !state_->positional->help.empty()) {
    absl::StrAppend(&text, "\n", state_->positional->name, ": ", state_->positional->help, "\n");
  }
  std::vector<std::string> sections;
  for (const auto& option : state_->options) {
    if (!option->hidden && std::find(sections.begin(), sections.end(), option->section) == sections.end()) {
      sections.push_back(option->section);
    }
  }
  for (const std::string& section : sections) {
    absl::StrAppend(&text, "\n", section, ":\n");
    for (const auto& option : state_->options) {
      if (option->hidden || option->section != section) continue;
      const std::string flag = FlagText(*option);
      // A long flag gets a line of its own, so that the texts stay in one column.
      absl::StrAppend(&text, flag, flag.size() + 2 > kHelpColumn ? "\n" : "",
                      std::string(flag.size() + 2 > kHelpColumn ? kHelpColumn : kHelpColumn - flag.size(), ' '));
      AppendWrapped(HelpText(*option), &text);
    }
  }
  if (!state_->flags_only) {
    absl::StrAppend(&text,
                    "\nEach option is also read from the environment (NARU_<NAME>) and from the file of --config; ",
                    "a flag wins over the\nenvironment, the environment over the file.\n");
  }
  if (!state_->epilog.empty()) absl::StrAppend(&text, "\n", state_->epilog, state_->epilog.back() == '\n' ? "" : "\n");
  return text;
}

std::string Options::PrintConfig() const {
  std::string text;
  for (const auto& option : state_->options) {
    if (option->built_in) continue;
    const std::vector<std::string> shown = option->show();
    std::string line;
    if (option->secret) {
      // As a comment: read back, `***` would become the secret.
      line = absl::StrCat("# ", option->name, ": ", shown[0].empty() ? "(not set)" : shown[0]);
    } else if (option->is_list) {
      std::vector<std::string> items;
      for (const std::string& item : shown) items.push_back(YamlText(item));
      line = absl::StrCat(option->name, ": [", absl::StrJoin(items, ", "), "]");
    } else {
      line = absl::StrCat(option->name, ": ", option->is_text ? YamlText(shown[0]) : shown[0]);
    }
    line.resize(std::max<size_t>(line.size(), 44), ' ');
    absl::StrAppend(&text, line, "  # ", option->source, "\n");
  }
  return text;
}

}  // namespace naru
