// Malformed lines and messages, as many as NARU_MALFORMED_COUNT says, through imports and publishing of a real ingest:
// it takes each, counts each, keeps each, and does not grow.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/catalog/resource_file.h"
#include "common/server/server.h"
#include "common/status/grpc_status.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "services/ingest/testing_ingest.h"
#include "tests/faults/malformed_input.h"

namespace naru::faults {
namespace {

using ingest::v1::PublishEventsResponse;

constexpr int64_t kDefaultCount = 40'000;
constexpr int64_t kRoundLines = 20'000;  // and as many events
constexpr int kBatchEvents = 1000;
constexpr int64_t kMaxGrowthBytes = int64_t{256} << 20;

int64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t total = 0;
  int64_t resident = 0;
  statm >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

/// What was sent and what the answers said of it.
struct Tally {
  int64_t received = 0;
  int64_t accepted = 0;
  int64_t duplicate = 0;
  int64_t rejected = 0;
  int64_t refused_batches = 0;
};

/// Counts the records of a topic that carry a schema, as they come.
class RecordCounter {
 public:
  RecordCounter(event_log::EventLog* log, std::string topic, std::string schema)
      : log_(log), topic_(std::move(topic)), schema_(std::move(schema)) {}

  int64_t Count() {
    const auto info = log_->DescribeTopic(topic_);
    EXPECT_TRUE(info.ok()) << info.status();
    for (const auto& partition : info->partitions) CountPartition(partition);
    return count_;
  }

 private:
  void CountPartition(const event_log::PartitionInfo& partition) {
    int64_t& next = next_[partition.partition];
    if (next >= partition.end_offset) return;
    event_log::ReadPosition from{partition.partition};
    from.value = next;
    const auto reader = log_->OpenReader(topic_, {from});
    ASSERT_TRUE(reader.ok()) << reader.status();
    while (next < partition.end_offset) {
      const auto batches = (*reader)->Poll(std::chrono::seconds(30), 1 << 20);
      ASSERT_TRUE(batches.ok()) << batches.status();
      ASSERT_FALSE(batches->empty()) << topic_ << " ends at " << next << " and not at " << partition.end_offset;
      for (const auto& batch : *batches) {
        if (batch.headers.schema == schema_) count_ += static_cast<int64_t>(batch.records.size());
        next = batch.next_offset;
      }
    }
  }

  event_log::EventLog* const log_;
  const std::string topic_;
  const std::string schema_;
  std::map<int, int64_t> next_;  ///< by partition
  int64_t count_ = 0;
};

class MalformedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // Dead letters of some rounds are kept, so that ten million need no disk.
    ingest_.options.rejected_retention = std::chrono::hours(3);
    ingest_.Open();
    ApplyResources();
    events_ = std::make_unique<RecordCounter>(ingest_.log.get(), event_log::kEventsTopic, "naru.event.v1.Event");
    dead_letters_ =
        std::make_unique<RecordCounter>(ingest_.log.get(), event_log::kDeadLetterTopic, "naru.ingest.v1.RejectedEvent");
    ServerOptions options;
    options.name = "ingest";
    options.drain_timeout = std::chrono::seconds(10);
    server_ = std::make_unique<Server>(options, ServerDependencies{.metrics = &ingest_.metrics});
    ingest_.ingest->Register(*server_);
    ASSERT_TRUE(server_->Start().ok());
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    stub_ = ingest::v1::IngestService::NewStub(channel_);
    generic_ = std::make_unique<grpc::GenericStub>(channel_);
  }
  void TearDown() override {
    generic_.reset();
    stub_.reset();
    channel_.reset();
    if (server_ != nullptr) server_->Stop();
    server_.reset();
  }

  void ApplyResources() {
    catalog::ResourceSet set = catalog::LoadText("malformed.yaml", MalformedResources());
    set.Append(catalog::LoadPath(testing::SourcePath("deploy/packs/ciao_labella")));
    for (const auto& problem : set.problems) ADD_FAILURE() << problem.ToString();
    const auto applied = ingest_.writer->Apply(set.Resources(), false);
    ASSERT_TRUE(applied.ok()) << applied.status();
  }

  /// Sends bytes as they are. Nothing of the client's side checks them.
  grpc::Status PublishRaw(const std::string& bytes, PublishEventsResponse* response) {
    const grpc::Slice slice(bytes);
    grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer answer;
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    auto call = generic_->PrepareUnaryCall(&context, "/naru.ingest.v1.IngestService/PublishEvents", request, &queue);
    call->StartCall();
    grpc::Status status;
    call->Finish(&answer, &status, nullptr);
    void* tag;
    bool ok;
    queue.Next(&tag, &ok);
    if (status.ok()) {
      std::vector<grpc::Slice> slices;
      EXPECT_TRUE(answer.Dump(&slices).ok());
      std::string text;
      for (const grpc::Slice& part : slices) text.append(reinterpret_cast<const char*>(part.begin()), part.size());
      EXPECT_TRUE(response->ParseFromString(text));
    }
    return status;
  }

  void PublishBatch(std::vector<std::string> events, bool break_frame) {
    std::string bytes;
    for (const std::string& event : events) event::AppendPublishEntry(event, &bytes);
    if (break_frame) input_.Mutate(&bytes);
    PublishEventsResponse response;
    const grpc::Status status = PublishRaw(bytes, &response);
    if (!status.ok()) {
      EXPECT_TRUE(break_frame) << status.error_message();
      EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
      ++published_.refused_batches;
      return;
    }
    if (!break_frame) {
      EXPECT_EQ(response.received_count(), static_cast<int>(events.size()));
    }
    EXPECT_EQ(response.received_count(), response.accepted_count() + response.duplicate_count() +
                                             response.rejected_count() + response.filtered_count());
    EXPECT_EQ(response.not_accepted_size(), response.duplicate_count() + response.rejected_count());
    published_.received += response.received_count();
    published_.accepted += response.accepted_count();
    published_.duplicate += response.duplicate_count();
    published_.rejected += response.rejected_count();
  }

  void PublishRound(int64_t count) {
    for (int64_t sent = 0; sent < count; sent += kBatchEvents) {
      std::vector<std::string> events;
      for (int i = 0; i < kBatchEvents; ++i) events.push_back(input_.Event());
      if (sent % 10'000 == 0) events[input_.Below(kBatchEvents)] = input_.OverlongEvent();
      // A part of the events goes again in a batch that is broken itself; what of it counts, the answer says.
      std::vector<std::string> some(events.begin(), events.begin() + 20);
      PublishBatch(std::move(events), false);
      PublishBatch(std::move(some), true);
    }
  }

  /// Imports a text and returns the last answer.
  ingest::v1::ImportEventsResponse Import(const std::string& format, const std::string& source,
                                          const std::string& text) {
    grpc::ClientContext context;
    auto stream = stub_->ImportEvents(&context);
    std::thread sender([&] {
      ingest::v1::ImportEventsRequest start;
      start.mutable_start()->set_format(format);
      start.mutable_start()->set_source(source);
      start.mutable_start()->set_compression(ingest::v1::ImportStart::NONE);
      if (!stream->Write(start)) return;
      for (size_t at = 0; at < text.size();) {
        ingest::v1::ImportEventsRequest request;
        request.set_chunk(text.substr(at, 1 + input_.Below(1 << 20)));
        at += request.chunk().size();
        if (!stream->Write(request)) return;
      }
      ingest::v1::ImportEventsRequest end;
      end.mutable_end();
      stream->Write(end);
      stream->WritesDone();
    });
    ingest::v1::ImportEventsResponse response;
    ingest::v1::ImportEventsResponse last;
    while (stream->Read(&response)) last = response;
    sender.join();
    const absl::Status status = FromGrpcStatus(stream->Finish());
    EXPECT_TRUE(status.ok()) << format << ": " << status;
    EXPECT_TRUE(last.done());
    return last;
  }

  void ImportRound(int round, int64_t count) {
    const auto& formats = MalformedFormats();
    for (const std::string& format : formats) {
      std::string text;
      int64_t lines = 0;
      for (int64_t i = 0; i < count / static_cast<int64_t>(formats.size()); ++i) {
        const std::string line = i == 7 ? input_.OverlongLine() : input_.Line(format);
        const absl::string_view shown = absl::StripSuffix(line, "\r");
        if (shown.find_first_not_of(" \t") != absl::string_view::npos) ++lines;
        absl::StrAppend(&text, line, "\n");
      }
      const auto last = Import(format, absl::StrCat("round-", round), text);
      // A quote that is opened in CSV makes lines one record, here and there.
      const bool csv = format == "malformed-csv";
      if (!csv) {
        EXPECT_EQ(last.read_count(), lines) << format;
      }
      EXPECT_LE(last.read_count(), lines);
      EXPECT_GT(last.read_count(), lines / 2);
      EXPECT_EQ(last.read_count(),
                last.accepted_count() + last.duplicate_count() + last.rejected_count() + last.filtered_count())
          << format;
      EXPECT_GT(last.accepted_count(), 0) << format;
      EXPECT_GT(last.rejected_count(), 0) << format;
      imported_.received += last.read_count();
      imported_.accepted += last.accepted_count();
      imported_.duplicate += last.duplicate_count();
      imported_.rejected += last.rejected_count();
    }
  }

  /// The service's own numbers, and what the log holds, against what the answers said.
  void CheckAccounting() {
    grpc::ClientContext context;
    ingest::v1::Accounting accounting;
    const grpc::Status status = stub_->GetAccounting(&context, {}, &accounting);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(accounting.received_count(), published_.received + imported_.received);
    EXPECT_EQ(accounting.accepted_count(), published_.accepted + imported_.accepted);
    EXPECT_EQ(accounting.duplicate_count(), published_.duplicate + imported_.duplicate);
    EXPECT_EQ(accounting.rejected_count(), published_.rejected + imported_.rejected);
    int64_t by_reason = 0;
    for (const auto& reason : accounting.rejected_by_reason()) {
      by_reason += reason.count();
      reasons_[reason.reason()] = reason.count();
    }
    EXPECT_EQ(by_reason, accounting.rejected_count());
    EXPECT_EQ(events_->Count(), accounting.accepted_count());
    EXPECT_EQ(dead_letters_->Count(), accounting.rejected_count());
  }

  ingest::TestIngest ingest_;
  MalformedInput input_{20260101, ingest::TestIngest::kNow};
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<ingest::v1::IngestService::Stub> stub_;
  std::unique_ptr<grpc::GenericStub> generic_;
  Tally published_;
  Tally imported_;
  std::map<int, int64_t> reasons_;
  std::unique_ptr<RecordCounter> events_;
  std::unique_ptr<RecordCounter> dead_letters_;
};

TEST_F(MalformedTest, IsCountedToTheLastLineAndMessage) {
  int64_t count = kDefaultCount;
  if (const char* text = std::getenv("NARU_MALFORMED_COUNT")) {
    ASSERT_TRUE(absl::SimpleAtoi(text, &count)) << text;
  }
  const int64_t rounds = std::max<int64_t>(1, count / (2 * kRoundLines));
  int64_t settled = 0;
  for (int64_t round = 0; round < rounds; ++round) {
    input_.set_now_us(ingest_.clock.NowMicros());
    ImportRound(static_cast<int>(round), kRoundLines);
    PublishRound(kRoundLines);
    ASSERT_NO_FATAL_FAILURE(CheckAccounting());
    ASSERT_FALSE(HasFailure()) << "in round " << round;
    // An hour passes: ids and dead letters of long ago are forgotten.
    ingest_.clock.Advance(std::chrono::hours(1));
    ASSERT_TRUE(ingest_.log->RunMaintenance().ok());
    const int64_t resident = ResidentBytes();
    if (round <= rounds / 4) settled = std::max(settled, resident);
    ASSERT_LT(resident, settled + kMaxGrowthBytes) << "in round " << round;
    if (round % 25 == 24) {
      std::printf("%lld lines, %lld messages, %lld MiB\n", static_cast<long long>(imported_.received),
                  static_cast<long long>(published_.received), static_cast<long long>(resident >> 20));
      std::fflush(stdout);
    }
  }
  std::printf("%lld lines and %lld messages: %lld accepted, %lld duplicate, %lld rejected; %lld batches refused\n",
              static_cast<long long>(imported_.received), static_cast<long long>(published_.received),
              static_cast<long long>(imported_.accepted + published_.accepted),
              static_cast<long long>(imported_.duplicate + published_.duplicate),
              static_cast<long long>(imported_.rejected + published_.rejected),
              static_cast<long long>(published_.refused_batches));
  EXPECT_GT(published_.refused_batches, 0);
  EXPECT_GT(published_.duplicate, 0);
  // The input covers everything that can be wrong.
  for (int reason = ingest::v1::MALFORMED; reason <= ingest::v1::LINE_TOO_LONG; ++reason) {
    EXPECT_GT(reasons_[reason], 0) << ingest::v1::RejectReason_Name(reason);
  }
}

}  // namespace
}  // namespace naru::faults
