// A Sink as a person uses it: a pack with a Sink, a real Redis with a password, `naru sink`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/redis/redis_client.h"
#include "common/testing/redis_server.h"
#include "tests/e2e/naru_process.h"

namespace naru::e2e {
namespace {

using ::naru::testing::ProcessResult;
using ::naru::testing::TempDir;
using ::naru::testing::WaitUntil;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kPack[] = R"(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: Bought}
spec: {schema: {properties: {gender: {type: string}}}}
---
apiVersion: naru.dev/v1
kind: Metric
metadata: {name: sales}
spec:
  window: {type: tumbling, size: 1h}
  dimensions: [{name: gender}]
  measures: [{name: sold, agg: count}]
---
apiVersion: naru.dev/v1
kind: Sink
metadata: {name: pages}
spec: {redis: {address: "127.0.0.1:PORT", key_prefix: shop}, metrics: [sales], password: {secret: redis-password}, interval: 20ms}
)";

TEST(Sinks, RowsReachTheStoreAndCanBeHeldBackAndFilledAgain) {
  auto server = naru::testing::RedisServer::Start({"--requirepass", "hunter2"});
  if (!server.ok()) NARU_REQUIRE_SERVER_OR_SKIP(server.status().ToString());
  TempDir pack, data, secrets;
  std::string text = kPack;
  text.replace(text.find("PORT"), 4, absl::StrCat((*server)->port()));
  pack.Write("shop.yaml", text);
  secrets.Write("redis-password", "hunter2\n");
  auto started = Platform::Start(data.File("data"), {pack.path()}, {"--secrets_dir", secrets.path()});
  ASSERT_TRUE(started.ok()) << started.status();
  Platform& naru = **started;

  redis::RedisOptions options;
  options.host = "127.0.0.1";
  options.port = (*server)->port();
  options.password = "hunter2";
  redis::RedisClient redis(options);
  const auto sold = [&] {
    const auto reply = redis.Call({"HGET", "shop:sales:2026-11-01T09:00:00Z:F", "sold"});
    return reply.ok() ? reply->text : reply.status().ToString();
  };
  const auto publish = [&](const std::string& id) {
    const std::string line = absl::StrCat(
        R"({"id":")", id,
        R"(","source":"shop","type":"Bought","subject":"u","time":"2026-11-01T09:30:00Z","data":{"gender":"F"}})",
        "\n");
    EXPECT_EQ(naru.Naru({"publish", "-"}, line).exit_code, 0);
  };
  publish("1");
  publish("2");
  EXPECT_TRUE(WaitUntil([&] { return sold() == "2"; })) << sold();

  ProcessResult result = naru.Naru({"sink", "pause", "pages"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(WaitUntil([&] { return naru.Naru({"sink", "list"}).out.find("PAUSED") != std::string::npos; }));
  publish("3");
  EXPECT_EQ(sold(), "2");
  EXPECT_EQ(naru.Naru({"sink", "resume", "pages"}).exit_code, 0);
  EXPECT_TRUE(WaitUntil([&] { return sold() == "3"; })) << sold();

  ASSERT_TRUE(redis.Call({"HSET", "shop:sales:2026-11-01T09:00:00Z:F", "sold", "99"}).ok());
  EXPECT_EQ(naru.Naru({"sink", "resync", "pages"}).exit_code, 0);
  EXPECT_TRUE(WaitUntil([&] { return sold() == "3"; })) << sold();

  result = naru.Naru({"sink", "pause", "page"});
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("pages"));
  result = naru.Naru({"sink", "list", "--output", "json"});
  EXPECT_THAT(result.out, HasSubstr("\"sink\":\"pages\""));
  // Nothing that anybody sees holds the password.
  result.out += naru.Naru({"get", "Sink", "pages"}).out;
  EXPECT_EQ(*naru.Stop(), 0);
  EXPECT_THAT(result.out + naru.process().Stdout() + naru.process().Stderr(), Not(HasSubstr("hunter2")));
}

}  // namespace
}  // namespace naru::e2e
