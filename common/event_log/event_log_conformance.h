// What every EventLog must do. The suite knows no store: a store's test file makes a subject and instantiates it.
//
//     INSTANTIATE_TEST_SUITE_P(Rocks, EventLogConformance, ::testing::Values(&MakeRocksSubject));
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/event_log/event_log.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"

namespace naru::event_log {

/// A log under test, and what the suite has to know about it.
class EventLogSubject {
 public:
  virtual ~EventLogSubject() = default;
  virtual EventLog* log() = 0;
  /// Closes the log and opens it again on the same data.
  virtual void Reopen() = 0;
  /// How long something that must happen may take.
  virtual std::chrono::milliseconds patience() const { return std::chrono::seconds(20); }
  /// To what the log cuts the times of records.
  virtual std::chrono::microseconds timestamp_resolution() const { return std::chrono::microseconds(1); }
};

/// Makes an empty log. UNAVAILABLE skips the test, saying why.
using MakeSubject = absl::StatusOr<std::unique_ptr<EventLogSubject>> (*)();

class EventLogConformance : public ::testing::TestWithParam<MakeSubject> {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<EventLogSubject>> subject = GetParam()();
    if (absl::IsUnavailable(subject.status())) GTEST_SKIP() << subject.status();
    ASSERT_TRUE(subject.ok()) << subject.status();
    subject_ = *std::move(subject);
  }

  EventLog* log() { return subject_->log(); }

  void MakeTopic(const std::string& name, int partitions, bool compacted = false) {
    TopicConfig config;
    config.name = name;
    config.partitions = partitions;
    config.compacted = compacted;
    const absl::Status status = log()->CreateTopic(config);
    ASSERT_TRUE(status.ok()) << status;
  }

  std::unique_ptr<Producer> MakeProducer(const std::string& transactional_id = "") {
    auto producer = log()->OpenProducer({transactional_id});
    EXPECT_TRUE(producer.ok()) << producer.status();
    return producer.ok() ? *std::move(producer) : nullptr;
  }

  std::unique_ptr<Reader> MakeReader(const std::string& topic, std::vector<ReadPosition> positions) {
    auto reader = log()->OpenReader(topic, std::move(positions));
    EXPECT_TRUE(reader.ok()) << reader.status();
    return reader.ok() ? *std::move(reader) : nullptr;
  }

  std::unique_ptr<Consumer> MakeConsumer(const std::string& group, const std::string& topic,
                                         RebalanceListener listener = {}) {
    auto consumer = log()->OpenConsumer(group, topic, std::move(listener));
    EXPECT_TRUE(consumer.ok()) << consumer.status();
    return consumer.ok() ? *std::move(consumer) : nullptr;
  }

  /// Appends values with one key, timestamps from `first_timestamp_us` on, 1 ms apart.
  absl::StatusOr<AppendedBatch> Append(Producer* producer, const std::string& topic, int partition,
                                       const std::vector<std::string>& values, int64_t first_timestamp_us = kBaseTime) {
    std::vector<Record> records;
    for (size_t i = 0; i < values.size(); ++i) {
      records.push_back({"key", values[i], first_timestamp_us + static_cast<int64_t>(i) * 1000});
    }
    auto result = producer->Append({AppendBatch{topic, partition, {"test.Value", ""}, records}});
    if (!result.ok()) return result.status();
    EXPECT_EQ(result->size(), 1u);
    return (*result)[0];
  }

  struct Read {
    int partition;
    int64_t offset;
    std::string key;
    std::string value;
    int64_t timestamp_us;
    bool tombstone;
    Headers headers;
  };

  /// Polls until `count` records came or patience ends.
  template <typename Source>
  std::vector<Read> Take(Source* source, size_t count, size_t max_bytes = 1 << 20) {
    std::vector<Read> all;
    const auto deadline = std::chrono::steady_clock::now() + subject_->patience();
    while (all.size() < count && std::chrono::steady_clock::now() < deadline) {
      auto batches = source->Poll(std::chrono::milliseconds(100), max_bytes);
      if (!batches.ok() && absl::IsUnavailable(batches.status())) continue;
      EXPECT_TRUE(batches.ok()) << batches.status();
      if (!batches.ok()) return all;
      Collect(*batches, &all);
    }
    EXPECT_GE(all.size(), count);
    return all;
  }

  static void Collect(const std::vector<FetchedBatch>& batches, std::vector<Read>* all) {
    for (const FetchedBatch& batch : batches) {
      for (const FetchedRecord& record : batch.records) {
        all->push_back({batch.partition, record.offset, std::string(record.key), std::string(record.value),
                        record.timestamp_us, record.tombstone, batch.headers});
        EXPECT_LT(record.offset, batch.next_offset);
      }
    }
  }

  /// True when no record comes within a short while (a batch without records only moves the position).
  template <typename Source>
  bool IsSilent(Source* source, std::chrono::milliseconds wait = std::chrono::milliseconds(200)) {
    auto batches = source->Poll(wait, 1 << 20);
    EXPECT_TRUE(batches.ok()) << batches.status();
    return batches.ok() &&
           std::all_of(batches->begin(), batches->end(), [](const auto& b) { return b.records.empty(); });
  }

  template <typename Condition>
  bool Eventually(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + subject_->patience();
    while (std::chrono::steady_clock::now() < deadline) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return condition();
  }

  static std::vector<std::string> Values(const std::vector<Read>& read) {
    std::vector<std::string> values;
    for (const Read& r : read) values.push_back(r.value);
    return values;
  }

  static std::vector<std::string> Numbered(const std::string& prefix, int count) {
    std::vector<std::string> values;
    for (int i = 0; i < count; ++i) values.push_back(absl::StrCat(prefix, i));
    return values;
  }

  static ReadPosition FromStart(int partition = 0) { return {partition, ReadPosition::Kind::kOffset, 0}; }

  static constexpr int64_t kBaseTime = 1'700'000'000'000'000;  // a whole number of milliseconds
  std::unique_ptr<EventLogSubject> subject_;
};

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

TEST_P(EventLogConformance, RecordsComeBackInOrderWithAllTheirParts) {
  MakeTopic("events", 1);
  auto producer = MakeProducer();
  const std::vector<Record> records = {
      {"alice", "first", kBaseTime + 1001}, {"", "no key", kBaseTime + 2002}, {"bob", "", kBaseTime + 3}};
  const std::string trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  auto result = producer->Append({AppendBatch{"events", 0, {"naru.event.v1.Event", trace}, records}});
  ASSERT_TRUE(result.ok()) << result.status();
  auto reader = MakeReader("events", {FromStart()});
  const std::vector<Read> read = Take(reader.get(), 3);
  ASSERT_EQ(read.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(read[i].key, records[i].key);
    EXPECT_EQ(read[i].value, records[i].value);
    EXPECT_EQ(read[i].timestamp_us,
              records[i].timestamp_us - records[i].timestamp_us % subject_->timestamp_resolution().count());
    EXPECT_FALSE(read[i].tombstone);
    EXPECT_EQ(read[i].headers.schema, "naru.event.v1.Event");
    EXPECT_EQ(read[i].headers.traceparent, trace);
  }
}

TEST_P(EventLogConformance, AppendTellsTheOffsetsThatReadersSee) {
  MakeTopic("events", 1);
  auto producer = MakeProducer();
  std::vector<int64_t> told;
  for (int round = 0; round < 5; ++round) {
    auto batch = Append(producer.get(), "events", 0, Numbered(absl::StrCat("r", round, "-"), 3));
    ASSERT_TRUE(batch.ok()) << batch.status();
    for (int64_t i = 0; i < 3; ++i) {
      told.push_back(batch->offsets.empty() ? batch->base_offset + i : batch->offsets[static_cast<size_t>(i)]);
    }
    EXPECT_EQ(batch->last_offset, told.back());
  }
  auto reader = MakeReader("events", {FromStart()});
  std::vector<int64_t> seen;
  for (const Read& r : Take(reader.get(), told.size())) seen.push_back(r.offset);
  EXPECT_EQ(seen, told);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST_P(EventLogConformance, ValuesMayBeLargeOrBinary) {
  MakeTopic("events", 1);
  auto producer = MakeProducer();
  std::string binary;
  for (int i = 0; i < 256; ++i) binary.push_back(static_cast<char>(i));
  std::string incompressible;
  uint64_t state = 88172645463325252ull;
  for (int i = 0; i < 300'000; ++i) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    incompressible.push_back(static_cast<char>(state));
  }
  const std::vector<std::string> values = {binary, incompressible, std::string(500'000, 'x'), std::string(1, '\0')};
  ASSERT_TRUE(Append(producer.get(), "events", 0, values).ok());
  auto reader = MakeReader("events", {FromStart()});
  EXPECT_EQ(Values(Take(reader.get(), 4)), values);
}

TEST_P(EventLogConformance, AnAppendOfNothingSucceeds) {
  MakeTopic("events", 1);
  auto producer = MakeProducer();
  EXPECT_TRUE(producer->Append({}).ok());
  auto empty = producer->Append({AppendBatch{"events", 0, {}, {}}});
  EXPECT_TRUE(empty.ok()) << empty.status();
  ASSERT_TRUE(Append(producer.get(), "events", 0, {"one"}).ok());
  auto reader = MakeReader("events", {FromStart()});
  EXPECT_THAT(Values(Take(reader.get(), 1)), ElementsAre("one"));
}

TEST_P(EventLogConformance, CallbacksComeInTheOrderOfTheCalls) {
  MakeTopic("events", 2);
  auto producer = MakeProducer();
  constexpr int kCalls = 200;
  const std::vector<std::string> values = Numbered("v", kCalls);
  std::vector<Record> records;
  for (const std::string& value : values) records.push_back({"key", value, kBaseTime});
  Mutex mu;
  std::vector<int> order;
  for (int i = 0; i < kCalls; ++i) {
    const absl::Span<const Record> one(&records[static_cast<size_t>(i)], 1);
    producer->AppendAsync({AppendBatch{"events", i % 2, {"test.Value", ""}, one}}, {},
                          [&mu, &order, i](absl::StatusOr<AppendResult> result) {
                            EXPECT_TRUE(result.ok()) << result.status();
                            MutexLock lock(&mu);
                            order.push_back(i);
                          });
  }
  ASSERT_TRUE(Eventually([&] {
    MutexLock lock(&mu);
    return order.size() == kCalls;
  }));
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  auto reader = MakeReader("events", {FromStart(0)});
  std::vector<std::string> even;
  for (int i = 0; i < kCalls; i += 2) even.push_back(absl::StrCat("v", i));
  EXPECT_EQ(Values(Take(reader.get(), even.size())), even);
}

TEST_P(EventLogConformance, ManyThreadsAppendWithoutLossOrMixing) {
  MakeTopic("events", 2);
  auto producer = MakeProducer();
  constexpr int kThreads = 4, kBatches = 25, kRecords = 10;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int b = 0; b < kBatches; ++b) {
        EXPECT_TRUE(Append(producer.get(), "events", t % 2, Numbered(absl::StrCat(t, "/", b, "/"), kRecords)).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  auto reader = MakeReader("events", {FromStart(0), FromStart(1)});
  std::map<std::string, std::vector<std::string>> by_thread;
  const std::vector<Read> read = Take(reader.get(), kThreads * kBatches * kRecords);
  ASSERT_EQ(read.size(), static_cast<size_t>(kThreads * kBatches * kRecords));
  for (const Read& r : read) by_thread[r.value.substr(0, 1)].push_back(r.value);
  for (int t = 0; t < kThreads; ++t) {
    std::vector<std::string> expected;
    for (int b = 0; b < kBatches; ++b) {
      for (const std::string& v : Numbered(absl::StrCat(t, "/", b, "/"), kRecords)) expected.push_back(v);
    }
    EXPECT_EQ(by_thread[absl::StrCat(t)], expected);
  }
}

TEST_P(EventLogConformance, UnknownTopicsAndPartitionsAreErrors) {
  MakeTopic("events", 2);
  auto producer = MakeProducer();
  EXPECT_EQ(Append(producer.get(), "nowhere", 0, {"x"}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(Append(producer.get(), "events", 2, {"x"}).ok());
  EXPECT_FALSE(Append(producer.get(), "events", -1, {"x"}).ok());
  EXPECT_EQ(log()->DescribeTopic("nowhere").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(log()->OpenReader("nowhere", {FromStart()}).ok());
}

TEST_P(EventLogConformance, CreateTopicTwiceIsFineUnlessItsShapeDiffers) {
  MakeTopic("events", 2);
  MakeTopic("events", 2);
  TopicConfig config;
  config.name = "events";
  config.partitions = 3;
  EXPECT_EQ(log()->CreateTopic(config).code(), absl::StatusCode::kFailedPrecondition);
  config.partitions = 2;
  config.compacted = true;
  EXPECT_EQ(log()->CreateTopic(config).code(), absl::StatusCode::kFailedPrecondition);
  config.compacted = false;
  config.retention_bytes = 1 << 30;
  EXPECT_TRUE(log()->CreateTopic(config).ok());
  EXPECT_TRUE(Eventually([&] {
    auto info = log()->DescribeTopic("events");
    return info.ok() && info->config.retention_bytes == 1 << 30;
  }));
  MakeTopic("other", 1);
  auto topics = log()->ListTopics();
  ASSERT_TRUE(topics.ok());
  EXPECT_THAT(*topics, ::testing::IsSupersetOf({"events", "other"}));
}

TEST_P(EventLogConformance, OneAppendReachesSeveralTopicsAndPartitions) {
  MakeTopic("a", 2);
  MakeTopic("b", 1);
  auto producer = MakeProducer();
  const std::vector<Record> one = {{"k", "one", kBaseTime}};
  const std::vector<Record> two = {{"k", "two", kBaseTime}};
  const std::vector<Record> three = {{"k", "three", kBaseTime}};
  auto result = producer->Append({{"a", 0, {}, one}, {"a", 1, {}, two}, {"b", 0, {}, three}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->size(), 3u);
  auto a = MakeReader("a", {FromStart(0), FromStart(1)});
  EXPECT_THAT(Values(Take(a.get(), 2)), ::testing::UnorderedElementsAre("one", "two"));
  auto b = MakeReader("b", {FromStart()});
  EXPECT_THAT(Values(Take(b.get(), 1)), ElementsAre("three"));
}

TEST_P(EventLogConformance, ReadingBeginsAtAnyOffset) {
  MakeTopic("events", 1);
  auto producer = MakeProducer();
  auto batch = Append(producer.get(), "events", 0, Numbered("v", 10));
  ASSERT_TRUE(batch.ok());
  auto second = Append(producer.get(), "events", 0, Numbered("w", 10));
  ASSERT_TRUE(second.ok());
  auto reader = MakeReader("events", {{0, ReadPosition::Kind::kOffset, batch->base_offset + 7}});
  const std::vector<Read> read = Take(reader.get(), 13);
  ASSERT_EQ(read.size(), 13u);
  EXPECT_EQ(read[0].value, "v7");
  EXPECT_EQ(read[3].value, "w0");
  EXPECT_EQ(read[12].value, "w9");
}

TEST_P(EventLogConformance, ReadingBeginsAtATime) {
  MakeTopic("events", 1);
  auto producer = MakeProducer();
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(
        Append(producer.get(), "events", 0, Numbered(absl::StrCat("b", i, "-"), 5), kBaseTime + i * 1'000'000).ok());
  }
  auto middle = MakeReader("events", {{0, ReadPosition::Kind::kTime, kBaseTime + 7 * 1'000'000 + 2000}});
  EXPECT_EQ(Take(middle.get(), 1)[0].value, "b7-2");
  auto between = MakeReader("events", {{0, ReadPosition::Kind::kTime, kBaseTime + 7 * 1'000'000 + 500'000}});
  EXPECT_EQ(Take(between.get(), 1)[0].value, "b8-0");
  auto before = MakeReader("events", {{0, ReadPosition::Kind::kTime, 1'000'000}});
  EXPECT_EQ(Take(before.get(), 1)[0].value, "b0-0");
  auto after = MakeReader("events", {{0, ReadPosition::Kind::kTime, kBaseTime + 3600ll * 1'000'000}});
  EXPECT_TRUE(IsSilent(after.get()));
}

TEST_P(EventLogConformance, ReadingFromTheEndSeesOnlyWhatComesLater) {
  MakeTopic("events", 1);
  auto producer = MakeProducer();
  ASSERT_TRUE(Append(producer.get(), "events", 0, {"old"}).ok());
  auto reader = MakeReader("events", {{0, ReadPosition::Kind::kEnd, 0}});
  EXPECT_TRUE(IsSilent(reader.get()));
  ASSERT_TRUE(Append(producer.get(), "events", 0, {"new"}).ok());
  EXPECT_THAT(Values(Take(reader.get(), 1)), ElementsAre("new"));
}

TEST_P(EventLogConformance, PollWaitsForRecordsAndGivesUpInTime) {
  MakeTopic("events", 1);
  auto producer = MakeProducer();
  auto reader = MakeReader("events", {FromStart()});
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(IsSilent(reader.get(), std::chrono::milliseconds(50)));
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(45));
  std::thread appender([&] { EXPECT_TRUE(Append(producer.get(), "events", 0, {"awaited"}).ok()); });
  auto batches = reader->Poll(subject_->patience(), 1 << 20);
  appender.join();
  ASSERT_TRUE(batches.ok()) << batches.status();
  ASSERT_EQ(batches->size(), 1u);
  EXPECT_EQ((*batches)[0].records[0].value, "awaited");
}

TEST_P(EventLogConformance, PollReturnsAboutAsManyBytesAsAskedFor) {
  MakeTopic("events", 1);
  auto producer = MakeProducer();
  constexpr int kBatches = 40;
  for (int i = 0; i < kBatches; ++i) {
    ASSERT_TRUE(Append(producer.get(), "events", 0, std::vector<std::string>(10, std::string(1000, 'v'))).ok());
  }
  auto reader = MakeReader("events", {FromStart()});
  size_t records = 0;
  while (records < kBatches * 10) {
    auto batches = reader->Poll(subject_->patience(), 30'000);
    ASSERT_TRUE(batches.ok()) << batches.status();
    ASSERT_FALSE(batches->empty());
    size_t bytes = 0;
    for (const FetchedBatch& batch : *batches) {
      records += batch.records.size();
      for (const FetchedRecord& record : batch.records) bytes += record.value.size();
    }
    EXPECT_LE(bytes, 60'000u);
  }
  EXPECT_EQ(records, kBatches * 10u);
}

TEST_P(EventLogConformance, FetchedBatchesOutliveTheReader) {
  MakeTopic("events", 1);
  auto producer = MakeProducer();
  ASSERT_TRUE(Append(producer.get(), "events", 0, Numbered("v", 100)).ok());
  std::vector<FetchedBatch> kept;
  {
    auto reader = MakeReader("events", {FromStart()});
    size_t count = 0;
    while (count < 100) {
      auto batches = reader->Poll(subject_->patience(), 1 << 20);
      ASSERT_TRUE(batches.ok()) << batches.status();
      for (FetchedBatch& batch : *batches) {
        count += batch.records.size();
        kept.push_back(std::move(batch));
      }
    }
  }
  std::vector<Read> read;
  Collect(kept, &read);
  EXPECT_EQ(Values(read), Numbered("v", 100));
}

TEST_P(EventLogConformance, CancelEndsAWaitingPollAndAllLaterOnes) {
  MakeTopic("events", 1);
  auto reader = MakeReader("events", {FromStart()});
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    reader->Cancel();
  });
  EXPECT_EQ(reader->Poll(subject_->patience(), 1 << 20).status().code(), absl::StatusCode::kCancelled);
  canceller.join();
  EXPECT_EQ(reader->Poll(std::chrono::milliseconds(0), 1 << 20).status().code(), absl::StatusCode::kCancelled);
  auto consumer = MakeConsumer("group", "events");
  std::thread second([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    consumer->Cancel();
  });
  EXPECT_EQ(consumer->Poll(subject_->patience(), 1 << 20).status().code(), absl::StatusCode::kCancelled);
  second.join();
}

TEST_P(EventLogConformance, CommitStoresRecordsAndOffsetsTogether) {
  MakeTopic("in", 1);
  MakeTopic("out", 2);
  auto plain = MakeProducer();
  auto batch = Append(plain.get(), "in", 0, Numbered("in", 4));
  ASSERT_TRUE(batch.ok());
  auto producer = MakeProducer("mover-1");
  auto consumer = MakeConsumer("mover", "in");
  const std::vector<Read> read = Take(consumer.get(), 4);
  ASSERT_EQ(read.size(), 4u);
  const std::vector<Record> left = {{"k", "left", kBaseTime}};
  const std::vector<Record> right = {{"k", "right", kBaseTime}};
  Transaction transaction;
  transaction.appends = {{"out", 0, {}, left}, {"out", 1, {}, right}};
  transaction.offsets = {{"mover", "in", {{0, batch->base_offset + 3}}}};
  transaction.consumer = consumer.get();
  auto committed = producer->Commit(transaction);
  ASSERT_TRUE(committed.ok()) << committed.status();
  EXPECT_EQ(committed->size(), 2u);
  auto offsets = log()->CommittedOffsets("mover", "in");
  ASSERT_TRUE(offsets.ok()) << offsets.status();
  EXPECT_THAT(*offsets, ElementsAre(std::make_pair(0, batch->base_offset + 3)));
  auto out = MakeReader("out", {FromStart(0), FromStart(1)});
  EXPECT_THAT(Values(Take(out.get(), 2)), ::testing::UnorderedElementsAre("left", "right"));
  consumer.reset();
  auto successor = MakeConsumer("mover", "in");
  const std::vector<Read> rest = Take(successor.get(), 1);
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_EQ(rest[0].value, "in3");
}

TEST_P(EventLogConformance, OffsetsMayBeStoredWithoutAGroupMember) {
  MakeTopic("in", 2);
  auto producer = MakeProducer("single-1");
  ASSERT_TRUE(Append(MakeProducer().get(), "in", 1, Numbered("v", 5)).ok());
  Transaction transaction;
  transaction.offsets = {{"single", "in", {{1, 2}}}};
  auto committed = producer->Commit(transaction);
  ASSERT_TRUE(committed.ok()) << committed.status();
  auto offsets = log()->CommittedOffsets("single", "in");
  ASSERT_TRUE(offsets.ok()) << offsets.status();
  EXPECT_THAT(*offsets, ElementsAre(std::make_pair(1, int64_t{2})));
}

TEST_P(EventLogConformance, CommitNeedsATransactionalId) {
  MakeTopic("events", 1);
  auto producer = MakeProducer();
  const std::vector<Record> records = {{"k", "v", kBaseTime}};
  Transaction transaction;
  transaction.appends = {{"events", 0, {}, records}};
  EXPECT_EQ(producer->Commit(transaction).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(EventLogConformance, ANewerProducerFencesTheOlder) {
  MakeTopic("events", 1);
  auto older = MakeProducer("writer-1");
  const std::vector<Record> first = {{"k", "first", kBaseTime}};
  const std::vector<Record> stale = {{"k", "stale", kBaseTime}};
  const std::vector<Record> second = {{"k", "second", kBaseTime}};
  Transaction transaction;
  transaction.appends = {{"events", 0, {}, first}};
  ASSERT_TRUE(older->Commit(transaction).ok());
  auto newer = MakeProducer("writer-1");
  transaction.appends = {{"events", 0, {}, stale}};
  const absl::Status fenced = older->Commit(transaction).status();
  EXPECT_EQ(fenced.code(), absl::StatusCode::kAborted) << fenced;
  EXPECT_EQ(GetErrorDetails(fenced).reason, "FENCED");
  transaction.appends = {{"events", 0, {}, second}};
  ASSERT_TRUE(newer->Commit(transaction).ok());
  auto reader = MakeReader("events", {FromStart()});
  EXPECT_THAT(Values(Take(reader.get(), 2)), ElementsAre("first", "second"));
  EXPECT_TRUE(IsSilent(reader.get()));
}

TEST_P(EventLogConformance, MembersOfAGroupShareThePartitions) {
  MakeTopic("events", 4);
  auto producer = MakeProducer();
  auto first = MakeConsumer("team", "events");
  ASSERT_TRUE(Eventually([&] {
    EXPECT_TRUE(IsSilent(first.get(), std::chrono::milliseconds(20)));
    return first->Assignment().size() == 4;
  }));
  auto second = MakeConsumer("team", "events");
  ASSERT_TRUE(Eventually([&] {
    EXPECT_TRUE(IsSilent(first.get(), std::chrono::milliseconds(20)));
    EXPECT_TRUE(IsSilent(second.get(), std::chrono::milliseconds(20)));
    return first->Assignment().size() == 2 && second->Assignment().size() == 2;
  }));
  std::vector<int> all = first->Assignment();
  for (const int p : second->Assignment()) all.push_back(p);
  EXPECT_THAT(all, ::testing::UnorderedElementsAre(0, 1, 2, 3));
  for (int p = 0; p < 4; ++p) ASSERT_TRUE(Append(producer.get(), "events", p, {absl::StrCat("p", p)}).ok());
  std::vector<Read> read = Take(first.get(), 2);
  for (const Read& r : Take(second.get(), 2)) read.push_back(r);
  EXPECT_THAT(Values(read), ::testing::UnorderedElementsAre("p0", "p1", "p2", "p3"));
  second.reset();
  EXPECT_TRUE(Eventually([&] {
    auto polled = first->Poll(std::chrono::milliseconds(20), 1 << 20);
    EXPECT_TRUE(polled.ok()) << polled.status();
    return first->Assignment().size() == 4;
  }));
}

TEST_P(EventLogConformance, AnotherGroupReadsEverythingForItself) {
  MakeTopic("events", 2);
  auto producer = MakeProducer();
  ASSERT_TRUE(Append(producer.get(), "events", 0, {"a"}).ok());
  ASSERT_TRUE(Append(producer.get(), "events", 1, {"b"}).ok());
  auto one = MakeConsumer("one", "events");
  auto two = MakeConsumer("two", "events");
  EXPECT_THAT(Values(Take(one.get(), 2)), ::testing::UnorderedElementsAre("a", "b"));
  EXPECT_THAT(Values(Take(two.get(), 2)), ::testing::UnorderedElementsAre("a", "b"));
}

TEST_P(EventLogConformance, TheListenerIsToldAndMaySetWhereToStart) {
  MakeTopic("events", 1);
  auto producer = MakeProducer();
  auto batch = Append(producer.get(), "events", 0, Numbered("v", 10));
  ASSERT_TRUE(batch.ok());
  std::vector<int> assigned;
  RebalanceListener listener;
  listener.assigned = [&](const std::vector<int>& partitions) {
    assigned = partitions;
    return std::vector<std::pair<int, int64_t>>{{0, batch->base_offset + 6}};
  };
  auto consumer = MakeConsumer("group", "events", std::move(listener));
  const std::vector<Read> read = Take(consumer.get(), 4);
  EXPECT_THAT(assigned, ElementsAre(0));
  ASSERT_EQ(read.size(), 4u);
  EXPECT_EQ(read[0].value, "v6");
}

TEST_P(EventLogConformance, RevokedPartitionsMayStillBeCommitted) {
  MakeTopic("events", 2);
  auto plain = MakeProducer();
  for (int p = 0; p < 2; ++p) ASSERT_TRUE(Append(plain.get(), "events", p, Numbered("v", 3)).ok());
  auto producer = MakeProducer("worker-1");
  Consumer* self = nullptr;
  std::map<int, int64_t> next;
  std::vector<int> revoked;
  RebalanceListener listener;
  listener.revoked = [&](const std::vector<int>& partitions) {
    revoked = partitions;
    Transaction transaction;
    transaction.consumer = self;
    GroupOffsets offsets{"workers", "events", {}};
    for (const int p : partitions) offsets.next_offsets.emplace_back(p, next[p]);
    transaction.offsets = {offsets};
    const absl::Status status = producer->Commit(transaction).status();
    EXPECT_TRUE(status.ok()) << status;
  };
  auto first = MakeConsumer("workers", "events", std::move(listener));
  self = first.get();
  for (const Read& r : Take(first.get(), 6)) next[r.partition] = r.offset + 1;
  auto second = MakeConsumer("workers", "events");
  ASSERT_TRUE(Eventually([&] {
    EXPECT_TRUE(IsSilent(first.get(), std::chrono::milliseconds(20)));
    EXPECT_TRUE(IsSilent(second.get(), std::chrono::milliseconds(20)));
    return !second->Assignment().empty();
  }));
  EXPECT_EQ(second->Assignment(), revoked);
  EXPECT_TRUE(IsSilent(second.get()));
}

TEST_P(EventLogConformance, APausedConsumerFetchesNothing) {
  MakeTopic("events", 1);
  auto producer = MakeProducer();
  auto consumer = MakeConsumer("group", "events");
  ASSERT_TRUE(Append(producer.get(), "events", 0, {"before"}).ok());
  EXPECT_THAT(Values(Take(consumer.get(), 1)), ElementsAre("before"));
  consumer->SetPaused(true);
  ASSERT_TRUE(Append(producer.get(), "events", 0, {"during"}).ok());
  EXPECT_TRUE(IsSilent(consumer.get()));
  consumer->SetPaused(false);
  EXPECT_THAT(Values(Take(consumer.get(), 1)), ElementsAre("during"));
}

TEST_P(EventLogConformance, SeekGoesBackAndOn) {
  MakeTopic("events", 1);
  auto producer = MakeProducer();
  auto batch = Append(producer.get(), "events", 0, Numbered("v", 10));
  ASSERT_TRUE(batch.ok());
  auto consumer = MakeConsumer("group", "events");
  EXPECT_EQ(Take(consumer.get(), 10).size(), 10u);
  ASSERT_TRUE(consumer->Seek(0, batch->base_offset + 2).ok());
  const std::vector<Read> again = Take(consumer.get(), 8);
  ASSERT_EQ(again.size(), 8u);
  EXPECT_EQ(again[0].value, "v2");
  EXPECT_FALSE(consumer->Seek(1, 0).ok());
}

TEST_P(EventLogConformance, DescribeTellsOffsetsAndLag) {
  MakeTopic("events", 2);
  auto producer = MakeProducer();
  ASSERT_TRUE(Append(producer.get(), "events", 0, Numbered("v", 10)).ok());
  ASSERT_TRUE(Append(producer.get(), "events", 1, Numbered("v", 5)).ok());
  auto keeper = MakeProducer("keeper-1");
  Transaction transaction;
  transaction.offsets = {{"group", "events", {{0, 4}, {1, 5}}}};
  ASSERT_TRUE(keeper->Commit(transaction).ok());
  auto info = log()->DescribeTopic("events");
  ASSERT_TRUE(info.ok()) << info.status();
  ASSERT_EQ(info->partitions.size(), 2u);
  EXPECT_EQ(info->partitions[0].partition, 0);
  EXPECT_EQ(info->partitions[0].start_offset, 0);
  EXPECT_EQ(info->partitions[0].end_offset, 10);
  EXPECT_EQ(info->partitions[1].end_offset, 5);
  ASSERT_EQ(info->groups.size(), 1u);
  EXPECT_EQ(info->groups[0].group, "group");
  EXPECT_EQ(info->groups[0].lag, 6);
}

TEST_P(EventLogConformance, DeletedGroupsAreForgotten) {
  MakeTopic("events", 1);
  auto producer = MakeProducer("keeper-1");
  ASSERT_TRUE(Append(MakeProducer().get(), "events", 0, Numbered("v", 3)).ok());
  Transaction transaction;
  transaction.offsets = {{"gone", "events", {{0, 2}}}};
  ASSERT_TRUE(producer->Commit(transaction).ok());
  ASSERT_TRUE(log()->DeleteGroup("gone", "events").ok());
  auto offsets = log()->CommittedOffsets("gone", "events");
  ASSERT_TRUE(offsets.ok()) << offsets.status();
  EXPECT_THAT(*offsets, IsEmpty());
}

TEST_P(EventLogConformance, TombstonesAreReadAsSuch) {
  MakeTopic("catalog", 1, /*compacted=*/true);
  auto producer = MakeProducer();
  const std::vector<Record> records = {{"k", "value", kBaseTime}, {"k", "", kBaseTime + 1000, true}};
  ASSERT_TRUE(producer->Append({{"catalog", 0, {}, records}}).ok());
  auto reader = MakeReader("catalog", {FromStart()});
  const std::vector<Read> read = Take(reader.get(), 2);
  ASSERT_EQ(read.size(), 2u);
  EXPECT_FALSE(read[0].tombstone);
  EXPECT_TRUE(read[1].tombstone);
  EXPECT_EQ(read[1].key, "k");
}

TEST_P(EventLogConformance, WhatWasAcknowledgedIsThereAfterReopening) {
  MakeTopic("events", 2);
  {
    auto producer = MakeProducer("keeper-1");
    ASSERT_TRUE(Append(producer.get(), "events", 1, Numbered("v", 5)).ok());
    Transaction transaction;
    transaction.offsets = {{"group", "events", {{1, 3}}}};
    ASSERT_TRUE(producer->Commit(transaction).ok());
  }
  subject_->Reopen();
  auto offsets = log()->CommittedOffsets("group", "events");
  ASSERT_TRUE(offsets.ok()) << offsets.status();
  EXPECT_THAT(*offsets, ElementsAre(std::make_pair(1, int64_t{3})));
  auto reader = MakeReader("events", {FromStart(0), FromStart(1)});
  EXPECT_EQ(Values(Take(reader.get(), 5)), Numbered("v", 5));
  auto producer = MakeProducer();
  auto more = Append(producer.get(), "events", 1, {"more"});
  ASSERT_TRUE(more.ok());
  EXPECT_GE(more->base_offset, 5);
  EXPECT_THAT(Values(Take(reader.get(), 1)), ElementsAre("more"));
}

TEST_P(EventLogConformance, LocalWritesGoWithTheirRecords) {
  LocalStore* store = log()->local_store();
  if (store == nullptr) GTEST_SKIP() << "this log has no local store";
  MakeTopic("events", 1);
  ASSERT_TRUE(store->EnsureFamily("ids").ok());
  auto producer = MakeProducer();
  const std::vector<Record> records = {{"k", "v", kBaseTime}};
  auto result = producer->Append({{"events", 0, {}, records}}, {{"ids", "id-1", "seen"}, {"ids", "id-2", "seen"}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(store->Get("ids", "id-1")->value_or("absent"), "seen");
  result = producer->Append({{"nowhere", 0, {}, records}}, {{"ids", "id-3", "seen"}});
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(store->Get("ids", "id-3")->value_or("absent"), "absent");
  result = producer->Append({}, {{"ids", "id-1", std::nullopt}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(store->Get("ids", "id-1")->value_or("absent"), "absent");
  EXPECT_FALSE(producer->Append({}, {{"no family", "k", "v"}}).ok());
}

TEST_P(EventLogConformance, LocalStoreScansInOrderAndDeletesRanges) {
  LocalStore* store = log()->local_store();
  if (store == nullptr) GTEST_SKIP() << "this log has no local store";
  ASSERT_TRUE(store->EnsureFamily("state").ok());
  std::vector<LocalWrite> writes;
  for (int i = 0; i < 100; ++i) writes.push_back({"state", absl::StrCat("k", 100 + i), absl::StrCat("v", i)});
  ASSERT_TRUE(store->Write(writes, true).ok());
  std::vector<std::string> keys;
  ASSERT_TRUE(store
                  ->Scan("state", "k110", "k113",
                         [&](absl::string_view key, absl::string_view) {
                           keys.emplace_back(key);
                           return true;
                         })
                  .ok());
  EXPECT_THAT(keys, ElementsAre("k110", "k111", "k112"));
  ASSERT_TRUE(store->DeleteRange("state", "k100", "k190").ok());
  keys.clear();
  ASSERT_TRUE(store
                  ->Scan("state", "", "",
                         [&](absl::string_view key, absl::string_view) {
                           keys.emplace_back(key);
                           return keys.size() < 5;
                         })
                  .ok());
  EXPECT_THAT(keys, ElementsAre("k190", "k191", "k192", "k193", "k194"));
  auto many = store->MultiGet("state", {"k191", "k100", "k199"});
  ASSERT_TRUE(many.ok());
  EXPECT_EQ((*many)[0].value_or("absent"), "v91");
  EXPECT_EQ((*many)[1].value_or("absent"), "absent");
  EXPECT_EQ((*many)[2].value_or("absent"), "v99");
  EXPECT_GT(store->ApproximateBytes("state"), 0);
  ASSERT_TRUE(store->DeleteRange("state", "k195", "").ok());
  EXPECT_TRUE(store->DeleteRange("state", "k5", "k4").ok()) << "an empty range";
  many = store->MultiGet("state", {"k194", "k195", "k199"});
  ASSERT_TRUE(many.ok());
  EXPECT_EQ((*many)[0].value_or("absent"), "v94");
  EXPECT_EQ((*many)[1].value_or("absent"), "absent");
  EXPECT_EQ((*many)[2].value_or("absent"), "absent");
  EXPECT_EQ(store->Get("nowhere", "k").status().code(), absl::StatusCode::kNotFound);
}

TEST_P(EventLogConformance, AHealthyLogSaysSo) {
  EXPECT_TRUE(log()->Health().ok()) << log()->Health();
  EXPECT_TRUE(log()->RunMaintenance().ok());
}

}  // namespace naru::event_log
