#include "common/kafka/errors.h"

#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>

#include "common/status/status.h"

namespace naru::kafka {
namespace {

TEST(KafkaErrors, NoErrorIsOk) {
  EXPECT_TRUE(StatusOf(RD_KAFKA_RESP_ERR_NO_ERROR, "x").ok());
  EXPECT_TRUE(TakeError(nullptr, "x").ok());
}

TEST(KafkaErrors, WhatEndsAProducerOrMemberIsFenced) {
  for (const auto error : {RD_KAFKA_RESP_ERR__FENCED, RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
                           RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
                           RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID}) {
    const absl::Status status = StatusOf(error, "committing");
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
    EXPECT_TRUE(IsFenced(status)) << status;
    EXPECT_FALSE(IsRetriable(status)) << status;
  }
  EXPECT_FALSE(IsFenced(StatusOf(RD_KAFKA_RESP_ERR__FATAL, "x")));
}

TEST(KafkaErrors, WhatPassesByItselfMayBeTriedAgain) {
  for (const auto error :
       {RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, RD_KAFKA_RESP_ERR__TIMED_OUT,
        RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
        RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS}) {
    EXPECT_EQ(StatusOf(error, "x").code(), absl::StatusCode::kUnavailable) << rd_kafka_err2name(error);
    EXPECT_TRUE(IsRetriable(StatusOf(error, "x")));
  }
}

TEST(KafkaErrors, NamesTheErrorAndWhatWasAttempted) {
  const absl::Status status = StatusOf(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "topic events");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "topic events: Broker: Unknown topic or partition");
  EXPECT_EQ(GetErrorDetails(status).reason, "KAFKA_UNKNOWN_TOPIC_OR_PART");
  EXPECT_EQ(GetErrorDetails(StatusOf(RD_KAFKA_RESP_ERR__TRANSPORT, "x")).reason, "KAFKA_TRANSPORT");
}

}  // namespace
}  // namespace naru::kafka
