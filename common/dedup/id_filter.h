// A Bloom filter whose answer costs one cache line, and whose hashes are computed once for all filters.
#pragma once

#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#include "common/dedup/id_hash.h"

namespace naru::dedup {

/// What a filter looks at: which block of all, which two words of it, and four bits in each. The same for every filter.
struct FilterProbe {
  explicit FilterProbe(const IdHash& id)
      : place(id.hi >> 32),
        word1(id.hi & 7),
        word2((id.hi & 7) ^ (1 + (id.hi >> 3) % 7)),
        mask1(Bits(id.hi >> 6 & 0x3ffffff)),
        mask2(Bits(id.lo)) {}

  uint64_t place;  ///< 32 bits: the same order as the ids, so that a filter of sorted ids is written from front to back
  uint32_t word1, word2;
  uint64_t mask1, mask2;

 private:
  static uint64_t Bits(uint64_t x) {
    return uint64_t{1} << (x & 63) | uint64_t{1} << (x >> 6 & 63) | uint64_t{1} << (x >> 12 & 63) |
           uint64_t{1} << (x >> 18 & 63);
  }
};

/// Holds 14 bits an id: about 1 in 400 ids that were not added seem to be there. Not thread-safe while ids are added.
class IdFilter {
 public:
  struct alignas(64) Block {
    uint64_t words[8] = {};
  };
  /// The part that is looked at for every id: kept together for all filters.
  struct View {
    const Block* blocks;
    uint64_t count;

    void Prefetch(const FilterProbe& probe) const { __builtin_prefetch(&blocks[probe.place * count >> 32]); }
    bool MayContain(const FilterProbe& probe) const {
      const Block& block = blocks[probe.place * count >> 32];
      return (block.words[probe.word1] & probe.mask1) == probe.mask1 &&
             (block.words[probe.word2] & probe.mask2) == probe.mask2;
    }
  };

  /// For `ids` ids.
  explicit IdFilter(size_t ids) : blocks_(ids * 14 / 512 + 1) {}
  /// From the bytes of another.
  explicit IdFilter(const std::vector<char>& bytes) : blocks_(bytes.size() / sizeof(Block)) {
    std::memcpy(blocks_.data(), bytes.data(), size_bytes());
  }

  void Add(const FilterProbe& probe) {
    Block& block = blocks_[probe.place * blocks_.size() >> 32];
    block.words[probe.word1] |= probe.mask1;
    block.words[probe.word2] |= probe.mask2;
  }
  View view() const { return View{blocks_.data(), blocks_.size()}; }
  bool MayContain(const FilterProbe& probe) const { return view().MayContain(probe); }

  const char* data() const { return reinterpret_cast<const char*>(blocks_.data()); }
  size_t size_bytes() const { return blocks_.size() * sizeof(Block); }

 private:
  std::vector<Block> blocks_;
};

}  // namespace naru::dedup
