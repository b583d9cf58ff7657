#include "common/http/host_check.h"

#include "absl/strings/match.h"
#include "common/http/address.h"

namespace naru {
namespace {

// `localhost:7780`, `[::1]:7780`, `localhost` -> the name alone, without brackets.
absl::string_view NameOf(absl::string_view host) {
  if (!host.empty() && host.front() == '[') {
    const size_t end = host.find(']');
    return end == absl::string_view::npos ? host : host.substr(1, end - 1);
  }
  return host.substr(0, host.find(':'));
}

bool IsListed(absl::string_view name, const std::vector<std::string>& allowed) {
  for (const std::string& one : allowed) {
    if (absl::EqualsIgnoreCase(one, name)) return true;
  }
  return false;
}

}  // namespace

bool HostAllowed(absl::string_view host, absl::string_view origin, absl::string_view local_host,
                 const std::vector<std::string>& allowed) {
  const absl::string_view name = NameOf(host);
  if (name.empty()) return false;
  if (!IsLoopbackHost(name) && !absl::EqualsIgnoreCase(name, local_host) && !IsListed(name, allowed)) return false;
  if (origin.empty()) return true;
  const size_t scheme = origin.find("://");
  if (scheme == absl::string_view::npos) return false;
  const absl::string_view origin_name = NameOf(origin.substr(scheme + 3));
  return IsLoopbackHost(origin_name) || IsListed(origin_name, allowed);
}

}  // namespace naru
