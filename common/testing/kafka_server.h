// A real Kafka broker for tests, started through tests/servers/kafka.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/testing/testing.h"

namespace naru::testing {

/// One broker of its own, with its own directory, killed when the object (or this process) goes. Not thread-safe.
class KafkaServer {
 public:
  /// Starts a broker on a free port, with more `settings` (`name=value`) for its properties file. Blocks for about
  /// three seconds; the first time on a machine it fetches Kafka. Errors: NOT_FOUND or INTERNAL with what the script
  /// said.
  static absl::StatusOr<std::unique_ptr<KafkaServer>> Start(const std::vector<std::string>& settings = {});
  /// The one that the tests of this program share; started by the first call, stopped when the program ends.
  static absl::StatusOr<KafkaServer*> Shared();
  ~KafkaServer();

  /// `127.0.0.1:PORT`.
  std::string brokers() const;
  int pid() const { return pid_; }

  /// kill -9. Blocks until it is gone.
  void Kill();
  /// Starts it again where it was, with its data. Blocks until it accepts connections.
  absl::Status Restart();
  /// SIGSTOP and SIGCONT.
  void Pause();
  void Resume();

 private:
  KafkaServer() = default;
  absl::Status Run(const std::string& port);

  TempDir dir_;
  std::vector<std::string> settings_;
  std::string port_;
  int pid_ = -1;
};

}  // namespace naru::testing
