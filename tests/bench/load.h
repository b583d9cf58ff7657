// The events that the benchmarks send: the same bytes to Naru and to each peer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace naru::bench {

/// Returns `count` encoded naru.event.v1.Event of about 170 bytes each (a menu click of Ciao laBella), with random
/// 128-bit ids and times around now. The same seed gives the same events.
std::vector<std::string> MakeEvents(uint64_t seed, int count);

/// Returns an encoded PublishEventsRequest of `count` such events.
std::string MakePublishRequest(uint64_t seed, int count);

/// A value at a quantile (0 to 1) of unsorted samples; 0 for none. Sorts them.
double Quantile(std::vector<double>& samples, double quantile);

}  // namespace naru::bench
