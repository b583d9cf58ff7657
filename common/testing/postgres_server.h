// A real PostgreSQL for tests, started through tests/servers/postgres.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/testing/testing.h"

namespace naru::testing {

/// One server of its own with a database `naru` that the user `naru` owns (no password), killed when the object (or
/// this process) goes. Not thread-safe.
class PostgresServer {
 public:
  /// Starts a server on a free port with more `settings` (`name=value`). Blocks for about three seconds. Errors:
  /// INTERNAL with what the script said.
  static absl::StatusOr<std::unique_ptr<PostgresServer>> Start(const std::vector<std::string>& settings = {});
  /// The one that the tests of this program share; started by the first call, stopped when the program ends.
  static absl::StatusOr<PostgresServer*> Shared();
  ~PostgresServer();

  int port() const { return port_; }
  /// For libpq: `host=127.0.0.1 port=... user=naru dbname=naru`.
  std::string dsn() const;
  /// kill -9 of the server and its sessions. Blocks until it is gone.
  void Kill();
  /// Kills it where it runs, and starts it again on the same port, with its data. Blocks until it takes queries.
  absl::Status Restart();
  /// SIGSTOP and SIGCONT.
  void Pause();
  void Resume();

 private:
  PostgresServer() = default;
  absl::Status Run(int port);

  TempDir dir_;
  std::vector<std::string> settings_;
  int port_ = 0;
  int pid_ = -1;
};

}  // namespace naru::testing
