// What `naru infer` prints is applied as it is, and the file then goes in whole.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/e2e/naru_process.h"

namespace naru::e2e {
namespace {

using naru::testing::ProcessResult;
using ::testing::HasSubstr;

class InferTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto platform = Platform::Start(dir_.File("data"), {});
    ASSERT_TRUE(platform.ok()) << platform.status();
    platform_ = *std::move(platform);
  }

  /// Infers, applies and imports; the last line of the import.
  std::string TakeIn(const std::string& file, const std::string& name) {
    const ProcessResult inferred = RunNaru({"infer", file, "--name", name});
    EXPECT_EQ(inferred.exit_code, 0) << inferred.err;
    const ProcessResult applied = platform_->Naru({"apply", "-f", "-"}, inferred.out);
    EXPECT_EQ(applied.exit_code, 0) << applied.err << inferred.out;
    const ProcessResult imported = platform_->Naru({"import", file, "--format", name, "--output", "json"});
    EXPECT_EQ(imported.exit_code, 0) << imported.err;
    return LastLine(imported.out);
  }

  naru::testing::TempDir dir_;
  naru::testing::TempDir files_;
  std::unique_ptr<Platform> platform_;
};

TEST_F(InferTest, WhatItPrintsTakesTheFileInWithoutARejection) {
  std::string csv = "user_id;bought_at;price;gift\n";
  std::string json;
  for (int i = 0; i < 50; ++i) {
    absl::StrAppend(&csv, "u", i % 9, ";2024-05-01 09:", 10 + i, ":00;", i % 7 == 0 ? "NA" : absl::StrCat(i, ".25"),
                    ";", i % 2 == 0 ? "true" : "false", "\n");
    absl::StrAppend(&json, R"({"action":")", i % 2 == 0 ? "open" : "close", R"(","ts":)", 1700000000000 + i,
                    R"(,"door":{"room":)", i, "}}\n");
  }
  const std::string first = TakeIn(files_.Write("orders.csv", csv), "orders");
  EXPECT_EQ(JsonNumber(first, "accepted"), 50) << first;
  EXPECT_EQ(JsonNumber(first, "rejected"), 0) << first;
  const std::string second = TakeIn(files_.Write("doors.ndjson", json), "doors");
  EXPECT_EQ(JsonNumber(second, "accepted"), 50) << second;
  const ProcessResult events = platform_->Naru({"tail", "--type", "open", "--output", "json"});
  EXPECT_THAT(events.out, HasSubstr("2023-11-14T22:13:20"));
}

TEST_F(InferTest, RealFilesGoIn) {
  const std::vector<std::tuple<const char*, const char*, int, int>> files = {
      {"weblog/apache_logs", "web", 9999, 1},
      {"clickstream/otto_train.jsonl", "otto", 862, 0},
      {"taxi/gcp_serverlessml_taxi-valid.csv", "taxi", 1571, 0},
      {"taxi/gcp_taxi-traffic-valid.csv", "traffic", 31820, 0}};
  for (const auto& [file, name, accepted, rejected] : files) {
    const auto path = naru::testing::SharedDataPath(file);
    if (!path.has_value()) GTEST_SKIP() << "example data is not on this machine: " << file;
    const std::string totals = TakeIn(*path, name);
    EXPECT_EQ(JsonNumber(totals, "accepted"), accepted) << totals;
    EXPECT_EQ(JsonNumber(totals, "rejected"), rejected) << totals;
  }
}

}  // namespace
}  // namespace naru::e2e
