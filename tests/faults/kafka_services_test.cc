// Each service on its own, on a real Kafka broker. Processes are stopped, killed and replaced and the broker is killed while
// clients write; then everything is counted.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <csignal>
#include <iostream>
#include <map>

#include "absl/strings/str_cat.h"
#include "common/clock/clock.h"
#include "common/testing/kafka_server.h"
#include "common/testing/testing.h"
#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "tests/faults/fault_load.h"

namespace naru::faults {
namespace {

using testing::KafkaServer;
using testing::Process;

constexpr char kPack[] = R"(apiVersion: naru.dev/v1
kind: EventType
metadata: {name: load}
spec:
  schema: {properties: {n: {type: integer}}}
---
apiVersion: naru.dev/v1
kind: Metric
metadata: {name: load-count}
spec:
  filter: type == "load"
  window: {type: tumbling, size: 1h}
  measures:
    - {name: events, agg: count}
)";

/// A service in a process of its own.
struct Service {
  std::shared_ptr<Process> process;
  std::string address;
};

class KafkaServicesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto kafka = KafkaServer::Start();
    if (!kafka.ok()) NARU_REQUIRE_SERVER_OR_SKIP(kafka.status().ToString());
    kafka_ = std::move(*kafka);
    directory_.Write("load.yaml", kPack);
  }

  Service Start(const std::string& program, const std::string& instance) {
    Service service;
    auto process = Process::Start({.args = {testing::BinaryPath(program), "--kafka_brokers", kafka_->brokers(), "--listen",
                                            "127.0.0.1:0", "--metrics_listen", "127.0.0.1:0", "--state_dir",
                                            directory_.File(absl::StrCat(program, "-", instance)), "--instance", instance}});
    EXPECT_TRUE(process.ok()) << process.status();
    if (!process.ok()) return service;
    service.process = std::move(*process);
    started_[absl::StrCat(program, " ", instance)] = service.process;
    const auto line = service.process->ReadLine(std::chrono::seconds(60));
    EXPECT_TRUE(line.ok()) << line.status();
    if (line.ok()) service.address = testing::FindAddress(*line, "grpc").value_or("");
    EXPECT_NE(service.address, "");
    return service;
  }

  void Apply(const std::string& address) {
    const auto result = testing::RunProcess({.args = {testing::BinaryPath("naru"), "apply", "-f",
                                                      directory_.File("load.yaml"), "--address", address}});
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->exit_code, 0) << result->err;
  }

  /// Events counted by the windows that this aggregator serves; -1 when it cannot say.
  static int64_t CountInWindows(const std::string& address, bool fast) {
    const auto stub = aggregator::v1::AggregatorService::NewStub(
        grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
    aggregator::v1::QueryWindowsRequest request;
    request.set_metric("load-count");
    request.set_fast(fast);
    aggregator::v1::QueryWindowsResponse response;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    if (!stub->QueryWindows(&context, request, &response).ok()) return -1;
    int64_t events = 0;
    for (const auto& row : response.rows()) events += row.measures().at("events").integer();
    return events;
  }

  // A client goes on trying: what comes back needs a moment.
  static void SendUnanswered(FaultLoad& load, const std::string& address) {
    absl::Status again;
    ASSERT_TRUE(testing::WaitUntil([&] { return (again = load.SendUnanswered(address)).ok(); }, std::chrono::seconds(60)))
        << again;
  }

  // What clients were told, what the log holds and what each aggregator counts are the same.
  void CheckEverything(const Told& told, const std::string& ingest, const std::vector<std::string>& aggregators) {
    const auto log = ReadLog(ingest);
    ASSERT_TRUE(log.ok()) << log.status();
    for (const auto& [id, count] : *log) EXPECT_EQ(count, 1) << id << " is stored " << count << " times";
    for (const std::string& id : told.acknowledged()) {
      ASSERT_EQ(log->count(id), 1u) << id << " was acknowledged and is missing";
    }
    const int64_t stored = static_cast<int64_t>(log->size());
    for (const std::string& aggregator : aggregators) {
      int64_t counted = -1;
      EXPECT_TRUE(testing::WaitUntil(
          [&] {
            counted = CountInWindows(aggregator, /*fast=*/false);
            return counted == stored;
          },
          std::chrono::seconds(60)))
          << aggregator << " counts " << counted << " of " << stored;
    }
  }

  // What went wrong is often told by the services alone.
  void TearDown() override {
    if (!HasFailure()) return;
    for (const auto& [name, process] : started_) std::cerr << "--- log of " << name << "\n" << process->Stderr();
  }

  std::unique_ptr<KafkaServer> kafka_;
  testing::TempDir directory_;
  std::map<std::string, std::shared_ptr<Process>> started_;  // the last of each name
};

TEST_F(KafkaServicesTest, AnAggregatorThatWasStoppedAndReplacedAddsNothing) {
  Service ingest = Start("naru-ingest", "i1");
  ASSERT_NO_FATAL_FAILURE(Apply(ingest.address));
  Service first = Start("naru-aggregator", "a1");
  Service second = Start("naru-aggregator", "a2");
  Told told;
  FaultLoad load(&told, Clock::System()->NowMicros());
  load.Start(ingest.address);
  ASSERT_TRUE(testing::WaitUntil([&] { return CountInWindows(second.address, true) > 1000; }, std::chrono::seconds(60)));
  // Stopped wherever it happens to be, often inside a commit; its partitions go to the other one.
  first.process->Signal(SIGSTOP);
  const size_t before = told.acknowledged().size();
  ASSERT_TRUE(testing::WaitUntil([&] { return told.acknowledged().size() > before + 2000; }, std::chrono::seconds(60)));
  ASSERT_TRUE(testing::WaitUntil(
      [&] { return CountInWindows(second.address, true) > static_cast<int64_t>(before) + 1000; }, std::chrono::seconds(90)))
      << "the partitions were not taken over";
  first.process->Signal(SIGCONT);
  ASSERT_TRUE(testing::WaitUntil([&] { return CountInWindows(first.address, true) > static_cast<int64_t>(before); },
                                 std::chrono::seconds(90)));
  load.Stop();
  ASSERT_NO_FATAL_FAILURE(SendUnanswered(load, ingest.address));
  CheckEverything(told, ingest.address, {first.address, second.address});
}

TEST_F(KafkaServicesTest, NothingIsLostOrTwiceWhenServicesAndTheBrokerAreKilled) {
  Service ingest = Start("naru-ingest", "i1");
  ASSERT_NO_FATAL_FAILURE(Apply(ingest.address));
  Service aggregator = Start("naru-aggregator", "a1");
  Told told;
  FaultLoad load(&told, Clock::System()->NowMicros());
  const auto write_more = [&] {
    const size_t before = told.acknowledged().size();
    return testing::WaitUntil([&] { return told.acknowledged().size() > before + 2000; }, std::chrono::seconds(60));
  };
  load.Start(ingest.address);
  ASSERT_TRUE(write_more());

  ingest.process->Signal(SIGKILL);
  load.Stop();
  ingest = Start("naru-ingest", "i1");
  ASSERT_NO_FATAL_FAILURE(SendUnanswered(load, ingest.address));
  load.Start(ingest.address);
  ASSERT_TRUE(write_more());

  aggregator.process->Signal(SIGKILL);
  aggregator = Start("naru-aggregator", "a1");
  ASSERT_TRUE(write_more());

  kafka_->Kill();
  ASSERT_TRUE(kafka_->Restart().ok());
  load.Stop();
  ASSERT_NO_FATAL_FAILURE(SendUnanswered(load, ingest.address));
  load.Start(ingest.address);
  ASSERT_TRUE(write_more());
  load.Stop();
  ASSERT_NO_FATAL_FAILURE(SendUnanswered(load, ingest.address));
  CheckEverything(told, ingest.address, {aggregator.address});
}

}  // namespace
}  // namespace naru::faults
