#include "common/server/server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "absl/strings/match.h"
#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "common/server/channel.h"
#include "common/server/test_certificates.h"
#include "common/server/trace.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"
#include "common/testing/http_client.h"
#include "common/testing/testing.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"

namespace naru {
namespace {

using ::naru::ingest::v1::Accounting;
using ::naru::ingest::v1::GetAccountingRequest;
using ::naru::ingest::v1::GetRejectedRequest;
using ::naru::ingest::v1::ImportEventsRequest;
using ::naru::ingest::v1::ImportEventsResponse;
using ::naru::ingest::v1::IngestService;
using ::naru::ingest::v1::PublishEventsRequest;
using ::naru::ingest::v1::PublishEventsResponse;
using ::naru::ingest::v1::ReadEventsRequest;
using ::naru::ingest::v1::ReadEventsResponse;
using ::naru::ingest::v1::RejectedEvent;
using ::naru::testing::WaitUntil;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Text(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string text;
  if (!buffer.Dump(&slices).ok()) return text;
  for (const grpc::Slice& slice : slices) text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return text;
}

// A raw bidirectional stream: sends every message back.
class EchoReactor : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  EchoReactor() { StartRead(&message_); }
  void OnReadDone(bool ok) override {
    if (ok) {
      StartWrite(&message_);
    } else {
      Finish(grpc::Status::OK);
    }
  }
  void OnWriteDone(bool ok) override {
    if (ok) StartRead(&message_);
  }
  void OnDone() override { delete this; }

 private:
  grpc::ByteBuffer message_;
};

class ReadOne : public grpc::ServerWriteReactor<ReadEventsResponse> {
 public:
  ReadOne() { StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK); }
  void OnDone() override { delete this; }

 private:
  ReadEventsResponse response_;
};

using RawStream = IngestService::WithRawCallbackMethod_StreamEvents<
    IngestService::WithRawCallbackMethod_PublishEvents<IngestService::WithCallbackMethod_ReadEvents<
        IngestService::WithCallbackMethod_GetAccounting<IngestService::Service>>>>;

// Every kind of method in one service: raw callback stream and unary, callback stream and unary, and synchronous ones.
class EveryKind : public RawStream {
 public:
  std::atomic<int> calls{0};
  std::atomic<bool> hold{false};
  std::atomic<int> holding{0};
  Mutex mu;
  std::string last_trace ABSL_GUARDED_BY(mu);

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StreamEvents(
      grpc::CallbackServerContext* context) override {
    Note(*context);
    return new EchoReactor;
  }
  grpc::ServerUnaryReactor* PublishEvents(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override {
    Note(*context);
    *response = *request;
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerWriteReactor<ReadEventsResponse>* ReadEvents(grpc::CallbackServerContext* context,
                                                           const ReadEventsRequest*) override {
    Note(*context);
    return new ReadOne;
  }
  grpc::ServerUnaryReactor* GetAccounting(grpc::CallbackServerContext* context, const GetAccountingRequest*,
                                          Accounting*) override {
    Note(*context);
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::Status GetRejected(grpc::ServerContext* context, const GetRejectedRequest*, RejectedEvent*) override {
    Note(*context);
    ++holding;
    WaitUntil([this, context] { return !hold || context->IsCancelled(); });
    --holding;
    return ToGrpcStatus(MakeError(absl::StatusCode::kNotFound, "REJECTED_NOT_FOUND", "no such event"),
                        "ingest.naru.dev");
  }
  grpc::Status ImportEvents(grpc::ServerContext* context,
                            grpc::ServerReaderWriter<ImportEventsResponse, ImportEventsRequest>* stream) override {
    Note(*context);
    ImportEventsRequest request;
    while (stream->Read(&request)) stream->Write(ImportEventsResponse());
    return grpc::Status(grpc::StatusCode::ABORTED, "bare");
  }

 private:
  void Note(const grpc::ServerContextBase& context) {
    ++calls;
    MutexLock lock(&mu);
    last_trace = TraceFromContext(context).ToString();
  }
};

class GenericEcho : public grpc::CallbackGenericService {
 public:
  std::atomic<int> calls{0};
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    ++calls;
    return new EchoReactor;
  }
};

class ServerTest : public ::testing::Test {
 protected:
  ServerTest() {
    options_.name = "ingest";
    options_.http_listen = "127.0.0.1:0";
    options_.metrics_listen = "127.0.0.1:0";
    options_.health_interval = std::chrono::milliseconds(5);
    log::SetSink([this](absl::string_view line) {
      MutexLock lock(&log_mu_);
      log_ += std::string(line) + "\n";
    });
  }
  ~ServerTest() override {
    if (server_ != nullptr) server_->Stop();
    log::SetSink(nullptr);
    log::SetLevel(log::Level::kInfo);
  }

  void Make() {
    server_ = std::make_unique<Server>(options_, ServerDependencies{.metrics = &metrics_, .keys = &keys_});
    server_->AddService(IngestService::service_full_name(), &service_);
    server_->RequireScope("/naru.ingest.v1.IngestService/PublishEvents", Scope::kPublish);
    server_->RequireScope("/naru.ingest.v1.IngestService/StreamEvents", Scope::kPublish);
    server_->RequireScope("/naru.ingest.v1.IngestService/GetAccounting", Scope::kRead);
    server_->RequireScope("/naru.ingest.v1.IngestService/ReadEvents", Scope::kRead);
    server_->SetGenericService(&generic_);
  }
  void Start() {
    Make();
    const absl::Status status = server_->Start();
    ASSERT_TRUE(status.ok()) << status;
  }
  std::shared_ptr<grpc::Channel> Channel(const std::string& key = "", ChannelOptions options = {}) {
    options.address = server_->address();
    options.api_key = key;
    auto channel = MakeChannel(options);
    EXPECT_TRUE(channel.ok()) << channel.status();
    return *channel;
  }
  std::unique_ptr<IngestService::Stub> Stub(const std::string& key = "") {
    return IngestService::NewStub(Channel(key));
  }
  std::string AddKey(Scopes scopes) {
    const NewApiKey made = MakeApiKey(*Random::System());
    keys_.Put({made.id, scopes, made.sha256});
    return made.key;
  }
  std::string Log() {
    MutexLock lock(&log_mu_);
    return log_;
  }

  // One call of each kind; returns the codes in the order raw unary, raw stream, server stream, callback unary,
  // synchronous unary, synchronous stream, generic, unknown service.
  std::vector<int> CallEveryKind(const std::string& key) {
    std::vector<int> codes;
    const auto channel = Channel(key);
    const auto stub = IngestService::NewStub(channel);
    {
      grpc::ClientContext context;
      PublishEventsResponse response;
      codes.push_back(stub->PublishEvents(&context, PublishEventsRequest(), &response).error_code());
    }
    {
      grpc::ClientContext context;
      auto stream = stub->StreamEvents(&context);
      stream->Write(PublishEventsRequest());
      PublishEventsResponse response;
      stream->Read(&response);
      stream->WritesDone();
      codes.push_back(stream->Finish().error_code());
    }
    {
      grpc::ClientContext context;
      auto stream = stub->ReadEvents(&context, ReadEventsRequest());
      ReadEventsResponse response;
      while (stream->Read(&response)) {
      }
      codes.push_back(stream->Finish().error_code());
    }
    {
      grpc::ClientContext context;
      Accounting response;
      codes.push_back(stub->GetAccounting(&context, GetAccountingRequest(), &response).error_code());
    }
    {
      grpc::ClientContext context;
      RejectedEvent response;
      codes.push_back(stub->GetRejected(&context, GetRejectedRequest(), &response).error_code());
    }
    {
      grpc::ClientContext context;
      auto stream = stub->ImportEvents(&context);
      stream->Write(ImportEventsRequest());
      ImportEventsResponse response;
      stream->Read(&response);
      stream->WritesDone();
      codes.push_back(stream->Finish().error_code());
    }
    codes.push_back(CallGeneric(channel, "/some.other.Service/Call"));
    return codes;
  }
  static int CallGeneric(const std::shared_ptr<grpc::Channel>& channel, const std::string& method) {
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    std::promise<grpc::Status> done;
    grpc::Slice slice("hello");
    grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    stub.UnaryCall(&context, method, grpc::StubOptions(), &request, &response,
                   [&done](const grpc::Status& status) { done.set_value(status); });
    return done.get_future().get().error_code();
  }

  ServerOptions options_;
  MetricRegistry metrics_;
  MemoryKeyStore keys_;
  EveryKind service_;
  GenericEcho generic_;
  std::unique_ptr<Server> server_;
  Mutex log_mu_;
  std::string log_ ABSL_GUARDED_BY(log_mu_);
};

constexpr int kOk = grpc::StatusCode::OK;
constexpr int kNotFound = grpc::StatusCode::NOT_FOUND;
constexpr int kAborted = grpc::StatusCode::ABORTED;
constexpr int kNoKey = grpc::StatusCode::UNAUTHENTICATED;
constexpr int kDenied = grpc::StatusCode::PERMISSION_DENIED;

TEST_F(ServerTest, WithoutKeysEveryKindOfMethodRunsOnLoopback) {
  Start();
  EXPECT_THAT(CallEveryKind(""), ::testing::ElementsAre(kOk, kOk, kOk, kOk, kNotFound, kAborted, kOk));
  EXPECT_EQ(service_.calls, 6);
}

TEST_F(ServerTest, WithoutAKeyNoHandlerOfAnyKindRuns) {
  options_.require_keys = true;
  Start();
  EXPECT_THAT(CallEveryKind(""), ::testing::Each(kNoKey));
  EXPECT_THAT(CallEveryKind(MakeApiKey(*Random::System()).key), ::testing::Each(kNoKey));
  EXPECT_EQ(service_.calls, 0);
  EXPECT_EQ(generic_.calls, 0);
}

TEST_F(ServerTest, AScopeOpensItsMethodsAndNoOthers) {
  options_.require_keys = true;
  Start();
  EXPECT_THAT(CallEveryKind(AddKey(Scope::kPublish)),
              ::testing::ElementsAre(kOk, kOk, kDenied, kDenied, kDenied, kDenied, kDenied));
  EXPECT_THAT(CallEveryKind(AddKey(Scope::kRead)),
              ::testing::ElementsAre(kDenied, kDenied, kOk, kOk, kDenied, kDenied, kDenied));
  EXPECT_THAT(CallEveryKind(AddKey(Scope::kAdmin)),
              ::testing::ElementsAre(kOk, kOk, kOk, kOk, kNotFound, kAborted, kOk));
}

TEST_F(ServerTest, ARevokedKeyIsRefusedFromTheNextCallOn) {
  options_.require_keys = true;
  Start();
  const NewApiKey made = MakeApiKey(*Random::System());
  keys_.Put({made.id, Scope::kRead, made.sha256});
  const auto stub = Stub(made.key);
  const auto call = [&] {
    grpc::ClientContext context;
    Accounting response;
    return stub->GetAccounting(&context, {}, &response);
  };
  EXPECT_TRUE(call().ok());
  keys_.Put({made.id, Scope::kRead, made.sha256, true});
  const grpc::Status refused = call();
  EXPECT_EQ(refused.error_code(), kNoKey);
  EXPECT_THAT(refused.error_message(), HasSubstr("API_KEY_INVALID"));
  EXPECT_THAT(Log(), Not(HasSubstr(made.key)));
}

TEST_F(ServerTest, XApiKeyWorksToo) {
  options_.require_keys = true;
  Start();
  grpc::ClientContext context;
  context.AddMetadata("x-api-key", AddKey(Scope::kRead));
  Accounting response;
  EXPECT_TRUE(Stub()->GetAccounting(&context, {}, &response).ok());
}

TEST_F(ServerTest, ErrorsCarryExactlyOneReasonAlsoWhereTheHandlerGaveNone) {
  Start();
  grpc::ClientContext context;
  RejectedEvent response;
  absl::Status status = FromGrpcStatus(Stub()->GetRejected(&context, {}, &response));
  EXPECT_EQ(GetErrorDetails(status).reason, "REJECTED_NOT_FOUND");
  grpc::ClientContext stream_context;
  auto stream = Stub()->ImportEvents(&stream_context);
  stream->WritesDone();
  status = FromGrpcStatus(stream->Finish());
  EXPECT_EQ(status.message(), "bare");
  EXPECT_EQ(GetErrorDetails(status).reason, "ABORTED");
  EXPECT_EQ(GetErrorDetails(status).domain, "ingest.naru.dev");
}

TEST_F(ServerTest, RefusesToListenOnOtherAddressesWithoutTlsAndKeys) {
  options_.listen = "0.0.0.0:0";
  Make();
  absl::Status status = server_->Start();
  EXPECT_EQ(GetErrorDetails(status).reason, "INSECURE_LISTEN") << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("--require_keys"));

  options_.listen = "127.0.0.1:0";
  options_.metrics_listen = "0.0.0.0:0";
  options_.require_keys = true;
  Make();
  status = server_->Start();
  EXPECT_EQ(GetErrorDetails(status).reason, "INSECURE_LISTEN") << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("--tls_cert"));
}

TEST_F(ServerTest, SaysThatAPortIsTaken) {
  Start();
  ServerOptions same;
  same.listen = server_->address();
  Server other(same, {.metrics = &metrics_});
  EXPECT_EQ(GetErrorDetails(other.Start()).reason, "PORT_TAKEN");
}

TEST_F(ServerTest, AFailedStartLeavesNoPortOpenAndCallsNothing) {
  Start();
  ServerOptions half;
  half.http_listen = server_->http_address();  // taken
  Server other(half, {.metrics = &metrics_});
  other.OnStop([] { ADD_FAILURE(); });
  other.OnFlush([] { ADD_FAILURE(); });
  EXPECT_EQ(GetErrorDetails(other.Start()).reason, "PORT_TAKEN");
  const auto channel = *MakeChannel({.address = other.address()});
  EXPECT_FALSE(channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::milliseconds(50)));
}

TEST_F(ServerTest, HttpPortsUseTheSameCertificate) {
  const testing::TempDir dir;
  const TestCertificates files = MakeTestCertificates(dir);
  options_.tls_cert = files.cert;
  options_.tls_key = files.key;
  Start();
  EXPECT_THAT(HttpsGet(server_->http_address(), "/healthz", files.ca), HasSubstr("200 OK"));
  EXPECT_THAT(HttpsGet(server_->metrics_address(), "/metrics", files.ca), HasSubstr("naru_grpc_connections"));
  const testing::TempDir other_dir;
  EXPECT_EQ(HttpsGet(server_->http_address(), "/healthz", MakeTestCertificates(other_dir).ca), "");
  EXPECT_EQ(testing::HttpGet(server_->http_address(), "/healthz").status, 0);
}

TEST(HttpTls, CertificatesAreReadAgainWhenTheirFilesChange) {
  const testing::TempDir dir;
  const TestCertificates files = MakeTestCertificates(dir);
  HttpServerOptions options;
  options.tls_cert = files.cert;
  options.tls_key = files.key;
  options.tls_reload_interval = std::chrono::milliseconds(0);
  HttpServer server(options);
  server.Handle("GET", "/", [](const HttpRequest&) { return HttpResponse(); });
  ASSERT_TRUE(server.Start().ok());
  const testing::TempDir old_dir;
  const std::string old_ca = old_dir.Write("ca.pem", testing::ReadFile(files.ca));
  EXPECT_THAT(HttpsGet(server.address(), "/", old_ca), HasSubstr("200 OK"));

  const testing::TempDir next_dir;
  const TestCertificates next = MakeTestCertificates(next_dir);
  const std::string next_key = testing::ReadFile(next.key);
  dir.Write("cert.pem", testing::ReadFile(next.cert));  // its key is not there yet: the old pair goes on
  EXPECT_THAT(HttpsGet(server.address(), "/", old_ca), HasSubstr("200 OK"));
  EXPECT_EQ(HttpsGet(server.address(), "/", next.ca), "");
  dir.Write("key.pem", next_key);
  EXPECT_THAT(HttpsGet(server.address(), "/", next.ca), HasSubstr("200 OK"));
  EXPECT_EQ(HttpsGet(server.address(), "/", old_ca), "");
}

TEST_F(ServerTest, TlsWithKeysWorksOnAnyAddress) {
  const testing::TempDir dir;
  const TestCertificates files = MakeTestCertificates(dir);
  options_.listen = "0.0.0.0:0";
  options_.tls_cert = files.cert;
  options_.tls_key = files.key;
  options_.require_keys = true;
  Start();
  ChannelOptions client;
  client.tls_ca = files.ca;
  client.tls_server_name = "localhost";
  const std::string key = AddKey(Scope::kRead);
  const auto call = [&](const std::string& with_key, const ChannelOptions& with) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    Accounting response;
    ChannelOptions to = with;
    to.address = absl::StrCat("127.0.0.1:", server_->address().substr(server_->address().rfind(':') + 1));
    to.api_key = with_key;
    return IngestService::NewStub(*MakeChannel(to))->GetAccounting(&context, {}, &response).error_code();
  };
  EXPECT_EQ(call(key, client), grpc::StatusCode::OK);
  EXPECT_EQ(call("", client), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(call(key, {}), grpc::StatusCode::UNAVAILABLE);  // without TLS
  const testing::TempDir other_dir;
  client.tls_ca = MakeTestCertificates(other_dir).ca;  // an authority that did not sign it
  EXPECT_EQ(call(key, client), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ServerTest, AClientCertificateIsAskedForWhereAnAuthorityIsGiven) {
  const testing::TempDir dir;
  const TestCertificates files = MakeTestCertificates(dir);
  options_.tls_cert = files.cert;
  options_.tls_key = files.key;
  options_.tls_client_ca = files.ca;
  Start();
  ChannelOptions client;
  client.tls_ca = files.ca;
  client.tls_server_name = "localhost";
  const auto call = [&] {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    Accounting response;
    return IngestService::NewStub(Channel("", client))->GetAccounting(&context, {}, &response).error_code();
  };
  EXPECT_EQ(call(), grpc::StatusCode::UNAVAILABLE);
  client.tls_cert = files.cert;
  client.tls_key = files.key;
  EXPECT_EQ(call(), grpc::StatusCode::OK);
}

TEST_F(ServerTest, SaysWhichTlsFileIsWrong) {
  const testing::TempDir dir;
  const TestCertificates files = MakeTestCertificates(dir);
  const testing::TempDir other_dir;
  options_.tls_cert = files.cert;
  options_.tls_key = MakeTestCertificates(other_dir).key;
  Make();
  const absl::Status status = server_->Start();
  EXPECT_EQ(GetErrorDetails(status).reason, "TLS_FILE");
  EXPECT_THAT(std::string(status.message()), HasSubstr("is not the private key of"));
}

TEST(ChannelTest, AKeyIsNeverSentToAnotherMachineWithoutTls) {
  EXPECT_EQ(GetErrorDetails(MakeChannel({.address = "10.0.0.1:7700", .api_key = "naru_x_y"}).status()).reason,
            "INSECURE_CHANNEL");
  EXPECT_TRUE(MakeChannel({.address = "127.0.0.1:7700", .api_key = "naru_x_y"}).ok());
  EXPECT_EQ(MakeChannel({.address = "nonsense"}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ServerTest, TheChannelInsideTheProcessNeedsNoKey) {
  options_.require_keys = true;
  Start();
  grpc::ClientContext context;
  Accounting response;
  EXPECT_TRUE(IngestService::NewStub(server_->InProcessChannel())->GetAccounting(&context, {}, &response).ok());
}

TEST_F(ServerTest, CarriesTheCallersTraceToHandlerAndLog) {
  Start();
  log::SetLevel(log::Level::kDebug);
  const TraceContext trace = TraceContext::Generate(*Random::System());
  for (const int kind : {0, 1}) {
    grpc::ClientContext context;
    AddTrace(trace, &context);
    if (kind == 0) {
      PublishEventsResponse response;
      ASSERT_TRUE(Stub()->PublishEvents(&context, {}, &response).ok());
    } else {
      RejectedEvent response;
      Stub()->GetRejected(&context, {}, &response);
    }
    MutexLock lock(&service_.mu);
    EXPECT_EQ(service_.last_trace, trace.ToString());
  }
  EXPECT_TRUE(WaitUntil([&] { return absl::StrContains(Log(), trace.TraceId()); })) << Log();
}

TEST_F(ServerTest, MakesATraceWhereTheCallerSentNoneOrNonsense) {
  Start();
  for (const char* sent : {"", "00-zz"}) {
    grpc::ClientContext context;
    if (*sent != 0) context.AddMetadata(kTraceHeader, sent);
    RejectedEvent response;
    Stub()->GetRejected(&context, {}, &response);
    std::string seen;
    {
      MutexLock lock(&service_.mu);
      seen = service_.last_trace;
    }
    const auto trace = TraceContext::Parse(seen);
    ASSERT_TRUE(trace.has_value()) << seen;
    EXPECT_TRUE(WaitUntil([&] { return absl::StrContains(Log(), trace->TraceId()); })) << Log();
  }
}

TEST_F(ServerTest, MeasuresEveryCallByMethodAndCode) {
  Start();
  CallEveryKind("");
  const auto has = [this](const std::string& line) {
    return WaitUntil([&] { return absl::StrContains(metrics_.Scrape(), line); });
  };
  for (const auto& [method, code] : {std::pair{"PublishEvents", "OK"},
                                     {"StreamEvents", "OK"},
                                     {"ReadEvents", "OK"},
                                     {"GetAccounting", "OK"},
                                     {"GetRejected", "NOT_FOUND"},
                                     {"ImportEvents", "ABORTED"}}) {
    EXPECT_TRUE(has(absl::StrCat("naru_grpc_calls_total{code=\"", code, "\",method=\"/naru.ingest.v1.IngestService/",
                                 method, "\"} 1")))
        << method << metrics_.Scrape();
  }
  EXPECT_TRUE(has("naru_grpc_calls_total{code=\"OK\",method=\"other\"} 1"));
  EXPECT_TRUE(has("naru_grpc_messages_received_total{method=\"/naru.ingest.v1.IngestService/StreamEvents\"} 1"))
      << metrics_.Scrape();
  EXPECT_TRUE(has("naru_grpc_calls_in_flight{method=\"/naru.ingest.v1.IngestService/StreamEvents\"} 0"));
}

TEST_F(ServerTest, RefusesMoreConnectionsThanAllowedAndTakesThemAgainWhenOthersGo) {
  options_.max_connections = 2;
  Start();
  auto first = Channel();
  auto second = Channel();
  const auto connect = [](const std::shared_ptr<grpc::Channel>& channel) {
    return channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(5));
  };
  ASSERT_TRUE(connect(first));
  ASSERT_TRUE(connect(second));
  grpc::ClientContext context;
  Accounting response;
  EXPECT_EQ(Stub()->GetAccounting(&context, {}, &response).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(metrics_.Scrape(), HasSubstr("naru_grpc_connections 2"));
  first.reset();
  second.reset();
  EXPECT_TRUE(WaitUntil([this] {
    grpc::ClientContext again;
    Accounting answer;
    return Stub()->GetAccounting(&again, {}, &answer).ok();
  }));
}

TEST_F(ServerTest, RefusesHeadersBeyondTheirLimitAndGoesOn) {
  Start();
  const auto call = [](IngestService::Stub& stub, size_t size) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    context.AddMetadata("x-large", std::string(size, 'x'));
    Accounting response;
    return stub.GetAccounting(&context, {}, &response).error_code();
  };
  const auto good = Stub();
  for (int i = 0; i < 10; ++i) {
    // gRPC may close the offender's connection too, which the call then sees first.
    EXPECT_THAT(call(*Stub(), 64 << 10),
                ::testing::AnyOf(grpc::StatusCode::RESOURCE_EXHAUSTED, grpc::StatusCode::UNAVAILABLE));
    EXPECT_EQ(call(*good, 10), grpc::StatusCode::OK);
  }
  EXPECT_EQ(service_.calls, 10);
}

TEST_F(ServerTest, RefusesMessagesBeyondTheirLimit) {
  options_.max_message_bytes = 64 << 10;
  Start();
  const auto stub = Stub();
  PublishEventsRequest large;
  large.add_events()->set_id(std::string(100 << 10, 'x'));
  for (int i = 0; i < 10; ++i) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    PublishEventsResponse response;
    EXPECT_EQ(stub->PublishEvents(&context, large, &response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    grpc::ClientContext stream_context;
    stream_context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    auto stream = stub->StreamEvents(&stream_context);
    stream->Write(large);
    EXPECT_FALSE(stream->Read(&response));
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
}

TEST_F(ServerTest, StopLetsARunningCallEndAndCallsItsCallbacksInOrder) {
  Start();
  service_.hold = true;
  std::vector<std::string> order;
  server_->OnStop([&] {
    order.push_back("stop");
    EXPECT_EQ(service_.holding, 1);
    service_.hold = false;
  });
  server_->OnFlush([&] {
    EXPECT_EQ(service_.holding, 0);
    order.push_back("flush");
  });
  auto call = std::async(std::launch::async, [stub = std::shared_ptr(Stub())] {
    grpc::ClientContext context;
    RejectedEvent response;
    return stub->GetRejected(&context, {}, &response).error_code();
  });
  ASSERT_TRUE(WaitUntil([this] { return service_.holding == 1; }));
  server_->Stop();
  EXPECT_EQ(call.get(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(order, ::testing::ElementsAre("stop", "flush"));
}

TEST_F(ServerTest, StopCancelsWhatDoesNotEndInTime) {
  options_.drain_timeout = std::chrono::milliseconds(20);
  Start();
  service_.hold = true;
  auto call = std::async(std::launch::async, [stub = std::shared_ptr(Stub())] {
    grpc::ClientContext context;
    RejectedEvent response;
    return stub->GetRejected(&context, {}, &response).error_code();
  });
  ASSERT_TRUE(WaitUntil([this] { return service_.holding == 1; }));
  server_->Stop();
  EXPECT_NE(call.get(), grpc::StatusCode::OK);
}

TEST_F(ServerTest, DuringLameDuckItSaysNotServingAndStillAnswers) {
  options_.lame_duck = std::chrono::milliseconds(500);
  Start();
  const auto health = ::grpc::health::v1::Health::NewStub(Channel());
  const auto check = [&] {
    grpc::ClientContext context;
    ::grpc::health::v1::HealthCheckResponse response;
    return health->Check(&context, {}, &response).ok() ? response.status() : -1;
  };
  EXPECT_EQ(check(), ::grpc::health::v1::HealthCheckResponse::SERVING);
  auto stop = std::async(std::launch::async, [this] { server_->Stop(); });
  EXPECT_TRUE(WaitUntil([&] { return check() == ::grpc::health::v1::HealthCheckResponse::NOT_SERVING; }));
  grpc::ClientContext context;
  Accounting response;
  EXPECT_TRUE(Stub()->GetAccounting(&context, {}, &response).ok());
  stop.get();
}

TEST_F(ServerTest, PagesTellHealthReadinessAndMetrics) {
  Make();
  std::atomic<bool> up{false};
  server_->health().AddDependency("event_log",
                                  [&up] { return up ? absl::OkStatus() : absl::UnavailableError("disk \"full\""); });
  server_->HandleHttp("GET", "/extra", Scope::kRead, [](const HttpRequest& request) {
    return HttpResponse{200, "text/plain", request.query, {}};
  });
  ASSERT_TRUE(server_->Start().ok());
  const auto get = [](const std::string& address, const std::string& path) { return testing::HttpGet(address, path); };
  EXPECT_EQ(get(server_->http_address(), "/healthz").status, 200);
  const auto not_ready = get(server_->http_address(), "/readyz");
  EXPECT_EQ(not_ready.status, 503);
  EXPECT_EQ(not_ready.body, "{\"status\":\"not_ready\",\"dependencies\":{\"event_log\":\"disk \\\"full\\\"\"}}\n");
  EXPECT_THAT(metrics_.Scrape(), HasSubstr("naru_dependency_up{dependency=\"event_log\"} 0"));
  up = true;
  EXPECT_TRUE(WaitUntil([&] { return get(server_->http_address(), "/readyz").status == 200; }));
  EXPECT_EQ(get(server_->http_address(), "/extra?a=1").body, "a=1");
  EXPECT_THAT(get(server_->metrics_address(), "/metrics").body, HasSubstr("naru_grpc_connections"));
  EXPECT_EQ(get(server_->metrics_address(), "/other").status, 404);
  EXPECT_THAT(server_->Addresses(), HasSubstr(absl::StrCat("grpc=", server_->address(), " http=")));
}

TEST_F(ServerTest, WithKeysPagesNeedThemAndReadinessTellsOnlyAWord) {
  options_.require_keys = true;
  Make();
  server_->health().AddDependency("event_log", [] { return absl::UnavailableError("secret detail"); });
  ASSERT_TRUE(server_->Start().ok());
  const auto get = [](const std::string& address, const std::string& path, const std::string& key) {
    return testing::HttpGet(address, path,
                            key.empty() ? std::map<std::string, std::string>()
                                        : std::map<std::string, std::string>{{"Authorization", "Bearer " + key}});
  };
  EXPECT_EQ(get(server_->http_address(), "/healthz", "").status, 200);
  EXPECT_EQ(get(server_->http_address(), "/readyz", "").body, "{\"status\":\"not_ready\"}\n");
  EXPECT_EQ(get(server_->metrics_address(), "/metrics", "").status, 401);
  EXPECT_EQ(get(server_->metrics_address(), "/metrics", AddKey(Scope::kPublish)).status, 403);
  const std::string key = AddKey(Scope::kRead);
  EXPECT_EQ(get(server_->metrics_address(), "/metrics", key).status, 200);
  EXPECT_THAT(get(server_->http_address(), "/readyz", key).body, HasSubstr("secret detail"));
}

TEST_F(ServerTest, ReflectionListsTheServices) {
  Start();
  // The reflection protocol's only request here: list_services (field 7) = "".
  grpc::GenericStub stub(Channel());
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto call =
      stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  void* tag = nullptr;
  bool ok = false;
  const auto step = [&] { return queue.Next(&tag, &ok) && ok; };
  call->StartCall(nullptr);
  ASSERT_TRUE(step());
  grpc::Slice slice(std::string("\x3a\x00", 2));
  call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
  ASSERT_TRUE(step());
  grpc::ByteBuffer answer;
  call->Read(&answer, nullptr);
  ASSERT_TRUE(step());
  EXPECT_THAT(Text(answer), HasSubstr("naru.ingest.v1.IngestService"));
  EXPECT_THAT(Text(answer), HasSubstr("grpc.health.v1.Health"));
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  step();
}

TEST_F(ServerTest, ReflectionCanBeTurnedOff) {
  options_.reflection = false;
  Make();
  server_->SetGenericService(nullptr);
  ASSERT_TRUE(server_->Start().ok());
  EXPECT_EQ(CallGeneric(Channel(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(ServerTest, FailuresAreLoggedAndAFloodOfThemIsCutShort) {
  Start();
  const auto stub = Stub();
  for (int i = 0; i < 200; ++i) {
    grpc::ClientContext context;
    RejectedEvent response;
    stub->GetRejected(&context, {}, &response);
  }
  const std::string text = Log();
  EXPECT_THAT(text, HasSubstr("call failed"));
  EXPECT_THAT(text, HasSubstr("code=NOT_FOUND"));
  size_t lines = 0;
  for (size_t at = 0; (at = text.find("call failed", at)) != std::string::npos; ++at) ++lines;
  EXPECT_LT(lines, 150u);
}

}  // namespace
}  // namespace naru
