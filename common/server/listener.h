// The gRPC port's own accept loop: gRPC of this version has no limit on connections, so they are taken and counted here
// and handed over.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace naru {

/// Accepts TCP connections on a thread of its own, at most a number of them at a time. Not thread-safe, except where
/// said.
class Listener {
 public:
  explicit Listener(int max_connections);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Takes the port. Errors: INVALID_ARGUMENT for a bad address or unknown name, UNAVAILABLE (reason PORT_TAKEN).
  absl::Status Open(absl::string_view host_port);
  /// HOST:PORT with the port really taken.
  const std::string& address() const { return address_; }
  /// Begins to accept; `take` owns each descriptor that it is given.
  void Start(std::function<void(int listener_fd, int fd)> take);
  /// Closes the port; connections stay as they are. Waits for a `take` that runs.
  void StopAccepting();

  /// Thread-safe.
  int64_t connections() const;
  /// How many were closed because there were too many. Thread-safe.
  int64_t refused() const;

 private:
  struct State;
  const int max_connections_;
  std::string address_;
  std::unique_ptr<State> state_;
};

}  // namespace naru
