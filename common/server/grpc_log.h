// gRPC's own messages go where all others go.
#pragma once

namespace naru {

/// From now on gRPC logs through common/log: its errors as warnings, the rest for debugging, a few a second.
/// Idempotent.
void RouteGrpcLog();

}  // namespace naru
