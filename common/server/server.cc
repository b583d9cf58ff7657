#include "common/server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/support/server_interceptor.h>

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/synchronization/mutex.h"
#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "common/server/call_telemetry.h"
#include "common/server/grpc_log.h"
#include "common/server/key_check.h"
#include "common/server/listener.h"
#include "common/server/status_pages.h"
#include "common/server/tls.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"

namespace naru {
namespace {

constexpr char kHealthService[] = "grpc.health.v1.Health";
constexpr char kReflectionService[] = "grpc.reflection.v1alpha.ServerReflection";
constexpr int kKeepaliveTimeoutMs = 20'000;
constexpr int kMinClientPingMs = 10'000;
constexpr int kMaxFrameBytes = 1 << 20;

// The library turns reflection on for all servers of the process; this takes it out of one.
class NoReflection : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments* /*arguments*/) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    plugins->erase(std::remove_if(plugins->begin(), plugins->end(),
                                  [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; }),
                   plugins->end());
  }
};

std::string DomainOf(const std::string& name) {
  return absl::StrCat(absl::StrReplaceAll(name, {{"_", ""}, {"-", ""}}), ".naru.dev");
}

void SetLimits(const ServerOptions& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams_per_connection);
  // Batches come in one frame, instead of one for each 16 KiB.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kMaxFrameBytes);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, static_cast<int>(options.max_metadata_bytes));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(options.keepalive.count()));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinClientPingMs);
  grpc::ResourceQuota quota("naru");
  quota.Resize(static_cast<size_t>(options.memory_quota_bytes));
  quota.SetMaxThreads(options.max_threads);
  builder->SetResourceQuota(quota);
  // The synchronous API serves reflection only.
  builder->SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
}

}  // namespace

struct Server::State {
  struct Page {
    std::string method;
    std::string path;
    Scope needed;
    HttpHandler handler;
  };

  ServerOptions options;
  ServerDependencies dependencies;
  MethodScopes scopes;
  CallTelemetry telemetry;
  Health health;
  std::vector<grpc::Service*> services;
  grpc::CallbackGenericService* generic = nullptr;
  std::vector<Page> pages;
  std::vector<std::function<void()>> on_stop;
  std::vector<std::function<void()>> on_flush;
  Listener listener;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor;
  std::unique_ptr<grpc::Server> grpc_server;
  std::unique_ptr<HttpServer> http;
  std::unique_ptr<HttpServer> metrics_http;
  std::vector<MetricRegistry::Registration> registrations;
  bool started = false;
  bool stopped = false;

  State(ServerOptions given_options, ServerDependencies given)
      : options(std::move(given_options)),
        dependencies(given),
        telemetry(DomainOf(options.name), given.metrics, given.clock, given.random),
        listener(options.max_connections) {}

  absl::Status StartGrpc();
  absl::Status StartHttp();
  void AddMetrics();
  std::unique_ptr<HttpServer> MakeHttp(const std::string& listen) const;
  HttpHandler Guard(Scope needed, HttpHandler handler) const;
};

Server::Server(ServerOptions options, ServerDependencies dependencies)
    : state_(std::make_unique<State>(std::move(options), dependencies)) {
  AddService(kHealthService, state_->health.service());
  RequireScope(absl::StrCat("/", kHealthService, "/*"), Scope::kRead);
  RequireScope(absl::StrCat("/", kReflectionService, "/*"), Scope::kRead);
  state_->telemetry.AddService(kReflectionService);
}

Server::~Server() { Stop(); }

void Server::AddService(absl::string_view full_name, grpc::Service* service) {
  state_->services.push_back(service);
  state_->health.AddService(full_name);
  state_->telemetry.AddService(full_name);
}
void Server::SetGenericService(grpc::CallbackGenericService* service) { state_->generic = service; }
void Server::RequireScope(absl::string_view method, Scope scope) { state_->scopes.RequireScope(method, scope); }
Health& Server::health() { return state_->health; }
void Server::HandleHttp(absl::string_view method, absl::string_view path, Scope needed, HttpHandler handler) {
  state_->pages.push_back({std::string(method), std::string(path), needed, std::move(handler)});
}
void Server::OnStop(std::function<void()> callback) { state_->on_stop.push_back(std::move(callback)); }
void Server::OnFlush(std::function<void()> callback) { state_->on_flush.push_back(std::move(callback)); }

absl::Status Server::State::StartGrpc() {
  NARU_ASSIGN_OR_RETURN(const auto credentials, MakeServerCredentials(options));
  if (options.require_keys) {
    credentials->SetAuthMetadataProcessor(MakeKeyCheck(dependencies.keys, &scopes, &telemetry));
  }
  NARU_RETURN_IF_ERROR(listener.Open(options.listen));
  RouteGrpcLog();
  // Distributions build Abseil with assertions, and with them each lock in gRPC is looked up in a graph of all locks.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetLimits(options, &builder);
  if (!options.reflection) builder.SetOption(std::make_unique<NoReflection>());
  for (grpc::Service* service : services) builder.RegisterService(service);
  if (generic != nullptr) builder.RegisterCallbackGenericService(generic);
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(telemetry.MakeInterceptorFactory());
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, credentials);
  grpc_server = builder.BuildAndStart();
  if (grpc_server == nullptr) {
    return MakeError(absl::StatusCode::kInternal, "GRPC_START", "gRPC could not start; its own log says why");
  }
  listener.Start([this](int listener_fd, int fd) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.listener_fd = listener_fd;
    connection.fd = fd;
    acceptor->HandleNewConnection(&connection);
  });
  return absl::OkStatus();
}

std::unique_ptr<HttpServer> Server::State::MakeHttp(const std::string& listen) const {
  HttpServerOptions http_options;
  http_options.listen = listen;
  http_options.tls_cert = options.tls_cert;
  http_options.tls_key = options.tls_key;
  http_options.allowed_hosts = options.allowed_hosts;
  return std::make_unique<HttpServer>(std::move(http_options));
}

HttpHandler Server::State::Guard(Scope needed, HttpHandler handler) const {
  if (!options.require_keys) return handler;
  return [this, needed, handler = std::move(handler)](const HttpRequest& request) {
    const absl::Status status = AuthorizeHttp(*dependencies.keys, needed, request);
    return status.ok() ? handler(request) : ErrorPage(status);
  };
}

absl::Status Server::State::StartHttp() {
  if (!options.http_listen.empty()) {
    http = MakeHttp(options.http_listen);
    http->Handle("GET", "/healthz", [](const HttpRequest&) { return HttpResponse{200, "text/plain", "ok\n", {}}; });
    http->Handle("GET", "/readyz", [this](const HttpRequest& request) {
      const bool details = !options.require_keys || AuthorizeHttp(*dependencies.keys, Scope::kRead, request).ok();
      return ReadyPage(health.GetReport(), details);
    });
    for (const Page& page : pages) http->Handle(page.method, page.path, Guard(page.needed, page.handler));
    NARU_RETURN_IF_ERROR(http->Start());
  }
  if (!options.metrics_listen.empty()) {
    metrics_http = MakeHttp(options.metrics_listen);
    metrics_http->Handle(
        "GET", "/metrics", Guard(Scope::kRead, [this](const HttpRequest&) {
          return HttpResponse{200, "text/plain; version=0.0.4; charset=utf-8", dependencies.metrics->Scrape(), {}};
        }));
    NARU_RETURN_IF_ERROR(metrics_http->Start());
  }
  return absl::OkStatus();
}

void Server::State::AddMetrics() {
  using Kind = MetricRegistry::Kind;
  MetricRegistry* metrics = dependencies.metrics;
  registrations.push_back(metrics->AddCallback(Kind::kGauge, "naru_grpc_connections",
                                               "Open connections to the gRPC port.", {},
                                               [this] { return static_cast<double>(listener.connections()); }));
  registrations.push_back(metrics->AddCallback(Kind::kCounter, "naru_grpc_connections_refused_total",
                                               "Connections closed because there were too many.", {},
                                               [this] { return static_cast<double>(listener.refused()); }));
  registrations.push_back(
      metrics->AddCallbacks(Kind::kGauge, "naru_dependency_up", "Whether a dependency answered well: 1 or 0.", [this] {
        std::vector<MetricRegistry::Sample> samples;
        for (const Health::Dependency& dependency : health.GetReport().dependencies) {
          samples.push_back({{{"dependency", dependency.name}}, dependency.status.ok() ? 1.0 : 0.0});
        }
        return samples;
      }));
}

absl::Status Server::Start() {
  State& state = *state_;
  NARU_RETURN_IF_ERROR(CheckListen(state.options));
  if (state.options.require_keys && state.dependencies.keys == nullptr) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "NO_KEY_STORE", "keys are required, and nothing knows any");
  }
  absl::Status status = state.StartGrpc();
  if (status.ok()) status = state.StartHttp();
  if (!status.ok()) {
    Stop();  // the ports that did open
    return status;
  }
  state.AddMetrics();
  state.health.Start(state.options.health_interval);
  state.started = true;
  NARU_LOG(INFO, "listening",
           {{"service", state.options.name},
            {"grpc", address()},
            {"http", http_address()},
            {"metrics", metrics_address()},
            {"tls", !state.options.tls_cert.empty()},
            {"keys", state.options.require_keys}});
  return absl::OkStatus();
}

void Server::Stop() {
  State& state = *state_;
  if (std::exchange(state.stopped, true)) return;
  state.health.SetStopping();
  if (state.started) {
    std::this_thread::sleep_for(state.options.lame_duck);
    for (const auto& callback : state.on_stop) callback();
  }
  state.health.Stop();
  state.listener.StopAccepting();
  if (state.grpc_server != nullptr) {
    state.grpc_server->Shutdown(std::chrono::system_clock::now() + state.options.drain_timeout);
    state.grpc_server->Wait();
  }
  if (state.started) {
    for (const auto& callback : state.on_flush) callback();
  }
  if (state.http != nullptr) state.http->Stop();
  if (state.metrics_http != nullptr) state.metrics_http->Stop();
  state.registrations.clear();
  if (state.started) NARU_LOG(INFO, "stopped", {{"service", state.options.name}});
}

std::string Server::address() const { return state_->listener.address(); }
std::string Server::http_address() const { return state_->http == nullptr ? "" : state_->http->address(); }
std::string Server::metrics_address() const {
  return state_->metrics_http == nullptr ? "" : state_->metrics_http->address();
}

std::string Server::Addresses() const {
  std::string text = absl::StrCat("grpc=", address());
  if (state_->http != nullptr) absl::StrAppend(&text, " http=", http_address());
  if (state_->metrics_http != nullptr) absl::StrAppend(&text, " metrics=", metrics_address());
  return text;
}

std::shared_ptr<grpc::Channel> Server::InProcessChannel() {
  return state_->grpc_server->InProcessChannel(grpc::ChannelArguments());
}

}  // namespace naru
