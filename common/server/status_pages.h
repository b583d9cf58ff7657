// What the HTTP port answers: readiness and errors, as JSON.
#pragma once

#include "absl/status/status.h"
#include "common/auth/method_scopes.h"
#include "common/http/http_server.h"
#include "common/server/health.h"

namespace naru {

/// 200 or 503. With `details` the dependencies and their errors; without, one word.
HttpResponse ReadyPage(const Health::Report& report, bool details);

/// An error as JSON with the HTTP status that stands for its code.
HttpResponse ErrorPage(const absl::Status& status);

/// Checks the key in `authorization: Bearer` or `x-api-key`. Errors: as Authorize.
absl::Status AuthorizeHttp(const KeyStore& keys, Scope needed, const HttpRequest& request);

}  // namespace naru
