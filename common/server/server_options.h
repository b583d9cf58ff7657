// What can be set about a server.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace naru {

class Options;

/// Addresses, credentials and limits. The defaults listen on loopback only.
struct ServerOptions {
  std::string name = "naru";               ///< for the log and error domains: `ingest` -> `ingest.naru.dev`
  std::string listen = "127.0.0.1:0";      ///< gRPC, HOST:PORT; port 0 takes a free one
  std::string http_listen;                 ///< health for people and probes; empty = none
  std::string metrics_listen;              ///< Prometheus; empty = none
  std::vector<std::string> allowed_hosts;  ///< names that HTTP's Host and Origin may say beside the loopback ones

  std::string tls_cert;       ///< PEM file with the chain; empty = no TLS
  std::string tls_key;        ///< PEM file
  std::string tls_client_ca;  ///< PEM file; callers must then show a certificate it signed
  bool require_keys = false;  ///< every call needs an API key with the right scope

  int64_t max_message_bytes = 8 << 20;          ///< received; batches are up to 4 MiB and need some margin
  int max_streams_per_connection = 256;         ///< calls at a time on one connection; further ones wait in the client
  int max_connections = 1024;                   ///< further ones are closed at once
  int64_t max_metadata_bytes = 16 << 10;        ///< headers of a call, as HTTP/2 counts them
  int64_t memory_quota_bytes = 256LL << 20;     ///< what gRPC may use for reading and writing
  int max_threads = 16;                         ///< of services with the synchronous API (reflection)
  std::chrono::milliseconds keepalive{60'000};  ///< ping an idle connection; close it when no answer comes in 20 s
  std::chrono::milliseconds health_interval{1'000};  ///< how often dependencies are asked
  std::chrono::milliseconds lame_duck{0};            ///< NOT_SERVING before anything stops, so that balancers turn away
  std::chrono::milliseconds drain_timeout{10'000};   ///< for running calls to end; then they are cancelled
  bool reflection = true;                            ///< for grpcurl
};

/// Adds the options above under their names (`listen`, `tls_cert`, `require_keys`, ...), except `name`.
void AddServerOptions(Options* options, ServerOptions* server);

/// Whether HOST of HOST:PORT names this machine only: 127.0.0.0/8, ::1, localhost.
bool IsLoopback(absl::string_view host_port);

/// Promise 7: an address that is not loopback needs TLS and keys. Errors: FAILED_PRECONDITION (reason INSECURE_LISTEN),
/// saying which option is missing.
absl::Status CheckListen(const ServerOptions& options);

}  // namespace naru
