// Reading topics of somebody else's Kafka, as kcat and others wrote them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/kafka/admin.h"
#include "common/kafka/raw_consumer.h"
#include "common/testing/kafka_server.h"
#include "common/testing/testing.h"

namespace naru::kafka {
namespace {

using naru::testing::KafkaServer;
using naru::testing::RunProcess;
using naru::testing::WaitUntil;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

class RawConsumerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<KafkaServer*> server = KafkaServer::Shared();
    if (!server.ok()) NARU_REQUIRE_SERVER_OR_SKIP(server.status().ToString());
    server_ = *server;
    options_.client.brokers = server_->brokers();
    topic_ = absl::StrCat("theirs-", ::testing::UnitTest::GetInstance()->current_test_info()->name(), "-", getpid());
    absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Open(options_.client);
    ASSERT_TRUE(admin.ok()) << admin.status();
    admin_ = *std::move(admin);
    if (RunProcess({{"kcat", "-V"}, {}, "", ""}).status().code() == absl::StatusCode::kNotFound) {
      NARU_REQUIRE_SERVER_OR_SKIP("kcat is not installed");
    }
    ASSERT_EQ(admin_->CreateTopic(topic_, 2, 1, {}), absl::OkStatus());
    ASSERT_TRUE(WaitUntil([&] { return admin_->PartitionCount(topic_).ok(); }));
  }

  // Writes lines as another program would.
  void Kcat(const std::string& input, std::vector<std::string> arguments = {}, int partition = 0) {
    std::vector<std::string> args = {"kcat", "-P",   "-b", options_.client.brokers,
                                     "-t",   topic_, "-p", absl::StrCat(partition)};
    args.insert(args.end(), arguments.begin(), arguments.end());
    const auto result = RunProcess({args, {}, "", input});
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->exit_code, 0) << result->err;
  }

  std::unique_ptr<RawConsumer> Open(const std::vector<RawPosition>& positions) {
    absl::StatusOr<std::unique_ptr<RawConsumer>> consumer = RawConsumer::Open(options_);
    EXPECT_TRUE(consumer.ok()) << consumer.status();
    EXPECT_EQ((*consumer)->Assign(positions), absl::OkStatus());
    return *std::move(consumer);
  }

  static std::vector<std::string> Take(RawConsumer* consumer, size_t count) {
    std::vector<std::string> values;
    WaitUntil([&] {
      const auto batches = consumer->Poll(milliseconds(100), 1 << 20);
      EXPECT_TRUE(batches.ok()) << batches.status();
      for (const RawBatch& batch : *batches) {
        for (const RawMessage& message : batch.messages) values.emplace_back(message.value);
      }
      return values.size() >= count;
    });
    return values;
  }

  KafkaServer* server_ = nullptr;
  RawConsumerOptions options_;
  std::unique_ptr<Admin> admin_;
  std::string topic_;
};

TEST_F(RawConsumerTest, EveryPartOfAMessageArrives) {
  Kcat("k1=v1\nk2=\n", {"-K", "=", "-Z", "-H", "a=1", "-H", "b=two"});
  const auto consumer = Open({{topic_, 0, RawPosition::Kind::kStart}});
  std::vector<RawBatch> all;
  size_t count = 0;
  ASSERT_TRUE(WaitUntil([&] {
    auto batches = consumer->Poll(milliseconds(100), 1 << 20);
    for (RawBatch& batch : *batches) {
      count += batch.messages.size();
      all.push_back(std::move(batch));
    }
    return count >= 2;
  }));
  const RawMessage& first = all[0].messages[0];
  EXPECT_EQ(all[0].topic, topic_);
  EXPECT_EQ(first.key, "k1");
  EXPECT_EQ(first.value, "v1");
  EXPECT_EQ(first.offset, 0);
  EXPECT_FALSE(first.null_value);
  EXPECT_GT(first.timestamp_us, 1'600'000'000'000'000);
  ASSERT_EQ(first.headers.size(), 2u);
  EXPECT_EQ(first.headers[0].name, "a");
  EXPECT_EQ(first.headers[1].value, "two");
  EXPECT_TRUE(all.back().messages.back().null_value);
  EXPECT_EQ(all.back().next_offset, 2);
}

TEST_F(RawConsumerTest, ReadingStartsWhereItIsTold) {
  Kcat("a\nb\nc\n");
  EXPECT_THAT(Take(Open({{topic_, 0, RawPosition::Kind::kOffset, 1}}).get(), 2), ElementsAre("b", "c"));
  const auto at_end = Open({{topic_, 0, RawPosition::Kind::kEnd}, {topic_, 1, RawPosition::Kind::kEnd}});
  const int64_t now_us =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  Kcat("d\n");
  EXPECT_THAT(Take(at_end.get(), 1), ElementsAre("d"));
  EXPECT_THAT(Take(Open({{topic_, 0, RawPosition::Kind::kTime, now_us}}).get(), 1), ElementsAre("d"));
  EXPECT_EQ(RawConsumer::Open(options_).value()->Assign({{topic_, 2, RawPosition::Kind::kStart}}).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(RawConsumer::Open(options_).value()->Assign({{"nowhere", 0, RawPosition::Kind::kStart}}).code(),
            absl::StatusCode::kNotFound);
}

TEST_F(RawConsumerTest, AssignAgainStartsOver) {
  Kcat("a\nb\n");
  const auto consumer = Open({{topic_, 0, RawPosition::Kind::kStart}});
  EXPECT_THAT(Take(consumer.get(), 2), ElementsAre("a", "b"));
  ASSERT_EQ(consumer->Assign({{topic_, 0, RawPosition::Kind::kOffset, 1}}), absl::OkStatus());
  EXPECT_THAT(Take(consumer.get(), 1), ElementsAre("b"));
}

TEST_F(RawConsumerTest, APositionPastTheEndIsReportedAndGoesOnAtTheEnd) {
  Kcat("a\n");
  const auto consumer = Open({{topic_, 0, RawPosition::Kind::kOffset, 100}});
  absl::Status status;
  ASSERT_TRUE(WaitUntil([&] {
    status = consumer->Poll(milliseconds(100), 1 << 20).status();
    return !status.ok();
  }));
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("100"));
  Kcat("b\n");
  EXPECT_THAT(Take(consumer.get(), 1), ElementsAre("b"));
}

TEST_F(RawConsumerTest, AdvisoryOffsetsShowInTheCluster) {
  options_.group = absl::StrCat("advisory-", getpid());
  Kcat("a\nb\n");
  const auto consumer = Open({{topic_, 0, RawPosition::Kind::kStart}});
  EXPECT_EQ(Take(consumer.get(), 2).size(), 2u);
  ASSERT_EQ(consumer->CommitAdvisory({{topic_, 0, RawPosition::Kind::kOffset, 2}}), absl::OkStatus());
  EXPECT_TRUE(WaitUntil([&] {
    (void)consumer->Poll(milliseconds(10), 1 << 20);
    const auto committed = admin_->CommittedOffsets(options_.group, topic_, 2);
    return committed.ok() && *committed == PartitionOffsets{{0, 2}};
  }));
  EXPECT_EQ(admin_->DeleteGroupOffsets(options_.group, topic_, 2), absl::OkStatus());
  EXPECT_THAT(*admin_->CommittedOffsets(options_.group, topic_, 2), IsEmpty());
  EXPECT_EQ(admin_->DeleteGroupOffsets("never-was", topic_, 2), absl::OkStatus());
}

TEST_F(RawConsumerTest, ASmallPollTakesLittle) {
  std::string lines;
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&lines, std::string(100, 'x'), i, "\n");
  Kcat(lines);
  const auto consumer = Open({{topic_, 0, RawPosition::Kind::kStart}});
  size_t taken = 0;
  ASSERT_TRUE(WaitUntil([&] {
    const auto batches = consumer->Poll(milliseconds(100), 2000);
    size_t count = 0;
    for (const RawBatch& batch : *batches) count += batch.messages.size();
    EXPECT_LE(count, 20u);
    taken += count;
    return taken >= 1000;
  }));
  EXPECT_EQ(taken, 1000u);
}

TEST_F(RawConsumerTest, CancelEndsAWaitingPoll) {
  const auto consumer = Open({{topic_, 0, RawPosition::Kind::kStart}});
  std::thread canceller([&] { consumer->Cancel(); });
  EXPECT_EQ(consumer->Poll(seconds(20), 1 << 20).status().code(), absl::StatusCode::kCancelled);
  canceller.join();
}

TEST_F(RawConsumerTest, ASilentClusterIsUnavailableAndItsReturnIsNoticed) {
  Kcat("a\n");
  options_.client.properties["socket.timeout.ms"] = "500";
  options_.client.properties["session.timeout.ms"] = "500";
  const auto consumer = Open({{topic_, 0, RawPosition::Kind::kStart}});
  EXPECT_THAT(Take(consumer.get(), 1), ElementsAre("a"));
  server_->Pause();
  EXPECT_TRUE(WaitUntil(
      [&] { return consumer->Poll(milliseconds(200), 1 << 20).status().code() == absl::StatusCode::kUnavailable; }));
  server_->Resume();
  Kcat("b\n");
  std::vector<std::string> values;
  EXPECT_TRUE(WaitUntil([&] {
    const auto batches = consumer->Poll(milliseconds(100), 1 << 20);
    if (!batches.ok()) return false;
    for (const RawBatch& batch : *batches) {
      for (const RawMessage& message : batch.messages) values.emplace_back(message.value);
    }
    return !values.empty();
  }));
  EXPECT_THAT(values, ElementsAre("b"));
}

TEST_F(RawConsumerTest, StatisticsAreHandedOn) {
  std::atomic<bool> told{false};
  options_.client.on_statistics = [&](absl::string_view json) {
    told = told || absl::StrContains(json, "\"brokers\"");
  };
  options_.client.statistics_interval = milliseconds(50);
  const auto consumer = Open({{topic_, 0, RawPosition::Kind::kStart}});
  EXPECT_TRUE(WaitUntil([&] {
    (void)consumer->Poll(milliseconds(20), 1 << 20);
    return told.load();
  }));
}

TEST_F(RawConsumerTest, AdminTellsOffsets) {
  Kcat("a\nb\n", {}, 1);
  EXPECT_THAT(*admin_->Offsets(topic_, {0, 1}, Admin::At::kEnd),
              ::testing::UnorderedElementsAre(Pair(0, 0), Pair(1, 2)));
  EXPECT_THAT(*admin_->Offsets(topic_, {1}, Admin::At::kStart), ElementsAre(Pair(1, 0)));
  EXPECT_THAT(*admin_->Offsets(topic_, {1}, Admin::At::kTime, 1), ElementsAre(Pair(1, 0)));
  EXPECT_THAT(*admin_->Offsets(topic_, {1}, Admin::At::kTime, 4'000'000'000'000), ElementsAre(Pair(1, 2)));
  EXPECT_EQ(admin_->Offsets("nowhere", {0}, Admin::At::kEnd).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(admin_->CreateTopic(topic_, 2, 1, {}).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(admin_->CreateTopic(topic_ + "x", 1, 1, {{"no.such.setting", "1"}}).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace naru::kafka
