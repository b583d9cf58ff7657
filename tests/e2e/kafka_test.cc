// `naru up` with its log on a real Kafka.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/testing/kafka_server.h"
#include "tests/e2e/naru_process.h"

namespace naru::e2e {
namespace {

using ::naru::testing::KafkaServer;
using ::naru::testing::ProcessResult;
using ::naru::testing::TempDir;
using ::testing::HasSubstr;

TEST(UpOnKafkaTest, TakesCountsAndGoesOnAfterARestartOnAnotherMachine) {
  auto kafka = KafkaServer::Start();
  if (!kafka.ok()) NARU_REQUIRE_SERVER_OR_SKIP(kafka.status());
  const std::vector<std::string> flags = {"--kafka_brokers", (*kafka)->brokers(), "--kafka_topic_prefix", "e2e."};
  const std::vector<std::string> simulate = {"simulate", "--pack",   "weblog", "--from",   "2026-11-01", "--days",
                                             "1",        "--events", "5000",   "--output", "json"};
  TempDir first_dir;
  std::string windows;
  int64_t broken = 0;
  {
    auto platform = Platform::Start(first_dir.File("data"), {"weblog"}, flags);
    ASSERT_TRUE(platform.ok()) << platform.status();
    const ProcessResult sent = (*platform)->Naru(simulate);
    ASSERT_EQ(sent.exit_code, 0) << sent.err;
    broken = JsonNumber(sent.out, "broken");
    EXPECT_EQ(JsonNumber(sent.out, "rejected"), broken);
    const ProcessResult rows = (*platform)->Naru({"query", "requests", "--output", "json"});
    ASSERT_EQ(rows.exit_code, 0) << rows.err;
    windows = rows.out;
    EXPECT_GT(Lines(windows).size(), 20);
    EXPECT_EQ(*(*platform)->Stop(), 0);
  }
  // Nothing but the brokers is kept: a new directory reads everything back.
  TempDir second_dir;
  auto platform = Platform::Start(second_dir.File("data"), {"weblog"}, flags);
  ASSERT_TRUE(platform.ok()) << platform.status();
  const ProcessResult again = (*platform)->Naru(simulate);
  EXPECT_EQ(JsonNumber(again.out, "accepted"), 0) << again.out << again.err;
  EXPECT_EQ(JsonNumber(again.out, "duplicate"), 5000 - broken);
  const ProcessResult rows = (*platform)->Naru({"query", "requests", "--output", "json"});
  EXPECT_EQ(rows.out, windows) << rows.err;
  const ProcessResult key = (*platform)->Naru({"key", "create", "--scopes", "read"});
  EXPECT_EQ(key.exit_code, 0) << key.err;
  EXPECT_EQ(*(*platform)->Stop(), 0);
  const ProcessResult listed =
      RunNaru({"key", "list", "--kafka_brokers", (*kafka)->brokers(), "--topic_prefix", "e2e.", "--output", "json"});
  EXPECT_EQ(Lines(listed.out).size(), 1) << listed.err;
}

}  // namespace
}  // namespace naru::e2e
