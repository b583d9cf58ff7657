// What must never be written anywhere: the values of secrets.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace naru {

/// Whether a field, flag or header of this name holds a secret: it says secret, password, api_key, token,
/// authorization.
bool IsSecretName(absl::string_view name);

/// Returns `value` as it may be shown: `***` for a field with the name of a secret (nothing for an empty one), and the
/// secret part of each API key (`naru_<id>_<secret>`) inside it replaced by `***`.
std::string Redact(absl::string_view name, absl::string_view value);

}  // namespace naru
