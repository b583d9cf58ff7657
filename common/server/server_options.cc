#include "common/server/server_options.h"

#include "absl/strings/str_cat.h"
#include "common/config/config.h"
#include "common/http/address.h"
#include "common/status/status.h"

namespace naru {

void AddServerOptions(Options* options, ServerOptions* server) {
  options->Section("Server");
  options->Add("listen", &server->listen, "Address of the gRPC port; port 0 takes a free one.").ValueName("HOST:PORT");
  options->Add("http_listen", &server->http_listen, "Address of the HTTP port (health); empty = none.")
      .ValueName("HOST:PORT");
  options->Add("metrics_listen", &server->metrics_listen, "Address of the Prometheus port; empty = none.")
      .ValueName("HOST:PORT");
  options->Add("allowed_hosts", &server->allowed_hosts,
               "Names that the Host and Origin of an HTTP request may say, beside the loopback ones.");
  options->Add("tls_cert", &server->tls_cert, "PEM file of the server's certificate chain; turns TLS on.")
      .ValueName("FILE");
  options->Add("tls_key", &server->tls_key, "PEM file of its private key.").ValueName("FILE");
  options->Add("tls_client_ca", &server->tls_client_ca, "PEM file; callers must show a certificate signed by it.")
      .ValueName("FILE");
  options->Add("require_keys", &server->require_keys, "Every call needs an API key with the right scope.");
  options->Section("Limits");
  options->Add("max_message_bytes", &server->max_message_bytes, "Largest message taken, in bytes.")
      .Range(64 << 10, 1 << 30);
  options->Add("max_streams_per_connection", &server->max_streams_per_connection, "Calls at a time on a connection.")
      .Range(1, 1 << 20);
  options->Add("max_connections", &server->max_connections, "Connections; further ones are closed at once.")
      .Range(1, 1 << 20);
  options->Add("max_metadata_bytes", &server->max_metadata_bytes, "Headers of a call, in bytes.")
      .Range(1 << 10, 1 << 20);
  options->Add("keepalive", &server->keepalive, "How long a connection is silent before it is pinged.")
      .Range(1e6, 86'400e6);
  options->Add("lame_duck", &server->lame_duck, "Time between saying NOT_SERVING and stopping, for load balancers.");
  options->Add("drain_timeout", &server->drain_timeout, "Time for running calls to end when stopping.");
  options->Validate([server] {
    std::vector<FieldViolation> problems;
    for (const auto& [name, address] :
         {std::pair{"--listen", &server->listen}, std::pair{"--http_listen", &server->http_listen},
          std::pair{"--metrics_listen", &server->metrics_listen}}) {
      if (address->empty() && address != &server->listen) continue;
      if (const auto parsed = ParseHostPort(*address); !parsed.ok()) {
        problems.push_back({name, std::string(parsed.status().message())});
      }
    }
    if (server->tls_cert.empty() != server->tls_key.empty()) {
      problems.push_back({server->tls_cert.empty() ? "--tls_cert" : "--tls_key", "must be set where the other one is"});
    }
    if (!server->tls_client_ca.empty() && server->tls_cert.empty()) {
      problems.push_back({"--tls_client_ca", "needs --tls_cert and --tls_key"});
    }
    if (problems.empty()) {
      if (const absl::Status status = CheckListen(*server); !status.ok()) {
        problems.push_back({"--listen", std::string(status.message())});
      }
    }
    return problems;
  });
}

bool IsLoopback(absl::string_view host_port) {
  const absl::StatusOr<HostPort> parsed = ParseHostPort(host_port);
  return parsed.ok() && IsLoopbackHost(parsed->host);
}

absl::Status CheckListen(const ServerOptions& options) {
  const bool tls = !options.tls_cert.empty() && !options.tls_key.empty();
  for (const std::string& address : {options.listen, options.http_listen, options.metrics_listen}) {
    if (address.empty() || IsLoopback(address) || (tls && options.require_keys)) continue;
    const char* missing = tls                    ? "--require_keys"
                          : options.require_keys ? "--tls_cert and --tls_key"
                                                 : "--tls_cert, --tls_key and --require_keys";
    return MakeError(absl::StatusCode::kFailedPrecondition, "INSECURE_LISTEN",
                     absl::StrCat("refusing to listen on ", address, " without TLS and API keys: add ", missing,
                                  ", or listen on 127.0.0.1"));
  }
  return absl::OkStatus();
}

}  // namespace naru
