// A real Redis for tests, started through tests/servers/redis.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/testing/testing.h"

namespace naru::testing {

/// One server of its own, killed when the object (or this process) goes. Not thread-safe.
class RedisServer {
 public:
  /// Starts a server on a free port with more `arguments` (`--appendonly yes`). Without such it keeps nothing on disk.
  /// Errors: INTERNAL with what the script said.
  static absl::StatusOr<std::unique_ptr<RedisServer>> Start(const std::vector<std::string>& arguments = {});
  ~RedisServer();

  int port() const { return port_; }
  /// `127.0.0.1:PORT`.
  std::string address() const;
  /// kill -9. Blocks until it is gone.
  void Kill();
  /// Kills it where it runs, and starts it again on the same port. Blocks until it accepts connections.
  absl::Status Restart();
  /// SIGSTOP and SIGCONT.
  void Pause();
  void Resume();

 private:
  RedisServer() = default;
  absl::Status Run(int port);

  TempDir dir_;
  std::vector<std::string> arguments_;
  int port_ = 0;
  int pid_ = -1;
};

}  // namespace naru::testing
