// Drops events that a producer's retry put into the log twice. Only for logs whose appends are not atomic with ingest's
// de-duplication (Kafka).
#pragma once

#include <cstdint>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"

namespace naru::aggregator {

/// The (source, id) of the last ten minutes of one partition, by received time. Two generations of the window's length:
/// an id is remembered for one to two windows, but only counts as a repeat within one, so that the answer does not
/// depend on where reading began (as long as it began a window earlier). 24 bytes an id. Not thread-safe.
class ReplayFilter {
 public:
  static constexpr int64_t kWindowUs = int64_t{10} * 60 * 1'000'000;

  /// Returns whether the same (source, id) came within the window before `received_us`; remembers it.
  bool IsRepeat(absl::string_view source, absl::string_view id, int64_t received_us);
  size_t size() const { return current_.size() + previous_.size(); }

 private:
  struct Entry {
    uint64_t low;
    uint64_t high;
    mutable int64_t received_us;
    friend bool operator==(const Entry& a, const Entry& b) { return a.low == b.low && a.high == b.high; }
    template <typename H>
    friend H AbslHashValue(H h, const Entry& entry) {
      return H::combine(std::move(h), entry.low);
    }
  };
  absl::flat_hash_set<Entry> current_;
  absl::flat_hash_set<Entry> previous_;
  int64_t current_since_us_ = INT64_MIN;
};

}  // namespace naru::aggregator
