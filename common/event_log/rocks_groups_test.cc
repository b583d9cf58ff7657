// Consumer groups of one process: silent members, fencing, retention of what groups have not read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/event_log/event_log.h"
#include "common/event_log/rocks_event_log.h"
#include "common/event_log/rocks_test_log.h"
#include "common/status/status.h"
#include "common/testing/testing.h"

namespace naru::event_log {
namespace {

using std::chrono::milliseconds;

class RocksGroups : public ::testing::Test {
 protected:
  void SetUp() override {
    log_.Open();
    TopicConfig config;
    config.name = "events";
    config.partitions = 4;
    ASSERT_TRUE(log_->CreateTopic(config).ok());
    producer_ = *log_->OpenProducer({"worker-1"});
  }
  void Append(int partition, const std::string& value) {
    const std::vector<Record> records = {{"k", value, TestLog::kNow}};
    ASSERT_TRUE(producer_->Append({AppendBatch{"events", partition, {}, records}}).ok());
  }
  absl::Status Commit(Consumer* consumer, std::vector<std::pair<int, int64_t>> next) {
    Transaction transaction;
    transaction.consumer = consumer;
    transaction.offsets = {{"team", "events", std::move(next)}};
    return producer_->Commit(transaction).status();
  }
  static std::vector<std::string> Poll(Consumer* consumer) {
    std::vector<std::string> values;
    auto batches = consumer->Poll(milliseconds(0), 1 << 20);
    EXPECT_TRUE(batches.ok()) << batches.status();
    if (!batches.ok()) return values;
    for (const FetchedBatch& batch : *batches) {
      for (const FetchedRecord& r : batch.records) values.emplace_back(r.value);
    }
    return values;
  }

  TestLog log_;
  std::unique_ptr<Producer> producer_;
};

TEST_F(RocksGroups, ASilentMemberLosesItsPartitionsAndIsFenced) {
  for (int p = 0; p < 4; ++p) Append(p, "v");
  std::vector<int> lost;
  RebalanceListener listener;
  listener.lost = [&](const std::vector<int>& partitions) { lost = partitions; };
  listener.revoked = [](const std::vector<int>&) { ADD_FAILURE() << "it is too late for that"; };
  auto sleeper = *log_->OpenConsumer("team", "events", std::move(listener));
  EXPECT_EQ(Poll(sleeper.get()).size(), 4u);
  auto other = *log_->OpenConsumer("team", "events", {});
  EXPECT_TRUE(Poll(other.get()).empty()) << "the sleeper has not let go";
  log_.clock.Advance(std::chrono::seconds(46));
  EXPECT_EQ(Poll(other.get()).size(), 4u);
  EXPECT_EQ(other->Assignment().size(), 4u);
  const absl::Status fenced = Commit(sleeper.get(), {{0, 1}});
  EXPECT_EQ(fenced.code(), absl::StatusCode::kAborted) << fenced;
  EXPECT_EQ(GetErrorDetails(fenced).reason, "FENCED");
  EXPECT_TRUE(log_->CommittedOffsets("team", "events")->empty());
  EXPECT_TRUE(Commit(other.get(), {{0, 1}, {1, 1}, {2, 1}, {3, 1}}).ok());
  // It wakes up: it is told, and gets a share again once the other has let go.
  EXPECT_TRUE(Poll(sleeper.get()).empty());
  EXPECT_EQ(lost.size(), 4u);
  ASSERT_TRUE(testing::WaitUntil([&] {
    Poll(other.get());
    Poll(sleeper.get());
    return sleeper->Assignment().size() == 2 && other->Assignment().size() == 2;
  }));
  EXPECT_TRUE(Poll(sleeper.get()).empty()) << "all was committed by the other";
}

TEST_F(RocksGroups, AMemberThatNeverPollsHoldsNothingUpForEver) {
  Append(0, "v");
  auto never = *log_->OpenConsumer("team", "events", {});
  auto other = *log_->OpenConsumer("team", "events", {});
  log_.clock.Advance(std::chrono::seconds(46));
  EXPECT_EQ(Poll(other.get()).size(), 1u);
  EXPECT_EQ(other->Assignment().size(), 4u);
}

TEST_F(RocksGroups, ALongWaitIsNotSilence) {
  std::atomic<bool> waiting{false};
  auto waiter = *log_->OpenConsumer("team", "events", {});
  EXPECT_TRUE(Poll(waiter.get()).empty());
  std::thread thread([&] {
    waiting = true;
    EXPECT_EQ(waiter->Poll(std::chrono::minutes(1), 1 << 20).status().code(), absl::StatusCode::kCancelled);
  });
  ASSERT_TRUE(testing::WaitUntil([&] { return waiting.load(); }));
  std::this_thread::sleep_for(milliseconds(20));
  log_.clock.Advance(std::chrono::minutes(5));
  auto other = *log_->OpenConsumer("team", "events", {});
  // The waiter wakes for the newcomer, gives half away and keeps the rest.
  ASSERT_TRUE(testing::WaitUntil([&] {
    Poll(other.get());
    return other->Assignment().size() == 2;
  }));
  waiter->Cancel();
  thread.join();
  EXPECT_EQ(waiter->Assignment().size(), 2u);
}

TEST_F(RocksGroups, OffsetsOfAPartitionThatMovedAreRefusedAndTheWholeTransactionWithThem) {
  for (int p = 0; p < 4; ++p) Append(p, "v");
  auto first = *log_->OpenConsumer("team", "events", {});
  EXPECT_EQ(Poll(first.get()).size(), 4u);
  auto second = *log_->OpenConsumer("team", "events", {});
  Poll(first.get());
  Poll(second.get());
  ASSERT_EQ(second->Assignment().size(), 2u);
  const int moved = second->Assignment()[0];
  const std::vector<Record> records = {{"k", "effect", TestLog::kNow}};
  Transaction transaction;
  transaction.appends = {{"events", 0, {}, records}};
  transaction.consumer = first.get();
  transaction.offsets = {{"team", "events", {{first->Assignment()[0], 1}, {moved, 1}}}};
  EXPECT_EQ(producer_->Commit(transaction).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(log_->DescribeTopic("events")->partitions[0].end_offset, 1) << "nothing of it is there";
  EXPECT_TRUE(log_->CommittedOffsets("team", "events")->empty());
}

TEST_F(RocksGroups, ManyMembersComeAndGoAndEveryRecordIsReadByTheGroupInOrder) {
  constexpr int kRecords = 400;
  for (int i = 0; i < kRecords; ++i) Append(i % 4, absl::StrCat(i));
  // Each member commits what it has read before it gives a partition up, so nothing is read twice.
  struct Member {
    std::unique_ptr<Consumer> consumer;
    std::map<int, int64_t> next;
  };
  std::multiset<std::string> seen;
  std::vector<std::unique_ptr<Member>> members;
  SeededRandom random(4);
  const auto commit = [&](Member* member, const std::vector<int>& partitions) {
    std::vector<std::pair<int, int64_t>> offsets;
    for (const int p : partitions) {
      const auto it = member->next.find(p);
      if (it != member->next.end()) offsets.emplace_back(p, it->second);
    }
    const absl::Status status = Commit(member->consumer.get(), offsets);
    EXPECT_TRUE(status.ok()) << status;
    for (const int p : partitions) member->next.erase(p);
  };
  const auto join = [&] {
    auto member = std::make_unique<Member>();
    RebalanceListener listener;
    listener.revoked = [&commit, raw = member.get()](const std::vector<int>& partitions) { commit(raw, partitions); };
    member->consumer = *log_->OpenConsumer("team", "events", std::move(listener));
    members.push_back(std::move(member));
  };
  for (int step = 0; step < 3000 && (seen.size() < kRecords || step < 300); ++step) {
    if (members.empty() || (random.Next() % 20 == 0 && members.size() < 6)) join();
    const size_t index = random.Next() % members.size();
    Member* member = members[index].get();
    if (random.Next() % 25 == 0 && members.size() > 1) {
      commit(member, member->consumer->Assignment());
      members.erase(members.begin() + static_cast<std::ptrdiff_t>(index));
      continue;
    }
    auto batches = member->consumer->Poll(milliseconds(0), 200);
    ASSERT_TRUE(batches.ok()) << batches.status();
    for (const FetchedBatch& batch : *batches) {
      for (const FetchedRecord& r : batch.records) {
        seen.insert(std::string(r.value));
        member->next[batch.partition] = r.offset + 1;
      }
    }
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(kRecords));
  EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(), static_cast<size_t>(kRecords));
}

TEST_F(RocksGroups, AFencedProducerCannotAppendEither) {
  auto newer = log_->OpenProducer({"worker-1"});
  ASSERT_TRUE(newer.ok());
  const std::vector<Record> records = {{"k", "stale", TestLog::kNow}};
  const absl::Status status = producer_->Append({AppendBatch{"events", 0, {}, records}}).status();
  EXPECT_EQ(GetErrorDetails(status).reason, "FENCED") << status;
}

TEST_F(RocksGroups, EpochsOutliveTheProcess) {
  producer_.reset();
  log_.Close();
  log_.Open();
  auto first = log_->OpenProducer({"worker-1"});
  auto second = log_->OpenProducer({"worker-1"});
  ASSERT_TRUE(first.ok() && second.ok());
  const std::vector<Record> records = {{"k", "v", TestLog::kNow}};
  EXPECT_FALSE((*first)->Append({AppendBatch{"events", 0, {}, records}}).ok());
  EXPECT_TRUE((*second)->Append({AppendBatch{"events", 0, {}, records}}).ok());
}

TEST_F(RocksGroups, AGroupWithMembersIsNotDeleted) {
  auto consumer = log_->OpenConsumer("team", "events", {});
  ASSERT_TRUE(consumer.ok());
  EXPECT_EQ(log_->DeleteGroup("team", "events").code(), absl::StatusCode::kFailedPrecondition);
  consumer->reset();
  EXPECT_TRUE(log_->DeleteGroup("team", "events").ok());
  EXPECT_TRUE(log_->DeleteGroup("never", "events").ok());
}

TEST_F(RocksGroups, OffsetsOutsideThePartitionAreRefused) {
  Append(0, "v");
  EXPECT_EQ(Commit(nullptr, {{0, 2}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Commit(nullptr, {{0, -1}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Commit(nullptr, {{9, 0}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Commit(nullptr, {{0, 1}}).ok());
}

}  // namespace
}  // namespace naru::event_log
