// A broker that is killed under load, and a writer that is stopped and woken after its successor took over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/event_log/kafka_event_log.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"
#include "common/testing/kafka_server.h"
#include "common/testing/testing.h"

namespace naru::event_log {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::KafkaServer;
using testing::Process;
using testing::WaitUntil;

int64_t NowUs() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// The values of all partitions up to their ends as they are now, by how often each is there.
std::map<std::string, int> Count(EventLog* log, const std::string& topic) {
  std::map<std::string, int> counts;
  absl::StatusOr<TopicInfo> info;
  EXPECT_TRUE(WaitUntil([&] {
    info = log->DescribeTopic(topic);
    return info.ok();
  })) << info.status();
  if (!info.ok()) return counts;
  for (const PartitionInfo& partition : info->partitions) {
    auto reader = log->OpenReader(topic, {{partition.partition, ReadPosition::Kind::kOffset, 0}});
    EXPECT_TRUE(reader.ok()) << reader.status();
    if (!reader.ok()) return counts;
    int64_t position = partition.start_offset;
    EXPECT_TRUE(WaitUntil([&] {
      const auto batches = (*reader)->Poll(milliseconds(200), 1 << 20);
      if (!batches.ok()) return false;
      for (const FetchedBatch& batch : *batches) {
        for (const FetchedRecord& record : batch.records) ++counts[std::string(record.value)];
        position = batch.next_offset;
      }
      return position >= partition.end_offset;
    }));
  }
  return counts;
}

class KafkaFaults : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<KafkaServer*> server = KafkaServer::Shared();
    if (!server.ok()) NARU_REQUIRE_SERVER_OR_SKIP(server.status().ToString());
    server_ = *server;
    options_.brokers = server_->brokers();
    options_.topic_prefix =
        absl::StrCat("faults-", ::testing::UnitTest::GetInstance()->current_test_info()->name(), ".");
    auto log = KafkaEventLog::Open(options_);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }

  void MakeTopic(const std::string& name, int partitions) {
    TopicConfig config;
    config.name = name;
    config.partitions = partitions;
    ASSERT_EQ(log_->CreateTopic(config), absl::OkStatus());
  }

  KafkaServer* server_ = nullptr;
  KafkaEventLogOptions options_;
  std::unique_ptr<KafkaEventLog> log_;
};

// Appends batches of unique values until told to stop, remembering which were acknowledged.
class Load {
 public:
  Load(EventLog* log, std::string topic, int partitions)
      : log_(log), topic_(std::move(topic)), partitions_(partitions) {}

  void Run(const std::atomic<bool>& stop) {
    auto producer = log_->OpenProducer({});
    ASSERT_TRUE(producer.ok()) << producer.status();
    for (int i = 0; !stop; ++i) {
      while (in_flight_ >= 200 && !stop) std::this_thread::sleep_for(milliseconds(1));
      auto batch = std::make_shared<Batch>();
      for (int r = 0; r < 20; ++r) batch->values.push_back(absl::StrCat(i, "/", r));
      for (const std::string& value : batch->values) batch->records.push_back({"k", value, NowUs(), false});
      ++in_flight_;
      (*producer)->AppendAsync({{topic_, i % partitions_, {}, batch->records}}, {},
                               [this, batch](absl::StatusOr<AppendResult> result) {
                                 MutexLock lock(&mu_);
                                 if (result.ok()) acknowledged_.insert(batch->values.begin(), batch->values.end());
                                 --in_flight_;
                               });
      std::this_thread::sleep_for(milliseconds(1));
    }
  }

  size_t acknowledged() {
    MutexLock lock(&mu_);
    return acknowledged_.size();
  }
  const std::set<std::string>& values() const { return acknowledged_; }

 private:
  struct Batch {
    std::vector<std::string> values;
    std::vector<Record> records;
  };
  EventLog* log_;
  const std::string topic_;
  const int partitions_;
  std::atomic<int> in_flight_{0};
  Mutex mu_;
  std::set<std::string> acknowledged_;
};

// Moves records from one topic to another in transactions; starts again whenever it is told that it is of no more use.
class Copier {
 public:
  explicit Copier(EventLog* log) : log_(log) {}

  void Run(const std::atomic<bool>& stop) {
    while (!stop) Life(stop);
  }
  size_t committed() const { return committed_; }
  int lives() const { return lives_; }

 private:
  void Life(const std::atomic<bool>& stop) {
    auto producer = log_->OpenProducer({"copier"});
    if (!producer.ok()) return;
    auto consumer = log_->OpenConsumer("copiers", "in", {});
    if (!consumer.ok()) return;
    ++lives_;
    while (!stop) {
      const auto batches = (*consumer)->Poll(milliseconds(50), 20'000);
      if (!batches.ok()) continue;
      for (const FetchedBatch& batch : *batches) {
        std::vector<Record> records;
        for (const FetchedRecord& r : batch.records) records.push_back({r.key, r.value, r.timestamp_us, false});
        Transaction transaction{{{"out", batch.partition, {}, records}},
                                {{"copiers", "in", {{batch.partition, batch.next_offset}}}},
                                consumer->get(),
                                {}};
        absl::Status status;
        do {
          status = (*producer)->Commit(transaction).status();
        } while (status.code() == absl::StatusCode::kUnavailable && !stop);
        if (!status.ok()) return;
        committed_ += records.size();
      }
    }
  }

  EventLog* log_;
  std::atomic<size_t> committed_{0};
  std::atomic<int> lives_{0};
};

TEST_F(KafkaFaults, NothingAcknowledgedIsLostOrDoubledWhenTheBrokerIsKilled) {
  MakeTopic("in", 3);
  MakeTopic("out", 3);
  Load load(log_.get(), "in", 3);
  Copier copier(log_.get());
  std::atomic<bool> stop_load{false}, stop_copier{false};
  std::thread load_thread([&] { load.Run(stop_load); });
  std::thread copier_thread([&] { copier.Run(stop_copier); });
  // A broker that has just started says that it coordinates no group: asking for offsets must live through that.
  std::vector<std::thread> asking;
  for (int i = 0; i < 3; ++i) {
    asking.emplace_back([&] {
      while (!stop_load) (void)log_->CommittedOffsets("copiers", "in");
    });
  }
  const int kills = std::max(std::atoi(testing::GetEnv("NARU_KAFKA_KILLS", "2").c_str()), 1);  // more in long runs
  for (int round = 0; round < kills; ++round) {
    const size_t appended = load.acknowledged();
    const size_t copied = copier.committed();
    EXPECT_TRUE(WaitUntil([&] { return load.acknowledged() > appended + 500 && copier.committed() > copied + 200; },
                          seconds(60)))
        << "round " << round << ": no progress; acknowledged " << load.acknowledged() << ", copied "
        << copier.committed();
    ASSERT_EQ(server_->Restart(), absl::OkStatus());  // kill -9, and up again with its data
  }
  const size_t appended = load.acknowledged();
  EXPECT_TRUE(WaitUntil([&] { return load.acknowledged() > appended; }, seconds(60)));
  stop_load = true;
  load_thread.join();  // the producer's end waits for what is in flight
  for (std::thread& thread : asking) thread.join();
  EXPECT_TRUE(log_->CommittedOffsets("copiers", "in").ok());

  const std::map<std::string, int> in = Count(log_.get(), "in");
  size_t missing = 0, doubled = 0;
  for (const std::string& value : load.values()) missing += in.contains(value) ? 0 : 1;
  for (const auto& [value, count] : in) doubled += count > 1 ? 1 : 0;
  EXPECT_EQ(missing, 0u) << "of " << load.values().size() << " acknowledged";
  EXPECT_EQ(doubled, 0u);

  // The copier comes to the end too, and its output is the input, once.
  std::map<std::string, int> out;
  EXPECT_TRUE(WaitUntil([&] { return (out = Count(log_.get(), "out")).size() >= in.size(); }, seconds(60)))
      << out.size() << " of " << in.size() << " copied in " << copier.lives() << " lives";
  stop_copier = true;
  copier_thread.join();
  EXPECT_EQ(Count(log_.get(), "out"), in);
}

// Commits numbers one after another, saying each one on standard output, until it is refused.
int CommitUntilRefused(const std::string& brokers, const std::string& prefix) {
  KafkaEventLogOptions options;
  options.brokers = brokers;
  options.topic_prefix = prefix;
  auto log = KafkaEventLog::Open(options);
  if (!log.ok()) return 2;
  auto producer = (*log)->OpenProducer({"writer"});
  if (!producer.ok()) return 2;
  for (int i = 0;; ++i) {
    const std::string value = absl::StrCat("old-", i);
    const std::vector<Record> records = {{"k", value, NowUs(), false}};
    Transaction transaction;
    transaction.appends = {{"t", 0, {}, records}, {"t", 1, {}, records}};
    transaction.offsets = {{"g", "t", {{0, i}}}};
    const absl::Status status = (*producer)->Commit(transaction).status();
    std::printf("%s\n", status.ok() ? value.c_str() : GetErrorDetails(status).reason.c_str());
    std::fflush(stdout);
    if (status.code() == absl::StatusCode::kAborted) return 0;
  }
}

TEST_F(KafkaFaults, AWriterWokenAfterItsSuccessorTookOverIsFenced) {
  MakeTopic("t", 2);
  for (int round = 0; round < 4; ++round) {
    auto child =
        Process::Start({{std::filesystem::read_symlink("/proc/self/exe").string()},
                        {{"NARU_FAULTS_CHILD", options_.brokers}, {"NARU_FAULTS_PREFIX", options_.topic_prefix}},
                        "",
                        ""});
    ASSERT_TRUE(child.ok()) << child.status();
    for (int i = 0; i <= round; ++i) ASSERT_TRUE((*child)->ReadLine().ok());
    // Somewhere within a transaction: each one is most of the time.
    std::this_thread::sleep_for(milliseconds(3 * round));
    (*child)->Signal(SIGSTOP);
    auto successor = log_->OpenProducer({"writer"});
    ASSERT_TRUE(successor.ok()) << successor.status();
    const std::string value = absl::StrCat("new-", round);
    const std::vector<Record> records = {{"k", value, NowUs(), false}};
    Transaction transaction;
    transaction.appends = {{"t", 0, {}, records}, {"t", 1, {}, records}};
    transaction.offsets = {{"g", "t", {{0, 1000 + round}}}};
    ASSERT_EQ((*successor)->Commit(transaction).status(), absl::OkStatus());
    const std::map<std::string, int> before = Count(log_.get(), "t");
    (*child)->Signal(SIGCONT);
    const auto exit_code = (*child)->Wait();
    ASSERT_TRUE(exit_code.ok()) << exit_code.status();
    EXPECT_EQ(*exit_code, 0) << (*child)->Stderr();
    EXPECT_TRUE(absl::EndsWith((*child)->Stdout(), "FENCED\n")) << (*child)->Stdout();
    // Nothing of it came after; what is there is there whole, in both partitions.
    EXPECT_EQ(Count(log_.get(), "t"), before);
    for (const auto& [old_value, count] : before) EXPECT_EQ(count % 2, 0) << old_value;
    EXPECT_EQ(*log_->CommittedOffsets("g", "t"), (std::vector<std::pair<int, int64_t>>{{0, 1000 + round}}));
  }
}

}  // namespace
}  // namespace naru::event_log

int main(int argc, char** argv) {
  if (const char* brokers = std::getenv("NARU_FAULTS_CHILD"); brokers != nullptr) {
    return naru::event_log::CommitUntilRefused(brokers, std::getenv("NARU_FAULTS_PREFIX"));
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
