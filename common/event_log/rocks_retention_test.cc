// Retention and compaction against slow models that keep everything in vectors and maps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/event_log/event_log.h"
#include "common/event_log/rocks_event_log.h"
#include "common/event_log/rocks_test_log.h"

namespace naru::event_log {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

struct SeenRecord {
  int64_t offset;
  std::string key;
  std::string value;
  int64_t timestamp_us;
  bool tombstone;
};

std::vector<SeenRecord> ReadAll(EventLog* log, const std::string& topic) {
  std::vector<SeenRecord> seen;
  auto reader = log->OpenReader(topic, {{0, ReadPosition::Kind::kOffset, 0}});
  EXPECT_TRUE(reader.ok()) << reader.status();
  while (reader.ok()) {
    auto batches = (*reader)->Poll(milliseconds(0), 1 << 20);
    EXPECT_TRUE(batches.ok()) << batches.status();
    if (!batches.ok() || batches->empty()) break;
    for (const FetchedBatch& batch : *batches) {
      for (const FetchedRecord& r : batch.records) {
        seen.push_back({r.offset, std::string(r.key), std::string(r.value), r.timestamp_us, r.tombstone});
      }
    }
  }
  return seen;
}

class RocksRetention : public ::testing::Test {
 protected:
  void Configure(const TopicConfig& config) {
    const absl::Status status = log_->CreateTopic(config);
    ASSERT_TRUE(status.ok()) << status;
  }
  PartitionInfo Info(const std::string& topic) {
    auto info = log_->DescribeTopic(topic);
    EXPECT_TRUE(info.ok()) << info.status();
    return info->partitions[0];
  }
  int64_t Size(const std::string& topic) { return log_->DescribeTopic(topic)->size_bytes; }
  void Append(const std::string& topic, const std::vector<Record>& records) {
    auto producer = log_->OpenProducer({});
    ASSERT_TRUE(producer.ok());
    auto result = (*producer)->Append({AppendBatch{topic, 0, {}, records}});
    ASSERT_TRUE(result.ok()) << result.status();
  }
  void Commit(const std::string& group, const std::string& topic, int64_t next) {
    auto producer = log_->OpenProducer({"keeper-1"});
    ASSERT_TRUE(producer.ok());
    Transaction transaction;
    transaction.offsets = {{group, topic, {{0, next}}}};
    ASSERT_TRUE((*producer)->Commit(transaction).ok());
  }

  TestLog log_;
  SeededRandom random_{3};
};

TEST_F(RocksRetention, OldRecordsGoAndYoungOnesStay) {
  log_.Open();
  TopicConfig config;
  config.name = "events";
  config.retention_time = std::chrono::hours(1);
  Configure(config);
  const int64_t minute = 60'000'000;
  for (int i = 0; i < 10; ++i) {
    const std::string value = absl::StrCat("v", i);
    Append("events", {{"k", value, TestLog::kNow - (90 - 10 * i) * minute}});
  }
  ASSERT_TRUE(log_->RunMaintenance().ok());
  const std::vector<SeenRecord> seen = ReadAll(log_.get(), "events");
  ASSERT_EQ(seen.size(), 7u);
  EXPECT_EQ(seen[0].value, "v3");
  EXPECT_EQ(log_->stats().dropped_records, 3);
  EXPECT_EQ(log_->stats().dropped_unread_records, 0);
  log_.clock.Advance(std::chrono::hours(24));
  ASSERT_TRUE(log_->RunMaintenance().ok());
  EXPECT_TRUE(ReadAll(log_.get(), "events").empty());
  EXPECT_EQ(Size("events"), 0);
  // The end stays where it was, also over a start with nothing left.
  log_.Close();
  log_.Open();
  EXPECT_EQ(Info("events").start_offset, 10);
  EXPECT_EQ(Info("events").end_offset, 10);
  Append("events", {{"k", "again", log_.clock.NowMicros()}});
  EXPECT_EQ(ReadAll(log_.get(), "events")[0].offset, 10);
}

TEST_F(RocksRetention, AReaderOfARemovedPositionIsToldTheRangeAndGoesOn) {
  log_.Open();
  TopicConfig config;
  config.name = "events";
  config.retention_time = std::chrono::hours(1);
  Configure(config);
  Append("events",
         {{"k", "old", TestLog::kNow - 7200ll * 1'000'000}, {"k", "old", TestLog::kNow - 7200ll * 1'000'000}});
  auto reader = log_->OpenReader("events", {{0, ReadPosition::Kind::kOffset, 0}});
  ASSERT_TRUE(reader.ok());
  Append("events", {{"k", "young", TestLog::kNow}});
  ASSERT_TRUE(log_->RunMaintenance().ok());
  auto lost = (*reader)->Poll(milliseconds(0), 1 << 20);
  EXPECT_EQ(lost.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(lost.status().message()), ::testing::HasSubstr("offsets [0, 2)"));
  auto batches = (*reader)->Poll(milliseconds(0), 1 << 20);
  ASSERT_TRUE(batches.ok()) << batches.status();
  EXPECT_EQ((*batches)[0].records[0].value, "young");
}

TEST_F(RocksRetention, AClockThatWasAheadForAMomentDoesNotKeepWhatCameAfterwards) {
  constexpr int64_t kHourUs = 3600ll * 1'000'000;
  log_.Open();
  TopicConfig config;
  config.name = "events";
  config.retention_time = std::chrono::hours(1);
  Configure(config);
  Append("events", {{"k", "before", TestLog::kNow}});
  Append("events", {{"k", "ahead", TestLog::kNow + 10 * 8760 * kHourUs}});
  Append("events", {{"k", "after", TestLog::kNow + 1}});
  log_.clock.Advance(std::chrono::microseconds(kHourUs / 2));
  Append("events", {{"k", "young", log_.clock.NowMicros()}});
  ASSERT_TRUE(log_->RunMaintenance().ok());
  EXPECT_EQ(Info("events").start_offset, 0) << "nothing is older than an hour";
  log_.clock.Advance(std::chrono::microseconds(kHourUs / 2 + 1'000'000));
  ASSERT_TRUE(log_->RunMaintenance().ok());
  EXPECT_EQ(Info("events").start_offset, 3);
  EXPECT_EQ(ReadAll(log_.get(), "events")[0].value, "young");
}

TEST_F(RocksRetention, UnreadRecordsStayUntilTheHardLimitAndAreCountedThen) {
  log_.Open();
  TopicConfig config;
  config.name = "events";
  config.retention_bytes = 10'000;
  config.unread_hard_limit_bytes = 50'000;
  Configure(config);
  ASSERT_TRUE(log_->OpenConsumer("slow", "events", {}).ok());
  const auto append = [&](int batches) {
    for (int i = 0; i < batches; ++i) {
      std::string value;
      while (value.size() < 1000) value.push_back(static_cast<char>(random_.Next()));
      Append("events", {{"k", value, TestLog::kNow}});
    }
    ASSERT_TRUE(log_->RunMaintenance().ok());
  };
  append(40);
  EXPECT_EQ(Info("events").start_offset, 0) << "the group has read nothing yet";
  Commit("slow", "events", 5);
  append(0);
  EXPECT_EQ(Info("events").start_offset, 5);
  append(40);
  EXPECT_LE(Size("events"), 50'000);
  EXPECT_GT(Size("events"), 47'000);
  EXPECT_EQ(log_->stats().dropped_unread_records, Info("events").start_offset - 5);
  ASSERT_TRUE(log_->DeleteGroup("slow", "events").ok());
  append(0);
  EXPECT_LE(Size("events"), 10'000);
  EXPECT_GT(Size("events"), 8'000);
}

TEST_F(RocksRetention, TheDefaultHardLimitIsFourTimesTheSize) {
  log_.Open();
  TopicConfig config;
  config.name = "events";
  config.retention_bytes = 5'000;
  Configure(config);
  ASSERT_TRUE(log_->OpenConsumer("slow", "events", {}).ok());
  for (int i = 0; i < 60; ++i) {
    std::string value;
    while (value.size() < 1000) value.push_back(static_cast<char>(random_.Next()));
    Append("events", {{"k", value, TestLog::kNow}});
  }
  ASSERT_TRUE(log_->RunMaintenance().ok());
  EXPECT_LE(Size("events"), 20'000);
  EXPECT_GT(Size("events"), 18'000);
}

TEST_F(RocksRetention, DroppedRecordsGiveTheirSpaceBack) {
  log_.options.memory_budget = size_t{16} << 20;
  log_.Open();
  TopicConfig config;
  config.name = "events";
  config.retention_bytes = 1 << 20;
  Configure(config);
  const auto disk = [&] {
    int64_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(log_.DatabasePath())) {
      if (entry.path().extension() == ".sst") bytes += static_cast<int64_t>(entry.file_size());
    }
    return bytes;
  };
  int64_t most = 0;
  for (int round = 0; round < 12; ++round) {
    for (int i = 0; i < 32; ++i) {
      std::string value;
      while (value.size() < 256 << 10) absl::StrAppend(&value, random_.Next(), ";");
      Append("events", {{"k", value, TestLog::kNow}});
    }
    ASSERT_TRUE(log_->RunMaintenance().ok());
    most = std::max(most, disk());
  }
  EXPECT_GT(most, 2 << 20);
  EXPECT_LT(most, 40 << 20) << "96 MiB were written";
  EXPECT_LE(Size("events"), 1 << 20);
}

TEST_F(RocksRetention, SmallTablesAreMergedAndKeepTheirRecords) {
  log_.Open();
  TopicConfig config;
  config.name = "slow";
  Configure(config);
  const auto tables = [&] {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(log_.DatabasePath())) {
      count += entry.path().extension() == ".sst" ? 1 : 0;
    }
    return count;
  };
  constexpr int kStarts = 34;
  for (int i = 0; i < kStarts; ++i) {
    Append("slow", {{"k", absl::StrCat("v", i), TestLog::kNow}});
    log_.Close();
    log_.Open();
  }
  EXPECT_GT(tables(), kStarts - 2);
  EXPECT_TRUE(testing::WaitUntil([&] {
    EXPECT_TRUE(log_->RunMaintenance().ok());
    return tables() < 18;
  })) << tables();
  const std::vector<SeenRecord> seen = ReadAll(log_.get(), "slow");
  ASSERT_EQ(seen.size(), static_cast<size_t>(kStarts));
  for (int i = 0; i < kStarts; ++i) EXPECT_EQ(seen[static_cast<size_t>(i)].value, absl::StrCat("v", i));
}

// What retention must do, said slowly.
class RetentionModel {
 public:
  struct Block {
    int64_t base;
    int64_t end;
    int64_t max_timestamp_us;  // of all up to here
    int64_t bytes;
  };
  std::vector<Block> blocks;
  std::vector<SeenRecord> records;
  std::map<std::string, int64_t> groups;
  int64_t start = 0;
  int64_t unread_dropped = 0;

  int64_t end() const { return blocks.empty() ? 0 : blocks.back().end; }

  void Apply(const TopicConfig& config, int64_t now_us) {
    int64_t candidate = start;
    if (config.retention_time.count() > 0) {
      int64_t by_time = end();
      for (const Block& block : Kept()) {
        if (block.max_timestamp_us >= now_us - config.retention_time.count()) {
          by_time = block.base;
          break;
        }
      }
      candidate = std::max(candidate, by_time);
    }
    if (config.retention_bytes > 0) candidate = std::max(candidate, StartForSize(config.retention_bytes));
    int64_t unread = std::numeric_limits<int64_t>::max();
    for (const auto& [group, next] : groups) unread = std::min(unread, next);
    int64_t new_start = std::max(start, std::min(candidate, unread));
    const int64_t hard =
        config.unread_hard_limit_bytes > 0 ? config.unread_hard_limit_bytes : 4 * config.retention_bytes;
    if (new_start < candidate && hard > 0) new_start = std::max(new_start, std::min(candidate, StartForSize(hard)));
    unread_dropped += std::max<int64_t>(0, new_start - std::max(start, unread));
    start = new_start;
  }

 private:
  std::vector<Block> Kept() const {
    std::vector<Block> kept;
    for (const Block& block : blocks) {
      if (block.end > start) kept.push_back(block);
    }
    return kept;
  }
  int64_t StartForSize(int64_t limit) const {
    const std::vector<Block> kept = Kept();
    int64_t bytes = 0;
    int64_t from = end();
    for (auto it = kept.rbegin(); it != kept.rend() && bytes + it->bytes <= limit; ++it) {
      bytes += it->bytes;
      from = it->base;
    }
    // A block that a group is in the middle of stays whole on the disk.
    return std::max(from, start);
  }
};

// A log and its model, taken through the same random steps.
class RetentionRun {
 public:
  explicit RetentionRun(uint64_t seed) : random_(seed) {
    config_.name = "events";
    config_.retention_time = std::chrono::seconds(100);
    config_.retention_bytes = 20'000;
    Open();
    EXPECT_TRUE(log_->CreateTopic(config_).ok());
  }

  void Step() {
    const uint64_t choice = random_.Next() % 100;
    if (choice < 60) return Append();
    if (choice < 70) return log_.clock.Advance(microseconds(random_.Next() % 30'000'000));
    if (choice < 80) return Commit();
    if (choice < 84) return Reconfigure();
    if (choice < 87) return Reopen();
    Maintain();
    CheckRecords();
    CheckReadingFromATime();
  }

 private:
  void Open() {
    log_.Open();
    producer_ = *log_->OpenProducer({"model-1"});
  }

  void Append() {
    std::vector<SeenRecord> added;
    const int64_t base = model_.end();
    for (uint64_t i = 0; i <= random_.Next() % 20; ++i) {
      const int64_t jitter = static_cast<int64_t>(random_.Next() % 20'000'000) - 15'000'000;
      std::string value(random_.Next() % 200, static_cast<char>('a' + random_.Next() % 26));
      added.push_back(
          {base + static_cast<int64_t>(i), absl::StrCat("k", i), value, log_.clock.NowMicros() + jitter, false});
    }
    std::vector<Record> records;
    for (const SeenRecord& r : added) {
      records.push_back({r.key, r.value, r.timestamp_us});
      running_max_ = std::max(running_max_, r.timestamp_us);
    }
    const int64_t before = log_->DescribeTopic("events")->size_bytes;
    auto result = producer_->Append({AppendBatch{"events", 0, {}, records}});
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ((*result)[0].base_offset, base);
    const int64_t bytes = log_->DescribeTopic("events")->size_bytes - before;
    model_.blocks.push_back({base, base + static_cast<int64_t>(added.size()), running_max_, bytes});
    model_.records.insert(model_.records.end(), added.begin(), added.end());
  }

  void Commit() {
    const std::string group = absl::StrCat("g", random_.Next() % 2);
    int64_t& next = model_.groups[group];
    next = std::max<int64_t>(next, static_cast<int64_t>(random_.Next() % static_cast<uint64_t>(model_.end() + 1)));
    Transaction transaction;
    transaction.offsets = {{group, "events", {{0, next}}}};
    ASSERT_TRUE(producer_->Commit(transaction).ok());
  }

  void Reconfigure() {
    config_.retention_bytes = static_cast<int64_t>(random_.Next() % 3) * 15'000;
    config_.retention_time = std::chrono::seconds(random_.Next() % 3 * 60);
    config_.unread_hard_limit_bytes = static_cast<int64_t>(random_.Next() % 2) * 40'000;
    ASSERT_TRUE(log_->CreateTopic(config_).ok());
  }

  void Reopen() {
    producer_.reset();
    model_.unread_dropped -= log_->stats().dropped_unread_records;
    log_.Close();
    Open();
  }

  void Maintain() {
    ASSERT_TRUE(log_->RunMaintenance().ok());
    model_.Apply(config_, log_.clock.NowMicros());
    auto info = log_->DescribeTopic("events");
    ASSERT_EQ(info->partitions[0].start_offset, model_.start);
    ASSERT_EQ(info->partitions[0].end_offset, model_.end());
    ASSERT_EQ(log_->stats().dropped_unread_records, model_.unread_dropped);
  }

  std::vector<SeenRecord> Expected() const {
    std::vector<SeenRecord> expected;
    for (const SeenRecord& r : model_.records) {
      if (r.offset >= model_.start) expected.push_back(r);
    }
    return expected;
  }

  void CheckRecords() {
    const std::vector<SeenRecord> expected = Expected();
    const std::vector<SeenRecord> seen = ReadAll(log_.get(), "events");
    ASSERT_EQ(seen.size(), expected.size());
    for (size_t i = 0; i < seen.size(); ++i) {
      ASSERT_EQ(seen[i].offset, expected[i].offset);
      ASSERT_EQ(seen[i].value, expected[i].value);
      ASSERT_EQ(seen[i].timestamp_us, expected[i].timestamp_us);
    }
  }

  // Reading from a time agrees with looking at every record.
  void CheckReadingFromATime() {
    const std::vector<SeenRecord> expected = Expected();
    const int64_t time = log_.clock.NowMicros() - static_cast<int64_t>(random_.Next() % 100'000'000);
    auto reader = log_->OpenReader("events", {{0, ReadPosition::Kind::kTime, time}});
    ASSERT_TRUE(reader.ok());
    auto batches = (*reader)->Poll(milliseconds(0), 1);
    ASSERT_TRUE(batches.ok()) << batches.status();
    const auto first =
        std::find_if(expected.begin(), expected.end(), [&](const SeenRecord& r) { return r.timestamp_us >= time; });
    ASSERT_EQ(batches->empty(), first == expected.end());
    if (!batches->empty()) {
      EXPECT_EQ((*batches)[0].records[0].offset, first->offset);
    }
  }

  TestLog log_;
  SeededRandom random_;
  RetentionModel model_;
  TopicConfig config_;
  std::unique_ptr<Producer> producer_;
  int64_t running_max_ = std::numeric_limits<int64_t>::min();
};

TEST_F(RocksRetention, AgreesWithASlowModel) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    RetentionRun run(seed);
    for (int step = 0; step < 200; ++step) {
      SCOPED_TRACE(absl::StrCat("seed ", seed, " step ", step));
      run.Step();
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// A compacted log and the map that it stands for, taken through the same random steps.
class CompactionRun {
 public:
  explicit CompactionRun(uint64_t seed) : random_(seed), keys_(20 * seed * seed) {
    log_.options.memory_budget = size_t{16} << 20;
    config_.name = "table";
    config_.compacted = true;
    config_.tombstone_retention = std::chrono::seconds(50);
    Open();
    EXPECT_TRUE(log_->CreateTopic(config_).ok());
  }

  void Step() {
    const uint64_t choice = random_.Next() % 100;
    if (choice < 75) return Append();
    if (choice < 82) return log_.clock.Advance(microseconds(random_.Next() % 60'000'000));
    if (choice < 86) {
      producer_.reset();
      log_.Close();
      return Open();
    }
    ASSERT_TRUE(log_->RunMaintenance().ok());
    Check();
  }

 private:
  void Open() {
    log_.Open();
    producer_ = *log_->OpenProducer({});
  }

  void Append() {
    std::vector<SeenRecord> added;
    for (uint64_t i = 0; i <= random_.Next() % 30; ++i) {
      const bool tombstone = random_.Next() % 5 == 0;
      added.push_back({0, absl::StrCat("k", random_.Next() % keys_), tombstone ? "" : absl::StrCat("v", random_.Next()),
                       log_.clock.NowMicros(), tombstone});
    }
    std::vector<Record> records;
    for (const SeenRecord& r : added) records.push_back({r.key, r.value, r.timestamp_us, r.tombstone});
    const Headers headers{random_.Next() % 8 == 0 ? "other.Schema" : "test.Schema", ""};
    auto result = producer_->Append({AppendBatch{"table", 0, headers, records}});
    ASSERT_TRUE(result.ok()) << result.status();
    last_base_ = (*result)[0].base_offset;
    end_ = (*result)[0].last_offset + 1;
    for (SeenRecord& r : added) last_[r.key] = r;
  }

  bool IsYoung(const SeenRecord& r) const {
    return r.timestamp_us >= log_.clock.NowMicros() - config_.tombstone_retention.count();
  }

  void Check() {
    EXPECT_EQ(log_->DescribeTopic("table")->partitions[0].end_offset, end_);
    std::map<std::string, SeenRecord> last_seen;
    std::map<std::string, int> below_last_block;
    int64_t previous = -1;
    for (const SeenRecord& r : ReadAll(log_.get(), "table")) {
      ASSERT_GT(r.offset, previous);
      previous = r.offset;
      last_seen[r.key] = r;
      if (r.offset >= last_base_) continue;
      ++below_last_block[r.key];
      EXPECT_TRUE(!r.tombstone || IsYoung(r)) << "an old tombstone of " << r.key << " is still there";
    }
    for (const auto& [key, count] : below_last_block) EXPECT_EQ(count, 1) << key;
    EXPECT_LE(last_seen.size(), last_.size());
    for (const auto& [key, record] : last_) {
      const auto it = last_seen.find(key);
      if (it == last_seen.end()) {
        EXPECT_TRUE(record.tombstone && !IsYoung(record)) << key << " went too early";
      } else {
        EXPECT_EQ(it->second.tombstone, record.tombstone) << key;
        EXPECT_EQ(it->second.value, record.value) << key;
        EXPECT_EQ(it->second.timestamp_us, record.timestamp_us) << key;
      }
    }
  }

  TestLog log_;
  SeededRandom random_;
  const uint64_t keys_;
  TopicConfig config_;
  std::unique_ptr<Producer> producer_;
  std::map<std::string, SeenRecord> last_;
  int64_t end_ = 0;
  int64_t last_base_ = 0;
};

TEST_F(RocksRetention, CompactionKeepsExactlyTheLastValues) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    CompactionRun run(seed);
    for (int step = 0; step < 120; ++step) {
      SCOPED_TRACE(absl::StrCat("seed ", seed, " step ", step));
      run.Step();
      if (::testing::Test::HasFailure()) return;
    }
  }
}

TEST_F(RocksRetention, CompactionOfMoreKeysThanItsTableHoldsGoesInRounds) {
  log_.options.memory_budget = size_t{16} << 20;
  log_.Open();
  TopicConfig config;
  config.name = "table";
  config.compacted = true;
  Configure(config);
  constexpr int kKeys = 100'000, kBatch = 2'000;  // the table holds 32,768
  for (int pass = 0; pass < 2; ++pass) {
    for (int first = 0; first < kKeys; first += kBatch) {
      std::vector<std::string> keys, values;
      for (int i = first; i < first + kBatch; ++i) {
        keys.push_back(absl::StrCat("key-", i));
        values.push_back(absl::StrCat("pass-", pass, "-", i));
      }
      std::vector<Record> records;
      for (int i = 0; i < kBatch; ++i) {
        records.push_back({keys[static_cast<size_t>(i)], values[static_cast<size_t>(i)], TestLog::kNow});
      }
      Append("table", records);
    }
  }
  ASSERT_TRUE(log_->RunMaintenance().ok());
  EXPECT_EQ(log_->stats().compacted_records, kKeys);
  const std::vector<SeenRecord> seen = ReadAll(log_.get(), "table");
  ASSERT_EQ(seen.size(), static_cast<size_t>(kKeys));
  for (size_t i = 0; i < seen.size(); ++i) {
    ASSERT_EQ(seen[i].value, absl::StrCat("pass-1-", i));
    ASSERT_EQ(seen[i].offset, kKeys + static_cast<int64_t>(i));
  }
}

TEST_F(RocksRetention, CompactionJoinsSmallBlocks) {
  log_.Open();
  TopicConfig config;
  config.name = "table";
  config.compacted = true;
  Configure(config);
  for (int i = 0; i < 300; ++i) {
    const std::string key = absl::StrCat("k", i);
    Append("table", {{key, "value", TestLog::kNow}});
  }
  ASSERT_TRUE(log_->RunMaintenance().ok());
  auto reader = log_->OpenReader("table", {{0, ReadPosition::Kind::kOffset, 150}});
  ASSERT_TRUE(reader.ok());
  auto batches = (*reader)->Poll(milliseconds(0), 1 << 20);
  ASSERT_TRUE(batches.ok());
  ASSERT_EQ(batches->size(), 2u) << "all but the last became one";
  EXPECT_EQ((*batches)[0].records[0].offset, 150);
  EXPECT_EQ((*batches)[0].records.size(), 149u);
  EXPECT_EQ(ReadAll(log_.get(), "table").size(), 300u);
}

}  // namespace
}  // namespace naru::event_log
