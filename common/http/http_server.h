// A small HTTP/1.1 server for health and metrics; TLS where the gRPC port has it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace naru {

/// A request, its body read whole.
struct HttpRequest {
  std::string method;  ///< upper case
  std::string path;    ///< without the query, not decoded
  std::string query;   ///< after `?`
  std::string body;
  std::map<std::string, std::string> headers;  ///< names in lower case; the last value of a repeated one
  std::string peer;                            ///< `127.0.0.1:54321`

  /// The value of a header by its lower-case name; empty when absent.
  absl::string_view Header(absl::string_view name) const;
};

/// An answer.
struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::map<std::string, std::string> headers;
};

/// Called on a thread of the server; may block for a moment.
using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

/// What a server listens on and allows.
struct HttpServerOptions {
  std::string listen = "127.0.0.1:0";  ///< HOST:PORT; port 0 takes a free one
  std::string tls_cert;                ///< PEM file with the chain; empty = no TLS
  std::string tls_key;                 ///< PEM file
  std::vector<std::string>
      allowed_hosts;  ///< names that Host and Origin may say beside the loopback ones, without port
  int threads = 2;
  int max_connections = 256;
  int64_t max_header_bytes = 16 << 10;
  int64_t max_body_bytes = 1 << 20;
  std::chrono::milliseconds timeout{10'000};  ///< for reading a request, writing an answer, and between requests
  /// Certificate files that changed are read again by the first connection that comes this long after the last look. A
  /// pair that does not fit (half of it replaced) is not taken: the old one goes on, and the next look tries again.
  std::chrono::milliseconds tls_reload_interval{10'000};
};

/// Serves handlers by exact path. Requests whose Host, or Origin where there is one, is neither a loopback name nor
/// allowed get 403: otherwise any web page could reach the port through a name of its own (DNS rebinding).
/// It checks no keys and refuses no address: its owner does (common/server).
class HttpServer {
 public:
  explicit HttpServer(HttpServerOptions options);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// `GET` also answers HEAD. Before Start.
  void Handle(absl::string_view method, absl::string_view path, HttpHandler handler);
  /// Errors: INVALID_ARGUMENT for a bad address or certificate, UNAVAILABLE when the port is taken.
  absl::Status Start();
  /// Stops listening, lets running handlers end, closes connections. May be called twice.
  void Stop();
  /// HOST:PORT with the port really taken; after Start.
  std::string address() const;
  int port() const;

  struct State;  ///< opaque

 private:
  std::unique_ptr<State> state_;
};

}  // namespace naru
