// How many different values: exactly while they are few, by HyperLogLog beyond.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace naru::aggregator {

/// A set of 64-bit hashes of which only the size is asked. Up to kExactLimit different ones it is exact; beyond, it is
/// a HyperLogLog of 2^14 registers with a relative standard error of 0.81 % (Ertl's improved estimator: no bias for
/// small or large sets). The state depends only on the set, so merging is associative, commutative and idempotent.
class DistinctSketch {
 public:
  static constexpr int kExactLimit = 2048;
  static constexpr int kIndexBits = 14;
  static constexpr int kRegisters = 1 << kIndexBits;
  static constexpr double kRelativeError = 0.0081;

  /// `hash` must be of good quality in all its bits (XXH3).
  void Add(uint64_t hash);
  void Merge(const DistinctSketch& other);
  /// Exact, or rounded to the nearest integer.
  int64_t Estimate() const;
  bool exact() const { return registers_.empty(); }

  /// Appends the state: a version byte, a form byte (exact, sparse, dense), the contents. At most 12 KiB and a bit.
  void Encode(std::string* out) const;
  /// Merges an encoded state into this one. Returns false for bytes that are not one (this may then hold a part of it).
  bool MergeEncoded(absl::string_view in);
  /// Bytes on the heap.
  size_t HeapBytes() const { return slots_.capacity() * 8 + registers_.capacity(); }

 private:
  void AddExact(uint64_t hash);
  void AddRegister(uint64_t hash);
  void Grow(size_t slots);
  void ToRegisters();
  template <typename Fn>
  void ForEachHash(Fn&& fn) const;

  // Exact: open addressing, 0 = free; the hash 0 itself is kept as a flag.
  std::vector<uint64_t> slots_;
  int size_ = 0;
  bool has_zero_ = false;
  std::vector<uint8_t> registers_;
};

}  // namespace naru::aggregator
