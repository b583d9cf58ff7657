// Simulated visitors against the real packs: what they do must fit the packs' event types.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "tests/e2e/naru_process.h"

namespace naru::e2e {
namespace {

using ::naru::testing::ProcessResult;
using ::naru::testing::TempDir;
using ::testing::HasSubstr;

class SimulateTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto started = Platform::Start(dir_.File("data"), {GetParam()});
    ASSERT_TRUE(started.ok()) << started.status();
    platform_ = *std::move(started);
  }
  TempDir dir_;
  std::unique_ptr<Platform> platform_;
};
INSTANTIATE_TEST_SUITE_P(Packs, SimulateTest, ::testing::Values("ciao_labella", "weblog", "zigbang"));

TEST_P(SimulateTest, GoodEventsAreAcceptedBrokenOnesRejectedAndASecondRunIsAllDuplicates) {
  const std::vector<std::string> command = {"simulate", "--pack", GetParam(), "--from", "2026-11-01", "--days", "2",
                                            "--events", "20000",  "--seed",   "7",      "--output",   "json"};
  const ProcessResult first = platform_->Naru(command);
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(JsonNumber(first.out, "made"), 20000);
  EXPECT_EQ(JsonNumber(first.out, "received"), 20000);
  const int64_t broken = JsonNumber(first.out, "broken");
  const int64_t twice = JsonNumber(first.out, "sent_twice");
  EXPECT_GT(broken, 0);
  EXPECT_GT(twice, 0);
  EXPECT_EQ(JsonNumber(first.out, "rejected"), broken) << first.out;
  // The end of the run may cut off the first of a pair.
  EXPECT_EQ(JsonNumber(first.out, "duplicate"), twice) << first.out;
  EXPECT_EQ(JsonNumber(first.out, "accepted"), 20000 - broken - twice);

  const ProcessResult again = platform_->Naru(command);
  EXPECT_EQ(JsonNumber(again.out, "accepted"), 0) << again.out;
  EXPECT_EQ(JsonNumber(again.out, "duplicate"), 20000 - broken);

  const ProcessResult listed = platform_->Naru({"dlq", "list", "--limit", "5", "--output", "json"});
  EXPECT_EQ(Lines(listed.out).size(), 5);
}

TEST_P(SimulateTest, TheWindowsOfThePackFillAndTopShowsThem) {
  ASSERT_EQ(platform_->Naru({"simulate", "--pack", GetParam(), "--events", "5000"}).exit_code, 0);
  const ProcessResult metrics = platform_->Naru({"get", "Metric", "--output", "json"});
  ASSERT_GE(Lines(metrics.out).size(), 1);
  for (const std::string& line : Lines(metrics.out)) {
    const size_t at = line.find("\"name\":\"") + 8;
    const std::string name = line.substr(at, line.find('"', at) - at);
    const ProcessResult rows = platform_->Naru({"query", name, "--group_by", "none", "--latest", "--output", "json"});
    EXPECT_EQ(rows.exit_code, 0) << name << rows.err;
    EXPECT_GE(Lines(rows.out).size(), 1) << name;
  }
  const ProcessResult top = platform_->Naru({"top", "--once"});
  EXPECT_EQ(top.exit_code, 0) << top.err;
  EXPECT_THAT(top.out, HasSubstr("received 5,000 = accepted"));
}

TEST_P(SimulateTest, FollowingTheClockEndsCleanlyAndGoesOnWhereItWas) {
  const std::vector<std::string> command = {testing::BinaryPath("naru"),
                                            "simulate",
                                            "--pack",
                                            GetParam(),
                                            "--follow",
                                            "--resume",
                                            "--days",
                                            "0.02",
                                            "--output",
                                            "json",
                                            "--address",
                                            platform_->grpc()};
  auto first = testing::Process::Start({.args = command});
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(testing::WaitUntil([&] { return (*first)->Stderr().find("caught up") != std::string::npos; }))
      << (*first)->Stderr();
  (*first)->Signal(SIGINT);
  const auto exit_code = (*first)->Wait();
  ASSERT_TRUE(exit_code.ok());
  EXPECT_EQ(*exit_code, 0) << (*first)->Stderr();
  const int64_t made = JsonNumber((*first)->Stdout(), "made");
  EXPECT_GT(made, 100);

  auto second = testing::Process::Start({.args = command});
  ASSERT_TRUE(second.ok());
  ASSERT_TRUE(testing::WaitUntil([&] { return (*second)->Stderr().find("caught up") != std::string::npos; }))
      << (*second)->Stderr();
  (*second)->Signal(SIGINT);
  ASSERT_TRUE((*second)->Wait().ok());
  EXPECT_LT(JsonNumber((*second)->Stdout(), "made"), made / 2) << "only what is new, and a few seconds again";
}

}  // namespace
}  // namespace naru::e2e
