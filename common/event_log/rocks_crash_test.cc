// Power cuts and kill -9: what was acknowledged is there, what was not is there whole or not at all.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/event_log/event_log.h"
#include "common/event_log/rocks_event_log.h"
#include "common/event_log/rocks_test_log.h"
#include "common/rocks/fault_injection_env.h"
#include "common/sync/mutex.h"
#include "common/testing/testing.h"

namespace naru::event_log {
namespace {

constexpr int kPartitions = 3;

// What clients were told, over all rounds.
class Witness {
 public:
  struct Batch {
    int partition = 0;
    std::vector<std::string> values;
    bool acknowledged = false;
    int64_t base_offset = -1;
  };
  std::string Submit(int partition, std::vector<std::string> values) {
    MutexLock lock(&mu_);
    const std::string id = absl::StrCat("b", next_++);
    batches_[id] = Batch{partition, std::move(values), false, -1};
    return id;
  }
  void Acknowledge(const std::string& id, int64_t base_offset) {
    MutexLock lock(&mu_);
    batches_[id].acknowledged = true;
    batches_[id].base_offset = base_offset;
  }
  std::map<std::string, Batch> batches() const {
    MutexLock lock(&mu_);
    return batches_;
  }
  std::atomic<int64_t> committed_next{0};  // acknowledged offset of the mover
  std::atomic<int64_t> submitted_next{0};

 private:
  mutable Mutex mu_;
  int64_t next_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::string, Batch> batches_ ABSL_GUARDED_BY(mu_);
};

void MakeTopics(EventLog* log) {
  for (const char* name : {"events", "moved", "table"}) {
    TopicConfig config;
    config.name = name;
    config.partitions = std::string(name) == "events" ? kPartitions : 1;
    config.compacted = std::string(name) == "table";
    const absl::Status status = log->CreateTopic(config);
    ASSERT_TRUE(status.ok()) << status;
  }
  ASSERT_TRUE(log->local_store()->EnsureFamily("ids").ok());
}

// Appends batches, each with a local key that must share its fate, until something fails.
void AppendUntilFailure(EventLog* log, Witness* witness, uint64_t seed) {
  SeededRandom random(seed);
  auto producer = log->OpenProducer({});
  if (!producer.ok()) return;
  while (true) {
    const int partition = static_cast<int>(random.Next() % kPartitions);
    std::vector<std::string> values;
    const auto count = 1 + random.Next() % 20;
    for (uint64_t i = 0; i < count; ++i) {
      values.push_back(absl::StrCat(random.Next(), std::string(random.Next() % 300, 'v')));
    }
    const std::string id = witness->Submit(partition, values);
    std::vector<Record> records;
    for (const std::string& value : values) records.push_back({id, value, TestLog::kNow});
    auto result = (*producer)->Append({AppendBatch{"events", partition, {}, records}}, {{"ids", id, "here"}});
    if (!result.ok()) return;
    witness->Acknowledge(id, (*result)[0].base_offset);
  }
}

// Moves a counter: each transaction appends one record and raises the group's offset by one.
void MoveUntilFailure(EventLog* log, Witness* witness) {
  auto producer = log->OpenProducer({"mover-1"});
  if (!producer.ok()) return;
  int64_t next = 0;
  auto offsets = log->CommittedOffsets("mover", "moved");
  if (offsets.ok() && !offsets->empty()) next = (*offsets)[0].second;
  while (true) {
    const std::string value = absl::StrCat("m", next);
    const std::vector<Record> records = {{"k", value, TestLog::kNow}};
    // The group's position in the topic that it writes itself: the offset after commit n is n.
    Transaction transaction;
    transaction.appends = {{"moved", 0, {}, records}};
    transaction.offsets = {{"mover", "moved", {{0, next}}}};
    witness->submitted_next = next;
    if (!(*producer)->Commit(transaction).ok()) return;
    witness->committed_next = next;
    ++next;
  }
}

// Overwrites a few keys and compacts.
void RewriteUntilFailure(EventLog* log, Witness*, uint64_t seed) {
  SeededRandom random(seed);
  auto producer = log->OpenProducer({});
  if (!producer.ok()) return;
  for (int64_t i = 0;; ++i) {
    const std::string key = absl::StrCat("k", random.Next() % 10);
    const std::string value = absl::StrCat(key, "=", seed, "/", i);
    const std::vector<Record> records = {{key, value, TestLog::kNow}};
    if (!(*producer)->Append({{"table", 0, {}, records}}).ok()) return;
    if (i % 16 == 15 && !log->RunMaintenance().ok()) return;
  }
}

// Everything in a partition; lost ranges are skipped (the caller knows what had to be there).
std::map<int64_t, std::pair<std::string, std::string>> ReadPartition(EventLog* log, const std::string& topic,
                                                                     int partition) {
  std::map<int64_t, std::pair<std::string, std::string>> records;
  auto reader = log->OpenReader(topic, {{partition, ReadPosition::Kind::kOffset, 0}});
  EXPECT_TRUE(reader.ok()) << reader.status();
  while (reader.ok()) {
    auto batches = (*reader)->Poll(std::chrono::milliseconds(0), 1 << 20);
    if (absl::IsDataLoss(batches.status())) continue;
    EXPECT_TRUE(batches.ok()) << batches.status();
    if (!batches.ok() || batches->empty()) break;
    for (const FetchedBatch& batch : *batches) {
      for (const FetchedRecord& r : batch.records) {
        EXPECT_TRUE(records.emplace(r.offset, std::make_pair(std::string(r.key), std::string(r.value))).second)
            << topic << " offset " << r.offset << " twice";
      }
    }
  }
  return records;
}

void Verify(EventLog* log, const Witness& witness) {
  std::map<int, std::map<int64_t, std::pair<std::string, std::string>>> read;
  for (int p = 0; p < kPartitions; ++p) read[p] = ReadPartition(log, "events", p);
  std::map<std::string, std::vector<std::string>> by_id;
  for (const auto& [partition, records] : read) {
    for (const auto& [offset, record] : records) by_id[record.first].push_back(record.second);
  }
  const std::map<std::string, Witness::Batch> batches = witness.batches();
  for (const auto& [id, batch] : batches) {
    const bool has_id = log->local_store()->Get("ids", id)->has_value();
    const auto found = by_id.find(id);
    if (batch.acknowledged) {
      ASSERT_TRUE(found != by_id.end()) << "acknowledged batch " << id << " is gone";
      const auto& records = read[batch.partition];
      for (size_t i = 0; i < batch.values.size(); ++i) {
        const auto at = records.find(batch.base_offset + static_cast<int64_t>(i));
        ASSERT_TRUE(at != records.end()) << "offset " << batch.base_offset + static_cast<int64_t>(i);
        EXPECT_EQ(at->second.second, batch.values[i]);
      }
    }
    EXPECT_EQ(has_id, found != by_id.end()) << "batch " << id << " and its local key were torn apart";
    if (found != by_id.end()) {
      EXPECT_EQ(found->second, batch.values) << "batch " << id << " is not whole";
    }
  }
  for (const auto& [id, values] : by_id) EXPECT_TRUE(batches.count(id) != 0) << "nobody wrote " << id;

  const auto moved = ReadPartition(log, "moved", 0);
  auto offsets = log->CommittedOffsets("mover", "moved");
  ASSERT_TRUE(offsets.ok());
  const int64_t next = offsets->empty() ? -1 : (*offsets)[0].second;
  EXPECT_GE(next, witness.committed_next.load() - (moved.empty() ? 1 : 0));
  EXPECT_LE(next, witness.submitted_next.load());
  std::set<std::string> values;
  for (const auto& [offset, record] : moved) values.insert(record.second);
  if (next >= 0) {
    EXPECT_TRUE(values.count(absl::StrCat("m", next)) != 0);
  }
  EXPECT_TRUE(values.count(absl::StrCat("m", next + 1)) == 0) << "a record without its offset";
}

// The last value of each key, as a reader sees it.
std::map<std::string, std::string> LastValues(EventLog* log) {
  std::map<std::string, std::string> last;
  for (const auto& [offset, record] : ReadPartition(log, "table", 0)) last[record.first] = record.second;
  return last;
}

// Recovery must itself survive being cut short.
void CutPowerWhileOpening(TestLog* log, rocks::FaultInjectionEnv* env, Random* random) {
  const uint64_t delay_us = random->Next() % 30'000;
  std::thread cutter([&] {
    std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
    env->CutPower();
  });
  RocksEventLog::Open(log->options).status().IgnoreError();
  cutter.join();
  env->LoseUnsynced(random);
}

TEST(RocksCrash, AcknowledgedSurvivesPowerCutsAndNothingIsTorn) {
  rocks::FaultInjectionEnv env;
  TestLog log;
  log.options.env = &env;
  log.options.memory_budget = size_t{16} << 20;
  Witness witness;
  SeededRandom random(20'260'101);
  constexpr int kRounds = 30;
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    if (round % 3 == 2) CutPowerWhileOpening(&log, &env, &random);
    log.Open();
    if (::testing::Test::HasFatalFailure()) return;
    MakeTopics(log.get());
    Verify(log.get(), witness);
    if (::testing::Test::HasFailure()) {
      for (const std::string& note : log->recovery_report().notes) ADD_FAILURE() << note;
      return;
    }
    const std::map<std::string, std::string> table = LastValues(log.get());
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) threads.emplace_back(&AppendUntilFailure, log.get(), &witness, random.Next());
    threads.emplace_back(&MoveUntilFailure, log.get(), &witness);
    threads.emplace_back(&RewriteUntilFailure, log.get(), &witness, random.Next());
    std::this_thread::sleep_for(std::chrono::microseconds(random.Next() % 60'000));
    env.CutPower();
    for (std::thread& thread : threads) thread.join();
    log.Close();
    env.LoseUnsynced(&random);
  }
}

TEST(RocksCrash, CompactionCutShortKeepsTheLastValueOfEachKey) {
  rocks::FaultInjectionEnv env;
  TestLog log;
  log.options.env = &env;
  SeededRandom random(7);
  std::map<std::string, std::string> expected;
  for (int round = 0; round < 15; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    log.Open();
    if (::testing::Test::HasFatalFailure()) return;
    MakeTopics(log.get());
    ASSERT_EQ(LastValues(log.get()), expected);
    auto producer = log->OpenProducer({});
    ASSERT_TRUE(producer.ok());
    for (int i = 0; i < 200; ++i) {
      const std::string key = absl::StrCat("k", random.Next() % 40);
      const std::string value = absl::StrCat(round, "/", i);
      const std::vector<Record> records = {{key, value, TestLog::kNow}};
      ASSERT_TRUE((*producer)->Append({{"table", 0, {}, records}}).ok());
      expected[key] = value;
    }
    std::thread compactor([&] { log->RunMaintenance().IgnoreError(); });
    std::this_thread::sleep_for(std::chrono::microseconds(random.Next() % 15'000));
    env.CutPower();
    compactor.join();
    log.Close();
    env.LoseUnsynced(&random);
  }
}

constexpr char kChildDirectory[] = "NARU_TEST_EVENT_LOG_CHILD";

// Not a test by itself: the process that the next test kills. Says on standard output what was acknowledged.
TEST(RocksCrash, ChildThatIsKilled) {
  const std::string directory = testing::GetEnv(kChildDirectory);
  if (directory.empty()) return;
  RocksEventLogOptions options;
  options.path = directory;
  options.memory_budget = size_t{16} << 20;
  options.maintenance_interval = std::chrono::milliseconds(20);
  options.disk_reserve_bytes = 0;
  auto log = RocksEventLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  TopicConfig config;
  config.name = "events";
  config.partitions = kPartitions;
  ASSERT_TRUE((*log)->CreateTopic(config).ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < kPartitions; ++t) {
    threads.emplace_back([&, t] {
      auto producer = *(*log)->OpenProducer({});
      SeededRandom random(static_cast<uint64_t>(::getpid() * 10 + t));
      std::string filler;
      while (filler.size() < 200'000) absl::StrAppend(&filler, random.Next());
      while (true) {
        std::vector<std::string> values;
        for (uint64_t i = 0; i <= random.Next() % 50; ++i) {
          values.push_back(
              absl::StrCat(random.Next(), " ", filler.substr(random.Next() % 100'000, random.Next() % 3000)));
        }
        std::vector<Record> records;
        for (const std::string& value : values) records.push_back({"k", value, TestLog::kNow});
        auto result = producer->Append({AppendBatch{"events", t, {}, records}});
        if (!result.ok()) return;
        std::string line;
        for (size_t i = 0; i < values.size(); ++i) {
          absl::StrAppend(&line, t, " ", (*result)[0].base_offset + static_cast<int64_t>(i), " ",
                          values[i].substr(0, values[i].find(' ')), "\n");
        }
        if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) return;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(RocksCrash, AcknowledgedSurvivesKill9) {
  TestLog log;
  SeededRandom random(static_cast<uint64_t>(::getpid()));
  std::map<int, std::map<int64_t, std::string>> acknowledged;
  for (int round = 0; round < 6; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    testing::Process::Options child;
    child.args = {std::filesystem::read_symlink("/proc/self/exe").string(),
                  "--gtest_filter=RocksCrash.ChildThatIsKilled"};
    child.env = {{kChildDirectory, log.options.path}};
    auto process = testing::Process::Start(child);
    ASSERT_TRUE(process.ok()) << process.status();
    ASSERT_TRUE(testing::WaitUntil([&] { return absl::StrContains((*process)->Stdout(), "\n0 "); }))
        << (*process)->Stdout() << (*process)->Stderr();
    std::this_thread::sleep_for(std::chrono::milliseconds(random.Next() % 300));
    (*process)->Signal(SIGKILL);
    ASSERT_EQ((*process)->Wait().value_or(-1), 128 + SIGKILL);
    // The last line may be cut short; what comes before was acknowledged.
    std::vector<std::string> lines = absl::StrSplit((*process)->Stdout(), '\n');
    lines.pop_back();
    for (const std::string& line : lines) {
      const std::vector<std::string> words = absl::StrSplit(line, ' ');
      int partition = 0;
      int64_t offset = 0;
      if (words.size() != 3 || !absl::SimpleAtoi(words[0], &partition) || !absl::SimpleAtoi(words[1], &offset))
        continue;
      acknowledged[partition][offset] = words[2];
    }
    log.Open();
    if (::testing::Test::HasFatalFailure()) return;
    for (const auto& [partition, expected] : acknowledged) {
      const auto read = ReadPartition(log.get(), "events", partition);
      for (const auto& [offset, id] : expected) {
        const auto it = read.find(offset);
        ASSERT_TRUE(it != read.end()) << "partition " << partition << " offset " << offset << " is gone";
        EXPECT_EQ(it->second.second.substr(0, id.size()), id);
      }
    }
    EXPECT_EQ(log->stats().damaged_ranges, 0);
    log.Close();
  }
  EXPECT_FALSE(acknowledged.empty());
}

}  // namespace
}  // namespace naru::event_log
