#include "services/aggregator/top_k_sketch.h"

#include <algorithm>
#include <utility>

#include "services/aggregator/sketch_bytes.h"

namespace naru::aggregator {
namespace {

constexpr uint8_t kVersion = 1;

bool Before(const TopKSketch::Item& a, const TopKSketch::Item& b) {
  return a.count != b.count ? a.count > b.count : a.key < b.key;
}

}  // namespace

void TopKSketch::AddCount(absl::string_view key, int64_t count) {
  const auto found = index_.find(key);
  if (found != index_.end()) {
    items_[found->second].count += count;
    return;
  }
  if (items_.size() >= capacity_) {
    ReplaceRarest(key, count);
    return;
  }
  index_.emplace(std::string(key), static_cast<int>(items_.size()));
  items_.push_back({std::string(key), count + floor_, floor_});
  key_bytes_ += key.size();
  heap_.clear();
}

// Orders the heap: the smallest count on top, of equal ones the largest key.
bool TopKSketch::HeapLess(const HeapEntry& a, const HeapEntry& b) const {
  return a.count != b.count ? a.count > b.count : items_[a.item].key < items_[b.item].key;
}

void TopKSketch::ReplaceRarest(absl::string_view key, int64_t count) {
  const auto less = [this](const HeapEntry& a, const HeapEntry& b) { return HeapLess(a, b); };
  if (heap_.size() != items_.size()) {
    heap_.clear();
    for (size_t i = 0; i < items_.size(); ++i) heap_.push_back({items_[i].count, static_cast<int>(i)});
    std::make_heap(heap_.begin(), heap_.end(), less);
  }
  for (;;) {
    std::pop_heap(heap_.begin(), heap_.end(), less);
    HeapEntry& last = heap_.back();
    Item& item = items_[last.item];
    const bool fresh = last.count == item.count;
    if (fresh) {
      floor_ = std::max(floor_, item.count);
      index_.erase(item.key);
      index_.emplace(std::string(key), last.item);
      key_bytes_ += key.size() - item.key.size();
      item = {std::string(key), floor_ + count, floor_};
    }
    last.count = item.count;
    std::push_heap(heap_.begin(), heap_.end(), less);
    if (fresh) return;
  }
}

void TopKSketch::MergeItem(absl::string_view key, int64_t count, int64_t error, size_t own_before,
                           std::vector<char>* seen) {
  const auto found = index_.find(key);
  if (found != index_.end()) {
    Item& item = items_[found->second];
    item.count += count;
    item.max_error += error;
    if (static_cast<size_t>(found->second) < own_before) (*seen)[found->second] = 1;
    return;
  }
  // It may have occurred here up to floor_ times without being kept.
  index_.emplace(std::string(key), static_cast<int>(items_.size()));
  items_.push_back({std::string(key), count + floor_, error + floor_});
  key_bytes_ += key.size();
}

void TopKSketch::FinishMerge(size_t own_before, int64_t other_floor, const std::vector<char>& seen) {
  for (size_t i = 0; i < own_before && other_floor != 0; ++i) {
    if (seen[i] != 0) continue;
    items_[i].count += other_floor;
    items_[i].max_error += other_floor;
  }
  floor_ += other_floor;
  heap_.clear();
  if (items_.size() > kMaxMergedKeys) Shrink(kMaxMergedKeys / 2);
}

void TopKSketch::Merge(const TopKSketch& other) {
  const size_t own = items_.size();
  std::vector<char> seen(own, 0);
  for (const Item& item : other.items_) MergeItem(item.key, item.count, item.max_error, own, &seen);
  FinishMerge(own, other.floor_, seen);
}

void TopKSketch::Shrink(size_t keep) {
  std::nth_element(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(keep), items_.end(), Before);
  for (size_t i = keep; i < items_.size(); ++i) floor_ = std::max(floor_, items_[i].count);
  items_.resize(keep);
  index_.clear();
  key_bytes_ = 0;
  for (size_t i = 0; i < keep; ++i) {
    index_.emplace(items_[i].key, static_cast<int>(i));
    key_bytes_ += items_[i].key.size();
  }
}

std::vector<TopKSketch::Item> TopKSketch::Top(size_t k) const {
  std::vector<const Item*> order;
  order.reserve(items_.size());
  for (const Item& item : items_) order.push_back(&item);
  const size_t n = std::min(k, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), order.end(),
                    [](const Item* a, const Item* b) { return Before(*a, *b); });
  std::vector<Item> top;
  for (size_t i = 0; i < n; ++i) top.push_back(*order[i]);
  return top;
}

void TopKSketch::Encode(std::string* out) const {
  out->push_back(kVersion);
  PutVarint(floor_, out);
  PutVarint(items_.size(), out);
  for (const Item& item : Top(items_.size())) {
    PutBytes(item.key, out);
    PutVarint(item.count, out);
    PutVarint(item.max_error, out);
  }
}

bool TopKSketch::MergeEncoded(absl::string_view in) {
  uint8_t version;
  uint64_t floor, count;
  if (!GetByte(&in, &version) || version != kVersion || !GetVarint(&in, &floor) || !GetVarint(&in, &count))
    return false;
  if (count > in.size() || floor > INT64_MAX / 2) return false;
  const size_t own = items_.size();
  std::vector<char> seen(own, 0);
  for (uint64_t i = 0; i < count; ++i) {
    absl::string_view key;
    uint64_t occurred, error;
    if (!GetBytes(&in, &key) || !GetVarint(&in, &occurred) || !GetVarint(&in, &error)) return false;
    if (occurred > INT64_MAX / 2 || error > occurred) return false;
    MergeItem(key, static_cast<int64_t>(occurred), static_cast<int64_t>(error), own, &seen);
  }
  FinishMerge(own, static_cast<int64_t>(floor), seen);
  return in.empty();
}

size_t TopKSketch::HeapBytes() const {
  return items_.capacity() * sizeof(Item) + index_.capacity() * (sizeof(std::string) + 16) + key_bytes_ * 2 +
         heap_.capacity() * sizeof(HeapEntry);
}

}  // namespace naru::aggregator
