// Flipped bytes, missing and cut files: the log opens, says what is lost, and gives everything else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/event_log/block.h"
#include "common/event_log/event_log.h"
#include "common/event_log/rocks_event_log.h"
#include "common/event_log/rocks_keys.h"
#include "common/event_log/rocks_test_log.h"
#include "common/rocks/database.h"

namespace naru::event_log {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::vector<std::string> Files(const std::string& directory, const std::string& suffix) {
  std::vector<std::string> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (absl::EndsWith(entry.path().string(), suffix)) files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string Manifest(const std::string& directory) {
  std::string newest;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (absl::StrContains(entry.path().string(), "MANIFEST-")) newest = std::max(newest, entry.path().string());
  }
  return newest;
}

void FlipByte(const std::string& file, uint64_t at) {
  std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
  f.seekg(static_cast<std::streamoff>(at));
  const int c = f.get();
  ASSERT_NE(c, EOF) << file << " at " << at;
  f.seekp(static_cast<std::streamoff>(at));
  f.put(static_cast<char>(c ^ 0x40));
}

class RocksDamage : public ::testing::Test {
 protected:
  // Appends batches of `records` records each; values are `<topic>-<partition>-<offset>-...` of about 200 bytes.
  void Append(const std::string& topic, int partition, int batches, int records = 10) {
    auto producer = log_->OpenProducer({});
    ASSERT_TRUE(producer.ok());
    for (int b = 0; b < batches; ++b) {
      std::vector<std::string> values;
      for (int i = 0; i < records; ++i) {
        std::string value = absl::StrCat(topic, "-", partition, "-", next_[{topic, partition}]++, "-");
        while (value.size() < 200) value.push_back(static_cast<char>(random_.Next()));
        values.push_back(std::move(value));
      }
      std::vector<Record> batch;
      for (const std::string& value : values) batch.push_back({"key", value, TestLog::kNow});
      auto result = (*producer)->Append({AppendBatch{topic, partition, {}, batch}});
      ASSERT_TRUE(result.ok()) << result.status();
    }
  }

  void MakeTopic(const std::string& name, int partitions, bool compacted = false) {
    TopicConfig config;
    config.name = name;
    config.partitions = partitions;
    config.compacted = compacted;
    const absl::Status status = log_->CreateTopic(config);
    ASSERT_TRUE(status.ok()) << status;
  }

  struct ReadBack {
    std::set<int64_t> offsets;
    std::vector<std::string> losses;
  };
  ReadBack ReadAll(const std::string& topic, int partition) {
    ReadBack back;
    auto reader = log_->OpenReader(topic, {{partition, ReadPosition::Kind::kOffset, 0}});
    EXPECT_TRUE(reader.ok()) << reader.status();
    for (int polls = 0; reader.ok() && polls < 100'000; ++polls) {
      auto batches = (*reader)->Poll(std::chrono::milliseconds(0), 64 << 10);
      if (!batches.ok()) {
        EXPECT_EQ(batches.status().code(), absl::StatusCode::kDataLoss) << batches.status();
        back.losses.emplace_back(batches.status().message());
        continue;
      }
      if (batches->empty()) return back;
      for (const FetchedBatch& batch : *batches) {
        for (const FetchedRecord& r : batch.records) {
          EXPECT_TRUE(absl::StartsWith(r.value, absl::StrCat(topic, "-", partition, "-", r.offset, "-")));
          EXPECT_TRUE(back.offsets.insert(r.offset).second);
        }
      }
    }
    ADD_FAILURE() << "reading does not end";
    return back;
  }

  // Reads a partition of `total` records of which some are lost, and checks that every one that is missing was told.
  void ExpectLossesAreTold(const std::string& topic, int partition, int64_t total, int64_t most_lost) {
    const ReadBack back = ReadAll(topic, partition);
    EXPECT_GE(static_cast<int64_t>(back.offsets.size()), total - most_lost);
    std::set<int64_t> told;
    for (const std::string& loss : back.losses) {
      long from = 0, to = 0;
      const size_t at = loss.find("offsets [");
      ASSERT_NE(at, std::string::npos) << loss;
      ASSERT_EQ(std::sscanf(loss.c_str() + at, "offsets [%ld, %ld)", &from, &to), 2) << loss;
      EXPECT_THAT(loss, HasSubstr(absl::StrCat("topic ", topic, " partition ", partition)));
      for (int64_t offset = from; offset < to; ++offset) told.insert(offset);
    }
    for (int64_t offset = 0; offset < total; ++offset) {
      EXPECT_NE(back.offsets.count(offset), told.count(offset)) << "offset " << offset << " of " << topic;
    }
  }

  std::string Notes() { return absl::StrJoin(log_->recovery_report().notes, "\n"); }

  SeededRandom random_{11};
  TestLog log_;
  std::map<std::pair<std::string, int>, int64_t> next_;
};

TEST_F(RocksDamage, ATornTailIsCutAndReported) {
  log_.Open();
  MakeTopic("events", 1);
  Append("events", 0, 5);
  // A copy of the files of a running log is what a kill leaves.
  const std::string copy = log_.options.path + ".copy";
  fs::copy(log_.options.path, copy, fs::copy_options::recursive);
  log_.Close();
  fs::remove_all(log_.options.path);
  fs::rename(copy, log_.options.path);
  const std::string wal = Files(log_.DatabasePath(), ".log").back();
  fs::resize_file(wal, fs::file_size(wal) - 100);
  log_.Open();
  EXPECT_THAT(Notes(), HasSubstr("torn tail"));
  const ReadBack back = ReadAll("events", 0);
  EXPECT_EQ(back.offsets.size(), 40u);
  EXPECT_TRUE(back.losses.empty());
  next_[{"events", 0}] = 40;
  Append("events", 0, 1);
  EXPECT_EQ(ReadAll("events", 0).offsets.size(), 50u);
}

TEST_F(RocksDamage, AnUndamagedLogReportsNothing) {
  log_.Open();
  MakeTopic("events", 2);
  Append("events", 0, 5);
  log_.Close();
  log_.Open();
  EXPECT_EQ(Notes(), "");
  EXPECT_EQ(log_->stats().damaged_ranges, 0);
}

// The write-ahead log of a log that was not closed.
class RocksWalDamage : public RocksDamage {
 protected:
  void Kill() {
    const std::string copy = log_.options.path + ".copy";
    fs::remove_all(copy);
    fs::copy(log_.options.path, copy, fs::copy_options::recursive);
    log_.Close();
    fs::remove_all(log_.options.path);
    fs::rename(copy, log_.options.path);
  }
};

TEST_F(RocksWalDamage, AFlippedByteEndsTheLogThereAndTellsWhatIsLost) {
  log_.Open();
  MakeTopic("events", 1);
  Append("events", 0, 100);
  Kill();
  const std::string wal = Files(log_.DatabasePath(), ".log").back();
  FlipByte(wal, fs::file_size(wal) / 2);
  log_.Open();
  EXPECT_THAT(Notes(), HasSubstr("is damaged at byte"));
  EXPECT_THAT(Notes(), HasSubstr("topic events partition 0: offsets ["));
  const ReadBack back = ReadAll("events", 0);
  EXPECT_GT(back.offsets.size(), 300u);
  EXPECT_LT(back.offsets.size(), 700u);
  ASSERT_EQ(back.losses.size(), 1u);
  EXPECT_THAT(back.losses[0], HasSubstr(absl::StrCat("offsets [", back.offsets.size(), ", 1000)")));
  // New records do not take the place of the lost ones, also after another start.
  Append("events", 0, 1);
  log_.Close();
  log_.Open();
  ExpectLossesAreTold("events", 0, 1010, 700);
  EXPECT_FALSE(Files(log_.DatabasePath() + ".damaged", "").empty());
}

TEST_F(RocksWalDamage, AnyFlippedByteLeavesALogThatOpens) {
  log_.Open();
  MakeTopic("events", 2);
  ASSERT_TRUE(log_->local_store()->EnsureFamily("ids").ok());
  Append("events", 0, 20);
  Append("events", 1, 20);
  Kill();
  const std::string saved = log_.options.path + ".saved";
  fs::copy(log_.options.path, saved, fs::copy_options::recursive);
  const std::string wal = Files(log_.DatabasePath(), ".log").back();
  const uint64_t size = fs::file_size(wal);
  for (int round = 0; round < 25; ++round) {
    SCOPED_TRACE(round);
    FlipByte(wal, random_.Next() % size);
    log_.Open();
    if (::testing::Test::HasFatalFailure()) return;
    for (int p = 0; p < 2; ++p) {
      if (!log_->DescribeTopic("events").ok()) break;  // the flip was in the very first write: the topic itself is lost
      auto info = log_->DescribeTopic("events");
      ExpectLossesAreTold("events", p, info->partitions[static_cast<size_t>(p)].end_offset, 200);
    }
    log_.Close();
    fs::remove_all(log_.options.path);
    fs::copy(saved, log_.options.path, fs::copy_options::recursive);
  }
}

TEST_F(RocksDamage, AFlippedByteInATableCostsOneBlockAndIsTold) {
  log_.Open();
  MakeTopic("events", 2);
  for (int i = 0; i < 3; ++i) {
    Append("events", 0, 50);
    Append("events", 1, 50);
    log_.Close();
    log_.Open();
  }
  log_.Close();
  const std::string saved = log_.options.path + ".saved";
  fs::copy(log_.options.path, saved, fs::copy_options::recursive);
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    const std::vector<std::string> tables = Files(log_.DatabasePath(), ".sst");
    std::string table;
    for (const std::string& t : tables) {
      if (fs::file_size(t) > 50'000 && (table.empty() || random_.Next() % 2 == 0)) table = t;
    }
    ASSERT_FALSE(table.empty());
    // Somewhere among the blocks of data, which make up most of the file.
    FlipByte(table, random_.Next() % (fs::file_size(table) - 6000));
    log_.Open();
    if (::testing::Test::HasFatalFailure()) return;
    ExpectLossesAreTold("events", 0, 1500, 40);
    ExpectLossesAreTold("events", 1, 1500, 40);
    EXPECT_LE(log_->stats().damaged_ranges, 4);
    EXPECT_GE(log_->stats().damaged_ranges, 1);
    log_.Close();
    fs::remove_all(log_.options.path);
    fs::copy(saved, log_.options.path, fs::copy_options::recursive);
  }
}

TEST_F(RocksDamage, AFlippedByteAnywhereInATableLosesAtMostThatTable) {
  log_.Open();
  MakeTopic("events", 1);
  for (int i = 0; i < 3; ++i) {
    Append("events", 0, 20);
    log_.Close();
    log_.Open();
  }
  log_.Close();
  const std::string saved = log_.options.path + ".saved";
  fs::copy(log_.options.path, saved, fs::copy_options::recursive);
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    std::string table;
    for (const std::string& t : Files(log_.DatabasePath(), ".sst")) {
      if (fs::file_size(t) > 30'000 && (table.empty() || random_.Next() % 2 == 0)) table = t;
    }
    // The tail: index, properties, footer.
    FlipByte(table, fs::file_size(table) - 1 - random_.Next() % 2500);
    log_.Open();
    if (::testing::Test::HasFatalFailure()) return;
    ExpectLossesAreTold("events", 0, 600, 200);
    Append("events", 0, 1);
    next_[{"events", 0}] = 600;
    log_.Close();
    fs::remove_all(log_.options.path);
    fs::copy(saved, log_.options.path, fs::copy_options::recursive);
  }
}

TEST_F(RocksDamage, AMissingTableIsTold) {
  log_.Open();
  MakeTopic("events", 1);
  for (int i = 0; i < 3; ++i) {
    Append("events", 0, 20);
    log_.Close();
    log_.Open();
  }
  log_.Close();
  std::vector<std::string> large;
  for (const std::string& t : Files(log_.DatabasePath(), ".sst")) {
    if (fs::file_size(t) > 30'000) large.push_back(t);
  }
  ASSERT_EQ(large.size(), 3u);
  fs::remove(large[1]);
  log_.Open();
  ExpectLossesAreTold("events", 0, 600, 200);
  EXPECT_NE(Notes(), "");
}

// Who follows a topic to its end (the catalog, the serving view) knows positions from batches alone.
TEST_F(RocksDamage, AReaderIsToldThatItReachedTheEndBehindADamagedTail) {
  for (const bool compacted : {false, true}) {
    const std::string topic = compacted ? "naru.catalog" : "events";
    log_.Open();
    MakeTopic(topic, 1, compacted);
    Append(topic, 0, 3);
    log_.Close();
    {
      rocks::DatabaseOptions options;
      options.path = log_.DatabasePath();
      auto database = rocks::Database::Open(options);
      ASSERT_TRUE(database.ok()) << database.status();
      rocksdb::ColumnFamilyHandle* family = (*database)->Find(LogFamily(topic, 0, compacted));
      ASSERT_NE(family, nullptr);
      std::string value;
      ASSERT_TRUE((*database)->db()->Get(rocksdb::ReadOptions(), family, LogKey(20), &value).ok());
      value[value.size() / 2] ^= 1;
      ASSERT_TRUE((*database)->db()->Put(rocksdb::WriteOptions(), family, LogKey(20), value).ok());
    }
    log_.Open();
    auto reader = log_->OpenReader(topic, {{0, ReadPosition::Kind::kOffset, 0}});
    ASSERT_TRUE(reader.ok());
    int64_t next = 0;
    int losses = 0;
    for (int polls = 0; polls < 10 && next < 30; ++polls) {
      const auto batches = (*reader)->Poll(std::chrono::milliseconds(0), 1 << 20);
      if (!batches.ok()) {
        EXPECT_EQ(batches.status().code(), absl::StatusCode::kDataLoss) << batches.status();
        ++losses;
        continue;
      }
      for (const FetchedBatch& batch : *batches) next = batch.next_offset;
    }
    EXPECT_EQ(next, 30) << topic;
    EXPECT_EQ(losses, 1) << topic;
    log_.Close();
  }
}

TEST_F(RocksDamage, ABlockWithAWrongChecksumIsSkipped) {
  log_.Open();
  MakeTopic("events", 1);
  Append("events", 0, 10);
  log_.Close();
  {
    // RocksDB's own checksums are right here: the value itself is bad, as after a fault of memory.
    rocks::DatabaseOptions options;
    options.path = log_.DatabasePath();
    auto database = rocks::Database::Open(options);
    ASSERT_TRUE(database.ok()) << database.status();
    rocksdb::ColumnFamilyHandle* family = (*database)->Find(LogFamily("events", 0, false));
    std::string value;
    ASSERT_TRUE((*database)->db()->Get(rocksdb::ReadOptions(), family, LogKey(30), &value).ok());
    value[value.size() / 2] ^= 1;
    ASSERT_TRUE((*database)->db()->Put(rocksdb::WriteOptions(), family, LogKey(30), value).ok());
    ASSERT_TRUE((*database)->db()->Get(rocksdb::ReadOptions(), family, LogKey(60), &value).ok());
    value[3 + 60] ^= 1;  // in the header
    ASSERT_TRUE((*database)->db()->Put(rocksdb::WriteOptions(), family, LogKey(60), value).ok());
  }
  log_.Open();
  const ReadBack back = ReadAll("events", 0);
  EXPECT_EQ(back.offsets.size(), 80u);
  ASSERT_EQ(back.losses.size(), 2u);
  EXPECT_THAT(back.losses[0], HasSubstr("topic events partition 0: offsets [30, 40) are lost"));
  EXPECT_THAT(back.losses[1], HasSubstr("offsets [60, 70)"));
  // Reading from inside the damaged blocks tells the rest of it.
  for (const auto& [offset, range] : {std::pair{35, "offsets [35, 40)"}, std::pair{63, "offsets [63, 70)"}}) {
    auto reader = log_->OpenReader("events", {{0, ReadPosition::Kind::kOffset, offset}});
    ASSERT_TRUE(reader.ok());
    const absl::Status status = (*reader)->Poll(std::chrono::milliseconds(0), 1 << 20).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr(range));
  }
  EXPECT_EQ(log_->stats().damaged_ranges, 4);
}

TEST_F(RocksDamage, ADamagedTableOfALocalFamilyDoesNotStopWriting) {
  log_.Open();
  MakeTopic("events", 1);
  ASSERT_TRUE(log_->local_store()->EnsureFamily("state").ok());
  for (int i = 0; i < 3; ++i) {
    std::vector<LocalWrite> writes;
    for (int k = 0; k < 2000; ++k) {
      writes.push_back({"state", absl::StrCat("key", k), std::string(50, static_cast<char>(random_.Next()))});
    }
    ASSERT_TRUE(log_->local_store()->Write(writes, true).ok());
    log_.Close();
    std::string largest;
    for (const std::string& t : Files(log_.DatabasePath(), ".sst")) {
      if (largest.empty() || fs::file_size(t) > fs::file_size(largest)) largest = t;
    }
    if (i == 1) FlipByte(largest, fs::file_size(largest) / 3);
    log_.Open();
  }
  // The fourth table starts a compaction, which meets the damage.
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(log_->local_store()->Write({{"state", absl::StrCat("key", i), "new"}}, true).ok());
    log_.Close();
    log_.Open();
  }
  for (int i = 0; i < 50; ++i) {
    Append("events", 0, 1);
    ASSERT_TRUE(log_->local_store()->Write({{"state", "key1", absl::StrCat(i)}}, true).ok());
  }
  EXPECT_TRUE(log_->Health().ok()) << log_->Health();
  EXPECT_EQ(ReadAll("events", 0).offsets.size(), 500u);
}

class RocksBooksDamage : public RocksWalDamage {
 protected:
  // Some data in tables, some only in the write-ahead log, a group, a local family.
  void Prepare() {
    log_.Open();
    MakeTopic("events", 2);
    MakeTopic("table", 1, true);
    ASSERT_TRUE(log_->local_store()->EnsureFamily("ids").ok());
    Append("events", 0, 10);
    log_.Close();
    log_.Open();
    MakeTopic("late", 1);
    Append("events", 0, 10);
    Append("events", 1, 5);
    Append("late", 0, 5);
    auto producer = log_->OpenProducer({"keeper-1"});
    ASSERT_TRUE(producer.ok());
    Transaction transaction;
    transaction.offsets = {{"group", "events", {{0, 15}}}};
    transaction.local = {{"ids", "id", "here"}};
    ASSERT_TRUE((*producer)->Commit(transaction).ok());
    producer->reset();
    Kill();
  }
  void ExpectAllIsThere() {
    EXPECT_EQ(ReadAll("events", 0).offsets.size(), 200u);
    EXPECT_EQ(ReadAll("events", 1).offsets.size(), 50u);
    EXPECT_EQ(ReadAll("late", 0).offsets.size(), 50u);
    auto offsets = log_->CommittedOffsets("group", "events");
    ASSERT_TRUE(offsets.ok()) << offsets.status();
    EXPECT_THAT(*offsets, ::testing::ElementsAre(std::make_pair(0, int64_t{15})));
    EXPECT_EQ(log_->local_store()->Get("ids", "id")->value_or("absent"), "here");
    Append("events", 0, 1);
    EXPECT_EQ(ReadAll("events", 0).offsets.size(), 210u);
    log_.Close();
    log_.Open();
    EXPECT_EQ(Notes(), "") << "mended once is mended for good";
    EXPECT_EQ(ReadAll("events", 0).offsets.size(), 210u);
  }
};

TEST_F(RocksBooksDamage, AMissingCurrentIsWrittenAgain) {
  Prepare();
  fs::remove(log_.DatabasePath() + "/CURRENT");
  log_.Open();
  EXPECT_THAT(Notes(), HasSubstr("CURRENT"));
  ExpectAllIsThere();
}

TEST_F(RocksBooksDamage, ADamagedCurrentIsWrittenAgain) {
  Prepare();
  std::ofstream(log_.DatabasePath() + "/CURRENT") << "rubbish";
  log_.Open();
  EXPECT_THAT(Notes(), HasSubstr("CURRENT"));
  ExpectAllIsThere();
}

TEST_F(RocksBooksDamage, AMissingManifestIsRebuilt) {
  Prepare();
  fs::remove(Manifest(log_.DatabasePath()));
  log_.Open();
  EXPECT_THAT(Notes(), HasSubstr("rebuilt from its tables"));
  ExpectAllIsThere();
}

TEST_F(RocksBooksDamage, ADamagedManifestIsRebuilt) {
  Prepare();
  const std::string saved = log_.options.path + ".saved";
  fs::copy(log_.options.path, saved, fs::copy_options::recursive);
  for (int round = 0; round < 10; ++round) {
    SCOPED_TRACE(round);
    const std::string manifest = Manifest(log_.DatabasePath());
    FlipByte(manifest, random_.Next() % (fs::file_size(manifest) * 9 / 10));
    log_.Open();
    if (::testing::Test::HasFatalFailure()) return;
    EXPECT_NE(Notes(), "");
    ExpectAllIsThere();
    next_[{"events", 0}] = 200;
    log_.Close();
    fs::remove_all(log_.options.path);
    fs::copy(saved, log_.options.path, fs::copy_options::recursive);
  }
}

TEST_F(RocksBooksDamage, EverythingButTablesAndLogsMayBeGone) {
  Prepare();
  for (const fs::directory_entry& entry : fs::directory_iterator(log_.DatabasePath())) {
    const std::string name = entry.path().string();
    if (!absl::EndsWith(name, ".sst") && !absl::EndsWith(name, ".log")) fs::remove(entry.path());
  }
  fs::remove(log_.options.path + "/FORMAT");
  log_.Open();
  ExpectAllIsThere();
}

TEST_F(RocksBooksDamage, RubbishInsteadOfADatabaseIsPutAside) {
  log_.Open();
  MakeTopic("events", 1);
  Append("events", 0, 5);
  log_.Close();
  for (const fs::directory_entry& entry : fs::directory_iterator(log_.DatabasePath())) {
    std::ofstream(entry.path(), std::ios::trunc) << "rubbish";
  }
  log_.Open();
  EXPECT_NE(Notes(), "");
  MakeTopic("events", 1);
  next_.clear();
  Append("events", 0, 5);
  EXPECT_EQ(ReadAll("events", 0).offsets.size(), 50u);
}

TEST_F(RocksBooksDamage, AnInterruptedMendingGoesOn) {
  Prepare();
  fs::remove(Manifest(log_.DatabasePath()));
  // As if the power went right after the logs had been put aside.
  fs::create_directories(log_.DatabasePath() + ".replay");
  for (const std::string& wal : Files(log_.DatabasePath(), ".log")) {
    fs::rename(wal, log_.DatabasePath() + ".replay/" + fs::path(wal).filename().string());
  }
  log_.Open();
  ExpectAllIsThere();
}

}  // namespace
}  // namespace naru::event_log
