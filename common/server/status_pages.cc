#include "common/server/status_pages.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status/status.h"

namespace naru {
namespace {

std::string Quote(absl::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&out, "\\u%04x", static_cast<int>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

int HttpStatusOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return 200;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
      return 409;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

}  // namespace

HttpResponse ReadyPage(const Health::Report& report, bool details) {
  HttpResponse response;
  response.status = report.serving ? 200 : 503;
  response.content_type = "application/json";
  const char* word = report.serving ? "ready" : report.stopping ? "stopping" : "not_ready";
  response.body = absl::StrCat("{\"status\":\"", word, "\"");
  if (details) {
    absl::StrAppend(&response.body, ",\"dependencies\":{");
    const char* comma = "";
    for (const Health::Dependency& dependency : report.dependencies) {
      const std::string state = dependency.status.ok() ? "ok" : std::string(dependency.status.message());
      absl::StrAppend(&response.body, comma, Quote(dependency.name), ":", Quote(state));
      comma = ",";
    }
    absl::StrAppend(&response.body, "}");
  }
  absl::StrAppend(&response.body, "}\n");
  return response;
}

HttpResponse ErrorPage(const absl::Status& status) {
  HttpResponse response;
  response.status = HttpStatusOf(status.code());
  response.content_type = "application/json";
  response.body = absl::StrCat("{\"code\":", Quote(absl::StatusCodeToString(status.code())),
                               ",\"reason\":", Quote(GetErrorDetails(status).reason),
                               ",\"message\":", Quote(status.message()), "}\n");
  if (response.status == 401) response.headers["WWW-Authenticate"] = "Bearer";
  return response;
}

absl::Status AuthorizeHttp(const KeyStore& keys, Scope needed, const HttpRequest& request) {
  absl::string_view key = BearerToken(request.Header("authorization"));
  if (key.empty()) key = request.Header("x-api-key");
  Principal principal;
  return Authorize(keys, needed, request.path, key, &principal);
}

}  // namespace naru
