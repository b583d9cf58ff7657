#include "common/dedup/id_table.h"

#include <algorithm>
#include <map>
#include <random>

#include "gtest/gtest.h"

namespace naru::dedup {
namespace {

TEST(IdHasher, KeepsSourceAndIdApartAndDependsOnTheKey) {
  HashKey key{};
  const IdHasher hasher(key);
  EXPECT_NE(hasher.Hash("ab", "c"), hasher.Hash("a", "bc"));
  EXPECT_NE(hasher.Hash("", "abc"), hasher.Hash("abc", ""));
  EXPECT_EQ(hasher.Hash("s", "1"), IdHasher(key).Hash("s", "1"));
  const std::string long_source(2000, 's');
  EXPECT_NE(hasher.Hash(long_source, "1"), hasher.Hash(long_source, "2"));
  key[31] = 1;
  EXPECT_NE(hasher.Hash("s", "1"), IdHasher(key).Hash("s", "1"));
  EXPECT_NE(hasher.fingerprint(), IdHasher(key).fingerprint());
}

// Hashes are on disk: the function may never change.
TEST(IdHasher, KeepsItsGoldenValue) {
  HashKey key{};
  for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<uint8_t>(i);
  const IdHash hash = IdHasher(key).Hash("site", "event-1");
  EXPECT_EQ(hash.hi, 15245340588168535788u);
  EXPECT_EQ(hash.lo, 501124197u);
}

TEST(AppendHashes, ReadsBack) {
  const std::vector<IdHash> hashes = {{1, 2}, {~uint64_t{0}, ~uint32_t{0}}, {0, 0}};
  std::string bytes;
  AppendHashes(hashes, &bytes);
  EXPECT_EQ(bytes.size(), 36);
  std::vector<IdHash> read;
  ASSERT_TRUE(ParseHashes(bytes, &read));
  EXPECT_EQ(read, hashes);
  bytes.pop_back();
  EXPECT_FALSE(ParseHashes(bytes, &read));
}

// Hashes that crowd into a few slots, at the table's end too, so that clusters grow, wrap and shift.
IdHash Crowded(std::mt19937_64& rng, int slot_bits) {
  const uint64_t slots = uint64_t{1} << slot_bits;
  const uint64_t slot = (slots - 6 + rng() % 12) % slots;
  return IdHash{slot << (64 - slot_bits) | rng() % 5, static_cast<uint32_t>(rng() % 3)};
}

TEST(IdTable, AgreesWithAMapWhileClustersWrapAndShift) {
  std::mt19937_64 rng(7);
  for (int round = 0; round < 50; ++round) {
    IdTable table(8);
    std::map<IdHash, IdTable::Found> model;
    for (int step = 0; step < 2000; ++step) {
      const IdHash id = Crowded(rng, 8);
      const uint32_t sequence = rng() % 4;
      if (rng() % 2) {
        if (model.size() < 190 || model.contains(id)) {
          const uint32_t time_s = 1 + rng() % 1000;
          table.Put(id, time_s, sequence);
          model[id] = {time_s, sequence};
        }
      } else {
        const auto it = model.find(id);
        const bool expected = it != model.end() && it->second.sequence == sequence;
        ASSERT_EQ(table.Erase(id, sequence), expected);
        if (expected) model.erase(it);
      }
      ASSERT_EQ(table.size(), model.size());
    }
    for (uint64_t slot = 0; slot < 256; ++slot) {
      for (uint64_t low = 0; low < 5; ++low) {
        for (uint32_t lo = 0; lo < 3; ++lo) {
          const IdHash id{slot << 56 | low, lo};
          const auto it = model.find(id);
          ASSERT_EQ(table.Find(id).time_s, it == model.end() ? 0 : it->second.time_s);
        }
      }
    }
    const std::vector<IdEntry> sorted = table.Sorted();
    ASSERT_EQ(sorted.size(), model.size());
    auto it = model.begin();
    for (const IdEntry& entry : sorted) {
      ASSERT_EQ((IdHash{entry.hi, entry.lo}), it->first);
      ASSERT_EQ(entry.time_s, it->second.time_s);
      ++it;
    }
  }
}

}  // namespace
}  // namespace naru::dedup
