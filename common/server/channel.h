// A client's side of Server: channels with TLS and keys.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace grpc {
class Channel;
}

namespace naru {

/// How to reach a server.
struct ChannelOptions {
  std::string address;          ///< HOST:PORT
  std::string api_key;          ///< sent with every call; empty = none
  bool tls = false;             ///< implied by the files below
  std::string tls_ca;           ///< PEM file of who signed the server's certificate; empty = those the system trusts
  std::string tls_cert;         ///< PEM file of the client's own certificate, where the server asks for one
  std::string tls_key;          ///< PEM file
  std::string tls_server_name;  ///< the name to expect in the certificate instead of the host
  int64_t max_message_bytes = 64 << 20;  ///< received
  std::chrono::milliseconds keepalive{60'000};
};

/// Makes a channel; it connects at its first call. Errors: INVALID_ARGUMENT for an empty address or unreadable file;
/// FAILED_PRECONDITION (reason INSECURE_CHANNEL) for a key that would go to another machine without TLS.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const ChannelOptions& options);

}  // namespace naru
