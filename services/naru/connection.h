// How commands reach a server: flags, environment, contexts; channels and calls.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/server/stop_signal.h"
#include "common/sync/mutex.h"

namespace grpc {
class Channel;
class ClientContext;
class Status;
}  // namespace grpc
namespace naru {
class Options;
}

namespace naru::cli {

/// Where commands go when nothing says otherwise.
inline constexpr char kDefaultAddress[] = "127.0.0.1:7700";

/// The flags of a connection. Empty: the environment (NARU_ADDRESS, NARU_API_KEY, NARU_TLS_CA ...), then the context,
/// then the default.
struct ConnectionFlags {
  std::string address;
  std::string api_key;
  std::string context;
  bool tls = false;
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;
  std::string tls_server_name;
  std::chrono::milliseconds timeout{30'000};

  void AddTo(Options& options);
};

/// Fills what is empty in `flags`. `environment` returns a variable's value or an empty string; `context_path` is the
/// file of contexts. Errors: INVALID_ARGUMENT for a context that does not exist or a file that cannot be read.
absl::Status ResolveConnection(const std::function<std::string(const char*)>& environment,
                               const std::string& context_path, ConnectionFlags* flags);

/// Opens the channel. `flags` must be resolved.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const ConnectionFlags& flags);

/// Turns the end of a call into an error that says which address it was.
absl::Status CallStatus(const grpc::Status& status, const ConnectionFlags& flags);

/// A context with the deadline of --timeout, for calls that answer once.
std::unique_ptr<grpc::ClientContext> UnaryContext(const ConnectionFlags& flags);

/// Ctrl-C for commands that run until they are told to stop. Make it before the channel: signals are blocked in threads
/// made after it. A second Ctrl-C ends the process at once.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  /// Calls `stop` once when the signal comes (at once, if it came already). Replaces an earlier one; nullptr: none, and
  /// after that call the earlier one is not running. `stop` must not block or call this object.
  void OnSignal(std::function<void()> stop);
  bool requested() const { return signal_.stopped(); }
  /// Waits for `time` or the signal; whether the signal came.
  bool WaitFor(std::chrono::milliseconds time);

 private:
  StopSignal signal_;
  Mutex mu_;
  CondVar changed_;
  std::function<void()> stop_ ABSL_GUARDED_BY(mu_);
  bool came_ ABSL_GUARDED_BY(mu_) = false;
  std::atomic<bool> finished_{false};
  std::thread waiter_;
};

}  // namespace naru::cli
