// What is measured and logged about every call, and the trace it gets.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "common/clock/clock.h"
#include "common/metrics/metrics.h"
#include "common/server/trace.h"

namespace grpc::experimental {
class ServerInterceptorFactoryInterface;
}

namespace naru {

/// The metrics of one method.
struct MethodMetrics;

/// Makes the interceptor, and counts what never reaches it. Thread-safe.
class CallTelemetry {
 public:
  /// `domain` goes into errors that have no details. All pointers are borrowed.
  CallTelemetry(std::string domain, MetricRegistry* metrics, const Clock* clock, Random* random);
  ~CallTelemetry();

  /// Methods of services that were not added share one label, `other`: callers can make up names without end. Before
  /// the first call.
  void AddService(absl::string_view full_name);
  /// What is known of a call when it ends.
  struct Ended {
    absl::string_view method;
    int code = 0;  ///< of grpc::StatusCode
    absl::string_view message;
    std::string peer;
    std::string trace_id;
    std::string key_id;
    int64_t duration_us = 0;
    int64_t received = 0;
    int64_t sent = 0;
  };
  /// Writes the access-log line: failures as warnings (at most some tens a second), the others for debugging.
  void Log(const Ended& ended);
  /// Counts and logs a call that was refused before any handler.
  void Refused(const Ended& ended);

  /// For ServerBuilder; borrows this.
  std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeInterceptorFactory();

  MethodMetrics* ForMethod(absl::string_view method);
  const Clock& clock() const { return *clock_; }
  Random& random() { return random_; }
  const std::string& domain() const { return domain_; }

 private:
  struct State;
  const std::string domain_;
  MetricRegistry* const metrics_;
  const Clock* const clock_;
  // Trace ids need no secrecy: one seed from the system, and no system call for each call.
  SeededRandom random_;
  std::unique_ptr<State> state_;
};

/// The name of a grpc::StatusCode, as in `NOT_FOUND`.
absl::string_view CodeName(int code);

}  // namespace naru
