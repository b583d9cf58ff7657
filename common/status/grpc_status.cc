#include "common/status/grpc_status.h"

#include <grpcpp/support/status.h>

#include "common/status/status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace naru {
namespace {

// Header lists are limited to 8 KiB by default on both sides, and the trailer holds the message twice (as text, and in
// the details, where base64 adds a third).
constexpr size_t kMaxMessageBytes = 1500;
constexpr size_t kMaxDetailsBytes = 3500;

// Cuts at a character's boundary: a message must stay valid UTF-8.
std::string CutText(absl::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  size_t end = limit - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

void AddErrorInfo(const ErrorDetails& details, absl::string_view domain, google::rpc::Status* out) {
  google::rpc::ErrorInfo info;
  info.set_reason(details.reason);
  info.set_domain(details.domain.empty() ? std::string(domain) : details.domain);
  size_t size = 0;
  for (const auto& [key, value] : details.metadata) {
    size += key.size() + value.size() + 8;
    if (size > kMaxDetailsBytes / 2) break;
    (*info.mutable_metadata())[key] = value;
  }
  out->add_details()->PackFrom(info);
}

void AddBadRequest(const ErrorDetails& details, google::rpc::Status* out) {
  google::rpc::BadRequest bad_request;
  size_t size = out->ByteSizeLong() + 64;
  for (const FieldViolation& violation : details.violations) {
    std::string description = CutText(violation.description, 400);
    std::string field = CutText(violation.field, 200);
    size += description.size() + field.size() + 8;
    if (size > kMaxDetailsBytes) break;
    auto* added = bad_request.add_field_violations();
    added->set_field(std::move(field));
    added->set_description(std::move(description));
  }
  if (bad_request.field_violations_size() > 0) out->add_details()->PackFrom(bad_request);
}

void ReadDetails(const google::rpc::Status& from, ErrorDetails* details) {
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad_request;
  google::rpc::RetryInfo retry;
  for (const google::protobuf::Any& any : from.details()) {
    if (any.UnpackTo(&info)) {
      details->reason = info.reason();
      details->domain = info.domain();
      details->metadata = {info.metadata().begin(), info.metadata().end()};
    } else if (any.UnpackTo(&bad_request)) {
      for (const auto& violation : bad_request.field_violations()) {
        details->violations.push_back({violation.field(), violation.description()});
      }
    } else if (any.UnpackTo(&retry)) {
      details->retry_after =
          std::chrono::milliseconds(retry.retry_delay().seconds() * 1000 + retry.retry_delay().nanos() / 1'000'000);
    }
  }
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status, absl::string_view domain) {
  if (status.ok()) return grpc::Status::OK;
  const ErrorDetails details = GetErrorDetails(status);
  const std::string message = CutText(status.message(), kMaxMessageBytes);
  google::rpc::Status out;
  out.set_code(static_cast<int>(status.code()));
  // The trailer holds the message as text already; clients read it there.
  out.set_message(CutText(status.message(), 500));
  if (details.retry_after) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(details.retry_after->count() / 1000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int>(details.retry_after->count() % 1000) * 1'000'000);
    AddErrorInfo(details, domain, &out);
    out.add_details()->PackFrom(retry);
  } else {
    AddErrorInfo(details, domain, &out);
  }
  AddBadRequest(details, &out);
  return {static_cast<grpc::StatusCode>(status.code()), message, out.SerializeAsString()};
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  ErrorDetails details;
  google::rpc::Status rich;
  if (!status.error_details().empty() && rich.ParseFromString(status.error_details())) ReadDetails(rich, &details);
  return MakeError(code, status.error_message(), std::move(details));
}

}  // namespace naru
