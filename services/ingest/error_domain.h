// The domain of this service's errors (google.rpc.ErrorInfo).
#pragma once

namespace naru::ingest {

inline constexpr char kErrorDomain[] = "ingest.naru.dev";

}  // namespace naru::ingest
