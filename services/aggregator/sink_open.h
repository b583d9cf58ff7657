// From a Sink resource to its writer.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/clock/clock.h"
#include "common/secret/secret.h"
#include "services/aggregator/sink_writer.h"

namespace naru::catalog::v1 {
class Sink;
}

namespace naru::aggregator {

/// `redis`, `postgres`, `topic`.
std::string SinkType(const catalog::v1::Sink& spec);
/// Where it writes to, without secrets: `redis:6379/0 ciao`.
std::string SinkTarget(const catalog::v1::Sink& spec);

/// Makes the writer, reading the secrets that the spec names. Does not connect. Borrows log, clock and fence. Errors:
/// INVALID_ARGUMENT for a missing secret.
absl::StatusOr<std::unique_ptr<SinkWriter>> OpenSink(const catalog::v1::Sink& spec, const SecretOptions& secrets,
                                                     event_log::EventLog& log, const Clock& clock, SinkFence& fence);

}  // namespace naru::aggregator
