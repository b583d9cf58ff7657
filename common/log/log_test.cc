#include "common/log/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "common/log/redact.h"

namespace naru {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class LogTest : public ::testing::Test {
 protected:
  LogTest() {
    log::SetSink([this](absl::string_view line) { lines_.emplace_back(line); });
  }
  ~LogTest() override {
    log::SetSink(nullptr);
    log::SetLevel(log::Level::kInfo);
    log::SetFormat(log::Format::kText);
  }
  std::vector<std::string> lines_;
};

TEST_F(LogTest, TextShowsTimeLevelMessageAndFields) {
  NARU_LOG(INFO, "topic opened", {{"topic", "events"}, {"partitions", 4}, {"empty", ""}, {"quoted", "a b=\"c\""}});
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_THAT(lines_[0],
              ::testing::MatchesRegex("20[0-9T:.-]+Z INFO +topic opened topic=events partitions=4 empty=\"\" "
                                      "quoted=\"a b=\\\\\"c\\\\\"\""));
}

TEST_F(LogTest, JsonIsValidWhateverIsInTheFields) {
  log::SetFormat(log::Format::kJson);
  const absl::Status status = absl::NotFoundError("no \"topic\"\n");
  NARU_LOG(WARNING, "line\nfeed",
           {{"error", status},
            {"n", -1},
            {"big", std::numeric_limits<uint64_t>::max()},
            {"half", 0.5},
            {"nan", std::nan("")},
            {"yes", true},
            {"ctl", absl::string_view("\x01\t")}});
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_THAT(
      lines_[0],
      HasSubstr(R"("level":"WARNING","message":"line\nfeed","error":"NOT_FOUND: no \"topic\"\n","n":-1,)"
                R"("big":18446744073709551615,"half":0.5,"nan":"NaN","yes":true,"ctl":"\u0001\t","at":"log_test.cc:)"));
}

TEST_F(LogTest, OutsideTextCannotForgeALine) {
  NARU_LOG(INFO, std::string("a\nb"), {{"x", "1\n2024 INFO forged"}});
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_THAT(lines_[0], Not(HasSubstr("\n")));
}

TEST_F(LogTest, EntriesBelowTheLevelAreDroppedUnevaluated) {
  int evaluated = 0;
  NARU_LOG(DEBUG, "x", {{"n", ++evaluated}});
  EXPECT_EQ(evaluated, 0);
  log::SetLevel(log::Level::kDebug);
  NARU_LOG(DEBUG, "x", {{"n", ++evaluated}});
  EXPECT_EQ(evaluated, 1);
  log::SetLevel(log::Level::kError);
  NARU_LOG(WARNING, "x");
  EXPECT_EQ(lines_.size(), 1u);
}

TEST_F(LogTest, ALimitedEntryIsWrittenOnceAPeriod) {
  for (int i = 0; i < 100; ++i) NARU_LOG_EVERY_SECONDS(1000, INFO, "again", {{"i", i}});
  EXPECT_EQ(lines_.size(), 1u);
}

TEST_F(LogTest, TheLimiterCountsWhatItHeldBack) {
  log::Limiter limiter;
  int64_t suppressed = 0;
  EXPECT_TRUE(limiter.Admit(3'600'000'000, &suppressed));
  EXPECT_FALSE(limiter.Admit(3'600'000'000, &suppressed));
  EXPECT_FALSE(limiter.Admit(3'600'000'000, &suppressed));
  log::Limiter eager;
  EXPECT_TRUE(eager.Admit(0, &suppressed));
  EXPECT_TRUE(eager.Admit(0, &suppressed));
  EXPECT_EQ(suppressed, 0);
}

TEST_F(LogTest, SecretsAreNeverWritten) {
  const std::string key = "naru_abcdefghijkl_" + std::string(64, 'a');
  NARU_LOG(INFO, "got " + key,
           {{"password", "hunter2"},
            {"db-password", "hunter2"},
            {"api_key", 12345},
            {"Authorization", "Bearer x"},
            {"note", "key=" + key + "!"},
            {"page_token", "p7"}});
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_THAT(lines_[0], Not(HasSubstr("hunter2")));
  EXPECT_THAT(lines_[0], Not(HasSubstr("12345")));
  EXPECT_THAT(lines_[0], Not(HasSubstr("aaaa")));
  EXPECT_THAT(lines_[0], Not(HasSubstr("Bearer x")));
  EXPECT_THAT(lines_[0], HasSubstr("naru_abcdefghijkl_***"));
  EXPECT_THAT(lines_[0], HasSubstr("page_token=p7"));
}

TEST(RedactTest, LeavesWhatIsNoKey) {
  for (const char* text : {"", "naru_", "naru_x", "naru_x_", "naru_x_short", "naru_naru_naru_", "xnaru__"}) {
    EXPECT_EQ(Redact("", text), text);
  }
  const std::string key = "naru_id2_" + std::string(64, 'f');
  EXPECT_EQ(Redact("", key + " " + key), "naru_id2_*** naru_id2_***");
  EXPECT_EQ(Redact("", "naru_naru_id2_" + std::string(40, 'f')), "naru_naru_id2_***");
}

TEST_F(LogTest, ThreadsDoNotMixTheirLines) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 500; ++i) NARU_LOG(INFO, "line", {{"thread", t}, {"i", i}});
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(lines_.size(), 2000u);
}

TEST(LogLevelTest, NamesAreRead) {
  EXPECT_EQ(log::ParseLevel("warning").value(), log::Level::kWarning);
  EXPECT_FALSE(log::ParseLevel("loud").ok());
  EXPECT_EQ(log::ParseFormat("json").value(), log::Format::kJson);
  EXPECT_FALSE(log::ParseFormat("xml").ok());
}

}  // namespace
}  // namespace naru
