// Values that stay out of the catalog: files of a secrets directory, files, variables.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace naru {

class Options;

/// Where secrets come from.
struct SecretOptions {
  std::string directory;  ///< one file a name; empty: only variables
};
/// Adds `secrets_dir`.
void AddSecretOptions(Options* options, SecretOptions* secrets);

/// Whether `name` can be a secret's: letters, digits, `-`, `_`, `.`, not beginning with `.`; 1 to 128 bytes.
bool IsValidSecretName(absl::string_view name);
/// The variable that stands in for a file: `redis-password` is `NARU_SECRET_REDIS_PASSWORD`.
std::string SecretVariable(absl::string_view name);
/// Whether the whole value is one reference: `${secret:NAME}`, `${file:/path}` or `${env:NAME}`.
bool IsSecretReference(absl::string_view value);

/// Reads a secret now: the file without its last line feed, or the variable. `field` is who asks, for the message.
/// Errors: INVALID_ARGUMENT (reason SECRET_MISSING) naming what was looked for; the message never holds a value.
absl::StatusOr<std::string> ReadSecret(const SecretOptions& secrets, absl::string_view field, absl::string_view name);

/// Replaces `${secret:NAME}`, `${file:/path}` (without its last line feed) and `${env:NAME}` in the value of `field`.
/// Errors: as ReadSecret; INVALID_ARGUMENT (SETTING_UNRESOLVED).
absl::StatusOr<std::string> ResolveSecrets(const SecretOptions& secrets, absl::string_view field,
                                           absl::string_view value);

}  // namespace naru
