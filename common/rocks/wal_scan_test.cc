#include "common/rocks/wal_scan.h"

#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/clock/clock.h"
#include "common/testing/testing.h"

namespace naru::rocks {
namespace {

namespace fs = std::filesystem;

class WalScanTest : public ::testing::Test {
 protected:
  // Lets RocksDB write a log of `writes` writes and copies it, as a kill would leave it.
  void WriteLog(int writes, size_t bytes) {
    rocksdb::DB* db = nullptr;
    rocksdb::Options options;
    options.create_if_missing = true;
    ASSERT_TRUE(rocksdb::DB::Open(options, dir_.File("db"), &db).ok());
    const std::unique_ptr<rocksdb::DB> owner(db);
    SeededRandom random(1);
    for (int i = 0; i < writes; ++i) {
      std::string value;
      while (value.size() < bytes) value.push_back(static_cast<char>(random.Next()));
      ASSERT_TRUE(db->Put(rocksdb::WriteOptions(), absl::StrCat("key", i), value).ok());
    }
    ASSERT_TRUE(db->FlushWAL(true).ok());
    for (const fs::directory_entry& entry : fs::directory_iterator(dir_.File("db"))) {
      if (absl::EndsWith(entry.path().string(), ".log")) fs::copy_file(entry.path(), dir_.File("wal"));
    }
  }
  WalScan Scan(int* good, int* after) {
    auto scan = ScanWal(
        dir_.File("wal"), [&](const WalWrite& w) { *good += static_cast<int>(w.count); },
        [&](const WalWrite& w) { *after += static_cast<int>(w.count); });
    EXPECT_TRUE(scan.ok()) << scan.status();
    return *scan;
  }

  testing::TempDir dir_;
};

TEST_F(WalScanTest, AWholeLogIsGoodToTheEnd) {
  for (const size_t bytes : {10, 1000, 40'000, 200'000}) {
    SCOPED_TRACE(bytes);
    WriteLog(20, bytes);
    int good = 0, after = 0;
    const WalScan scan = Scan(&good, &after);
    EXPECT_EQ(good, 20);
    EXPECT_EQ(after, 0);
    EXPECT_EQ(scan.good_bytes, scan.file_bytes);
    EXPECT_EQ(scan.next_sequence - scan.first_sequence, 20u);
    fs::remove_all(dir_.File("db"));
    fs::remove(dir_.File("wal"));
  }
}

TEST_F(WalScanTest, ACutAnywhereIsATornTail) {
  WriteLog(30, 3000);
  const std::string whole = testing::ReadFile(dir_.File("wal"));
  int last = 30;
  for (size_t size = whole.size(); size > 0; size -= std::min<size_t>(size, 617)) {
    fs::resize_file(dir_.File("wal"), size);
    int good = 0, after = 0;
    const WalScan scan = Scan(&good, &after);
    EXPECT_LE(good, last);
    EXPECT_EQ(after, 0);
    EXPECT_LE(scan.good_bytes, size);
    last = good;
  }
  EXPECT_LE(last, 1);
}

TEST_F(WalScanTest, AFlippedByteIsDamageInTheMiddle) {
  WriteLog(60, 3000);
  const std::string whole = testing::ReadFile(dir_.File("wal"));
  SeededRandom random(2);
  for (int round = 0; round < 100; ++round) {
    std::string damaged = whole;
    const size_t at = random.Next() % (whole.size() / 2);
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    std::ofstream(dir_.File("wal"), std::ios::binary | std::ios::trunc) << damaged;
    int good = 0, after = 0;
    const WalScan scan = Scan(&good, &after);
    EXPECT_LE(scan.good_bytes, at) << at;
    EXPECT_GT(after, 0);
    EXPECT_LT(good + after, 60);
    EXPECT_EQ(scan.writes_after_damage, after);
  }
}

TEST_F(WalScanTest, ZerosInTheMiddleAreDamageAndAtTheEndATornTail) {
  WriteLog(60, 3000);
  const std::string whole = testing::ReadFile(dir_.File("wal"));
  std::string damaged = whole;
  std::fill(damaged.begin() + 40'000, damaged.begin() + 70'000, '\0');
  std::ofstream(dir_.File("wal"), std::ios::binary | std::ios::trunc) << damaged;
  int good = 0, after = 0;
  WalScan scan = Scan(&good, &after);
  EXPECT_GT(good, 0);
  EXPECT_GT(after, 0);
  EXPECT_LE(scan.good_bytes, 40'000u);
  damaged = whole + std::string(5000, '\0');
  std::ofstream(dir_.File("wal"), std::ios::binary | std::ios::trunc) << damaged;
  good = after = 0;
  scan = Scan(&good, &after);
  EXPECT_EQ(good, 60);
  EXPECT_EQ(after, 0);
}

TEST_F(WalScanTest, RandomBytesAreNoWrites) {
  SeededRandom random(3);
  for (int round = 0; round < 50; ++round) {
    std::string bytes(random.Next() % 100'000, '\0');
    for (char& c : bytes) c = static_cast<char>(random.Next());
    std::ofstream(dir_.File("wal"), std::ios::binary | std::ios::trunc) << bytes;
    int good = 0, after = 0;
    const WalScan scan = Scan(&good, &after);
    EXPECT_EQ(good + after, 0);
    EXPECT_EQ(scan.good_bytes, 0u);
  }
}

TEST_F(WalScanTest, AMissingFileIsNotFound) {
  EXPECT_EQ(ScanWal(dir_.File("none"), nullptr, nullptr).status().code(), absl::StatusCode::kNotFound);
}

TEST(Crc32c, KnownValues) {
  EXPECT_EQ(Crc32c(0, "123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c(0, std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(Crc32c(0, "12345"), "6789"), 0xe3069283u);
}

}  // namespace
}  // namespace naru::rocks
