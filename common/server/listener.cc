#include "common/server/listener.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/http/address.h"
#include "common/log/log.h"
#include "common/status/status.h"

namespace naru {
namespace {

constexpr int kBacklog = 1024;

struct AddrInfoDeleter {
  void operator()(addrinfo* info) const { freeaddrinfo(info); }
};

absl::StatusOr<std::unique_ptr<addrinfo, AddrInfoDeleter>> Resolve(const HostPort& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &found);
  if (error != 0) {
    return MakeError(absl::StatusCode::kInvalidArgument, "ADDRESS",
                     absl::StrCat("cannot resolve `", address.host, "`: ", gai_strerror(error)));
  }
  return std::unique_ptr<addrinfo, AddrInfoDeleter>(found);
}

int PortOf(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
  return ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                           : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
}

// Accepted sockets inherit these. A listening socket that lingers in TIME_WAIT must not stop a restart.
int OpenSocket(const addrinfo& where) {
  const int fd = socket(where.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (bind(fd, where.ai_addr, where.ai_addrlen) != 0 || listen(fd, kBacklog) != 0) {
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

}  // namespace

struct Listener::State {
  int listen_fd = -1;
  int epoll_fd = -1;
  int wake_fd = -1;
  std::atomic<bool> quit{false};
  std::atomic<bool> accepting{false};
  std::atomic<int64_t> connections{0};
  std::atomic<int64_t> refused{0};
  std::set<int> watched;  // duplicates of the connections' descriptors; used by the thread only
  std::function<void(int, int)> take;
  std::thread thread;

  void Run(int max_connections);
  void AcceptAll(int max_connections);
  void Wake() const {
    const uint64_t one = 1;
    if (write(wake_fd, &one, sizeof(one)) != sizeof(one)) std::abort();
  }
};

Listener::Listener(int max_connections) : max_connections_(max_connections), state_(std::make_unique<State>()) {}

Listener::~Listener() {
  state_->quit = true;
  if (state_->thread.joinable()) {
    state_->Wake();
    state_->thread.join();
  }
  for (const int fd : state_->watched) close(fd);
  for (const int fd : {state_->listen_fd, state_->epoll_fd, state_->wake_fd}) {
    if (fd >= 0) close(fd);
  }
}

absl::Status Listener::Open(absl::string_view host_port) {
  NARU_ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(host_port));
  NARU_ASSIGN_OR_RETURN(const auto found, Resolve(address));
  int error = 0;
  for (const addrinfo* where = found.get(); where != nullptr && state_->listen_fd < 0; where = where->ai_next) {
    state_->listen_fd = OpenSocket(*where);
    if (state_->listen_fd < 0) error = errno;
  }
  if (state_->listen_fd < 0) {
    return MakeError(absl::StatusCode::kUnavailable, error == EADDRINUSE ? "PORT_TAKEN" : "LISTEN",
                     absl::StrCat("cannot listen on ", host_port, ": ", std::strerror(error)));
  }
  address_ = FormatHostPort(address.host, PortOf(state_->listen_fd));
  return absl::OkStatus();
}

void Listener::Start(std::function<void(int listener_fd, int fd)> take) {
  state_->take = std::move(take);
  state_->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  state_->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  for (const int fd : {state_->listen_fd, state_->wake_fd}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    epoll_ctl(state_->epoll_fd, EPOLL_CTL_ADD, fd, &event);
  }
  state_->accepting = true;
  state_->thread = std::thread([this] { state_->Run(max_connections_); });
}

void Listener::StopAccepting() {
  if (!state_->accepting.exchange(false)) return;
  epoll_ctl(state_->epoll_fd, EPOLL_CTL_DEL, state_->listen_fd, nullptr);
  // Shut, not closed: the number must not be given to another file while the thread may still use it.
  shutdown(state_->listen_fd, SHUT_RDWR);
}

int64_t Listener::connections() const { return state_->connections; }
int64_t Listener::refused() const { return state_->refused; }

void Listener::State::AcceptAll(int max_connections) {
  while (accepting) {
    const int fd = accept4(listen_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        NARU_LOG_EVERY_SECONDS(10, ERROR, "cannot accept connections", {{"error", std::strerror(errno)}});
        // Epoll would report the waiting connection again at once; a file must be closed somewhere first.
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
      return;
    }
    // A second descriptor of the connection tells when both ends have closed it: gRPC shuts a connection down before it
    // closes its own descriptor.
    const int watch = connections < max_connections ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (watch < 0) {
      ++refused;
      NARU_LOG_EVERY_SECONDS(10, WARNING, "connection refused: too many",
                             {{"connections", connections.load()}, {"max_connections", max_connections}});
      close(fd);
      continue;
    }
    epoll_event event{};
    event.events = 0;  // EPOLLHUP and EPOLLERR are always reported
    event.data.fd = watch;
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watch, &event);
    watched.insert(watch);
    ++connections;
    take(listen_fd, fd);
  }
}

void Listener::State::Run(int max_connections) {
  epoll_event events[64];
  while (!quit) {
    const int count = epoll_wait(epoll_fd, events, 64, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == listen_fd) {
        AcceptAll(max_connections);
      } else if (fd != wake_fd) {
        watched.erase(fd);
        close(fd);
        --connections;
      }
    }
  }
}

}  // namespace naru
