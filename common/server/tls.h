// Certificates and keys from PEM files.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/server/server_options.h"

namespace grpc {
class ServerCredentials;
}

namespace naru {

/// Reads a file of at most 1 MiB. Errors: INVALID_ARGUMENT (reason TLS_FILE) naming it.
absl::StatusOr<std::string> ReadPemFile(const std::string& path);

/// Whether the files hold a certificate and its key. Errors: INVALID_ARGUMENT (reason TLS_FILE) saying what is wrong.
absl::Status CheckKeyPair(const std::string& cert_path, const std::string& key_path);

/// The credentials of the gRPC port: TLS (its files are read again when they change), or none. With keys and without
/// TLS they are those for loopback, which, other than no credentials at all, let calls be refused before they run.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const ServerOptions& options);

}  // namespace naru
