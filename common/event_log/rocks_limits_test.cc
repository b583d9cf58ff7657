// Limits, hostile input, two openers, and everything at once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/event_log/block.h"
#include "common/event_log/event_log.h"
#include "common/event_log/rocks_event_log.h"
#include "common/event_log/rocks_event_log_metrics.h"
#include "common/event_log/rocks_test_log.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"
#include "common/testing/testing.h"

namespace naru::event_log {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

class RocksLimits : public ::testing::Test {
 protected:
  void MakeTopic(const std::string& name, int partitions = 1) {
    TopicConfig config;
    config.name = name;
    config.partitions = partitions;
    const absl::Status status = log_->CreateTopic(config);
    ASSERT_TRUE(status.ok()) << status;
  }
  TestLog log_;
};

TEST_F(RocksLimits, ASecondOpenerIsToldWhichProcessHasTheLog) {
  log_.Open();
  const absl::Status second = RocksEventLog::Open(log_.options).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.message()), HasSubstr(absl::StrCat("process ", ::getpid())));
}

TEST_F(RocksLimits, NewerDataIsRefused) {
  log_.Open();
  log_.Close();
  std::ofstream(log_.options.path + "/FORMAT") << "naru event_log 2\n";
  const absl::Status status = RocksEventLog::Open(log_.options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("version 2"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("version 1"));
}

TEST_F(RocksLimits, ImpossibleOptionsAreRefused) {
  RocksEventLogOptions options = log_.options;
  options.path.clear();
  EXPECT_EQ(RocksEventLog::Open(options).status().code(), absl::StatusCode::kInvalidArgument);
  options = log_.options;
  options.memory_budget = 1 << 20;
  EXPECT_EQ(RocksEventLog::Open(options).status().code(), absl::StatusCode::kInvalidArgument);
  options = log_.options;
  options.topic_prefix = "a/b";
  EXPECT_EQ(RocksEventLog::Open(options).status().code(), absl::StatusCode::kInvalidArgument);
  options = log_.options;
  options.path = "/proc/naru";
  EXPECT_FALSE(RocksEventLog::Open(options).ok());
}

TEST_F(RocksLimits, ImpossibleTopicsAreRefused) {
  log_.Open();
  for (const char* name : {"", "a b", "a/b", ".."}) {
    TopicConfig config;
    config.name = name;
    EXPECT_EQ(log_->CreateTopic(config).code(), absl::StatusCode::kInvalidArgument) << name;
  }
  TopicConfig config;
  config.name = "t";
  for (const int partitions : {0, -1, 129}) {
    config.partitions = partitions;
    EXPECT_EQ(log_->CreateTopic(config).code(), absl::StatusCode::kInvalidArgument);
  }
  config.partitions = 1;
  config.retention_bytes = -1;
  EXPECT_EQ(log_->CreateTopic(config).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RocksLimits, TooLargeRecordsAndAppendsAreRefusedAndLargeOnesTaken) {
  log_.Open();
  MakeTopic("events");
  auto producer = *log_->OpenProducer({});
  const std::string too_large(kMaxRecordBytes + 1, 'x');
  std::vector<Record> records = {{"", too_large, TestLog::kNow}};
  EXPECT_EQ(producer->Append({AppendBatch{"events", 0, {}, records}}).status().code(),
            absl::StatusCode::kInvalidArgument);
  const std::string large(kMaxRecordBytes, 'x');
  records = {{"", large, TestLog::kNow}, {"", "small", TestLog::kNow}, {"", large, TestLog::kNow}};
  ASSERT_TRUE(producer->Append({AppendBatch{"events", 0, {}, records}}).ok());
  records.assign(5, {"", large, TestLog::kNow});
  EXPECT_EQ(producer->Append({AppendBatch{"events", 0, {}, records}}).status().code(),
            absl::StatusCode::kInvalidArgument);
  records = {{"", "v", TestLog::kNow}};
  EXPECT_EQ(producer->Append({AppendBatch{"events", 0, {std::string(2000, 's'), ""}, records}}).status().code(),
            absl::StatusCode::kInvalidArgument);
  auto reader = *log_->OpenReader("events", {{0, ReadPosition::Kind::kOffset, 0}});
  std::vector<size_t> sizes;
  while (sizes.size() < 3) {
    auto batches = reader->Poll(milliseconds(0), 1);
    ASSERT_TRUE(batches.ok()) << batches.status();
    ASSERT_EQ(batches->size(), 1u) << "one large batch at a time";
    for (const FetchedRecord& r : (*batches)[0].records) sizes.push_back(r.value.size());
  }
  EXPECT_THAT(sizes, ::testing::ElementsAre(kMaxRecordBytes, 5u, kMaxRecordBytes));
}

TEST_F(RocksLimits, ALongBatchIsCutIntoBlocksWithOffsetsInOrder) {
  log_.Open();
  MakeTopic("events");
  auto producer = *log_->OpenProducer({});
  std::vector<std::string> values;
  for (int i = 0; i < 200'000; ++i) values.push_back(absl::StrCat("value number ", i));
  std::vector<Record> records;
  for (const std::string& value : values) records.push_back({"", value, TestLog::kNow});
  auto result = producer->Append({AppendBatch{"events", 0, {}, records}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ((*result)[0].base_offset, 0);
  EXPECT_EQ((*result)[0].last_offset, 199'999);
  auto reader = *log_->OpenReader("events", {{0, ReadPosition::Kind::kOffset, 0}});
  size_t next = 0;
  while (next < values.size()) {
    auto batches = reader->Poll(milliseconds(0), 1 << 20);
    ASSERT_TRUE(batches.ok());
    for (const FetchedBatch& batch : *batches) {
      for (const FetchedRecord& r : batch.records) {
        ASSERT_EQ(r.offset, static_cast<int64_t>(next));
        ASSERT_EQ(r.value, values[next++]);
      }
    }
  }
}

TEST_F(RocksLimits, PatientCommitsEndWithAndWithoutCompany) {
  log_.Open();
  MakeTopic("events");
  constexpr int kRounds = 20;
  const std::vector<Record> records = {{"", "value", TestLog::kNow}};
  auto patient = *log_->OpenProducer({.transactional_id = "patient"});
  auto eager = *log_->OpenProducer({});
  Transaction transaction;
  transaction.appends = {AppendBatch{"events", 0, {}, records}};
  transaction.patient = true;
  for (int i = 0; i < 3; ++i) ASSERT_EQ(patient->Commit(transaction).status(), absl::OkStatus());  // alone
  std::thread other([&] {
    for (int i = 0; i < kRounds; ++i) EXPECT_TRUE(patient->Commit(transaction).ok());
  });
  int appended = 0;
  for (; appended < kRounds; ++appended) ASSERT_TRUE(eager->Append({AppendBatch{"events", 0, {}, records}}).ok());
  other.join();
  EXPECT_EQ(log_->DescribeTopic("events")->partitions[0].end_offset, 3 + kRounds + appended);
  patient.reset();
  eager.reset();
  log_.Close();
  log_.Open();
  EXPECT_EQ(log_->DescribeTopic("events")->partitions[0].end_offset, 3 + kRounds + appended);
}

TEST_F(RocksLimits, TooMuchInFlightIsRefusedInOrderAndNothingElseIsLost) {
  log_.options.memory_budget = size_t{16} << 20;  // 4 MiB in flight
  log_.Open();
  MakeTopic("events");
  auto producer = *log_->OpenProducer({});
  SeededRandom random(1);
  std::string value;
  while (value.size() < 100'000) value.push_back(static_cast<char>(random.Next()));
  const std::vector<Record> records = {{"", value, TestLog::kNow}};
  Mutex mu;
  CondVar cv;
  bool blocked = true;
  std::vector<std::pair<int, absl::Status>> answers;
  constexpr int kCalls = 120;
  for (int i = 0; i < kCalls; ++i) {
    producer->AppendAsync({AppendBatch{"events", 0, {}, records}}, {}, [&, i](absl::StatusOr<AppendResult> result) {
      MutexLock lock(&mu);
      while (blocked) cv.Wait(&mu);  // no caller may do this; here it stands for a disk that hangs
      answers.emplace_back(i, result.status());
    });
  }
  EXPECT_LE(log_->stats().in_flight_bytes, 5 << 20);
  {
    MutexLock lock(&mu);
    blocked = false;
    cv.SignalAll();
  }
  ASSERT_TRUE(testing::WaitUntil([&] {
    MutexLock lock(&mu);
    return answers.size() == kCalls;
  }));
  MutexLock lock(&mu);
  int refused = 0;
  for (int i = 0; i < kCalls; ++i) {
    const auto& [call, status] = answers[static_cast<size_t>(i)];
    EXPECT_EQ(call, i);
    if (status.ok()) continue;
    ++refused;
    EXPECT_EQ(GetErrorDetails(status).reason, "TOO_MUCH_IN_FLIGHT");
  }
  EXPECT_GT(refused, 50);
  EXPECT_EQ(log_->DescribeTopic("events")->partitions[0].end_offset, kCalls - refused);
}

TEST_F(RocksLimits, ReadPositionsOutsideTheLogMeanItsEdges) {
  log_.Open();
  MakeTopic("events", 2);
  auto producer = *log_->OpenProducer({});
  const std::vector<Record> records = {{"", "v", TestLog::kNow}};
  ASSERT_TRUE(producer->Append({AppendBatch{"events", 0, {}, records}}).ok());
  auto before = *log_->OpenReader("events", {{0, ReadPosition::Kind::kOffset, -7}});
  EXPECT_EQ(before->Poll(milliseconds(0), 1)->size(), 1u);
  auto after = *log_->OpenReader("events", {{0, ReadPosition::Kind::kOffset, 1000}});
  EXPECT_TRUE(after->Poll(milliseconds(0), 1)->empty());
  ASSERT_TRUE(producer->Append({AppendBatch{"events", 0, {}, records}}).ok());
  EXPECT_EQ(after->Poll(milliseconds(0), 1)->size(), 1u);
  EXPECT_FALSE(log_->OpenReader("events", {{2, ReadPosition::Kind::kEnd, 0}}).ok());
  EXPECT_FALSE(log_->OpenReader("events", {{0, ReadPosition::Kind::kEnd, 0}, {0, ReadPosition::Kind::kEnd, 0}}).ok());
  auto none = *log_->OpenReader("events", {});
  EXPECT_TRUE(none->Poll(milliseconds(1), 1)->empty());
}

TEST_F(RocksLimits, TopicsWithAnotherPrefixAreApart) {
  log_.options.topic_prefix = "blue.";
  log_.Open();
  MakeTopic("events");
  auto producer = *log_->OpenProducer({"w"});
  const std::vector<Record> records = {{"", "blue", TestLog::kNow}};
  Transaction transaction;
  transaction.appends = {{"events", 0, {}, records}};
  ASSERT_TRUE(producer->Commit(transaction).ok());
  transaction.appends.clear();
  transaction.offsets = {{"group", "events", {{0, 1}}}};
  ASSERT_TRUE(producer->Commit(transaction).ok());
  producer.reset();
  log_.Close();
  log_.options.topic_prefix.clear();
  log_.Open();
  EXPECT_TRUE(log_->ListTopics()->size() == 1 && (*log_->ListTopics())[0] == "blue.events");
  log_.Close();
  log_.options.topic_prefix = "blue.";
  log_.Open();
  EXPECT_THAT(*log_->ListTopics(), ::testing::ElementsAre("events"));
  EXPECT_EQ(log_->CommittedOffsets("group", "events")->size(), 1u);
  EXPECT_EQ(log_->DescribeTopic("events")->partitions[0].end_offset, 1);
}

TEST_F(RocksLimits, CountersAreServedAsMetrics) {
  log_.Open();
  MakeTopic("events");
  MetricRegistry registry;
  const RocksEventLogMetrics metrics(log_.get(), &registry);
  auto producer = *log_->OpenProducer({});
  const std::vector<Record> records = {{"", "v", TestLog::kNow}, {"", "w", TestLog::kNow}};
  ASSERT_TRUE(producer->Append({AppendBatch{"events", 0, {}, records}}).ok());
  EXPECT_THAT(registry.Scrape(), HasSubstr("naru_event_log_appended_records_total 2"));
  EXPECT_THAT(registry.Scrape(), HasSubstr("naru_event_log_damaged_ranges_total 0"));
}

// Appenders, readers, groups that come and go, retention, compaction and new topics, all at the same time.
class RocksEverythingAtOnce : public RocksLimits {
 protected:
  void SetUp() override {
    log_.options.maintenance_interval = milliseconds(5);
    log_.options.memory_budget = size_t{16} << 20;
    log_.Open();
    TopicConfig config;
    config.name = "events";
    config.partitions = 2;
    config.retention_bytes = 200'000;
    ASSERT_TRUE(log_->CreateTopic(config).ok());
    config.name = "table";
    config.partitions = 1;
    config.compacted = true;
    config.retention_bytes = 0;
    ASSERT_TRUE(log_->CreateTopic(config).ok());
    ASSERT_TRUE(log_->local_store()->EnsureFamily("ids").ok());
  }

  void AppendUntilStopped(int partition) {
    auto producer = *log_->OpenProducer({absl::StrCat("writer-", partition)});
    SeededRandom random(static_cast<uint64_t>(partition));
    while (!stop_) {
      std::vector<std::string> values;
      for (uint64_t i = 0; i <= random.Next() % 30; ++i) values.push_back(absl::StrCat(random.Next(), random.Next()));
      std::vector<Record> records;
      for (const std::string& value : values) {
        records.push_back({absl::string_view(value).substr(0, 1), value, TestLog::kNow});
      }
      auto result =
          producer->Append({{"events", partition, {}, records}, {"table", 0, {}, records}}, {{"ids", values[0], "x"}});
      EXPECT_TRUE(result.ok()) << result.status();
      appended_ += static_cast<int64_t>(records.size());
    }
  }

  void ReadUntilStopped() {
    auto reader = *log_->OpenReader("events", {{0, ReadPosition::Kind::kOffset, 0}, {1, ReadPosition::Kind::kEnd, 0}});
    while (!stop_) {
      auto batches = reader->Poll(milliseconds(10), 50'000);
      EXPECT_TRUE(batches.ok() || absl::IsOutOfRange(batches.status())) << batches.status();
      if (batches.ok()) read_ += static_cast<int64_t>(batches->size());
    }
  }

  void ConsumeUntilStopped() {
    while (!stop_) {
      auto consumer = *log_->OpenConsumer("team", "table", {});
      for (int i = 0; i < 20 && !stop_; ++i) {
        auto batches = consumer->Poll(milliseconds(2), 50'000);
        EXPECT_TRUE(batches.ok()) << batches.status();
        if (batches.ok()) consumed_ += static_cast<int64_t>(batches->size());
      }
    }
  }

  void DisturbUntilStopped() {
    for (int i = 0; !stop_; ++i) {
      MakeTopic(absl::StrCat("extra-", i % 5));
      EXPECT_TRUE(log_->DescribeTopic("events").ok());
      EXPECT_TRUE(log_->RunMaintenance().ok());
      EXPECT_TRUE(log_->Health().ok());
      log_->stats();
      log_->recovery_report();
      std::this_thread::sleep_for(milliseconds(1));
    }
  }

  std::atomic<bool> stop_{false};
  std::atomic<int64_t> appended_{0}, read_{0}, consumed_{0};
};

TEST_F(RocksEverythingAtOnce, NothingFails) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) threads.emplace_back([this, t] { AppendUntilStopped(t); });
  threads.emplace_back([this] { ReadUntilStopped(); });
  for (int t = 0; t < 2; ++t) threads.emplace_back([this] { ConsumeUntilStopped(); });
  threads.emplace_back([this] { DisturbUntilStopped(); });
  testing::WaitUntil([&] { return appended_ > 20'000 && read_ > 50 && consumed_ > 50; }, std::chrono::seconds(5));
  stop_ = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(appended_, 0);
  EXPECT_GT(read_, 0);
  EXPECT_EQ(log_->stats().damaged_ranges, 0);
}

}  // namespace
}  // namespace naru::event_log
