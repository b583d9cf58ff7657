#include "common/redis/redis_client.h"

#include <thread>

#include "absl/strings/numbers.h"
#include "common/status/status.h"
#include "common/testing/redis_server.h"
#include "common/testing/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace naru::redis {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class RedisClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = naru::testing::RedisServer::Start();
    if (!server.ok()) NARU_REQUIRE_SERVER_OR_SKIP(server.status().ToString());
    server_ = *std::move(server);
  }
  RedisOptions Options() const {
    RedisOptions options;
    options.host = "127.0.0.1";
    options.port = server_->port();
    return options;
  }
  std::unique_ptr<naru::testing::RedisServer> server_;
};

TEST_F(RedisClientTest, SendsBytesAndReadsEveryKindOfReply) {
  RedisClient client(Options());
  const std::string bytes("a\0b\r\n", 5);
  EXPECT_TRUE(client.Call({"SET", "k", bytes}).ok());
  EXPECT_EQ(client.Call({"GET", "k"})->text, bytes);
  EXPECT_EQ(client.Call({"GET", "none"})->kind, RedisReply::Kind::kNil);
  EXPECT_EQ(client.Call({"INCR", "n"})->integer, 1);
  const auto list = client.Call({"MGET", "k", "none"});
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->elements.size(), 2);
  EXPECT_EQ(list->elements[1].kind, RedisReply::Kind::kNil);
}

TEST_F(RedisClientTest, AnErrorReplyIsOnlyOfItsCommand) {
  RedisClient client(Options());
  const auto replies = client.Pipeline({{"SET", "k", "v"}, {"INCR", "k"}, {"HGET", "k", "f"}, {"GET", "k"}});
  ASSERT_TRUE(replies.ok()) << replies.status();
  EXPECT_TRUE((*replies)[1].is_error());
  EXPECT_EQ((*replies)[2].error_code(), "WRONGTYPE");
  EXPECT_EQ((*replies)[3].text, "v");
  const absl::Status status = client.Call({"HGET", "k", "f"}).status();
  EXPECT_EQ(GetErrorDetails(status).reason, "REDIS_WRONGTYPE");
}

TEST_F(RedisClientTest, ConnectsAgainWhenTheServerIsBack) {
  RedisClient client(Options());
  ASSERT_TRUE(client.Call({"PING"}).ok());
  server_->Kill();
  const absl::Status gone = client.Call({"PING"}).status();
  EXPECT_TRUE(absl::IsUnavailable(gone)) << gone;
  EXPECT_TRUE(absl::IsUnavailable(client.Call({"PING"}).status()));
  ASSERT_TRUE(server_->Restart().ok());
  EXPECT_EQ(client.Call({"PING"})->text, "PONG");
}

TEST_F(RedisClientTest, AServerThatDoesNotAnswerIsGivenUp) {
  RedisOptions options = Options();
  options.timeout = std::chrono::milliseconds(100);
  RedisClient client(options);
  ASSERT_TRUE(client.Call({"PING"}).ok());
  server_->Pause();
  EXPECT_TRUE(absl::IsUnavailable(client.Call({"PING"}).status()));
  server_->Resume();
  EXPECT_TRUE(naru::testing::WaitUntil([&] { return client.Call({"PING"}).ok(); }));
}

TEST_F(RedisClientTest, CancelEndsACallUnderWay) {
  RedisOptions options = Options();
  options.timeout = std::chrono::hours(1);
  RedisClient client(options);
  ASSERT_TRUE(client.Call({"PING"}).ok());
  std::thread canceller([&] {
    RedisClient other(Options());
    naru::testing::WaitUntil([&] {
      return other.Call({"CLIENT", "LIST"})->text.find("cmd=blpop") != std::string::npos;
    });
    client.Cancel();
  });
  EXPECT_TRUE(absl::IsCancelled(client.Call({"BLPOP", "nothing", "0"}).status()));
  canceller.join();
  EXPECT_TRUE(absl::IsCancelled(client.Call({"PING"}).status()));
}

TEST_F(RedisClientTest, PasswordsAndDatabasesAreUsedAndNeverTold) {
  {
    RedisClient admin(Options());
    ASSERT_TRUE(admin.Call({"CONFIG", "SET", "requirepass", "right"}).ok());
  }
  RedisOptions options = Options();
  EXPECT_TRUE(absl::IsUnauthenticated(RedisClient(options).Call({"PING"}).status()));
  options.password = "hunter2";
  const absl::Status refused = RedisClient(options).Call({"PING"}).status();
  EXPECT_TRUE(absl::IsUnauthenticated(refused)) << refused;
  EXPECT_THAT(refused.ToString(), Not(HasSubstr("hunter2")));
  options.password = "right";
  options.database = 2;
  RedisClient client(options);
  EXPECT_TRUE(client.Call({"SET", "k", "two"}).ok());
  options.database = 0;
  EXPECT_EQ(RedisClient(options).Call({"GET", "k"})->kind, RedisReply::Kind::kNil);
}

}  // namespace
}  // namespace naru::redis
