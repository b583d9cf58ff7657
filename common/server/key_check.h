// Checks API keys before gRPC looks at a call any further.
#pragma once

#include <memory>

#include "common/auth/method_scopes.h"
#include "common/server/call_telemetry.h"

namespace grpc {
class AuthMetadataProcessor;
}

namespace naru {

/// Refuses calls whose key is missing, wrong or without the scope: before the handler, before its message is read, for
/// methods of every kind and for unknown ones. Borrows all; they must outlive the gRPC server.
std::shared_ptr<grpc::AuthMetadataProcessor> MakeKeyCheck(const KeyStore* keys, const MethodScopes* scopes,
                                                          CallTelemetry* telemetry);

}  // namespace naru
