#include "common/dedup/id_run.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "common/testing/testing.h"
#include "gtest/gtest.h"

namespace naru::dedup {
namespace {

std::vector<IdEntry> RandomEntries(size_t n, uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::vector<IdEntry> entries(n);
  for (IdEntry& entry : entries) {
    entry = IdEntry{rng(), static_cast<uint32_t>(rng()), 1000 + static_cast<uint32_t>(rng() % 1000)};
  }
  std::sort(entries.begin(), entries.end(), [](const IdEntry& a, const IdEntry& b) { return a.hi < b.hi; });
  return entries;
}

std::shared_ptr<IdRun> WriteRun(const std::string& path, const std::vector<IdEntry>& entries, RunInfo info = {}) {
  auto writer = IdRunWriter::Create(path, entries.size());
  EXPECT_TRUE(writer.ok()) << writer.status();
  for (const IdEntry& entry : entries) EXPECT_TRUE((*writer)->Add(entry).ok());
  EXPECT_TRUE((*writer)->Finish(info).ok());
  auto run = IdRun::Open(path);
  EXPECT_TRUE(run.ok()) << run.status();
  return *run;
}

TEST(IdRun, FindsWhatWasWrittenAndNothingElse) {
  testing::TempDir dir;
  for (size_t n : {size_t{0}, size_t{1}, size_t{254}, size_t{255}, size_t{256}, size_t{40'000}}) {
    const std::vector<IdEntry> entries = RandomEntries(n, n);
    const auto run =
        WriteRun(dir.File(std::to_string(n)), entries, {.first_sequence = 3, .last_sequence = 9, .note = "here"});
    EXPECT_EQ(run->info().count, n);
    EXPECT_EQ(run->info().first_sequence, 3);
    EXPECT_EQ(run->info().last_sequence, 9);
    EXPECT_EQ(run->info().note, "here");
    for (const IdEntry& entry : entries) {
      const IdHash id{entry.hi, entry.lo};
      ASSERT_TRUE(run->filter().MayContain(FilterProbe(id)));
      ASSERT_EQ(run->Find(id), entry.time_s);
      ASSERT_EQ(run->Find(IdHash{id.hi, id.lo + 1}), std::nullopt);
    }
    EXPECT_EQ(run->Find(IdHash{0, 0}), std::nullopt);
    EXPECT_EQ(run->Find(IdHash{~uint64_t{0}, 0}), std::nullopt);
  }
}

TEST(IdRun, FindsEntriesOfEqualHighBitsAcrossPages) {
  testing::TempDir dir;
  std::vector<IdEntry> entries;
  for (uint32_t lo = 0; lo < 1000; ++lo) entries.push_back({77, lo, lo + 1});
  const auto run = WriteRun(dir.File("run"), entries);
  for (uint32_t lo = 0; lo < 1000; ++lo) EXPECT_EQ(run->Find(IdHash{77, lo}), lo + 1);
}

TEST(IdFilter, IsRarelyWrong) {
  std::mt19937_64 rng(5);
  IdFilter filter(100'000);
  for (int i = 0; i < 100'000; ++i) filter.Add(FilterProbe(IdHash{rng(), static_cast<uint32_t>(rng())}));
  int wrong = 0;
  for (int i = 0; i < 200'000; ++i)
    wrong += filter.MayContain(FilterProbe(IdHash{rng(), static_cast<uint32_t>(rng())}));
  EXPECT_LT(wrong, 200'000 / 120);
}

TEST(IdRun, RefusesEveryDamagedHeaderFilterAndIndexAndSkipsDamagedPages) {
  testing::TempDir dir;
  const std::string path = dir.File("run");
  const std::vector<IdEntry> entries = RandomEntries(3000, 1);
  const uint64_t pages = WriteRun(path, entries)->pages();
  const std::string good = testing::ReadFile(path);
  std::mt19937_64 rng(1);
  for (int i = 0; i < 300; ++i) {
    std::string bad = good;
    size_t at = rng() % bad.size();
    // Unused bytes after the header are nobody's.
    if (at >= 3200 && at < 4096) at = 100;
    bad[at] ^= static_cast<char>(1 << rng() % 8);
    dir.Write("run", bad);
    const auto run = IdRun::Open(path);
    if (at < 4096 || at >= 4096 * (1 + pages)) {
      EXPECT_FALSE(run.ok()) << at;
      continue;
    }
    ASSERT_TRUE(run.ok());
    // What the damaged page held is gone; nothing is invented.
    size_t found = 0;
    for (const IdEntry& entry : entries) {
      const auto time_s = (*run)->Find(IdHash{entry.hi, entry.lo});
      ASSERT_TRUE(!time_s.has_value() || *time_s == entry.time_s);
      found += time_s.has_value();
    }
    EXPECT_GE(found, entries.size() - 255);
  }
  for (size_t size : {size_t{0}, size_t{100}, size_t{4096}, size_t{5000}, good.size() - 1}) {
    dir.Write("run", good.substr(0, size));
    EXPECT_FALSE(IdRun::Open(path).ok()) << size;
  }
}

TEST(MergeRuns, KeepsTheNewestTimeAndDropsTheOld) {
  testing::TempDir dir;
  std::vector<IdEntry> a = RandomEntries(2000, 1), b = RandomEntries(500, 2);
  for (size_t i = 0; i < 100; ++i) b.push_back({a[i].hi, a[i].lo, 5000});
  std::sort(b.begin(), b.end(), [](const IdEntry& x, const IdEntry& y) { return x.hi < y.hi; });
  const auto run_a = WriteRun(dir.File("a"), a, {.first_sequence = 1, .last_sequence = 4});
  const auto run_b = WriteRun(dir.File("b"), b, {.first_sequence = 5, .last_sequence = 7, .note = "newest"});
  ASSERT_TRUE(MergeRuns({run_a, run_b}, 1500, dir.File("m")).ok());
  const auto merged = IdRun::Open(dir.File("m"));
  ASSERT_TRUE(merged.ok());
  EXPECT_EQ((*merged)->info().first_sequence, 1);
  EXPECT_EQ((*merged)->info().last_sequence, 7);
  EXPECT_EQ((*merged)->info().note, "newest");
  for (size_t i = 0; i < a.size(); ++i) {
    const auto found = (*merged)->Find(IdHash{a[i].hi, a[i].lo});
    if (i < 100) {
      EXPECT_EQ(found, 5000);
    } else {
      EXPECT_EQ(found.has_value(), a[i].time_s >= 1500);
    }
  }
}

TEST(IdRun, GoesWithItsLastUserOnceItIsObsolete) {
  testing::TempDir dir;
  auto run = WriteRun(dir.File("run"), RandomEntries(10, 1));
  run->MarkObsolete();
  EXPECT_TRUE(std::filesystem::exists(dir.File("run")));
  run.reset();
  EXPECT_FALSE(std::filesystem::exists(dir.File("run")));
}

}  // namespace
}  // namespace naru::dedup
