// Errors of brokers that a real one gives only in rare moments, made by librdkafka's mock cluster. It says nothing
// about what a broker stores: kafka_event_log_test.cc and kafka_faults_test.cc do.
#include "common/event_log/kafka_transactor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <librdkafka/rdkafka_mock.h>

#include "common/kafka/errors.h"
#include "common/status/status.h"

namespace naru::event_log {
namespace {

// Kafka's numbers of requests.
constexpr int16_t kFindCoordinator = 10;
constexpr int16_t kProduce = 0;
constexpr int16_t kInitProducerId = 22;
constexpr int16_t kEndTransaction = 26;
constexpr int16_t kCommitOffsets = 28;

class KafkaTransactorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    host_ = *kafka::Client::Make(RD_KAFKA_PRODUCER, {"127.0.0.1:1"}, {});
    cluster_ = rd_kafka_mock_cluster_new(host_->get(), 1);
    ASSERT_NE(cluster_, nullptr);
    rd_kafka_mock_topic_create(cluster_, "t", 2, 1);
    shared_.options.brokers = rd_kafka_mock_cluster_bootstraps(cluster_);
    shared_.options.transaction_timeout = std::chrono::seconds(5);
    shared_.partition_count = [](const std::string&) { return 2; };
    shared_.stable_ends = [](rd_kafka_topic_partition_list_t*) { return absl::UnavailableError("not asked here"); };
    shared_.note = [](std::string) {};
  }
  void TearDown() override {
    if (cluster_ != nullptr) rd_kafka_mock_cluster_destroy(cluster_);
  }

  void Push(int16_t request, std::vector<rd_kafka_resp_err_t> errors) {
    rd_kafka_mock_push_request_errors_array(cluster_, request, errors.size(), errors.data());
  }

  std::unique_ptr<KafkaTransactor> Open() {
    auto transactor = KafkaTransactor::Open(shared_, "tx");
    EXPECT_TRUE(transactor.ok()) << transactor.status();
    return transactor.ok() ? *std::move(transactor) : nullptr;
  }

  absl::Status Commit(KafkaTransactor* transactor) {
    Transaction transaction;
    transaction.appends = {{"t", 0, {}, records_}, {"t", 1, {}, records_}};
    transaction.offsets = {{"g", "t", {{0, 1}}}};
    return transactor->Commit(transaction).status();
  }

  KafkaShared shared_;
  std::unique_ptr<kafka::Client> host_;
  rd_kafka_mock_cluster_t* cluster_ = nullptr;
  const std::vector<Record> records_ = {{"k", "v", 1'700'000'000'000'000, false}};
};

TEST_F(KafkaTransactorTest, OpenWaitsWhileTheCoordinatorLoads) {
  Push(kFindCoordinator, {RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE});
  Push(kInitProducerId,
       {RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS});
  EXPECT_EQ(Commit(Open().get()), absl::OkStatus());
}

TEST_F(KafkaTransactorTest, WhatPassesIsRetriedWithinACommit) {
  auto transactor = Open();
  Push(kProduce, {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT});
  Push(kCommitOffsets, {RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS});
  Push(kEndTransaction, {RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE});
  EXPECT_EQ(Commit(transactor.get()), absl::OkStatus());
}

TEST_F(KafkaTransactorTest, AnUnknownMemberIsFencedAndTheProducerIsNot) {
  auto transactor = Open();
  Push(kCommitOffsets, {RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID});
  const absl::Status refused = Commit(transactor.get());
  EXPECT_TRUE(kafka::IsFenced(refused)) << refused;
  EXPECT_EQ(transactor->broken(), absl::OkStatus());
  EXPECT_EQ(Commit(transactor.get()), absl::OkStatus());
}

TEST_F(KafkaTransactorTest, AProducerFencedAtTheLastMomentStaysFenced) {
  auto transactor = Open();
  Push(kEndTransaction, {RD_KAFKA_RESP_ERR_PRODUCER_FENCED});
  for (int i = 0; i < 2; ++i) {
    const absl::Status refused = Commit(transactor.get());
    EXPECT_TRUE(kafka::IsFenced(refused)) << refused;
  }
  EXPECT_TRUE(kafka::IsFenced(transactor->broken()));
}

TEST_F(KafkaTransactorTest, ARecordThatABrokerRefusesAbortsTheWhole) {
  auto transactor = Open();
  Push(kProduce, {RD_KAFKA_RESP_ERR_INVALID_RECORD});
  const absl::Status refused = Commit(transactor.get());
  EXPECT_FALSE(refused.ok());
  EXPECT_FALSE(kafka::IsFenced(refused)) << refused;
  // librdkafka needs another try to renew its sequence numbers, which is what UNAVAILABLE asks for.
  absl::Status again;
  for (int tries = 0; tries < 5; ++tries) {
    again = Commit(transactor.get());
    if (again.code() != absl::StatusCode::kUnavailable) break;
  }
  EXPECT_EQ(again, absl::OkStatus());
}

TEST_F(KafkaTransactorTest, ACommitWithoutAnswerIsNotCalledAborted) {
  shared_.options.transaction_timeout = std::chrono::milliseconds(1000);
  auto transactor = Open();
  ASSERT_EQ(Commit(transactor.get()), absl::OkStatus());
  Push(kEndTransaction, std::vector<rd_kafka_resp_err_t>(1000, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE));
  const absl::Status unknown = Commit(transactor.get());
  EXPECT_EQ(unknown.code(), absl::StatusCode::kAborted) << unknown;
  EXPECT_EQ(GetErrorDetails(unknown).reason, "COMMIT_UNKNOWN") << unknown;
  EXPECT_FALSE(transactor->broken().ok());
}

}  // namespace
}  // namespace naru::event_log
