// What the event log promises on a real Kafka broker, beyond what every implementation does (event_log_conformance.h).
#include "common/event_log/kafka_event_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/event_log/kafka_appender.h"
#include "common/kafka/admin.h"
#include "common/kafka/errors.h"
#include "common/status/status.h"
#include "common/testing/kafka_server.h"
#include "common/testing/testing.h"

namespace naru::event_log {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::KafkaServer;
using ::testing::Pair;
using testing::WaitUntil;

int64_t NowUs() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Records with the values given; keeps the bytes.
struct Values {
  explicit Values(std::vector<std::string> v) : values(std::move(v)) {
    for (const std::string& value : values) records.push_back({"key", value, NowUs(), false});
  }
  std::vector<std::string> values;
  std::vector<Record> records;
};

class KafkaEventLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<KafkaServer*> server = KafkaServer::Shared();
    if (!server.ok()) NARU_REQUIRE_SERVER_OR_SKIP(server.status().ToString());
    server_ = *server;
    options_.brokers = server_->brokers();
    // Its own topics, groups and ids for each test.
    options_.topic_prefix =
        absl::StrCat(::testing::UnitTest::GetInstance()->current_test_info()->name(), ".", getpid(), ".");
    options_.session_timeout = milliseconds(1500);
    Open();
  }

  void Open() {
    absl::StatusOr<std::unique_ptr<KafkaEventLog>> log = KafkaEventLog::Open(options_);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }

  void MakeTopic(const std::string& name, int partitions, bool compacted = false) {
    TopicConfig config;
    config.name = name;
    config.partitions = partitions;
    config.compacted = compacted;
    ASSERT_EQ(log_->CreateTopic(config), absl::OkStatus());
  }

  std::unique_ptr<Producer> OpenProducer(const std::string& transactional_id = "") {
    absl::StatusOr<std::unique_ptr<Producer>> producer = log_->OpenProducer({transactional_id});
    EXPECT_TRUE(producer.ok()) << producer.status();
    return producer.ok() ? *std::move(producer) : nullptr;
  }

  // All values of a partition, up to its end as it is now.
  std::vector<std::string> ReadAll(const std::string& topic, int partition) {
    std::vector<std::string> values;
    absl::StatusOr<TopicInfo> info = log_->DescribeTopic(topic);
    EXPECT_TRUE(info.ok()) << info.status();
    if (!info.ok()) return values;
    const int64_t end = info->partitions[partition].end_offset;
    absl::StatusOr<std::unique_ptr<Reader>> reader =
        log_->OpenReader(topic, {{partition, ReadPosition::Kind::kOffset, 0}});
    EXPECT_TRUE(reader.ok()) << reader.status();
    int64_t position = info->partitions[partition].start_offset;
    const auto deadline = std::chrono::steady_clock::now() + seconds(20);
    while (position < end && std::chrono::steady_clock::now() < deadline) {
      absl::StatusOr<std::vector<FetchedBatch>> batches = (*reader)->Poll(milliseconds(500), 1 << 20);
      EXPECT_TRUE(batches.ok()) << batches.status();
      if (!batches.ok()) break;
      for (const FetchedBatch& batch : *batches) {
        for (const FetchedRecord& record : batch.records) values.emplace_back(record.value);
        position = batch.next_offset;
      }
    }
    EXPECT_GE(position, end) << "the reader did not reach the end";
    return values;
  }

  KafkaServer* server_ = nullptr;
  KafkaEventLogOptions options_;
  std::unique_ptr<KafkaEventLog> log_;
};

TEST_F(KafkaEventLogTest, OpenNamesAWrongSetting) {
  options_.properties["no.such.setting"] = "1";
  const auto log = KafkaEventLog::Open(options_);
  EXPECT_EQ(log.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(log.status().message()), HasSubstr("no.such.setting"));
}

TEST_F(KafkaEventLogTest, OpenNeverShowsAPassword) {
  options_.properties["ssl.keystore.password"] = "hunter2";
  options_.properties["ssl.key.password"] = "hunter2";
  options_.properties["security.protocol"] = "nonsense";
  const auto log = KafkaEventLog::Open(options_);
  EXPECT_EQ(log.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(log.status().ToString(), ::testing::Not(HasSubstr("hunter2")));
}

TEST_F(KafkaEventLogTest, OpenFailsAsUnavailableWithoutABroker) {
  options_.brokers = "127.0.0.1:1";
  options_.request_timeout = milliseconds(500);
  EXPECT_EQ(KafkaEventLog::Open(options_).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(KafkaEventLogTest, TopicsHaveThePrefixOnlyOutside) {
  MakeTopic("events", 3);
  EXPECT_THAT(*log_->ListTopics(), ElementsAre("events"));
  KafkaEventLogOptions other = options_;
  other.topic_prefix += "other.";
  EXPECT_THAT(*(*KafkaEventLog::Open(other))->ListTopics(), IsEmpty());
  const auto admin = kafka::Admin::Open({options_.brokers});
  EXPECT_EQ(*(*admin)->PartitionCount(options_.topic_prefix + "events"), 3);
}

TEST_F(KafkaEventLogTest, TopicSettingsReachTheBroker) {
  TopicConfig config;
  config.name = "kept";
  config.retention_time = std::chrono::hours(48);
  config.retention_bytes = 100 << 20;
  ASSERT_EQ(log_->CreateTopic(config), absl::OkStatus());
  MakeTopic("catalog", 1, /*compacted=*/true);
  const auto admin = kafka::Admin::Open({options_.brokers});
  auto kept = *(*admin)->TopicSettings(options_.topic_prefix + "kept");
  EXPECT_EQ(kept["retention.ms"], "172800000");
  EXPECT_EQ(kept["retention.bytes"], absl::StrCat(100 << 20));
  EXPECT_EQ(kept["cleanup.policy"], "delete");
  auto catalog = *(*admin)->TopicSettings(options_.topic_prefix + "catalog");
  EXPECT_EQ(catalog["cleanup.policy"], "compact");
  EXPECT_EQ(catalog["delete.retention.ms"], "604800000");

  // A change of retention keeps what an operator set beside it.
  ASSERT_EQ((*admin)->SetTopicSettings(options_.topic_prefix + "kept", {{"min.insync.replicas", "1"}}),
            absl::OkStatus());
  config.retention_time = std::chrono::hours(24);
  ASSERT_EQ(log_->CreateTopic(config), absl::OkStatus());
  ASSERT_TRUE(WaitUntil([&] {
    kept = *(*admin)->TopicSettings(options_.topic_prefix + "kept");
    return kept["retention.ms"] == "86400000";
  }));
  EXPECT_EQ(kept["min.insync.replicas"], "1");
  EXPECT_EQ(log_->DescribeTopic("kept")->config.retention_time, std::chrono::hours(24));
}

TEST_F(KafkaEventLogTest, KcatReadsWhatWasWritten) {
  if (testing::RunProcess({{"kcat", "-V"}, {}, "", ""}).status().code() == absl::StatusCode::kNotFound) {
    NARU_REQUIRE_SERVER_OR_SKIP("kcat is not installed");
  }
  MakeTopic("events", 2);
  const std::unique_ptr<Producer> producer = OpenProducer();
  const int64_t time_us = 1'700'000'000'123'456;
  const std::vector<Record> records = {
      {"alice", "one", time_us, false}, {"bob", "", time_us, false}, {"carol", "", time_us, true}};
  ASSERT_TRUE(producer->Append({{"events", 1, {"naru.other.v1.Thing", "00-ab-cd-01"}, records}}).ok());
  const auto result =
      testing::RunProcess({{"kcat", "-C", "-b", options_.brokers, "-t", options_.topic_prefix + "events", "-p", "1",
                            "-o", "beginning", "-e", "-q", "-f", "%k|%S|%s|%T|%h\\n"},
                           {},
                           "",
                           ""});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out,
            "alice|3|one|1700000000123|naru-schema=naru.other.v1.Thing,traceparent=00-ab-cd-01\n"
            "bob|0||1700000000123|naru-schema=naru.other.v1.Thing,traceparent=00-ab-cd-01\n"
            "carol|-1||1700000000123|naru-schema=naru.other.v1.Thing,traceparent=00-ab-cd-01\n");
}

TEST_F(KafkaEventLogTest, TheUsualSchemaOfATopicIsUnderstoodWithoutBeingWritten) {
  MakeTopic("events", 1);
  const std::unique_ptr<Producer> producer = OpenProducer();
  Values usual({"a"}), other({"b"});
  ASSERT_TRUE(producer->Append({{"events", 0, {"naru.event.v1.Event", ""}, usual.records}}).ok());
  ASSERT_TRUE(producer->Append({{"events", 0, {"another", ""}, other.records}}).ok());
  auto reader = *log_->OpenReader("events", {{0}});
  std::vector<std::string> schemas;
  ASSERT_TRUE(WaitUntil([&] {
    const auto batches = reader->Poll(milliseconds(200), 1 << 20);
    for (const FetchedBatch& batch : *batches) {
      if (!batch.records.empty()) schemas.push_back(batch.headers.schema);
    }
    return schemas.size() == 2;
  }));
  EXPECT_THAT(schemas, ElementsAre("naru.event.v1.Event", "another"));
}

TEST_F(KafkaEventLogTest, RecordsOfEightMegabytesPassAndLargerOnesAreNamed) {
  MakeTopic("t", 1);
  const std::unique_ptr<Producer> producer = OpenProducer();
  Values large({std::string(7 << 20, 'x')});
  EXPECT_EQ(producer->Append({{"t", 0, {}, large.records}}).status(), absl::OkStatus());
  Values too_large({std::string(9 << 20, 'x')});
  EXPECT_EQ(producer->Append({{"t", 0, {}, too_large.records}}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadAll("t", 0).size(), 1u);
}

TEST_F(KafkaEventLogTest, ATransactionThatCannotBeWrittenLeavesNothing) {
  MakeTopic("t", 2);
  const std::unique_ptr<Producer> producer = OpenProducer("tx");
  Values good({"good"}), bad({std::string(9 << 20, 'x')}), after({"after"});
  Transaction broken;
  broken.appends = {{"t", 0, {}, good.records}, {"t", 1, {}, bad.records}};
  broken.offsets = {{"g", "t", {{0, 1}}}};
  EXPECT_EQ(producer->Commit(broken).status().code(), absl::StatusCode::kInvalidArgument);
  Transaction fine;
  fine.appends = {{"t", 0, {}, after.records}};
  EXPECT_EQ(producer->Commit(fine).status(), absl::OkStatus());
  EXPECT_THAT(ReadAll("t", 0), ElementsAre("after"));
  EXPECT_THAT(ReadAll("t", 1), IsEmpty());
  EXPECT_THAT(*log_->CommittedOffsets("g", "t"), IsEmpty());
}

TEST_F(KafkaEventLogTest, ALaterProducerOfTheSameIdFencesTheEarlier) {
  MakeTopic("t", 1);
  const std::unique_ptr<Producer> first = OpenProducer("tx");
  Values one({"one"}), zombie({"zombie"}), two({"two"});
  Transaction transaction;
  transaction.appends = {{"t", 0, {}, one.records}};
  ASSERT_TRUE(first->Commit(transaction).ok());
  const std::unique_ptr<Producer> second = OpenProducer("tx");
  transaction.appends = {{"t", 0, {}, zombie.records}};
  for (int i = 0; i < 2; ++i) {  // and stays fenced
    const absl::Status refused = first->Commit(transaction).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kAborted) << refused;
    EXPECT_EQ(GetErrorDetails(refused).reason, "FENCED") << refused;
  }
  EXPECT_EQ(GetErrorDetails(first->Append({{"t", 0, {}, zombie.records}}).status()).reason, "FENCED");
  transaction.appends = {{"t", 0, {}, two.records}};
  EXPECT_EQ(second->Commit(transaction).status(), absl::OkStatus());
  EXPECT_THAT(ReadAll("t", 0), ElementsAre("one", "two"));
}

// A member that does not poll loses its partitions; its successor works; the old one comes back and tries to commit.
TEST_F(KafkaEventLogTest, AMemberThatLostItsPlaceCannotCommit) {
  options_.max_poll_interval = options_.session_timeout;
  Open();
  MakeTopic("in", 2);
  MakeTopic("out", 1);
  Values input({"a", "b"});
  ASSERT_TRUE(OpenProducer()->Append({{"in", 0, {}, input.records}, {"in", 1, {}, input.records}}).ok());

  std::atomic<bool> lost{false};
  RebalanceListener listener;
  listener.lost = [&](const std::vector<int>&) { lost = true; };
  auto old_member = *log_->OpenConsumer("g", "in", listener);
  ASSERT_TRUE(WaitUntil([&] {
    EXPECT_TRUE(old_member->Poll(milliseconds(100), 1 << 20).ok());
    return old_member->Assignment().size() == 2;
  }));
  auto old_producer = OpenProducer("old");
  auto new_member = *log_->OpenConsumer("g", "in", {});
  ASSERT_TRUE(WaitUntil([&] {  // only the new one polls
    EXPECT_TRUE(new_member->Poll(milliseconds(100), 1 << 20).ok());
    return new_member->Assignment().size() == 2;
  }));
  auto new_producer = OpenProducer("new");
  Values stale({"stale"}), fresh({"fresh"});
  Transaction by_new{{{"out", 0, {}, fresh.records}}, {{"g", "in", {{0, 2}, {1, 2}}}}, new_member.get(), {}};
  ASSERT_EQ(new_producer->Commit(by_new).status(), absl::OkStatus());
  Transaction by_old{{{"out", 0, {}, stale.records}}, {{"g", "in", {{0, 1}, {1, 1}}}}, old_member.get(), {}};
  const absl::Status refused = old_producer->Commit(by_old).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kAborted) << refused;
  EXPECT_EQ(GetErrorDetails(refused).reason, "FENCED") << refused;
  EXPECT_THAT(ReadAll("out", 0), ElementsAre("fresh"));
  EXPECT_THAT(*log_->CommittedOffsets("g", "in"), ElementsAre(Pair(0, 2), Pair(1, 2)));
  // When it polls again it is told.
  EXPECT_TRUE(WaitUntil([&] {
    (void)old_member->Poll(milliseconds(100), 1 << 20);
    return lost.load();
  }));
}

// Members come and go while each commits what it read; nothing is read twice under a commit, nothing is left out.
TEST_F(KafkaEventLogTest, CooperativeRebalanceNeitherLosesNorRepeats) {
  constexpr int kPartitions = 4;
  constexpr int kEach = 500;
  MakeTopic("in", kPartitions);
  MakeTopic("out", kPartitions);
  const std::unique_ptr<Producer> source = OpenProducer();
  std::set<std::string> expected;
  std::vector<std::unique_ptr<Values>> keep;
  for (int p = 0; p < kPartitions; ++p) {
    std::vector<std::string> values;
    for (int i = 0; i < kEach; ++i) values.push_back(absl::StrCat(p, ":", i));
    expected.insert(values.begin(), values.end());
    keep.push_back(std::make_unique<Values>(values));
    ASSERT_TRUE(source->Append({{"in", p, {}, keep.back()->records}}).ok());
  }
  std::atomic<int> copied{0};
  const auto run = [&](int member, const std::atomic<bool>& stop) {
    auto producer = *log_->OpenProducer({absl::StrCat("copier-", member)});
    auto consumer = *log_->OpenConsumer("copiers", "in", {});
    while (!stop && copied < kPartitions * kEach) {
      const auto batches = consumer->Poll(milliseconds(50), 2000);
      if (!batches.ok()) continue;
      for (const FetchedBatch& batch : *batches) {
        if (batch.records.empty()) continue;
        std::vector<Record> records;
        for (const FetchedRecord& r : batch.records) records.push_back({r.key, r.value, r.timestamp_us, false});
        Transaction transaction{{{"out", batch.partition, {}, records}},
                                {{"copiers", "in", {{batch.partition, batch.next_offset}}}},
                                consumer.get(),
                                {}};
        absl::Status status;
        do {
          status = producer->Commit(transaction).status();
        } while (status.code() == absl::StatusCode::kUnavailable);
        ASSERT_EQ(status, absl::OkStatus());
        copied += records.size();
      }
    }
  };
  std::atomic<bool> never{false}, stop_second{false};
  std::thread first([&] { run(1, never); });
  ASSERT_TRUE(WaitUntil([&] { return copied > 100; }));
  std::thread second([&] { run(2, stop_second); });
  const bool most = WaitUntil([&] { return copied > kPartitions * kEach / 2; });
  stop_second = true;
  second.join();
  std::thread third([&] { run(3, never); });
  first.join();
  third.join();
  ASSERT_TRUE(most);
  std::multiset<std::string> seen;
  for (int p = 0; p < kPartitions; ++p) {
    for (const std::string& value : ReadAll("out", p)) seen.insert(value);
  }
  EXPECT_EQ(seen.size(), expected.size());
  EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()), expected);
}

TEST_F(KafkaEventLogTest, ReadingPassesTheMarkersOfTransactions) {
  MakeTopic("t", 1);
  const std::unique_ptr<Producer> producer = OpenProducer("tx");
  Values one({"one"});
  Transaction transaction;
  transaction.appends = {{"t", 0, {}, one.records}};
  ASSERT_TRUE(producer->Commit(transaction).ok());
  const int64_t end = log_->DescribeTopic("t")->partitions[0].end_offset;
  EXPECT_EQ(end, 2);                                 // the record and its marker
  EXPECT_THAT(ReadAll("t", 0), ElementsAre("one"));  // which checks that the position came to the end
}

TEST_F(KafkaEventLogTest, ABrokenProducerIsReplacedAndItsAppendsFailAsUnavailable) {
  MakeTopic("t", 1);
  KafkaShared shared;
  shared.options = options_;
  shared.partition_count = [](const std::string&) { return 1; };
  std::vector<std::string> notes;
  shared.note = [&](std::string note) { notes.push_back(std::move(note)); };
  auto appender = *KafkaAppender::Open(shared);
  Values values({"a"});
  const auto append = [&] {
    std::atomic<bool> done{false};
    absl::Status status;
    appender->AppendAsync({{"t", 0, {}, values.records}}, [&](absl::StatusOr<AppendResult> result) {
      status = result.status();
      done = true;
    });
    EXPECT_TRUE(WaitUntil([&] { return done.load(); }));
    return status;
  };
  ASSERT_EQ(append(), absl::OkStatus());
  server_->Pause();  // so that some are in flight
  std::atomic<int> failed{0};
  for (int i = 0; i < 3; ++i) {
    appender->AppendAsync({{"t", 0, {}, values.records}}, [&](absl::StatusOr<AppendResult> result) {
      if (result.status().code() == absl::StatusCode::kUnavailable) ++failed;
    });
  }
  appender->BreakForTest();
  EXPECT_TRUE(WaitUntil([&] { return failed == 3; }));
  server_->Resume();
  EXPECT_TRUE(WaitUntil([&] { return append().ok(); }));
  EXPECT_EQ(notes.size(), 1u);
}

TEST_F(KafkaEventLogTest, CallbacksComeInOrderAndTooMuchInFlightIsRefused) {
  options_.max_in_flight_bytes = 200'000;
  options_.delivery_timeout = seconds(60);
  Open();
  MakeTopic("t", 3);
  const std::unique_ptr<Producer> producer = OpenProducer();
  Values values({std::string(1000, 'x')});
  ASSERT_TRUE(producer->Append({{"t", 0, {}, values.records}}).ok());
  server_->Pause();
  Mutex mu;
  std::vector<int> order;
  std::vector<absl::StatusCode> codes;
  constexpr int kAppends = 400;
  for (int i = 0; i < kAppends; ++i) {
    producer->AppendAsync({{"t", i % 3, {}, values.records}}, {}, [&, i](absl::StatusOr<AppendResult> result) {
      MutexLock lock(&mu);
      order.push_back(i);
      codes.push_back(result.status().code());
    });
  }
  server_->Resume();
  ASSERT_TRUE(WaitUntil([&] {
    MutexLock lock(&mu);
    return order.size() == kAppends;
  }));
  MutexLock lock(&mu);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  const auto accepted = std::count(codes.begin(), codes.end(), absl::StatusCode::kOk);
  const auto refused = std::count(codes.begin(), codes.end(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(accepted + refused, kAppends);
  EXPECT_THAT(accepted, AllOf(::testing::Ge(100), ::testing::Le(250)));
}

TEST_F(KafkaEventLogTest, AppendsFailAsUnavailableWhenTheBrokerStaysSilent) {
  options_.delivery_timeout = milliseconds(700);
  Open();
  MakeTopic("t", 1);
  const std::unique_ptr<Producer> producer = OpenProducer();
  Values values({"a"});
  ASSERT_TRUE(producer->Append({{"t", 0, {}, values.records}}).ok());
  server_->Pause();
  const absl::Status status = producer->Append({{"t", 0, {}, values.records}}).status();
  const absl::Status health = log_->Health();
  server_->Resume();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(health.code(), absl::StatusCode::kUnavailable) << health;
  EXPECT_TRUE(WaitUntil([&] { return producer->Append({{"t", 0, {}, values.records}}).ok(); }));
  EXPECT_TRUE(WaitUntil([&] { return log_->Health().ok(); }));
}

TEST_F(KafkaEventLogTest, WhatRetentionRemovedIsNamed) {
  TopicConfig config;
  config.name = "t";
  config.retention_time = milliseconds(2000);
  ASSERT_EQ(log_->CreateTopic(config), absl::OkStatus());
  const std::unique_ptr<Producer> producer = OpenProducer();
  Values old_values({"a", "b", "c"});
  ASSERT_TRUE(producer->Append({{"t", 0, {}, old_values.records}}).ok());
  auto consumer = *log_->OpenConsumer("g", "t", {});
  ASSERT_TRUE(WaitUntil([&] {
    EXPECT_TRUE(consumer->Poll(milliseconds(100), 1 << 20).ok());
    return consumer->Assignment().size() == 1 && log_->DescribeTopic("t")->partitions[0].start_offset == 3;
  }));
  ASSERT_EQ(consumer->Seek(0, 1), absl::OkStatus());
  absl::Status status;
  ASSERT_TRUE(WaitUntil([&] {
    status = consumer->Poll(milliseconds(100), 1 << 20).status();
    return !status.ok();
  }));
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), HasSubstr("[1, 3)"));
  EXPECT_FALSE(log_->recovery_report().notes.empty());
  // And the next Poll goes on at the oldest record.
  Values fresh({"d"});
  ASSERT_TRUE(producer->Append({{"t", 0, {}, fresh.records}}).ok());
  std::vector<int64_t> offsets;
  ASSERT_TRUE(WaitUntil([&] {
    const auto batches = consumer->Poll(milliseconds(100), 1 << 20);
    if (!batches.ok()) return false;
    for (const FetchedBatch& batch : *batches) {
      for (const FetchedRecord& record : batch.records) offsets.push_back(record.offset);
    }
    return !offsets.empty();
  }));
  EXPECT_THAT(offsets, ElementsAre(3));
}

TEST_F(KafkaEventLogTest, LocalWritesAreRefused) {
  MakeTopic("t", 1);
  const std::unique_ptr<Producer> producer = OpenProducer("tx");
  Values values({"a"});
  const LocalWrite write{"state", "k", "v"};
  EXPECT_EQ(producer->Append({{"t", 0, {}, values.records}}, {write}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  Transaction transaction;
  transaction.local = {write};
  EXPECT_EQ(producer->Commit(transaction).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(log_->local_store(), nullptr);
  EXPECT_EQ(log_->disk_free_bytes(), -1);
}

TEST_F(KafkaEventLogTest, OthersTopicsAreNotMadeByLookingAtThem) {
  const std::unique_ptr<Producer> producer = OpenProducer();
  Values values({"a"});
  EXPECT_EQ(producer->Append({{"nowhere", 0, {}, values.records}}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(log_->OpenReader("nowhere", {{0}}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(log_->OpenConsumer("g", "nowhere", {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(log_->DescribeTopic("nowhere").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(*log_->ListTopics(), IsEmpty());
}

}  // namespace
}  // namespace naru::event_log
