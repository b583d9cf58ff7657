#include "services/aggregator/replay_filter.h"

#include <string>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace naru::aggregator {

bool ReplayFilter::IsRepeat(absl::string_view source, absl::string_view id, int64_t received_us) {
  if (current_since_us_ == INT64_MIN) current_since_us_ = received_us;
  if (received_us - current_since_us_ >= kWindowUs) {
    previous_.clear();
    previous_.swap(current_);
    current_since_us_ = received_us;
  }
  // The source's hash seeds the id's, so that ("a", "bc") and ("ab", "c") differ.
  const uint64_t seed = XXH3_64bits(source.data(), source.size());
  const XXH128_hash_t hash = XXH3_128bits_withSeed(id.data(), id.size(), seed);
  const Entry entry{hash.low64, hash.high64, received_us};
  const auto [found, added] = current_.insert(entry);
  int64_t seen_us = INT64_MIN;
  if (!added) {
    seen_us = found->received_us;
  } else if (const auto before = previous_.find(entry); before != previous_.end()) {
    seen_us = before->received_us;
  }
  if (seen_us == INT64_MIN || received_us - seen_us > kWindowUs) {
    found->received_us = received_us;
    return false;
  }
  found->received_us = seen_us;  // it is the first one that others repeat
  return true;
}

}  // namespace naru::aggregator
