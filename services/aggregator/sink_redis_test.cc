// The Redis writer against a real Redis.
#include "common/redis/redis_client.h"
#include "services/aggregator/sink_set_conformance.h"
#include "services/aggregator/sink_writer_conformance.h"

namespace naru::aggregator::testing {
namespace {

class RedisKeysTest : public SinkWriterConformance {
 protected:
  // Not a parametrized test: the parameter is this store.
  void SetUp() override {
    auto store = MakeRedisStore(clock_);
    if (!store.ok()) NARU_REQUIRE_SERVER_OR_SKIP(store.status().ToString());
    store_ = *std::move(store);
    writer_ = store_->MakeWriter();
    const std::string address = store_->Spec().redis().address();
    options_.host = "127.0.0.1";
    options_.port = std::stoi(address.substr(address.rfind(':') + 1));
  }
  redis::RedisOptions options_;
};

INSTANTIATE_TEST_SUITE_P(Redis, SinkWriterConformance, ::testing::Values(MakeRedisStore));
INSTANTIATE_TEST_SUITE_P(Redis, SinkSetConformance, ::testing::Values([](event_log::EventLog&, const Clock& clock) {
                           return MakeRedisStore(clock);
                         }));

// The keys that web pages read; they are documented in sink_redis.h.
TEST_F(RedisKeysTest, AreAsDocumented) {
  const SinkRow row = Row("F", 3);
  ASSERT_TRUE(writer_->Prepare(Layout()).ok());
  Write(*writer_, {row}, 10, 100, true);
  redis::RedisClient client(options_);
  const std::string base = "test:hot-activity";
  EXPECT_EQ(client.Call({"HGET", base + ":2024-04-30T23:00:00Z:F,20", "clicks"})->text, "3");
  EXPECT_EQ(client.Call({"HGET", base + ":2024-04-30T23:00:00Z:F,20", "gender"})->text, "F");
  EXPECT_EQ(client.Call({"ZSCORE", base + ":2024-04-30T23:00:00Z:F,20:words", "soap"})->text, "3");
  EXPECT_EQ(client.Call({"SISMEMBER", base + ":2024-04-30T23:00:00Z", "F,20"})->integer, 1);
  EXPECT_EQ(client.Call({"ZSCORE", base + ":windows", "2024-04-30T23:00:00Z"})->text,
            absl::StrCat(Time("2024-04-30T23:00:00Z") / 1000));
  const int64_t retention_ms = Layout().retention_us / 1000;
  for (const char* key : {":2024-04-30T23:00:00Z:F,20", ":2024-04-30T23:00:00Z:F,20:words", ":2024-04-30T23:00:00Z"}) {
    const int64_t left = client.Call({"PTTL", base + key})->integer;
    EXPECT_LE(left, retention_ms) << key;
    EXPECT_GT(left, retention_ms - 60'000) << key;
  }
}

TEST_F(RedisKeysTest, ARowThatWasRemovedIsNotBroughtBackByAWriterThatHung) {
  ASSERT_TRUE(writer_->Prepare(Layout()).ok());
  Write(*writer_, {Row("F", 3), Row("M", 3)}, 10, 100, true);
  ASSERT_TRUE(writer_->Begin({10, false, mark_}).ok());
  const auto successor = store_->MakeWriter();
  ASSERT_TRUE(successor->Prepare(Layout()).ok());
  ASSERT_TRUE(successor->Begin({11, false, mark_}).ok());
  ASSERT_TRUE(successor->Remove(std::vector<SinkRow>{Row("F", 0)}, 1).ok());
  ASSERT_TRUE(successor->Finish({11, 1}).ok());
  std::vector<RefusedRow> refused;
  ASSERT_TRUE(writer_->Write(std::vector<SinkRow>{Row("F", 4), Row("M", 4)}, 150, &refused).ok());
  EXPECT_EQ(Clicks("F"), -1);
  EXPECT_EQ(Clicks("M"), 3);
}

TEST_F(RedisKeysTest, AServerThatForgotTheScriptsIsGivenThemAgain) {
  ASSERT_TRUE(writer_->Prepare(Layout()).ok());
  Write(*writer_, {Row("F", 3)}, 10, 100, true);
  redis::RedisClient client(options_);
  ASSERT_TRUE(client.Call({"SCRIPT", "FLUSH"}).ok());
  Write(*writer_, {Row("F", 4)}, 10, 101);
  EXPECT_EQ(Clicks("F"), 4);
}

}  // namespace
}  // namespace naru::aggregator::testing
