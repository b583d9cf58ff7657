// naru import --follow: real files, real processes, killed at any time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/naru_process.h"

namespace naru::e2e {
namespace {

namespace fs = std::filesystem;
using ::naru::testing::Process;
using ::naru::testing::ProcessResult;
using ::naru::testing::TempDir;
using ::testing::HasSubstr;

using Counts = std::map<std::string, int64_t>;

constexpr char kPack[] = R"(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: Line}
spec: {schema: {properties: {text: {type: string}}}}
---
apiVersion: naru.dev/v1
kind: InputFormat
metadata: {name: lines}
spec:
  parser: {type: delimited, delimiter: "|", columns: [user, text]}
  event: {type: {const: Line}, subject: user}
  data: {text: text}
---
apiVersion: naru.dev/v1
kind: Metric
metadata: {name: texts}
spec:
  window: {type: tumbling, size: 1d}
  dimensions: [{name: text}]
  measures: [{name: lines, agg: count}]
)";

class FollowTest : public ::testing::Test {
 protected:
  void SetUp() override {
    pack_.Write("lines.yaml", kPack);
    StartServer();
  }
  void StartServer() {
    auto started = Platform::Start(data_.File("data"), {pack_.path()});
    ASSERT_TRUE(started.ok()) << started.status();
    platform_ = *std::move(started);
  }
  void StartClient(const std::vector<std::string>& more = {}) {
    std::vector<std::string> args = {testing::BinaryPath("naru"),
                                     "import",
                                     "--follow",
                                     logs_.File("app.log*"),
                                     "--format",
                                     "lines",
                                     "--positions",
                                     positions_.File("positions"),
                                     "--interval",
                                     "20ms",
                                     "--rotate_wait",
                                     "200ms",
                                     "--output",
                                     "json",
                                     "--period",
                                     "100ms",
                                     "--address",
                                     platform_->grpc()};
    args.insert(args.end(), more.begin(), more.end());
    Process::Options options;
    options.args = args;
    auto started = Process::Start(options);
    ASSERT_TRUE(started.ok()) << started.status();
    client_ = *std::move(started);
  }
  void KillClient() {
    if (client_ == nullptr) return;
    client_->Signal(SIGKILL);
    EXPECT_TRUE(client_->Wait().ok());
    client_.reset();
  }
  void Append(const std::string& text) { std::ofstream(Live(), std::ios::binary | std::ios::app) << text; }
  std::string Live() const { return logs_.File("app.log"); }

  // How often each text was counted, by the windows themselves.
  Counts Counted() {
    Counts counts;
    const ProcessResult rows = platform_->Naru({"query", "texts", "--output", "json", "--limit", "0"});
    EXPECT_EQ(rows.exit_code, 0) << rows.err;
    for (const std::string& row : Lines(rows.out)) {
      const size_t at = row.find("\"text\":\"") + 8;
      counts[row.substr(at, row.find('"', at) - at)] += JsonNumber(row, "lines");
    }
    return counts;
  }
  bool WaitForCounts(const Counts& expected) {
    return testing::WaitUntil([&] { return Counted() == expected; }, std::chrono::seconds(60));
  }

  TempDir data_, pack_, logs_, positions_;
  std::unique_ptr<Platform> platform_;
  std::unique_ptr<Process> client_;
};

TEST_F(FollowTest, ThroughRotationsUntilCtrlCWithTotals) {
  Append("u|start\nu|a\n");
  StartClient();
  ASSERT_TRUE(WaitForCounts({{"start", 1}, {"a", 1}})) << client_->Stderr();
  Append("u|before\n");
  fs::rename(Live(), logs_.File("app.log.1"));
  Append("u|start\nu|hal");
  ASSERT_TRUE(WaitForCounts({{"start", 2}, {"a", 1}, {"before", 1}})) << client_->Stderr();
  Append("f\n");
  ASSERT_TRUE(WaitForCounts({{"start", 2}, {"a", 1}, {"before", 1}, {"half", 1}})) << client_->Stderr();
  client_->Signal(SIGINT);
  const auto exit_code = client_->Wait();
  ASSERT_TRUE(exit_code.ok()) << exit_code.status();
  EXPECT_EQ(*exit_code, 0) << client_->Stderr();
  const std::vector<std::string> lines = Lines(client_->Stdout());
  EXPECT_GT(lines.size(), 1u) << "a line each period";
  EXPECT_EQ(JsonNumber(lines.back(), "accepted"), 5);
  EXPECT_EQ(JsonNumber(lines.back(), "rejected"), 0);
  // The files given to a plain import are the same lines where they were the first that began so.
  const ProcessResult again =
      platform_->Naru({"import", logs_.File("app.log.1"), "--format", "lines", "--output", "json"});
  EXPECT_EQ(JsonNumber(again.out, "duplicate"), 3) << again.out;
}

TEST_F(FollowTest, ASecondFollowerOfTheSamePositionsIsRefused) {
  StartClient();
  ASSERT_TRUE(client_->ReadLine().ok());
  const ProcessResult second =
      platform_->Naru({"import", "--follow", Live(), "--format", "lines", "--positions", positions_.File("positions")});
  EXPECT_NE(second.exit_code, 0);
  EXPECT_THAT(second.err, HasSubstr("another `naru import --follow`"));
}

TEST_F(FollowTest, AFormatThatDoesNotExistEndsIt) {
  Append("u|a\n");
  const ProcessResult wrong =
      platform_->Naru({"import", "--follow", Live(), "--format", "linse", "--positions", positions_.File("positions")});
  EXPECT_EQ(wrong.exit_code, 2) << wrong.err;
  EXPECT_THAT(wrong.err, HasSubstr("lines"));
}

TEST_F(FollowTest, KillsOfEitherSideLoseAndDoubleNothing) {
  std::mt19937 random(std::stoi(testing::GetEnv("NARU_FOLLOW_SEED", "1")));
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint32_t>(n)); };
  Counts expected;
  int generation = 0;
  int line = 0;
  const auto begin = [&] {
    const std::string own = absl::StrCat("generation ", ++generation);
    Append(absl::StrCat("u|start\nu|", own, "\n"));
    ++expected["start"];
    ++expected[own];
  };
  begin();
  StartClient();
  const int steps = std::stoi(testing::GetEnv("NARU_FOLLOW_STEPS", "120"));
  for (int step = 0; step < steps; ++step) {
    std::string text;
    for (int n = below(200); n > 0; --n) {
      const std::string value = below(3) == 0 ? "same" : absl::StrCat("line ", line++ % 300);
      absl::StrAppend(&text, "u", below(9), "|", value, "\n");
      ++expected[value];
    }
    Append(text);
    switch (below(16)) {
      case 0:
      case 1:
        for (int n = 40; n >= 1; --n) {
          for (const char* end : {"", ".gz"}) {
            const std::string from = absl::StrCat(Live(), ".", n, end);
            if (fs::exists(from)) fs::rename(from, absl::StrCat(Live(), ".", n + 1, end));
          }
        }
        if (below(2) == 0) {
          fs::rename(Live(), Live() + ".1");
        } else {
          fs::copy_file(Live(), Live() + ".1");
          fs::resize_file(Live(), 0);
        }
        begin();
        break;
      case 2:
        for (int n = 1; n <= 40; ++n) {
          const std::string path = absl::StrCat(Live(), ".", n);
          if (!fs::exists(path)) continue;
          ASSERT_EQ(testing::RunProcess({.args = {"gzip", path}})->exit_code, 0);
          break;
        }
        break;
      case 3:
      case 4:
        KillClient();
        break;
      case 5:
        platform_->Kill();
        StartServer();
        // It has another port now.
        KillClient();
        break;
      case 6:
        // What is there is taken before the next step.
        if (client_ != nullptr) (void)client_->ReadLine();
        break;
      default:
        break;
    }
    if (client_ == nullptr && below(3) == 0) StartClient();
  }
  if (client_ == nullptr) StartClient();
  EXPECT_TRUE(WaitForCounts(expected)) << client_->Stderr();
  const Counts counted = Counted();
  EXPECT_EQ(counted, expected);
  // And stays so, with nothing but duplicates for whoever reads it all again.
  KillClient();
  StartClient();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(client_->ReadLine().ok());
  EXPECT_EQ(Counted(), expected);
}

}  // namespace
}  // namespace naru::e2e
