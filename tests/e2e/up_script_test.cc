// scripts/up, with the program of this build.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/naru_process.h"

namespace naru::e2e {
namespace {

using ::naru::testing::Process;
using ::naru::testing::TempDir;
using ::testing::HasSubstr;

class UpScriptTest : public ::testing::Test {
 protected:
  void Start(std::vector<std::string> flags) {
    flags.insert(flags.begin(),
                 {testing::SourcePath("scripts/up"), "--data_dir", dir_.File("data"), "--listen", "127.0.0.1:0"});
    auto started = Process::Start({.args = std::move(flags)});
    ASSERT_TRUE(started.ok()) << started.status();
    script_ = *std::move(started);
  }
  // Waits until a line of output holds all of `parts`; the line.
  std::string WaitForLine(const std::vector<std::string>& parts) {
    for (int i = 0; i < 10000; ++i) {
      const auto line = script_->ReadLine(std::chrono::seconds(60));
      if (!line.ok()) {
        ADD_FAILURE() << line.status() << script_->Stderr();
        return "";
      }
      bool all = true;
      for (const std::string& part : parts) all = all && absl::StrContains(*line, part);
      if (all) return *line;
    }
    return "";
  }
  void StopCleanly() {
    script_->Signal(SIGINT);
    const auto exit_code = script_->Wait();
    ASSERT_TRUE(exit_code.ok()) << exit_code.status() << script_->Stderr();
    EXPECT_EQ(*exit_code, 0) << script_->Stderr();
  }

  TempDir dir_;
  std::unique_ptr<Process> script_;
};

TEST_F(UpScriptTest, ShowsWindowsOfSimulatedVisitorsAndGoesOnAfterCtrlC) {
  Start({});
  WaitForLine({"naru is ready: grpc=127.0.0.1:"});
  WaitForLine({"The last 60 minutes"});
  WaitForLine({"gender", "logins", "menu clicks", "eco-points"});
  WaitForLine({"Search words of today"});
  const std::string before = WaitForLine({"received", "= accepted", "+ duplicate"});
  StopCleanly();
  EXPECT_THAT(script_->Stderr(), HasSubstr("stopped"));
  Start({"--no_simulate"});
  const std::string after = WaitForLine({"received", "= accepted"});
  EXPECT_EQ(absl::StrContains(after, "received 0 "), false) << before;
  StopCleanly();
}

TEST_F(UpScriptTest, ImportsAFileOnceHoweverOftenItIsGiven) {
  TempDir files;
  std::string lines;
  for (int i = 0; i < 500; ++i) {
    absl::StrAppend(&lines, "203.0.113.", i % 9, " - - [17/May/2015:10:05:03 +0000] \"GET /", i,
                    " HTTP/1.1\" 200 10 \"-\" \"curl/7.88\"\n");
  }
  const std::string file = files.Write("access.log", lines + "hello\n");
  Start({"--import", file, "--format", "apache-combined"});
  WaitForLine({"received 501 = accepted 500 + duplicate 0 + rejected 1 (PARSE 1)"});
  StopCleanly();
  EXPECT_THAT(script_->Stderr(), HasSubstr("access.log:501: rejected, PARSE"));
  Start({absl::StrCat("--import=", file), "--format", "apache-combined"});
  WaitForLine({"= accepted 500 +", "rejected"});
  StopCleanly();
}

TEST_F(UpScriptTest, WrongFlagsEndWithTwo) {
  for (const std::vector<std::string>& flags :
       std::vector<std::vector<std::string>>{{"--imprt", "x"},
                                             {"--import", "/nonexistent", "--format", "ndjson"},
                                             {"--import", "/dev/null"},
                                             {"--format"}}) {
    Start(flags);
    const auto exit_code = script_->Wait();
    ASSERT_TRUE(exit_code.ok());
    EXPECT_EQ(*exit_code, 2) << flags[0];
    EXPECT_THAT(script_->Stderr(), HasSubstr("scripts/up --help"));
  }
}

}  // namespace
}  // namespace naru::e2e
