// Percentiles: exact while the values are few, by logarithmic buckets beyond.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace naru::aggregator {

/// A multiset of numbers of which percentiles are asked. Up to kExactLimit values it keeps them; beyond, it is a
/// DDSketch (Masson et al. 2019): counts in buckets that grow by a constant factor, so that what it says is within
/// kRelativeError of the true value. The buckets of a sign span kMaxBuckets, 35 orders of magnitude from the largest
/// number down; numbers that are smaller still are taken as that small. The state depends only on the multiset, so
/// merging is associative and commutative.
class PercentileSketch {
 public:
  static constexpr size_t kExactLimit = 64;
  static constexpr int kMaxBuckets = 4096;
  static constexpr double kRelativeError = 0.01;

  /// `value` must be finite.
  void Add(double value);
  void Merge(const PercentileSketch& other);
  /// The smallest value that at least `percentile` % (above 0, at most 100) of all are not above (nearest rank; SQL's
  /// percentile_disc). Not for an empty one.
  double Percentile(double percentile) const;
  int64_t count() const { return count_; }
  bool exact() const { return static_cast<size_t>(count_) <= kExactLimit; }

  /// Appends the state: a version byte, a form byte (exact, buckets), the contents. At most 48 KiB, rarely 1.
  void Encode(std::string* out) const;
  /// Merges an encoded state into this one. Returns false for bytes that are not one (this may then hold a part of it).
  bool MergeEncoded(absl::string_view in);
  /// Bytes on the heap.
  size_t HeapBytes() const;

 private:
  // Numbers of one sign by the logarithm of their magnitude.
  struct Buckets {
    int32_t lowest = 0;  // index of counts[0]
    std::vector<int64_t> counts;

    void Add(int32_t index, int64_t count);
    void Extend(int32_t index);
    template <typename Fn>
    void ForEach(Fn&& fn) const;
  };
  static void Encode(const Buckets& buckets, std::string* out);
  bool MergeEncodedBuckets(absl::string_view* in, Buckets* buckets);
  bool MergeEncodedValues(absl::string_view* in);
  void AddToBuckets(double value);
  void LeaveExact();

  int64_t count_ = 0;
  std::vector<double> values_;  // exact: all of them
  int64_t zeros_ = 0;
  double min_ = 0;
  double max_ = 0;
  Buckets positive_;
  Buckets negative_;
};

}  // namespace naru::aggregator
