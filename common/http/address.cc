#include "common/http/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status/status.h"

namespace naru {

absl::StatusOr<HostPort> ParseHostPort(absl::string_view text) {
  HostPort parsed;
  const size_t colon = text.rfind(':');
  absl::string_view host = colon == absl::string_view::npos ? "" : text.substr(0, colon);
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  // An IPv6 address without brackets cannot be told from one with a port.
  const bool ambiguous = !brackets && absl::StrContains(host, ":");
  if (host.empty() || ambiguous || !absl::SimpleAtoi(text.substr(colon + 1), &parsed.port) || parsed.port < 0 ||
      parsed.port > 65535) {
    return MakeError(absl::StatusCode::kInvalidArgument, "ADDRESS",
                     absl::StrCat("`", text.substr(0, 128), "` is not HOST:PORT, such as 127.0.0.1:7700 or [::1]:0"));
  }
  parsed.host = std::string(host);
  return parsed;
}

std::string FormatHostPort(absl::string_view host, int port) {
  return absl::StrContains(host, ":") ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

bool IsLoopbackHost(absl::string_view host) {
  if (absl::EqualsIgnoreCase(host, "localhost") || absl::EndsWithIgnoreCase(host, ".localhost")) return true;
  const std::string text(host);
  in_addr v4{};
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, text.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace naru
