#include "common/server/stop_signal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <thread>

#include "common/testing/http_client.h"
#include "common/testing/testing.h"

namespace naru {
namespace {

using ::naru::testing::Process;
using ::naru::testing::WaitUntil;
using ::testing::HasSubstr;

TEST(StopSignalTest, ATriggerEndsTheWait) {
  StopSignal signal;
  EXPECT_FALSE(signal.stopped());
  std::thread other([&signal] { signal.Trigger(); });
  EXPECT_EQ(signal.Wait(), 0);
  other.join();
  EXPECT_TRUE(signal.stopped());
}

TEST(StopSignalTest, ASignalEndsTheWait) {
  StopSignal signal;
  kill(getpid(), SIGTERM);  // to the process, as a person or kubelet does
  EXPECT_EQ(signal.Wait(), SIGTERM);
}

// The program beside this test: a server whose stop takes as long as it is told.
std::unique_ptr<Process> StartProgram(const std::string& lame_duck) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
  auto process = Process::Start({.args = {self + "/stop_signal_test_program", "--lame_duck", lame_duck}});
  EXPECT_TRUE(process.ok()) << process.status();
  return *std::move(process);
}

TEST(StopSignalProgramTest, ASignalStopsARealServerCleanly) {
  for (const int number : {SIGINT, SIGTERM}) {
    const auto process = StartProgram("0s");
    const auto line = process->ReadLine();
    ASSERT_TRUE(line.ok()) << line.status();
    const auto http = testing::FindAddress(*line, "http");
    ASSERT_TRUE(http.has_value()) << *line;
    EXPECT_EQ(testing::HttpGet(*http, "/readyz").status, 200);
    process->Signal(number);
    EXPECT_EQ(process->Wait().value_or(-1), 0) << process->Stderr();
    EXPECT_THAT(process->Stdout(), HasSubstr("\nflushed\n"));
  }
}

TEST(StopSignalProgramTest, DuringLameDuckItIsNotReadyAndASecondSignalEndsItAtOnce) {
  for (const auto& [number, code] : {std::pair{SIGINT, 130}, std::pair{SIGTERM, 143}}) {
    const auto process = StartProgram("1h");
    const auto line = process->ReadLine();
    ASSERT_TRUE(line.ok()) << line.status();
    const std::string http = testing::FindAddress(*line, "http").value();
    process->Signal(number);
    EXPECT_TRUE(WaitUntil([&] { return testing::HttpGet(http, "/readyz").status == 503; }));
    EXPECT_THAT(testing::HttpGet(http, "/readyz").body, HasSubstr("stopping"));
    EXPECT_EQ(testing::HttpGet(http, "/healthz").status, 200);
    process->Signal(number);
    EXPECT_EQ(process->Wait().value_or(-1), code) << process->Stderr();
    EXPECT_THAT(process->Stdout(), ::testing::Not(HasSubstr("flushed")));
  }
}

TEST(StopSignalProgramTest, WrongOptionsEndWithTwo) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
  const auto run = [&](std::vector<std::string> args) {
    args.insert(args.begin(), self + "/stop_signal_test_program");
    return testing::RunProcess({.args = args}).value();
  };
  const auto wrong = run({"--lame-duk=1s", "--listen=0.0.0.0:0"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("did you mean --lame_duck?"));
  EXPECT_THAT(wrong.err, HasSubstr("--tls_cert, --tls_key and --require_keys"));
  EXPECT_EQ(wrong.out, "");
  EXPECT_EQ(run({"--check_config"}).exit_code, 0);
  EXPECT_THAT(run({"--print_config"}).out, HasSubstr("drain_timeout: 10s"));
  EXPECT_THAT(run({"--help"}).out, HasSubstr("--max_connections NUMBER"));
}

}  // namespace
}  // namespace naru
