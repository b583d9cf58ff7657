// A real grpcurl, with nothing but reflection, lists and calls every service.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/naru_process.h"

namespace naru::e2e {
namespace {

using ::naru::testing::ProcessResult;
using ::naru::testing::TempDir;
using ::testing::HasSubstr;

// The first `"name": "..."` of a JSON text.
std::string FirstName(const std::string& json) {
  const std::string label = "\"name\": \"";
  const size_t at = json.find(label);
  if (at == std::string::npos) return "";
  const size_t begin = at + label.size();
  return json.substr(begin, json.find('"', begin) - begin);
}

class GrpcurlTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto got =
        testing::RunProcess({.args = {testing::SourcePath("tests/servers/grpcurl/get")}}, std::chrono::minutes(10));
    if (!got.ok() || got->exit_code != 0) NARU_REQUIRE_SERVER_OR_SKIP("grpcurl cannot be had on this machine");
    grpcurl_ = std::string(absl::StripAsciiWhitespace(got->out));
    auto started = Platform::Start(dir_.File("data"), {"weblog"});
    ASSERT_TRUE(started.ok()) << started.status();
    platform_ = *std::move(started);
  }

  ProcessResult Grpcurl(std::vector<std::string> flags, std::vector<std::string> words) {
    std::vector<std::string> args = {grpcurl_, "-plaintext", "-max-time", "20"};
    args.insert(args.end(), flags.begin(), flags.end());
    args.push_back(platform_->grpc());
    args.insert(args.end(), words.begin(), words.end());
    const auto result = testing::RunProcess({.args = args});
    EXPECT_TRUE(result.ok()) << result.status();
    return *result;
  }

  ProcessResult Call(const std::string& method, const std::string& request = "{}") {
    const ProcessResult result = Grpcurl({"-d", request}, {method});
    EXPECT_EQ(result.exit_code, 0) << method << ": " << result.err;
    return result;
  }

  TempDir dir_;
  std::string grpcurl_;
  std::unique_ptr<Platform> platform_;
};

TEST_F(GrpcurlTest, ListsAndDescribesEveryService) {
  const ProcessResult list = Grpcurl({}, {"list"});
  ASSERT_EQ(list.exit_code, 0) << list.err;
  for (const char* service :
       {"naru.ingest.v1.IngestService", "naru.catalog.v1.CatalogService", "naru.aggregator.v1.AggregatorService"}) {
    EXPECT_THAT(list.out, HasSubstr(service));
    const ProcessResult description = Grpcurl({}, {"describe", service});
    EXPECT_EQ(description.exit_code, 0) << description.err;
    EXPECT_THAT(description.out, HasSubstr("rpc"));
  }
}

TEST_F(GrpcurlTest, CallsEveryService) {
  const ProcessResult published = Call(
      "naru.ingest.v1.IngestService/PublishEvents",
      R"({"events":[{"id":"1","source":"curl","type":"HttpRequest","subject":"a","time":"2026-11-01T10:00:00Z","data":{"method":"GET","path":"/","status":200,"bytes":10,"protocol":"HTTP/1.1"}}]})");
  EXPECT_THAT(published.out, HasSubstr("\"accepted_count\": 1"));
  Call("naru.ingest.v1.IngestService/StreamEvents", R"({"events":[{"id":"2","source":"curl","type":"HttpRequest"}]})");
  EXPECT_THAT(Call("naru.ingest.v1.IngestService/ReadEvents", R"({"lastCount":5})").out,
              HasSubstr("\"source\": \"curl\""));
  EXPECT_THAT(Call("naru.ingest.v1.IngestService/GetAccounting").out, HasSubstr("received_count"));
  Call("naru.ingest.v1.IngestService/GetIngestStatus");
  Call("naru.ingest.v1.IngestService/ListRejected");
  Call("naru.ingest.v1.IngestService/ReplayRejected", R"({"dryRun":true})");
  const std::string metric =
      FirstName(Call("naru.catalog.v1.CatalogService/ListResources", R"({"kind":"Metric"})").out);
  ASSERT_NE(metric, "");
  Call("naru.catalog.v1.CatalogService/GetResource", absl::StrCat(R"({"kind":"Metric","name":")", metric, "\"}"));
  Call("naru.catalog.v1.CatalogService/ListApiKeys");
  Call("naru.aggregator.v1.AggregatorService/QueryWindows", absl::StrCat(R"({"metric":")", metric, "\"}"));
  Call("naru.aggregator.v1.AggregatorService/ListMetricStatus");
  const ProcessResult missing =
      Grpcurl({"-d", R"({"metric":"nothing"})"}, {"naru.aggregator.v1.AggregatorService/QueryWindows"});
  EXPECT_NE(missing.exit_code, 0);
  EXPECT_THAT(missing.err, HasSubstr("NotFound"));
}

TEST_F(GrpcurlTest, AsksForHealthByItsProto) {
  const ProcessResult health =
      Grpcurl({"-import-path", testing::SourcePath("proto"), "-proto", "grpc/health/v1/health.proto", "-d", "{}"},
              {"grpc.health.v1.Health/Check"});
  EXPECT_EQ(health.exit_code, 0) << health.err;
  EXPECT_THAT(health.out, HasSubstr("SERVING"));
}

}  // namespace
}  // namespace naru::e2e
