// A gRPC server with everything around it: health, reflection, keys, metrics, access log, HTTP and metrics ports, and
// an orderly stop. What a main does with it:
//
//     StopSignal signal;                                  // before any thread
//     Server server(config.server, {.metrics = &metrics, .keys = &keys});
//     server.AddService(v1::IngestService::service_full_name(), &service);
//     server.RequireScope("/naru.ingest.v1.IngestService/PublishEvents", Scope::kPublish);
//     server.health().AddDependency("event_log", [&] { return log.Check(); });
//     server.OnStop([&] { consumer.Stop(); });            // stop consumers, commit
//     server.OnFlush([&] { producer.Flush(); });          // after the last call
//     NARU_RETURN_IF_ERROR(server.Start());
//     signal.Wait();
//     server.Stop();
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/auth/api_key.h"
#include "common/auth/method_scopes.h"
#include "common/http/http_server.h"
#include "common/server/health.h"
#include "common/server/server_options.h"
#include "common/server/stop_signal.h"

namespace grpc {
class CallbackGenericService;
class Channel;
class Service;
}  // namespace grpc

namespace naru {

class MetricRegistry;

/// What a server borrows; all must outlive it.
struct ServerDependencies {
  MetricRegistry* metrics = nullptr;  ///< required
  const KeyStore* keys = nullptr;     ///< required with ServerOptions::require_keys
  const Clock* clock = Clock::System();
  Random* random = Random::System();
};

/// Not thread-safe, except where said. Every method of every kind (synchronous, callback, raw, generic) is authorised
/// before its handler runs, measured, logged and given a trace.
class Server {
 public:
  Server(ServerOptions options, ServerDependencies dependencies);
  /// Stops, when that was not done.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// `full_name` is the generated `service_full_name()`. Borrows `service`. Before Start.
  void AddService(absl::string_view full_name, grpc::Service* service);
  /// Takes every method that no service has. At most one. Before Start.
  void SetGenericService(grpc::CallbackGenericService* service);
  /// See MethodScopes; methods that nobody registered need admin. Before Start.
  void RequireScope(absl::string_view method, Scope scope);
  /// Dependencies are added here, before Start.
  Health& health();
  /// Adds a page to the HTTP port; `needed` is checked with keys on. Before Start.
  void HandleHttp(absl::string_view method, absl::string_view path, Scope needed, HttpHandler handler);

  /// Called by Stop in the order they were added: first all of OnStop, after the lame-duck wait, then gRPC drains, then
  /// all of OnFlush. Long-running server streams must end in OnStop, or the drain waits for its deadline.
  void OnStop(std::function<void()> callback);
  void OnFlush(std::function<void()> callback);

  /// Opens all ports. Errors: FAILED_PRECONDITION (INSECURE_LISTEN), INVALID_ARGUMENT (addresses, certificates),
  /// UNAVAILABLE (a port is taken). After an error no port is open, and Stop calls no callbacks.
  absl::Status Start();
  /// Health NOT_SERVING -> lame-duck wait -> OnStop -> no new calls; running ones end or are cancelled after
  /// drain_timeout -> OnFlush -> HTTP ends. Blocks until all is done. Twice does nothing more.
  void Stop();

  /// HOST:PORT with the port really taken; empty for a port that is not open. Thread-safe after Start.
  std::string address() const;
  std::string http_address() const;
  std::string metrics_address() const;
  /// `grpc=127.0.0.1:7700 http=127.0.0.1:7780 metrics=127.0.0.1:7790`, for the first line of output.
  std::string Addresses() const;
  /// A channel to this server without the network; it passes no keys and no limits of connections.
  std::shared_ptr<grpc::Channel> InProcessChannel();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace naru
