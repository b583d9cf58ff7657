// Readiness that knows what a service depends on; served as grpc.health.v1 and /readyz.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace grpc {
class Service;
}

namespace naru {

/// The health of a process: SERVING while it was marked ready, is not stopping, and all its dependencies are well.
/// Dependencies are asked on a thread of its own, about once a second; calls read the last answers. Thread-safe.
class Health {
 public:
  Health();
  ~Health();
  Health(const Health&) = delete;
  Health& operator=(const Health&) = delete;

  /// `check` returns OK or why not; it may block for a moment. Services named here (full gRPC names) depend on it;
  /// none = all. Before Start.
  void AddDependency(absl::string_view name, std::function<absl::Status()> check,
                     std::vector<std::string> services = {});
  /// Makes `name` a service that Check and Watch know; Server does it for each that is added.
  void AddService(absl::string_view name);

  /// What is known of one dependency.
  struct Dependency {
    std::string name;
    absl::Status status;
  };
  struct Report {
    bool serving = false;
    bool stopping = false;
    std::vector<Dependency> dependencies;
  };
  Report GetReport() const;
  /// Whether `service` (empty = the whole process) is serving. Nothing is served under unknown names: NOT_FOUND.
  absl::StatusOr<bool> IsServing(absl::string_view service) const;

  /// Asks all dependencies now, on this thread.
  void Refresh();
  /// Begins to ask every `interval`; asks once before it returns.
  void Start(std::chrono::milliseconds interval);
  /// From now on NOT_SERVING; watchers are told at once.
  void SetStopping();
  /// Ends all Watch calls and the thread. Nothing may use the health afterwards but its destructor.
  void Stop();

  /// The grpc.health.v1.Health service over this; lives as long as it.
  grpc::Service* service();

  struct State;  ///< opaque

 private:
  std::unique_ptr<State> state_;
};

}  // namespace naru
