// Which scope a call needs.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/auth/api_key.h"

namespace naru {

/// The scope of each gRPC method. Filled before the server starts, then only read: thread-safe from then on.
class MethodScopes {
 public:
  /// `method` is the full name, `/naru.ingest.v1.IngestService/PublishEvents`; or `/naru.ingest.v1.IngestService/*` for
  /// all methods of a service that are not named themselves.
  void RequireScope(absl::string_view method, Scope scope);
  /// What `method` needs; methods that nobody registered need admin.
  Scope Required(absl::string_view method) const;

 private:
  std::map<std::string, Scope, std::less<>> scopes_;
};

/// Decides one call. `key` is what the caller sent, empty = nothing. Returns OK and fills `*principal`, or
/// UNAUTHENTICATED (reason API_KEY_MISSING, API_KEY_INVALID) or PERMISSION_DENIED (SCOPE_MISSING).
absl::Status Authorize(const KeyStore& keys, const MethodScopes& scopes, absl::string_view method,
                       absl::string_view key, Principal* principal);
/// The same where the needed scope is known.
absl::Status Authorize(const KeyStore& keys, Scope needed, absl::string_view what, absl::string_view key,
                       Principal* principal);

}  // namespace naru
