#include "services/naru/up_config.h"

#include <gtest/gtest.h>

namespace naru::cli {
namespace {

UpConfig Parse(const std::vector<std::string>& args, absl::Status* status) {
  UpConfig config;
  Options options("naru up", "");
  AddUpOptions(&options, &config);
  *status = options.Parse(args, [](absl::string_view) { return std::nullopt; });
  FillAddresses(options.IsSet("http_listen"), options.IsSet("metrics_listen"), &config.server);
  return config;
}

TEST(UpConfigTest, HttpAndMetricsListenBesideTheGrpcPort) {
  absl::Status status;
  const UpConfig standard = Parse({}, &status);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(standard.server.listen, "127.0.0.1:7700");
  EXPECT_EQ(standard.server.http_listen, "127.0.0.1:7780");
  EXPECT_EQ(standard.server.metrics_listen, "127.0.0.1:7790");
  const UpConfig other = Parse({"--listen", "[::1]:9000"}, &status);
  EXPECT_EQ(other.server.http_listen, "[::1]:7780");
}

TEST(UpConfigTest, PortZeroFreesAllThreePorts) {
  absl::Status status;
  const UpConfig config = Parse({"--listen", "127.0.0.1:0"}, &status);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(config.server.http_listen, "127.0.0.1:0");
  EXPECT_EQ(config.server.metrics_listen, "127.0.0.1:0");
}

TEST(UpConfigTest, WhatWasSetStaysAlsoWhenItIsNothing) {
  absl::Status status;
  const UpConfig config =
      Parse({"--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:8080", "--metrics_listen="}, &status);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(config.server.http_listen, "127.0.0.1:8080");
  EXPECT_EQ(config.server.metrics_listen, "");
}

TEST(UpConfigTest, IntervalsMayBeSetToWhatTheyAre) {
  absl::Status status;
  const UpConfig config = Parse({"--commit_interval", "200ms", "--maintenance_interval", "10s"}, &status);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(config.aggregator.commit_interval, std::chrono::milliseconds(200));
  Parse({"--commit_interval", "2m"}, &status);
  EXPECT_FALSE(status.ok());
}

TEST(UpConfigTest, EveryProblemIsReportedAtOnce) {
  absl::Status status;
  Parse({"--data_dir", "", "--listen", "nowhere", "--kafka_property", "x", "--max_event", "big"}, &status);
  ASSERT_FALSE(status.ok());
  const std::string problems = FormatProblems(status);
  for (const char* part : {"data_dir", "listen", "kafka_property", "max_event"}) {
    EXPECT_NE(problems.find(part), std::string::npos) << problems;
  }
}

}  // namespace
}  // namespace naru::cli
