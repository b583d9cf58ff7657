// `naru up` is killed at random moments while clients write, and started again on the same data. Then everything is
// counted: nothing acknowledged is missing, nothing is there twice, and accounting, log and windows agree.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <csignal>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/clock/clock.h"
#include "common/testing/testing.h"
#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "tests/faults/fault_load.h"

namespace naru::faults {
namespace {

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
    - {name: total, agg: sum, expr: data.n}
)";

int Rounds() { return std::stoi(testing::GetEnv("NARU_FAULT_ROUNDS", "25")); }

class KillTest : public ::testing::Test {
 protected:
  void Start() {
    auto process = Process::Start({.args = {testing::BinaryPath("naru"), "up", "--data_dir", directory_.File("data"),
                                            "--listen", "127.0.0.1:0", "--pack", pack_.path()}});
    ASSERT_TRUE(process.ok()) << process.status();
    process_ = std::move(*process);
    const auto line = process_->ReadLine(std::chrono::seconds(30));
    ASSERT_TRUE(line.ok()) << line.status();
    const auto address = testing::FindAddress(*line, "grpc");
    ASSERT_TRUE(address.has_value()) << *line;
    address_ = *address;
  }

  void Kill() {
    process_->Signal(SIGKILL);
    ASSERT_TRUE(process_->Wait().ok());
  }

  ingest::v1::Accounting GetAccounting() {
    auto stub = ingest::v1::IngestService::NewStub(
        grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
    ingest::v1::Accounting accounting;
    grpc::ClientContext context;
    const grpc::Status status = stub->GetAccounting(&context, {}, &accounting);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return accounting;
  }

  int64_t CountInWindows() {
    auto stub = aggregator::v1::AggregatorService::NewStub(
        grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
    aggregator::v1::QueryWindowsRequest request;
    request.set_metric("load-count");
    aggregator::v1::QueryWindowsResponse response;
    grpc::ClientContext context;
    const grpc::Status status = stub->QueryWindows(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    int64_t events = 0;
    for (const auto& row : response.rows()) events += row.measures().at("events").integer();
    return events;
  }

  // Compares what clients were told with what the log holds.
  void CheckEverything(const Told& told) {
    const auto log = ReadLog(address_);
    ASSERT_TRUE(log.ok()) << log.status();
    const std::set<std::string> sent = told.sent();
    int64_t stored = 0;
    for (const auto& [id, count] : *log) {
      EXPECT_EQ(count, 1) << id << " is stored " << count << " times";
      EXPECT_EQ(sent.count(id), 1u) << id << " was never sent";
      stored += count;
    }
    for (const std::string& id : told.acknowledged()) {
      ASSERT_EQ(log->count(id), 1u) << id << " was acknowledged and is missing";
    }
    const ingest::v1::Accounting accounting = GetAccounting();
    EXPECT_EQ(accounting.accepted_count(), stored);
    EXPECT_EQ(accounting.received_count(),
              accounting.accepted_count() + accounting.duplicate_count() + accounting.rejected_count());
    EXPECT_EQ(CountInWindows(), stored);
  }

  testing::TempDir directory_;
  testing::TempDir pack_;
  std::unique_ptr<Process> process_;
  std::string address_;
};

TEST_F(KillTest, NothingAcknowledgedIsLostAndNothingIsTwiceAfterKills) {
  pack_.Write("load.yaml", kPack);
  const uint64_t seed = Clock::System()->NowMicros();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  SeededRandom random(seed);
  Told told;
  FaultLoad load(&told, seed);
  for (int round = 0; round < Rounds(); ++round) {
    ASSERT_NO_FATAL_FAILURE(Start());
    // What was not answered in the last round is sent again with the same ids: some of it is in the log already.
    const absl::Status again = load.SendUnanswered(address_);
    ASSERT_TRUE(again.ok()) << again;
    load.Start(address_);
    std::this_thread::sleep_for(std::chrono::milliseconds(random.Next() % 400));
    ASSERT_NO_FATAL_FAILURE(Kill());
    load.Stop();
    if (round % 10 == 9) {
      ASSERT_NO_FATAL_FAILURE(Start());
      ASSERT_NO_FATAL_FAILURE(CheckEverything(told));
      ASSERT_NO_FATAL_FAILURE(Kill());
    }
  }
  ASSERT_NO_FATAL_FAILURE(Start());
  const absl::Status again = load.SendUnanswered(address_);
  ASSERT_TRUE(again.ok()) << again;
  ASSERT_NO_FATAL_FAILURE(CheckEverything(told));
  EXPECT_EQ(told.acknowledged(), told.sent());
  EXPECT_GT(told.sent().size(), 1000u);
  process_->Signal(SIGTERM);
  const auto exit_code = process_->Wait();
  ASSERT_TRUE(exit_code.ok()) << exit_code.status();
  EXPECT_EQ(*exit_code, 0);
}

}  // namespace
}  // namespace naru::faults
