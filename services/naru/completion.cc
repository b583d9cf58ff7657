#include "services/naru/completion.h"

#include <cstdio>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace naru::cli {

int PrintCompletion(const std::string& shell, const std::vector<CommandEntry>& commands) {
  if (shell != "bash") {
    std::fputs(
        "error: say which shell: bash\n  next: naru completion bash > "
        "~/.local/share/bash-completion/completions/naru\n",
        stderr);
    return kUsage;
  }
  std::set<std::string> first;
  std::map<std::string, std::set<std::string>> second;
  for (const CommandEntry& entry : commands) {
    const std::vector<std::string> words = absl::StrSplit(entry.name, ' ');
    first.insert(words[0]);
    if (words.size() > 1) second[words[0]].insert(words[1]);
  }
  std::string cases;
  for (const auto& [word, rest] : second) {
    absl::StrAppend(&cases, "      ", word, ") words=\"", absl::StrJoin(rest, " "), "\" ;;\n");
  }
  // Flags are taken from the command's own --help, so that the script cannot fall behind the program.
  const std::string script = absl::StrCat(
      "_naru() {\n"
      "  local current=\"${COMP_WORDS[COMP_CWORD]}\" words=\"\"\n"
      "  if [[ $current == -* ]]; then\n"
      "    local end=2; [[ ${COMP_WORDS[2]} != -* && $COMP_CWORD -gt 2 ]] && end=3\n"
      "    words=\"$(\"${COMP_WORDS[@]:0:end}\" --help 2>/dev/null | grep -o -- '--[a-z_]*' | sort -u)\"\n"
      "  elif [[ $COMP_CWORD -eq 1 ]]; then\n"
      "    words=\"",
      absl::StrJoin(first, " "),
      "\"\n"
      "  elif [[ $COMP_CWORD -eq 2 ]]; then\n"
      "    case ${COMP_WORDS[1]} in\n",
      cases,
      "    esac\n"
      "  fi\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
      "  [[ ${#COMPREPLY[@]} -eq 0 ]] && COMPREPLY=($(compgen -f -- \"$current\"))\n"
      "}\n"
      "complete -F _naru naru\n");
  std::fputs(script.c_str(), stdout);
  return kDone;
}

}  // namespace naru::cli
