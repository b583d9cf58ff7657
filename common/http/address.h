// HOST:PORT as text.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace naru {

/// The two halves of `127.0.0.1:7700`, `[::1]:7700` or `localhost:0`; the host without brackets.
struct HostPort {
  std::string host;
  int port = 0;
};
/// Errors: INVALID_ARGUMENT (reason ADDRESS) when a half is missing or the port is not 0..65535.
absl::StatusOr<HostPort> ParseHostPort(absl::string_view text);
/// With brackets around an IPv6 address.
std::string FormatHostPort(absl::string_view host, int port);

/// Whether the host (no port, no brackets) names this machine only: 127.0.0.0/8, ::1, `localhost` and names under it.
bool IsLoopbackHost(absl::string_view host);

}  // namespace naru
