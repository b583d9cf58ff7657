#include "common/secret/secret.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/config/config.h"
#include "common/status/status.h"

namespace naru {
namespace {

constexpr size_t kMaxNameBytes = 128;
constexpr size_t kMaxValueBytes = 64 * 1024;

absl::Status Unresolved(absl::string_view field, absl::string_view reason, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, absl::StrCat(field, ": ", what));
}

// Without its last line feed, which editors and `echo` put there; nothing when it cannot be read.
std::optional<std::string> ReadValue(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string text;
  char buffer[4096];
  while (text.size() <= kMaxValueBytes && (file.read(buffer, sizeof(buffer)), file.gcount() > 0)) {
    text.append(buffer, static_cast<size_t>(file.gcount()));
  }
  if (file.bad() || text.size() > kMaxValueBytes) return std::nullopt;
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

absl::StatusOr<std::string> ResolveOne(const SecretOptions& secrets, absl::string_view field,
                                       absl::string_view inside) {
  if (absl::ConsumePrefix(&inside, "secret:")) return ReadSecret(secrets, field, inside);
  if (absl::ConsumePrefix(&inside, "env:")) {
    const char* variable = std::getenv(std::string(inside).c_str());
    if (variable != nullptr) return std::string(variable);
    return Unresolved(field, "SETTING_UNRESOLVED", absl::StrCat("the variable ", inside, " is not set"));
  }
  if (absl::ConsumePrefix(&inside, "file:")) {
    std::optional<std::string> value = ReadValue(std::string(inside));
    if (value.has_value()) return *std::move(value);
    return Unresolved(field, "SETTING_UNRESOLVED", absl::StrCat("the file ", inside, " cannot be read"));
  }
  return Unresolved(field, "SETTING_UNRESOLVED", "only ${secret:NAME}, ${file:/path} and ${env:NAME} are known");
}

}  // namespace

void AddSecretOptions(Options* options, SecretOptions* secrets) {
  options
      ->Add("secrets_dir", &secrets->directory,
            "Directory of the secrets that resources name, a file each; a missing one is looked for in the variable "
            "NARU_SECRET_NAME.")
      .ValueName("DIR");
}

bool IsValidSecretName(absl::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name.front() != '.' &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.'; });
}

std::string SecretVariable(absl::string_view name) {
  std::string variable = "NARU_SECRET_";
  for (const char c : name) variable.push_back(absl::ascii_isalnum(c) ? absl::ascii_toupper(c) : '_');
  return variable;
}

bool IsSecretReference(absl::string_view value) {
  if (!absl::ConsumePrefix(&value, "${") || !absl::ConsumeSuffix(&value, "}")) return false;
  if (absl::ConsumePrefix(&value, "secret:")) return IsValidSecretName(value);
  return absl::StartsWith(value, "file:/") || (absl::StartsWith(value, "env:") && value.size() > 4);
}

absl::StatusOr<std::string> ReadSecret(const SecretOptions& secrets, absl::string_view field, absl::string_view name) {
  if (!IsValidSecretName(name)) {
    return Unresolved(field, "SECRET_MISSING", absl::StrCat("`", name, "` is not the name of a secret"));
  }
  if (!secrets.directory.empty()) {
    std::optional<std::string> value = ReadValue(absl::StrCat(secrets.directory, "/", name));
    if (value.has_value()) return *std::move(value);
  }
  const std::string variable = SecretVariable(name);
  if (const char* value = std::getenv(variable.c_str()); value != nullptr) return std::string(value);
  const std::string file = secrets.directory.empty() ? "--secrets_dir is not set"
                                                     : absl::StrCat("there is no file ", secrets.directory, "/", name);
  return Unresolved(
      field, "SECRET_MISSING",
      absl::StrCat("the secret ", name, " is missing: ", file, ", and the variable ", variable, " is not set"));
}

absl::StatusOr<std::string> ResolveSecrets(const SecretOptions& secrets, absl::string_view field,
                                           absl::string_view value) {
  std::string out;
  while (true) {
    const size_t open = value.find("${");
    absl::StrAppend(&out, value.substr(0, open));
    if (open == absl::string_view::npos) return out;
    const size_t close = value.find('}', open);
    if (close == absl::string_view::npos) return Unresolved(field, "SETTING_UNRESOLVED", "`${` has no closing `}`");
    NARU_ASSIGN_OR_RETURN(const std::string one, ResolveOne(secrets, field, value.substr(open + 2, close - open - 2)));
    out += one;
    value.remove_prefix(close + 1);
  }
}

}  // namespace naru
