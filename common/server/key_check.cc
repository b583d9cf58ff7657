#include "common/server/key_check.h"

#include <grpcpp/security/auth_metadata_processor.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"

namespace naru {
namespace {

class KeyCheck : public grpc::AuthMetadataProcessor {
 public:
  KeyCheck(const KeyStore* keys, const MethodScopes* scopes, CallTelemetry* telemetry)
      : keys_(keys), scopes_(scopes), telemetry_(telemetry) {}

  bool IsBlocking() const override { return false; }  // a hash and a look into memory

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* /*context*/, OutputMetadata* /*consumed*/,
                       OutputMetadata* /*response*/) override {
    const absl::string_view method = Find(metadata, ":path");
    absl::string_view key = BearerToken(Find(metadata, "authorization"));
    if (key.empty()) key = Find(metadata, "x-api-key");
    Principal principal;
    const absl::Status status = Authorize(*keys_, *scopes_, method, key, &principal);
    if (status.ok()) return grpc::Status::OK;
    // gRPC passes on a code and a message only, so the reason stands in front of the message.
    const std::string message = absl::StrCat(GetErrorDetails(status).reason, ": ", std::string(status.message()));
    CallTelemetry::Ended ended;
    ended.method = method;
    ended.code = static_cast<int>(status.code());
    ended.message = message;
    if (const auto trace = TraceContext::Parse(Find(metadata, kTraceHeader))) ended.trace_id = trace->TraceId();
    ended.key_id = ApiKeyId(key).value_or("");
    telemetry_->Refused(ended);
    return {static_cast<grpc::StatusCode>(status.code()), message};
  }

 private:
  static absl::string_view Find(const InputMetadata& metadata, const char* name) {
    const auto it = metadata.find(name);
    return it == metadata.end() ? absl::string_view() : absl::string_view(it->second.data(), it->second.size());
  }

  const KeyStore* const keys_;
  const MethodScopes* const scopes_;
  CallTelemetry* const telemetry_;
};

}  // namespace

std::shared_ptr<grpc::AuthMetadataProcessor> MakeKeyCheck(const KeyStore* keys, const MethodScopes* scopes,
                                                          CallTelemetry* telemetry) {
  return std::make_shared<KeyCheck>(keys, scopes, telemetry);
}

}  // namespace naru
