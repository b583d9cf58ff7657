// The most frequent values: counted exactly while they are few, by SpaceSaving beyond.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace naru::aggregator {

/// Counts of keys (any bytes). While at most `capacity` different keys were added, exact. Beyond, the rarest makes room
/// (SpaceSaving, Metwally et al. 2005): a count is then an upper bound, and the true one is at least count - max_error;
/// of N additions no key's error is above N / capacity. What is not kept occurred at most `floor()` times.
///
/// Merging keeps every key of both sides, so it is associative and commutative; only a merged state of more than
/// kMaxMergedKeys is cut back (within the same bounds).
class TopKSketch {
 public:
  static constexpr size_t kMaxMergedKeys = 200'000;

  struct Item {
    std::string key;
    int64_t count = 0;
    int64_t max_error = 0;
  };

  explicit TopKSketch(size_t capacity) : capacity_(capacity) {}

  void Add(absl::string_view key) { AddCount(key, 1); }
  void Merge(const TopKSketch& other);
  /// The `k` largest by count, ties by key (bytes, ascending).
  std::vector<Item> Top(size_t k) const;
  /// 0: everything is exact.
  int64_t floor() const { return floor_; }
  size_t size() const { return items_.size(); }

  /// Appends the state, with a version byte; equal states give equal bytes.
  void Encode(std::string* out) const;
  /// Merges an encoded state into this one. Returns false for bytes that are not one.
  bool MergeEncoded(absl::string_view in);
  size_t HeapBytes() const;

 private:
  struct HeapEntry {
    int64_t count;  // not above the item's count: stale entries are put right when they come up
    int item;
  };
  void AddCount(absl::string_view key, int64_t count);
  void ReplaceRarest(absl::string_view key, int64_t count);
  bool HeapLess(const HeapEntry& a, const HeapEntry& b) const;
  void MergeItem(absl::string_view key, int64_t count, int64_t error, size_t own_before, std::vector<char>* seen);
  void FinishMerge(size_t own_before, int64_t other_floor, const std::vector<char>& seen);
  void Shrink(size_t keep);

  size_t capacity_;
  int64_t floor_ = 0;
  size_t key_bytes_ = 0;
  std::vector<Item> items_;
  absl::flat_hash_map<std::string, int> index_;
  std::vector<HeapEntry> heap_;  // built when the first key has to make room
};

}  // namespace naru::aggregator
