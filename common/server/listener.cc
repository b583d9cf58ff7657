#include "common/server/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/http/address.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"

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
  // A connection that was handed over. gRPC owns its descriptor and says nothing when it closes it, but then the number
  // is free, or belongs to another file: the inode tells.
  struct Connection {
    int fd;
    ino_t inode;
  };

  int listen_fd = -1;
  int wake_fd = -1;
  std::atomic<bool> accepting{false};
  std::atomic<int64_t> refused{0};
  std::function<void(int, int)> take;
  std::thread thread;
  Mutex mu;
  std::vector<Connection> open ABSL_GUARDED_BY(mu);

  void Run(int max_connections);
  void AcceptAll(int max_connections);
  bool Admit(int fd, int max_connections);
  void ForgetClosed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
};

Listener::Listener(int max_connections) : max_connections_(max_connections), state_(std::make_unique<State>()) {}

Listener::~Listener() {
  StopAccepting();
  for (const int fd : {state_->listen_fd, state_->wake_fd}) {
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
  state_->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  state_->accepting = true;
  state_->thread = std::thread([this] { state_->Run(max_connections_); });
}

void Listener::StopAccepting() {
  if (!state_->accepting.exchange(false)) return;
  const uint64_t one = 1;
  if (write(state_->wake_fd, &one, sizeof(one)) != sizeof(one)) std::abort();
  state_->thread.join();
  // Whoever waits in the queue is refused now rather than left waiting. The number stays taken until the end.
  shutdown(state_->listen_fd, SHUT_RDWR);
}

int64_t Listener::connections() const {
  MutexLock lock(&state_->mu);
  state_->ForgetClosed();
  return static_cast<int64_t>(state_->open.size());
}
int64_t Listener::refused() const { return state_->refused; }

void Listener::State::ForgetClosed() {
  open.erase(std::remove_if(open.begin(), open.end(),
                            [](const Connection& connection) {
                              struct stat now {};
                              return fstat(connection.fd, &now) != 0 || now.st_ino != connection.inode ||
                                     !S_ISSOCK(now.st_mode);
                            }),
             open.end());
}

bool Listener::State::Admit(int fd, int max_connections) {
  struct stat file {};
  if (fstat(fd, &file) != 0) return false;
  MutexLock lock(&mu);
  // Only when the list is full is it worth asking about each: a system call for every connection.
  if (static_cast<int>(open.size()) >= max_connections) ForgetClosed();
  if (static_cast<int>(open.size()) >= max_connections) return false;
  open.push_back({fd, file.st_ino});
  return true;
}

void Listener::State::AcceptAll(int max_connections) {
  while (accepting) {
    const int fd = accept4(listen_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        NARU_LOG_EVERY_SECONDS(10, ERROR, "cannot accept connections", {{"error", std::strerror(errno)}});
        // The waiting connection would be reported again at once; a file must be closed somewhere first.
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
      return;
    }
    if (Admit(fd, max_connections)) {
      take(listen_fd, fd);
    } else {
      ++refused;
      NARU_LOG_EVERY_SECONDS(10, WARNING, "connection refused: too many", {{"max_connections", max_connections}});
      close(fd);
    }
  }
}

void Listener::State::Run(int max_connections) {
  while (accepting) {
    pollfd fds[] = {{listen_fd, POLLIN, 0}, {wake_fd, POLLIN, 0}};
    if (poll(fds, 2, -1) > 0 && fds[0].revents != 0) AcceptAll(max_connections);
  }
}

}  // namespace naru
