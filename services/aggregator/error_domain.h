// The domain of this service's errors (google.rpc.ErrorInfo).
#pragma once

namespace naru::aggregator {

inline constexpr char kErrorDomain[] = "aggregator.naru.dev";

}  // namespace naru::aggregator
