#include "common/http/http_server.h"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>

#include <sys/stat.h>

#include <atomic>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/http/address.h"
#include "common/http/host_check.h"
#include "common/log/log.h"
#include "common/status/status.h"

namespace naru {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;

absl::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

HttpResponse Plain(int status, absl::string_view text) {
  HttpResponse response;
  response.status = status;
  response.body = absl::StrCat(text, "\n");
  return response;
}

// The last of the headers with one name counts; Host alone must not come twice, since the check would see only one.
HttpRequest ToRequest(http::request<http::string_body>&& message, std::string peer) {
  HttpRequest request;
  request.method = std::string(View(message.method_string()));
  const std::string target(View(message.target()));
  const size_t question = target.find('?');
  request.path = target.substr(0, question);
  if (question != std::string::npos) request.query = target.substr(question + 1);
  for (const auto& field : message) {
    request.headers[absl::AsciiStrToLower(View(field.name_string()))] = std::string(View(field.value()));
  }
  request.body = std::move(message.body());
  request.peer = std::move(peer);
  return request;
}

// What changes when a file is written again or replaced.
std::string FileIdentity(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return "";
  return absl::StrCat(info.st_dev, ":", info.st_ino, ":", info.st_size, ":", info.st_mtim.tv_sec, ":",
                      info.st_mtim.tv_nsec);
}

}  // namespace

absl::string_view HttpRequest::Header(absl::string_view name) const {
  const auto it = headers.find(std::string(name));
  return it == headers.end() ? absl::string_view() : absl::string_view(it->second);
}

struct HttpServer::State {
  explicit State(HttpServerOptions given) : options(std::move(given)), io(options.threads), acceptor(io) {}

  HttpServerOptions options;
  std::map<std::string, std::map<std::string, HttpHandler>> handlers;  // path, method
  std::shared_ptr<asio::ssl::context> tls;  // changed between two connections, by the accepting handler alone
  std::string tls_files;                    // identities of the files that `tls` was read from
  std::chrono::steady_clock::time_point last_tls_look;
  asio::io_context io;
  tcp::acceptor acceptor;
  std::vector<std::thread> threads;
  std::atomic<int> connections{0};
  std::string address;
  int port = 0;

  absl::Status Listen();
  absl::Status LoadCertificate();
  void ReloadCertificate();
  void Accept();
  HttpResponse Answer(const HttpRequest& request, const std::string& local_host) const;
};

namespace {

// One connection: reads a request, answers it, and again, until either side has had enough.
template <typename Stream>
class Session : public std::enable_shared_from_this<Session<Stream>> {
 public:
  Session(HttpServer::State* server, Stream stream) : server_(server), stream_(std::move(stream)) {
    ++server_->connections;
    boost::system::error_code error;
    const auto remote = beast::get_lowest_layer(stream_).socket().remote_endpoint(error);
    if (!error) peer_ = FormatHostPort(remote.address().to_string(), remote.port());
    const auto local = beast::get_lowest_layer(stream_).socket().local_endpoint(error);
    if (!error) local_host_ = local.address().to_string();
  }
  ~Session() { --server_->connections; }

  void Start() {
    SetTimeout();
    if constexpr (std::is_same_v<Stream, beast::tcp_stream>) {
      Read();
    } else {
      stream_.async_handshake(asio::ssl::stream_base::server,
                              [self = this->shared_from_this()](boost::system::error_code error) {
                                if (!error) self->Read();
                              });
    }
  }

 private:
  void SetTimeout() { beast::get_lowest_layer(stream_).expires_after(server_->options.timeout); }

  void Read() {
    parser_.emplace();
    parser_->header_limit(static_cast<uint32_t>(server_->options.max_header_bytes));
    parser_->body_limit(static_cast<uint64_t>(server_->options.max_body_bytes));
    SetTimeout();
    http::async_read(
        stream_, buffer_, *parser_,
        [self = this->shared_from_this()](boost::system::error_code error, size_t /*bytes*/) { self->OnRead(error); });
  }

  void OnRead(boost::system::error_code error) {
    if (error == http::error::header_limit) return Write(Plain(431, "the headers are too large"), false, false);
    if (error == http::error::body_limit) return Write(Plain(413, "the body is too large"), false, false);
    if (error) {
      const bool malformed = error.category() == http::make_error_code(http::error::bad_method).category() &&
                             error != http::error::end_of_stream && error != http::error::partial_message;
      if (malformed) Write(Plain(400, "not an HTTP/1.1 request"), false, false);
      return;
    }
    http::request<http::string_body> message = parser_->release();
    const bool keep_alive = message.keep_alive();
    const bool head = message.method() == http::verb::head;
    const bool one_host = message.count(http::field::host) <= 1;
    const HttpRequest request = ToRequest(std::move(message), peer_);
    Write(one_host ? server_->Answer(request, local_host_) : Plain(400, "more than one Host"), keep_alive, head);
  }

  void Write(HttpResponse answer, bool keep_alive, bool head) {
    response_.emplace(static_cast<http::status>(answer.status), 11);
    for (const auto& [name, value] : answer.headers) response_->set(name, value);
    response_->set(http::field::content_type, answer.content_type);
    response_->set("X-Content-Type-Options", "nosniff");
    response_->keep_alive(keep_alive);
    response_->content_length(answer.body.size());
    if (!head) response_->body() = std::move(answer.body);
    SetTimeout();
    http::async_write(stream_, *response_,
                      [self = this->shared_from_this(), keep_alive](boost::system::error_code error, size_t /*bytes*/) {
                        if (error) return;
                        keep_alive ? self->Read() : self->Close();
                      });
  }

  void Close() {
    boost::system::error_code ignored;
    beast::get_lowest_layer(stream_).socket().shutdown(tcp::socket::shutdown_send, ignored);
  }

  HttpServer::State* const server_;
  Stream stream_;
  std::string peer_;
  std::string local_host_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::optional<http::response<http::string_body>> response_;
};

}  // namespace

absl::Status HttpServer::State::LoadCertificate() {
  if (options.tls_cert.empty()) return absl::OkStatus();
  // Before the files are read: what changes meanwhile is noticed by the next look.
  std::string files = absl::StrCat(FileIdentity(options.tls_cert), " ", FileIdentity(options.tls_key));
  last_tls_look = std::chrono::steady_clock::now();
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  context->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                       asio::ssl::context::no_tlsv1_1);
  boost::system::error_code error;
  context->use_certificate_chain_file(options.tls_cert, error);
  const bool certificate_read = !error;
  if (!error) context->use_private_key_file(options.tls_key, asio::ssl::context::pem, error);
  if (error) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TLS_FILE",
                     absl::StrCat(certificate_read ? options.tls_key : options.tls_cert, ": ", error.message()));
  }
  tls = std::move(context);
  tls_files = std::move(files);
  return absl::OkStatus();
}

void HttpServer::State::ReloadCertificate() {
  const auto now = std::chrono::steady_clock::now();
  if (tls == nullptr || now - last_tls_look < options.tls_reload_interval) return;
  last_tls_look = now;
  if (absl::StrCat(FileIdentity(options.tls_cert), " ", FileIdentity(options.tls_key)) == tls_files) return;
  const absl::Status loaded = LoadCertificate();
  if (loaded.ok()) {
    NARU_LOG(INFO, "HTTP certificate read again", {{"address", address}, {"file", options.tls_cert}});
  } else {
    NARU_LOG_EVERY_SECONDS(60, WARNING, "the HTTP certificate changed and cannot be used; the one before goes on",
                           {{"address", address}, {"error", loaded}});
  }
}

absl::Status HttpServer::State::Listen() {
  NARU_ASSIGN_OR_RETURN(const HostPort wanted, ParseHostPort(options.listen));
  boost::system::error_code error;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(wanted.host, absl::StrCat(wanted.port), tcp::resolver::passive, error);
  if (error) {
    return MakeError(absl::StatusCode::kInvalidArgument, "ADDRESS",
                     absl::StrCat("cannot resolve `", wanted.host, "`: ", error.message()));
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    return MakeError(absl::StatusCode::kUnavailable, error == asio::error::address_in_use ? "PORT_TAKEN" : "LISTEN",
                     absl::StrCat("cannot listen on ", options.listen, ": ", error.message()));
  }
  port = acceptor.local_endpoint(error).port();
  address = FormatHostPort(wanted.host, port);
  return absl::OkStatus();
}

void HttpServer::State::Accept() {
  // A strand for each connection: its timer and its reads run on different threads otherwise.
  acceptor.async_accept(asio::make_strand(io), [this](boost::system::error_code error, tcp::socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (error) {
      NARU_LOG_EVERY_SECONDS(10, WARNING, "cannot accept HTTP connections", {{"error", error.message()}});
    } else if (connections >= options.max_connections) {
      NARU_LOG_EVERY_SECONDS(10, WARNING, "HTTP connection refused: too many", {{"max", options.max_connections}});
    } else if (tls != nullptr) {
      ReloadCertificate();
      // The stream shares OpenSSL's part of the context, so the connection may outlive a reload.
      std::make_shared<Session<beast::ssl_stream<beast::tcp_stream>>>(
          this, beast::ssl_stream<beast::tcp_stream>(beast::tcp_stream(std::move(socket)), *tls))
          ->Start();
    } else {
      std::make_shared<Session<beast::tcp_stream>>(this, beast::tcp_stream(std::move(socket)))->Start();
    }
    Accept();
  });
}

HttpResponse HttpServer::State::Answer(const HttpRequest& request, const std::string& local_host) const {
  if (!HostAllowed(request.Header("host"), request.Header("origin"), local_host, options.allowed_hosts)) {
    return Plain(403, "the Host or Origin of this request is not allowed here (--allowed_hosts)");
  }
  const auto path = handlers.find(request.path);
  if (path == handlers.end()) return Plain(404, "there is no such page");
  auto method = path->second.find(request.method);
  if (method == path->second.end() && request.method == "HEAD") method = path->second.find("GET");
  if (method == path->second.end()) return Plain(405, "this page does not take that method");
  return method->second(request);
}

HttpServer::HttpServer(HttpServerOptions options) : state_(std::make_unique<State>(std::move(options))) {}
HttpServer::~HttpServer() { Stop(); }

void HttpServer::Handle(absl::string_view method, absl::string_view path, HttpHandler handler) {
  state_->handlers[std::string(path)][std::string(method)] = std::move(handler);
}

absl::Status HttpServer::Start() {
  NARU_RETURN_IF_ERROR(state_->LoadCertificate());
  NARU_RETURN_IF_ERROR(state_->Listen());
  state_->Accept();
  for (int i = 0; i < state_->options.threads; ++i) {
    state_->threads.emplace_back([state = state_.get()] { state->io.run(); });
  }
  return absl::OkStatus();
}

void HttpServer::Stop() {
  // Handlers that run now end; connections that wait are closed with the io_context.
  state_->io.stop();
  for (std::thread& thread : state_->threads) thread.join();
  state_->threads.clear();
  boost::system::error_code ignored;
  state_->acceptor.close(ignored);
}

std::string HttpServer::address() const { return state_->address; }
int HttpServer::port() const { return state_->port; }

}  // namespace naru
