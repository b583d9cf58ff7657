#include "common/testing/testing.h"

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>

namespace naru::testing {
namespace {

using std::chrono::milliseconds;

TEST(TempDirTest, IsRemovedWithAllThatIsInIt) {
  std::string path;
  {
    TempDir dir;
    path = dir.path();
    EXPECT_EQ(ReadFile(dir.Write("a/b.txt", "hello")), "hello");
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(WaitUntilTest, GivesUpAfterTheTimeout) {
  EXPECT_TRUE(WaitUntil([n = 0]() mutable { return ++n == 3; }));
  EXPECT_FALSE(WaitUntil([] { return false; }, milliseconds(10)));
}

TEST(ProcessTest, ReportsOutputErrorsAndExitCode) {
  const auto result = RunProcess({.args = {"sh", "-c", "echo out; echo err >&2; exit 3"}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out, "out\n");
  EXPECT_EQ(result->err, "err\n");
  EXPECT_EQ(result->exit_code, 3);
}

TEST(ProcessTest, FeedsMoreInputThanAPipeHolds) {
  const std::string input(3 << 20, 'x');
  const auto result = RunProcess({.args = {"cat"}, .input = input});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out, input);
}

TEST(ProcessTest, PassesEnvironmentAndWorkingDirectory) {
  const TempDir dir;
  const auto result = RunProcess({.args = {"sh", "-c", "echo $NARU_TEST_VALUE; pwd"},
                                  .env = {{"NARU_TEST_VALUE", "7"}},
                                  .working_directory = dir.path()});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out, "7\n" + std::filesystem::canonical(dir.path()).string() + "\n");
}

TEST(ProcessTest, ReadsTheFirstLineOfARunningProgramAndSignalsIt) {
  auto process = Process::Start({.args = {"sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done"}});
  ASSERT_TRUE(process.ok()) << process.status();
  const auto line = (*process)->ReadLine();
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(*line, "ready");
  EXPECT_EQ((*process)->ReadLine(milliseconds(20)).status().code(), absl::StatusCode::kDeadlineExceeded);
  (*process)->Signal(SIGTERM);
  EXPECT_EQ((*process)->Wait().value(), 9);
}

TEST(ProcessTest, SaysWhichSignalEndedAProgram) {
  auto process = Process::Start({.args = {"sleep", "100"}});
  ASSERT_TRUE(process.ok());
  EXPECT_EQ((*process)->Wait(milliseconds(10)).status().code(), absl::StatusCode::kDeadlineExceeded);
  (*process)->Signal(SIGKILL);
  EXPECT_EQ((*process)->Wait().value(), 137);
}

TEST(ProcessTest, EndsWithItsObject) {
  int pid = 0;
  {
    auto process = Process::Start({.args = {"sleep", "100"}});
    ASSERT_TRUE(process.ok());
    pid = (*process)->pid();
  }
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST(ProcessTest, SaysThatAProgramIsMissing) {
  EXPECT_EQ(Process::Start({.args = {"/nonexistent/program"}}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Process::Start({.args = {"true"}, .working_directory = "/nonexistent"}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(FindAddressTest, TakesTheWordAfterTheName) {
  const char* line = "naru is ready: grpc=127.0.0.1:70 http=127.0.0.1:78 data_dir=/x";
  EXPECT_EQ(FindAddress(line, "grpc"), "127.0.0.1:70");
  EXPECT_EQ(FindAddress(line, "http"), "127.0.0.1:78");
  EXPECT_EQ(FindAddress(line, "data_dir"), "/x");
  EXPECT_EQ(FindAddress(line, "metrics"), std::nullopt);
}

}  // namespace
}  // namespace naru::testing
