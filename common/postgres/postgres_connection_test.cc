#include "common/postgres/postgres_connection.h"

#include <thread>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"
#include "common/testing/postgres_server.h"
#include "common/testing/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace naru::postgres {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class PostgresConnectionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto server = naru::testing::PostgresServer::Shared();
    if (!server.ok()) NARU_REQUIRE_SERVER_OR_SKIP(server.status().ToString());
    server_ = *server;
    connection_ = Open();
  }
  std::unique_ptr<PostgresConnection> Open(PostgresOptions options = {}) const {
    options.dsn = server_->dsn();
    auto opened = PostgresConnection::Open(options);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? *std::move(opened) : nullptr;
  }
  std::string One(const std::string& sql, absl::Span<const std::optional<std::string>> parameters = {}) {
    EXPECT_TRUE(connection_->Begin().ok());
    const auto rows = connection_->Query(sql, parameters);
    EXPECT_TRUE(rows.ok()) << rows.status();
    EXPECT_TRUE(connection_->Commit().ok());
    return rows.ok() && !rows->empty() ? (*rows)[0][0].value_or("NULL") : "";
  }
  naru::testing::PostgresServer* server_ = nullptr;
  std::unique_ptr<PostgresConnection> connection_;
};

TEST_F(PostgresConnectionTest, ValuesAndNullsGoThereAndBack) {
  const std::string text = "it's \"나루\" \\ $1";
  EXPECT_EQ(One("SELECT $1::text", {text}), text);
  EXPECT_EQ(One("SELECT $1::text", {std::nullopt}), "NULL");
  EXPECT_EQ(One("SELECT $1::bigint + $2::bigint", {"9007199254740993", "1"}), "9007199254740994");
  EXPECT_EQ(One("SHOW timezone"), "UTC");
}

TEST_F(PostgresConnectionTest, ATransactionIsAllOrNothing) {
  One("CREATE TABLE a (i int PRIMARY KEY)");
  ASSERT_TRUE(connection_->Begin().ok());
  ASSERT_TRUE(connection_->Execute("INSERT INTO a VALUES (1)").ok());
  connection_->Rollback();
  EXPECT_EQ(One("SELECT count(*) FROM a"), "0");
  ASSERT_TRUE(connection_->Begin().ok());
  ASSERT_TRUE(connection_->Execute("INSERT INTO a VALUES (1)").ok());
  const absl::Status twice = connection_->Execute("INSERT INTO a VALUES (1)");
  EXPECT_EQ(SqlState(twice), "23505");
  EXPECT_TRUE(IsRefusedForGood(twice));
  EXPECT_FALSE(connection_->Execute("SELECT 1").ok());
  connection_->Rollback();
  One("DROP TABLE a");
}

TEST_F(PostgresConnectionTest, ErrorsSayWhatToDoAboutThem) {
  const auto error = [&](const std::string& sql) {
    EXPECT_TRUE(connection_->Begin().ok());
    const absl::Status status = connection_->Execute(sql);
    connection_->Rollback();
    return status;
  };
  EXPECT_TRUE(absl::IsNotFound(error("SELECT * FROM nothing")));
  EXPECT_TRUE(absl::IsPermissionDenied(error("SELECT * FROM pg_authid")));
  EXPECT_TRUE(absl::IsInternal(error("SELEKT 1")));
  EXPECT_FALSE(IsRefusedForGood(error("SELEKT 1")));
  EXPECT_TRUE(IsRefusedForGood(error("SELECT 'x'::int")));
  EXPECT_TRUE(IsRefusedForGood(error("SELECT 1/0")));
  EXPECT_TRUE(connection_->connected());
}

TEST_F(PostgresConnectionTest, AStatementThatTakesTooLongIsEnded) {
  PostgresOptions options;
  options.statement_timeout = std::chrono::milliseconds(50);
  const auto slow = Open(options);
  ASSERT_TRUE(slow->Begin().ok());
  EXPECT_TRUE(absl::IsUnavailable(slow->Execute("SELECT pg_sleep(60)")));
}

TEST_F(PostgresConnectionTest, ASessionThatHangsInATransactionLosesItsLocks) {
  One("CREATE TABLE hung (i int)");
  PostgresOptions options;
  options.idle_transaction_timeout = std::chrono::milliseconds(50);
  const auto hung = Open(options);
  ASSERT_TRUE(hung->Begin().ok());
  ASSERT_TRUE(hung->Execute("LOCK TABLE hung").ok());
  EXPECT_EQ(One("SELECT count(*) FROM hung"), "0");
  EXPECT_FALSE(hung->Execute("SELECT 1").ok());
  EXPECT_FALSE(hung->connected());
  One("DROP TABLE hung");
}

TEST_F(PostgresConnectionTest, CancelEndsAStatementUnderWay) {
  std::thread canceller([&] {
    const auto other = Open();
    naru::testing::WaitUntil([&] {
      EXPECT_TRUE(other->Begin().ok());
      const auto rows = other->Query(
          "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(61)%' AND pid <> "
          "pg_backend_pid()");
      return rows.ok() && (*rows)[0][0] != "0";
    });
    connection_->Cancel();
  });
  ASSERT_TRUE(connection_->Begin().ok());
  EXPECT_TRUE(absl::IsCancelled(connection_->Execute("SELECT pg_sleep(61)")));
  canceller.join();
}

TEST_F(PostgresConnectionTest, BothFormsOfADsnAreCompleted) {
  PostgresOptions options;
  options.application_name = "it's";
  options.dsn = absl::StrCat("postgresql://naru@127.0.0.1:", server_->port(), "/naru?keepalives_idle=7");
  options.password = "p'w &=?";
  auto opened = PostgresConnection::Open(options);
  ASSERT_TRUE(opened.ok()) << opened.status();
  connection_ = *std::move(opened);
  EXPECT_EQ(One("SHOW application_name"), "it's");
  options.dsn = server_->dsn();
  opened = PostgresConnection::Open(options);
  ASSERT_TRUE(opened.ok()) << opened.status();
}

TEST_F(PostgresConnectionTest, AServerThatIsGoneIsUnavailable) {
  auto own = naru::testing::PostgresServer::Start();
  ASSERT_TRUE(own.ok());
  PostgresOptions options;
  options.dsn = (*own)->dsn();
  options.password = "hunter2";
  auto opened = PostgresConnection::Open(options);
  ASSERT_TRUE(opened.ok()) << opened.status();
  ASSERT_TRUE((*opened)->Begin().ok());
  (*own)->Kill();
  const absl::Status gone = (*opened)->Execute("SELECT 1");
  EXPECT_TRUE(absl::IsUnavailable(gone)) << gone;
  EXPECT_FALSE((*opened)->connected());
  const absl::Status refused = PostgresConnection::Open(options).status();
  EXPECT_TRUE(absl::IsUnavailable(refused)) << refused;
  EXPECT_THAT(refused.ToString(), Not(HasSubstr("hunter2")));
  ASSERT_TRUE((*own)->Restart().ok());
  EXPECT_TRUE(PostgresConnection::Open(options).ok());
}

}  // namespace
}  // namespace naru::postgres
