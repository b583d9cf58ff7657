// W3C trace context: which request an entry in a log, a record or a call belongs to.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "common/clock/clock.h"

namespace grpc {
class ClientContext;
class ServerContextBase;
}  // namespace grpc

namespace naru {

/// A trace and a place in it.
struct TraceContext {
  std::array<uint8_t, 16> trace_id{};  ///< all zero = no trace
  std::array<uint8_t, 8> span_id{};
  uint8_t flags = 0;  ///< 1 = sampled

  bool valid() const;
  /// 32 hexadecimal digits; for logs.
  std::string TraceId() const;
  /// `00-<trace id>-<span id>-<flags>`; empty when not valid.
  std::string ToString() const;
  /// The same trace with a span of its own.
  TraceContext Child(Random& random) const;

  static TraceContext Generate(Random& random);
  /// Reads a `traceparent` header. Nothing when it breaks the rules of the W3C (zeros, upper case, length).
  static std::optional<TraceContext> Parse(absl::string_view traceparent);
};

/// The name of the header in gRPC metadata, HTTP and records of the event log.
inline constexpr char kTraceHeader[] = "traceparent";

/// The trace of a call that a Server serves: the caller's, or the one that the server made for it. Invalid (zeros)
/// where neither is.
TraceContext TraceFromContext(const grpc::ServerContextBase& context);
/// Sends `trace` with an outgoing call.
void AddTrace(const TraceContext& trace, grpc::ClientContext* context);

}  // namespace naru
