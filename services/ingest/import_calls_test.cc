#include "services/ingest/import_calls.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "common/server/server.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "services/ingest/testing_import.h"
#include "services/ingest/testing_ingest.h"

namespace naru::ingest {
namespace {

using ::testing::HasSubstr;

/// A real server on a free port, and a real client.
class ImportCallsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ingest_.options.unregistered_events = "keep";
    ingest_.Open();
    ServerOptions options;
    options.name = "ingest";
    options.drain_timeout = std::chrono::seconds(10);
    server_ = std::make_unique<Server>(options, ServerDependencies{.metrics = &ingest_.metrics});
    ingest_.ingest->Register(*server_);
    ASSERT_TRUE(server_->Start().ok());
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    stub_ = v1::IngestService::NewStub(channel_);
  }
  void TearDown() override {
    stub_.reset();
    channel_.reset();
    if (server_ != nullptr) server_->Stop();
    server_.reset();
  }

  static v1::ImportEventsRequest Start(const std::string& format = "ndjson", const std::string& source = "shop") {
    v1::ImportEventsRequest request;
    request.mutable_start()->set_format(format);
    request.mutable_start()->set_source(source);
    request.mutable_start()->set_file_name("events.ndjson");
    return request;
  }
  static v1::ImportEventsRequest Chunk(std::string bytes) {
    v1::ImportEventsRequest request;
    request.set_chunk(std::move(bytes));
    return request;
  }
  static v1::ImportEventsRequest End() {
    v1::ImportEventsRequest request;
    request.mutable_end();
    return request;
  }
  static std::string Lines(int from, int to) {
    std::string text;
    for (int i = from; i < to; ++i) {
      absl::StrAppend(&text, R"({"type":"Bought","subject":"u)", i % 50, R"(","data":{"n":)", i, "}}\n");
    }
    return text;
  }

  struct Answer {
    absl::Status status;
    v1::ImportEventsResponse last;
    std::vector<v1::RejectedLine> rejected;
  };
  Answer Import(const v1::ImportEventsRequest& start, const std::string& bytes, bool with_end = true) {
    grpc::ClientContext context;
    auto stream = stub_->ImportEvents(&context);
    std::thread sender([&] {
      if (!stream->Write(start)) return;
      for (size_t at = 0; at < bytes.size(); at += 1 << 20) {
        if (!stream->Write(Chunk(bytes.substr(at, 1 << 20)))) return;
      }
      if (with_end && !stream->Write(End())) return;
      stream->WritesDone();
    });
    Answer answer;
    v1::ImportEventsResponse response;
    while (stream->Read(&response)) {
      for (const auto& line : response.rejected_lines()) answer.rejected.push_back(line);
      answer.last = response;
    }
    sender.join();
    answer.status = FromGrpcStatus(stream->Finish());
    return answer;
  }

  TestIngest ingest_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::IngestService::Stub> stub_;
};

TEST_F(ImportCallsTest, AnswersWithTotalsAndTheLinesThatWereRejected) {
  const Answer answer = Import(Start(), Lines(0, 30000) + "{\"type\":3}\nnot json\n" + Lines(30000, 30010));
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_TRUE(answer.last.done());
  EXPECT_EQ(answer.last.read_count(), 30012);
  EXPECT_EQ(answer.last.accepted_count(), 30011);
  EXPECT_EQ(answer.last.rejected_count(), 1);
  EXPECT_GT(answer.last.last_offsets_size(), 1);
  ASSERT_EQ(answer.rejected.size(), 1u);
  EXPECT_EQ(answer.rejected[0].line_number(), 30002);
  EXPECT_EQ(answer.rejected[0].line(), "not json");
  const Answer again = Import(Start(), Gzip(Lines(0, 30000) + "{\"type\":3}\nnot json\n" + Lines(30000, 30010)));
  EXPECT_EQ(again.last.duplicate_count(), 30011);
  EXPECT_EQ(again.last.rejected_count(), 1);
  EXPECT_EQ(again.last.accepted_count(), 0);
}

TEST_F(ImportCallsTest, WrongStartsAreToldWhatIsRight) {
  const Answer unknown = Import(Start("ndjsn"), Lines(0, 1));
  EXPECT_TRUE(absl::IsNotFound(unknown.status)) << unknown.status;
  EXPECT_THAT(std::string(unknown.status.message()), HasSubstr("did you mean \"ndjson\"?"));
  EXPECT_EQ(GetErrorDetails(unknown.status).reason, "FORMAT_NOT_FOUND");
  EXPECT_EQ(GetErrorDetails(Import(Chunk("x"), "").status).reason, "NO_START");
  grpc::ClientContext context;
  auto stream = stub_->ImportEvents(&context);
  stream->WritesDone();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ImportCallsTest, AFollowedFileGoesOnFromTheAnswersPosition) {
  v1::ImportEventsRequest start = Start();
  start.mutable_start()->set_follow(true);
  start.mutable_start()->set_compression(v1::ImportStart::NONE);
  const Answer first = Import(start, Lines(0, 10) + "{\"type\":");
  ASSERT_TRUE(first.status.ok()) << first.status;
  EXPECT_EQ(first.last.accepted_count(), 10);
  ASSERT_TRUE(first.last.has_position());
  EXPECT_EQ(first.last.position().end_byte(), static_cast<int64_t>(Lines(0, 10).size()));
  *start.mutable_start()->mutable_position() = first.last.position();
  const Answer second = Import(start, Lines(10, 15));
  EXPECT_EQ(second.last.read_count(), 5);
  EXPECT_EQ(second.last.position().next_line_number(), 16);
  EXPECT_EQ(GetErrorDetails(Import(start, Lines(10, 15)).status).reason, "POSITION_UNKNOWN") << "that was before";

  start.mutable_start()->set_compression(v1::ImportStart::GZIP);
  EXPECT_EQ(GetErrorDetails(Import(start, "").status).violations[0].field, "start.compression");
  start.mutable_start()->mutable_position()->set_line_id("here");
  EXPECT_EQ(GetErrorDetails(Import(start, "").status).violations[0].field, "start.position");
  start.mutable_start()->set_seed(std::string(300, 's'));
  EXPECT_EQ(GetErrorDetails(Import(start, "").status).violations[0].field, "start.seed");
}

TEST_F(ImportCallsTest, ASecondStartIsRefusedAndWhatCameBeforeStays) {
  grpc::ClientContext context;
  auto stream = stub_->ImportEvents(&context);
  ASSERT_TRUE(stream->Write(Start()));
  ASSERT_TRUE(stream->Write(Start()));
  v1::ImportEventsResponse response;
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(GetErrorDetails(FromGrpcStatus(stream->Finish())).reason, "NOT_A_CHUNK");
}

TEST_F(ImportCallsTest, ASenderThatGoesAwayLeavesNoHalfLine) {
  const std::string text = Lines(0, 20000);
  for (int round = 0; round < 10; ++round) {
    grpc::ClientContext context;
    auto stream = stub_->ImportEvents(&context);
    ASSERT_TRUE(stream->Write(Start()));
    ASSERT_TRUE(stream->Write(Chunk(text.substr(0, 100'000 + round * 7))));
    if (round % 2 == 0) {
      context.TryCancel();
    } else {
      // The connection breaks: nothing is said at all.
      context.TryCancel();
      stream.reset();
    }
    if (stream != nullptr) stream->Finish();
  }
  // The abandoned ones count as running until they have ended.
  Answer whole;
  ASSERT_TRUE(testing::WaitUntil([&] {
    whole = Import(Start(), text);
    return !absl::IsResourceExhausted(whole.status);
  }));
  ASSERT_TRUE(whole.status.ok()) << whole.status;
  EXPECT_EQ(whole.last.read_count(), 20000);
  EXPECT_EQ(whole.last.rejected_count(), 0);
  EXPECT_EQ(ingest_.Totals().accepted(), 20000);
  EXPECT_EQ(ingest_.Totals().rejected(), 0);
}

TEST_F(ImportCallsTest, AStreamThatEndsWithoutSayingSoWasCutOff) {
  const std::string text = Lines(0, 3000);
  const Answer cut = Import(Start(), text.substr(0, text.size() - 5), /*with_end=*/false);
  EXPECT_EQ(GetErrorDetails(cut.status).reason, "NO_END") << cut.status;
  EXPECT_EQ(ingest_.Totals().rejected(), 0);
  for (const auto& record : ingest_.ReadAll(event_log::kEventsTopic)) EXPECT_EQ(record.schema, "naru.event.v1.Event");
  const Answer whole = Import(Start(), text);
  ASSERT_TRUE(whole.status.ok()) << whole.status;
  EXPECT_EQ(whole.last.read_count(), 3000);
  EXPECT_EQ(ingest_.Totals().accepted(), 3000);
  EXPECT_EQ(ingest_.Totals().rejected(), 0);
}

TEST_F(ImportCallsTest, AStoppingServerEndsImportsAndTheyGoOnLater) {
  grpc::ClientContext context;
  auto stream = stub_->ImportEvents(&context);
  ASSERT_TRUE(stream->Write(Start()));
  const std::string text = Lines(0, 20000);
  ASSERT_TRUE(stream->Write(Chunk(text.substr(0, 500'000))));
  std::thread stopper([&] { server_->Stop(); });
  v1::ImportEventsResponse response;
  while (stream->Read(&response)) {
  }
  const absl::Status status = FromGrpcStatus(stream->Finish());
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  stopper.join();
  EXPECT_EQ(ingest_.Totals().rejected(), 0);
}

TEST_F(ImportCallsTest, RejectedLinesAreReplayedByTheirFormat) {
  ingest_.ApplyType("Bought", R"(schema { properties { key: "n" value { type: "integer" maximum: 9 } } })");
  ASSERT_EQ(Import(Start(), Lines(0, 12)).last.rejected_count(), 2);
  grpc::ClientContext context;
  v1::ReplayRejectedRequest request;
  v1::ReplayRejectedResponse response;
  ingest_.ApplyType("Bought", R"(schema { properties { key: "n" value { type: "integer" maximum: 99 } } })");
  ASSERT_TRUE(stub_->ReplayRejected(&context, request, &response).ok());
  EXPECT_EQ(response.read_count(), 2);
  EXPECT_EQ(response.accepted_count(), 2);
  // The ids are those of the lines: the file adds nothing.
  EXPECT_EQ(Import(Start("ndjson", "shop"), Lines(0, 12)).last.accepted_count(), 0);
}

TEST_F(ImportCallsTest, ManyImportsAtATime) {
  std::vector<std::thread> threads;
  std::atomic<int> done{0};
  std::atomic<int> refused{0};
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&, i] {
      while (true) {
        const Answer answer = Import(Start("ndjson", absl::StrCat("source", i % 6)), Lines(0, 5000));
        if (answer.status.ok()) {
          EXPECT_EQ(answer.last.read_count(), 5000);
          ++done;
          return;
        }
        EXPECT_EQ(GetErrorDetails(answer.status).reason, "TOO_MANY_IMPORTS") << answer.status;
        ++refused;
        std::this_thread::yield();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(done, 12);
  EXPECT_EQ(ingest_.Totals().accepted(), 6 * 5000);
  EXPECT_EQ(ingest_.Totals().received(), 12 * 5000);
}

}  // namespace
}  // namespace naru::ingest
