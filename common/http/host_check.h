// Protection against web pages that reach a local port through a name of their own (DNS rebinding).
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace naru {

/// Whether a request may be answered. Its `host` (with or without port) must be a loopback name, one of `allowed`, or
/// the address `local_host` that the connection really has; its `origin`, where there is one, a loopback name or one of
/// `allowed`. The special origin `null` is refused.
bool HostAllowed(absl::string_view host, absl::string_view origin, absl::string_view local_host,
                 const std::vector<std::string>& allowed);

}  // namespace naru
