#include "common/auth/method_scopes.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/status.h"

namespace naru {

void MethodScopes::RequireScope(absl::string_view method, Scope scope) { scopes_[std::string(method)] = scope; }

Scope MethodScopes::Required(absl::string_view method) const {
  if (const auto it = scopes_.find(method); it != scopes_.end()) return it->second;
  const size_t slash = method.rfind('/');
  if (slash != absl::string_view::npos) {
    if (const auto it = scopes_.find(absl::StrCat(method.substr(0, slash + 1), "*")); it != scopes_.end()) {
      return it->second;
    }
  }
  return Scope::kAdmin;
}

absl::Status Authorize(const KeyStore& keys, Scope needed, absl::string_view what, absl::string_view key,
                       Principal* principal) {
  if (key.empty()) {
    return MakeError(absl::StatusCode::kUnauthenticated, "API_KEY_MISSING",
                     "an API key is needed: send `authorization: Bearer naru_...` (naru key create makes one)");
  }
  std::optional<Principal> owner = keys.Check(key);
  if (!owner) {
    return MakeError(absl::StatusCode::kUnauthenticated, "API_KEY_INVALID",
                     "the API key is unknown or was revoked (naru key list shows the valid ones)");
  }
  if (!owner->scopes.Allow(needed)) {
    return MakeError(absl::StatusCode::kPermissionDenied, "SCOPE_MISSING",
                     absl::StrCat("key ", owner->key_id, " has scope ", absl::StrJoin(owner->scopes.Names(), ", "),
                                  "; ", what, " needs ", ScopeName(needed)));
  }
  *principal = *std::move(owner);
  return absl::OkStatus();
}

absl::Status Authorize(const KeyStore& keys, const MethodScopes& scopes, absl::string_view method,
                       absl::string_view key, Principal* principal) {
  return Authorize(keys, scopes.Required(method), method, key, principal);
}

}  // namespace naru
