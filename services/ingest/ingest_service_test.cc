#include "services/ingest/ingest_service.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <set>
#include <thread>

#include "common/server/server.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "gmock/gmock.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "services/ingest/testing_ingest.h"

namespace naru::ingest {
namespace {

using ::testing::HasSubstr;

// A real server on a free port, and a real client.
class IngestServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ingest_.Open();
    ingest_.ApplyType("Login", R"(schema { properties { key: "age" value { type: "integer" minimum: 0 } } })");
    Serve();
  }
  void TearDown() override { StopServing(); }

  void Serve(std::chrono::milliseconds drain_timeout = std::chrono::seconds(10)) {
    ServerOptions options;
    options.name = "ingest";
    options.drain_timeout = drain_timeout;
    server_ = std::make_unique<Server>(options, ServerDependencies{.metrics = &ingest_.metrics});
    ingest_.ingest->Register(*server_);
    ASSERT_TRUE(server_->Start().ok());
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    stub_ = v1::IngestService::NewStub(channel_);
  }
  void StopServing() {
    stub_.reset();
    channel_.reset();
    if (server_ != nullptr) server_->Stop();
    server_.reset();
  }

  static event::v1::Event Event(const std::string& id, double age = 20, const std::string& subject = "u",
                                const std::string& type = "Login") {
    event::v1::Event event;
    event.set_id(id);
    event.set_source("test");
    event.set_type(type);
    event.set_subject(subject);
    (*event.mutable_data()->mutable_fields())["age"].set_number_value(age);
    return event;
  }
  absl::Status Publish(const v1::PublishEventsRequest& request, v1::PublishEventsResponse* response) {
    grpc::ClientContext context;
    return FromGrpcStatus(stub_->PublishEvents(&context, request, response));
  }
  v1::PublishEventsResponse PublishIds(int from, int to) {
    v1::PublishEventsRequest request;
    for (int id = from; id < to; ++id) *request.add_events() = Event(std::to_string(id), 20, std::to_string(id % 40));
    v1::PublishEventsResponse response;
    EXPECT_TRUE(Publish(request, &response).ok());
    return response;
  }
  std::vector<v1::StoredEvent> Read(const v1::ReadEventsRequest& request, absl::Status* status = nullptr) {
    grpc::ClientContext context;
    auto reader = stub_->ReadEvents(&context, request);
    std::vector<v1::StoredEvent> events;
    v1::ReadEventsResponse response;
    while (reader->Read(&response)) events.insert(events.end(), response.events().begin(), response.events().end());
    const absl::Status end = FromGrpcStatus(reader->Finish());
    if (status != nullptr) {
      *status = end;
    } else {
      EXPECT_TRUE(end.ok()) << end;
    }
    return events;
  }

  TestIngest ingest_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::IngestService::Stub> stub_;
};

TEST_F(IngestServiceTest, AnswersABatch) {
  v1::PublishEventsRequest request;
  *request.add_events() = Event("1");
  *request.add_events() = Event("1");
  *request.add_events() = Event("2", -1);
  request.set_return_offsets(true);
  v1::PublishEventsResponse response;
  ASSERT_TRUE(Publish(request, &response).ok());
  EXPECT_EQ(response.received_count(), 3);
  EXPECT_EQ(response.accepted_count(), 1);
  EXPECT_EQ(response.duplicate_count(), 1);
  EXPECT_EQ(response.rejected_count(), 1);
  ASSERT_EQ(response.not_accepted_size(), 2);
  EXPECT_TRUE(response.not_accepted(0).duplicate());
  EXPECT_EQ(response.not_accepted(1).index(), 2);
  EXPECT_EQ(response.not_accepted(1).reason(), v1::FIELD_RANGE);
  EXPECT_EQ(response.not_accepted(1).field(), "data.age");
  EXPECT_EQ(response.not_accepted(1).expected(), "an integer of at least 0");
  ASSERT_EQ(response.event_offsets_size(), 1);
  ASSERT_EQ(response.last_offsets_size(), 1);
  EXPECT_EQ(response.last_offsets(0).offset(), response.event_offsets(0).offset());
}

TEST_F(IngestServiceTest, RefusesABatchThatIsNone) {
  const std::string method = "/naru.ingest.v1.IngestService/PublishEvents";
  for (const std::string& bytes : {std::string("\x0a\x7f"), std::string("\xff\xff\xff"), std::string("\x0b")}) {
    const grpc::Slice slice(bytes);
    grpc::ByteBuffer request(&slice, 1), response;
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    grpc::GenericStub stub(channel_);
    auto call = stub.PrepareUnaryCall(&context, method, request, &queue);
    call->StartCall();
    grpc::Status status;
    call->Finish(&response, &status, nullptr);
    void* tag;
    bool ok;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(GetErrorDetails(FromGrpcStatus(status)).reason, "MALFORMED_BATCH");
  }
  v1::PublishEventsRequest large;
  for (int i = 0; i < 30; ++i) *large.add_events() = Event(std::to_string(i), 1, std::string(1000, 'x'));
  for (auto& event : *large.mutable_events()) {
    (*event.mutable_data()->mutable_fields())["x"].set_string_value(std::string(200'000, 'x'));
  }
  v1::PublishEventsResponse response;
  const absl::Status status = Publish(large, &response);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorDetails(status).reason, "BATCH_TOO_LARGE");
}

TEST_F(IngestServiceTest, AnswersAStreamInTheOrderOfItsBatches) {
  grpc::ClientContext context;
  auto stream = stub_->StreamEvents(&context);
  constexpr int kBatches = 300;
  std::thread sender([&] {
    for (int n = 0; n < kBatches; ++n) {
      v1::PublishEventsRequest request;
      for (int i = 0; i <= n % 7; ++i) *request.add_events() = Event(std::to_string(n) + "/" + std::to_string(i));
      ASSERT_TRUE(stream->Write(request));
    }
    stream->WritesDone();
  });
  v1::PublishEventsResponse response;
  int answered = 0;
  while (stream->Read(&response)) {
    EXPECT_EQ(response.received_count(), answered % 7 + 1);
    EXPECT_EQ(response.accepted_count(), answered % 7 + 1);
    ++answered;
  }
  sender.join();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(answered, kBatches);
}

TEST_F(IngestServiceTest, EndsAStreamWithTheErrorOfABatchAfterTheAnswersBeforeIt) {
  grpc::ClientContext context;
  auto stream = stub_->StreamEvents(&context);
  v1::PublishEventsRequest request;
  *request.add_events() = Event("1");
  ASSERT_TRUE(stream->Write(request));
  v1::PublishEventsResponse response;
  ASSERT_TRUE(stream->Read(&response));
  ingest_.log->FailNext({absl::UnavailableError("gone")});
  request.mutable_events(0)->set_id("2");
  stream->Write(request);
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  // Sent again, it is accepted: the failed one left nothing.
  ASSERT_TRUE(Publish(request, &response).ok());
  EXPECT_EQ(response.accepted_count(), 1);
}

TEST_F(IngestServiceTest, SurvivesClientsThatVanish) {
  ingest_.log->Hold(true);
  for (int n = 0; n < 20; ++n) {
    grpc::ClientContext context;
    auto stream = stub_->StreamEvents(&context);
    v1::PublishEventsRequest request;
    *request.add_events() = Event(std::to_string(n));
    for (int i = 0; i < 3; ++i) stream->Write(request);
    context.TryCancel();
  }
  ingest_.log->Hold(false);
  while (ingest_.log->held() > 0) ingest_.log->Release();
  EXPECT_TRUE(testing::WaitUntil([&] { return ingest_.ingest->budget().taken() == 0; }));
  EXPECT_EQ(PublishIds(100, 110).accepted_count(), 10);
}

TEST_F(IngestServiceTest, SlowsStreamsAndRefusesCallsWhenTooMuchIsInFlight) {
  StopServing();
  ingest_.options.max_in_flight = ByteSize{1 << 20};
  ingest_.Reopen();
  Serve();
  ingest_.log->Hold(true);
  grpc::ClientContext context;
  auto stream = stub_->StreamEvents(&context);
  constexpr int kBatches = 400;  // 40 MB: more than gRPC itself holds on the way
  std::atomic<int> sent{0};
  std::thread sender([&] {
    for (int n = 0; n < kBatches; ++n) {
      v1::PublishEventsRequest request;
      event::v1::Event event = Event(std::to_string(n));
      (*event.mutable_data()->mutable_fields())["x"].set_string_value(std::string(100'000, 'x'));
      *request.add_events() = event;
      ASSERT_TRUE(stream->Write(request));
      ++sent;
    }
    stream->WritesDone();
  });
  ASSERT_TRUE(testing::WaitUntil([&] { return ingest_.log->held() >= 10; }));
  EXPECT_LE(ingest_.log->held(), 10);
  EXPECT_LE(ingest_.ingest->budget().taken(), 1 << 20);
  // A call of its own is refused, and told when to come again: as large as there is no room for, whether or not the
  // stream's next batch waits already.
  v1::PublishEventsRequest request;
  *request.add_events() = Event("call");
  (*request.mutable_events(0)->mutable_data()->mutable_fields())["x"].set_string_value(std::string(100'000, 'x'));
  v1::PublishEventsResponse response;
  const absl::Status refused = Publish(request, &response);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(GetErrorDetails(refused).retry_after.has_value());
  EXPECT_LT(sent, kBatches);

  std::atomic<bool> done{false};
  std::thread releaser([&] {
    while (!done) {
      if (ingest_.log->held() > 0) {
        ingest_.log->Release();
      } else {
        std::this_thread::yield();
      }
    }
  });
  int answers = 0;
  while (stream->Read(&response)) answers += response.accepted_count();
  EXPECT_TRUE(stream->Finish().ok());
  done = true;
  sender.join();
  releaser.join();
  ingest_.log->Hold(false);
  EXPECT_EQ(answers, kBatches);
  EXPECT_TRUE(Publish(request, &response).ok());
}

TEST_F(IngestServiceTest, ReadsNoMoreFromAStreamWhoseAnswersNobodyReads) {
  grpc::ClientContext context;
  auto stream = stub_->StreamEvents(&context);
  constexpr int kBatches = 60;  // their answers are about 15 MB, as each of their events is rejected
  v1::PublishEventsRequest request;
  for (int i = 0; i < 5000; ++i) *request.add_events() = Event(std::to_string(i), -1);
  std::atomic<int> sent{0};
  std::thread sender([&] {
    while (sent < kBatches && stream->Write(request)) ++sent;
    stream->WritesDone();
  });
  const auto received = [&] { return ingest_.Totals().received(); };
  // What was taken is answered, and nothing more is taken: whatever else was sent waits on its way.
  int64_t before = -1;
  int still = 0;
  ASSERT_TRUE(testing::WaitUntil([&] {
    const int64_t now = received();
    still = now == before && now > 0 && ingest_.ingest->budget().taken() == 0 ? still + 1 : 0;
    before = now;
    return still == 100;
  }));
  EXPECT_LT(before, int64_t{5000} * kBatches);
  v1::PublishEventsResponse response;
  int answers = 0;
  while (stream->Read(&response)) ++answers;
  sender.join();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(answers, kBatches);
}

TEST_F(IngestServiceTest, EndsStreamsAndReadersWhenItStops) {
  grpc::ClientContext stream_context, read_context;
  auto stream = stub_->StreamEvents(&stream_context);
  v1::PublishEventsRequest request;
  *request.add_events() = Event("1");
  ASSERT_TRUE(stream->Write(request));
  v1::PublishEventsResponse response;
  ASSERT_TRUE(stream->Read(&response));
  v1::ReadEventsRequest follow;
  follow.set_follow(true);
  auto reader = stub_->ReadEvents(&read_context, follow);
  v1::ReadEventsResponse events;
  ASSERT_TRUE(reader->Read(&events));
  std::thread stop([&] { server_->Stop(); });
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  while (reader->Read(&events)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  stop.join();
}

TEST_F(IngestServiceTest, StopsThoughAReaderTakesNothing) {
  StopServing();
  ingest_.Reopen();
  Serve(std::chrono::milliseconds(100));
  for (int n = 0; n < 40; ++n) {  // 40 MB: more than gRPC itself holds on the way
    v1::PublishEventsRequest request;
    for (int i = 0; i < 5; ++i) {
      event::v1::Event event = Event(std::to_string(5 * n + i));
      (*event.mutable_data()->mutable_fields())["x"].set_string_value(std::string(200'000, 'x'));
      *request.add_events() = event;
    }
    v1::PublishEventsResponse response;
    ASSERT_TRUE(Publish(request, &response).ok());
  }
  grpc::ClientContext context;
  auto reader = stub_->ReadEvents(&context, v1::ReadEventsRequest());
  v1::ReadEventsResponse response;
  ASSERT_TRUE(reader->Read(&response));
  server_->Stop();
  while (reader->Read(&response)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
}

TEST_F(IngestServiceTest, ReadsEventsFromWhereItIsAsked) {
  PublishIds(0, 100);
  ingest_.clock.Advance(std::chrono::hours(1));
  PublishIds(100, 150);
  v1::ReadEventsRequest request;
  std::vector<v1::StoredEvent> all = Read(request);
  ASSERT_EQ(all.size(), 150);
  std::set<std::string> ids;
  for (const auto& event : all) {
    ids.insert(event.event().id());
    EXPECT_GE(event.event().received_time().seconds(), TestIngest::kNow / 1'000'000);
  }
  EXPECT_EQ(ids.size(), 150);

  request.mutable_from_time()->set_seconds(TestIngest::kNow / 1'000'000 + 1800);
  EXPECT_EQ(Read(request).size(), 50);
  request.set_limit(7);
  EXPECT_EQ(Read(request).size(), 7);
  request.Clear();
  request.add_partitions(2);
  for (const auto& event : Read(request)) EXPECT_EQ(event.partition(), 2);
  request.set_from_offset(5);
  for (const auto& event : Read(request)) EXPECT_GE(event.offset(), 5);
  request.Clear();
  request.set_from_end(true);
  EXPECT_TRUE(Read(request).empty());
  request.set_last_count(60);
  const auto last = Read(request);
  ASSERT_EQ(last.size(), 60);
  EXPECT_GE(std::stoi(last.back().event().id()), 100);
  request.Clear();
  request.add_types("Other");
  EXPECT_TRUE(Read(request).empty());
  request.Clear();
  request.set_filter("subject == '7' && data.age >= 20");
  EXPECT_EQ(Read(request).size(), 4);
}

TEST_F(IngestServiceTest, SaysWhatIsWrongWithARead) {
  absl::Status status;
  v1::ReadEventsRequest request;
  request.set_filter("data.age >=");
  Read(request, &status);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("filter"));
  request.Clear();
  request.add_partitions(9);
  Read(request, &status);
  EXPECT_THAT(std::string(status.message()), HasSubstr("9 is not one of 0 to 3"));
  request.Clear();
  request.set_last_count(20'000);
  Read(request, &status);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(IngestServiceTest, FollowsNewEvents) {
  grpc::ClientContext context;
  v1::ReadEventsRequest request;
  request.set_from_end(true);
  request.set_follow(true);
  request.set_limit(30);
  auto reader = stub_->ReadEvents(&context, request);
  // The call has begun once the server knows it; events from before it are not asked for.
  std::atomic<bool> stop{false};
  std::thread publisher([&] {
    for (int n = 0; !stop && n < 1000; ++n) PublishIds(n * 10, n * 10 + 10);
  });
  v1::ReadEventsResponse response;
  int count = 0;
  while (reader->Read(&response)) count += response.events_size();
  stop = true;
  publisher.join();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(count, 30);
}

TEST_F(IngestServiceTest, ListsAndReplaysRejectedEventsOnce) {
  v1::PublishEventsRequest request;
  *request.add_events() = Event("1", -5);
  *request.add_events() = Event("2", 20, "u", "New");
  *request.add_events() = Event("3", 20, "u", "New");
  v1::PublishEventsResponse published;
  ASSERT_TRUE(Publish(request, &published).ok());
  grpc::ClientContext c1, c2, c3, c4, c5, c6, c7, c8;
  v1::ListRejectedRequest list;
  list.set_page_size(2);
  v1::ListRejectedResponse page;
  ASSERT_TRUE(stub_->ListRejected(&c1, list, &page).ok());
  ASSERT_EQ(page.rejected_size(), 2);
  EXPECT_EQ(page.rejected(0).reason(), v1::FIELD_RANGE);
  EXPECT_EQ(page.rejected(0).name(), "0/0");
  list.set_page_token(page.next_page_token());
  ASSERT_TRUE(stub_->ListRejected(&c2, list, &page).ok());

  list.Clear();
  list.set_reason(v1::UNKNOWN_TYPE);
  v1::ListRejectedResponse unknown;
  ASSERT_TRUE(stub_->ListRejected(&c3, list, &unknown).ok());
  EXPECT_EQ(unknown.rejected_size(), 2);
  EXPECT_FALSE(unknown.rejected(0).replayed());

  ingest_.ApplyType("New", "");
  v1::ReplayRejectedRequest replay;
  replay.set_dry_run(true);
  v1::ReplayRejectedResponse replayed;
  ASSERT_TRUE(stub_->ReplayRejected(&c4, replay, &replayed).ok());
  EXPECT_EQ(replayed.accepted_count(), 2);
  EXPECT_EQ(replayed.rejected_count(), 1);
  replay.set_dry_run(false);
  for (int round = 0; round < 3; ++round) {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->ReplayRejected(&context, replay, &replayed).ok());
    EXPECT_EQ(replayed.read_count(), 3);
    EXPECT_EQ(replayed.accepted_count(), round == 0 ? 2 : 0);
    EXPECT_EQ(replayed.duplicate_count(), round == 0 ? 0 : 2);
    EXPECT_EQ(replayed.rejected_count(), 1);
    // Marks outlive restarts and the window of the ids.
    ingest_.clock.Advance(std::chrono::hours(48));
    StopServing();
    ingest_.Reopen();
    Serve();
  }
  grpc::ClientContext context;
  v1::RejectedEvent letter;
  v1::GetRejectedRequest get;
  get.set_name("0/1");
  ASSERT_TRUE(stub_->GetRejected(&context, get, &letter).ok());
  EXPECT_TRUE(letter.replayed());
  v1::Accounting accounting;
  grpc::ClientContext accounting_context;
  ASSERT_TRUE(stub_->GetAccounting(&accounting_context, {}, &accounting).ok());
  EXPECT_EQ(accounting.received_count(), 3);
  EXPECT_EQ(accounting.rejected_count(), 3);
  EXPECT_EQ(accounting.accepted_count(), 0);
  EXPECT_EQ(accounting.replayed_count(), 2);
  EXPECT_EQ(Read({}).size(), 2);
}

TEST_F(IngestServiceTest, SaysWhichRejectedEventThereIsNot) {
  for (const char* name : {"0/5", "1/0", "x", "", "0/-1", "0/99999999999999999999"}) {
    grpc::ClientContext context;
    v1::GetRejectedRequest request;
    request.set_name(name);
    v1::RejectedEvent letter;
    const grpc::Status status = stub_->GetRejected(&context, request, &letter);
    EXPECT_EQ(status.error_code(),
              std::string(name) == "0/5" ? grpc::StatusCode::NOT_FOUND : grpc::StatusCode::INVALID_ARGUMENT)
        << name;
  }
}

TEST_F(IngestServiceTest, TellsAccountingAndStatus) {
  PublishIds(0, 100);
  PublishIds(50, 120);
  grpc::ClientContext c1, c2;
  v1::Accounting accounting;
  ASSERT_TRUE(stub_->GetAccounting(&c1, {}, &accounting).ok());
  EXPECT_EQ(accounting.received_count(), 170);
  EXPECT_EQ(accounting.accepted_count(), 120);
  EXPECT_EQ(accounting.duplicate_count(), 50);
  ASSERT_EQ(accounting.accepted_by_type_size(), 1);
  EXPECT_EQ(accounting.accepted_by_type(0).type(), "Login");
  v1::IngestStatus status;
  ASSERT_TRUE(stub_->GetIngestStatus(&c2, {}, &status).ok());
  EXPECT_EQ(status.in_flight_bytes(), 0);
  EXPECT_EQ(status.deduplication_ids(), 120);
  EXPECT_GT(status.disk_used_bytes(), 0);
  int64_t events = 0;
  for (const auto& topic : status.topics()) {
    if (topic.topic() != "events") continue;
    EXPECT_EQ(topic.partitions_size(), 4);
    for (const auto& partition : topic.partitions()) events += partition.end_offset();
  }
  EXPECT_EQ(events, 120);
  const std::string metrics = ingest_.metrics.Scrape();
  EXPECT_THAT(metrics, HasSubstr("naru_ingest_events_total{outcome=\"accepted\"} 120"));
  EXPECT_THAT(metrics, HasSubstr("naru_ingest_events_total{outcome=\"duplicate\"} 50"));
}

}  // namespace
}  // namespace naru::ingest
