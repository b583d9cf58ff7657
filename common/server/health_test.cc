#include "common/server/health.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>

#include "common/metrics/metrics.h"
#include "common/server/channel.h"
#include "common/server/server.h"
#include "common/testing/testing.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace naru {
namespace {

using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;
using ::naru::testing::WaitUntil;

class HealthTest : public ::testing::Test {
 protected:
  HealthTest() {
    ServerOptions options;
    options.health_interval = std::chrono::milliseconds(2);
    server_ = std::make_unique<Server>(options, ServerDependencies{.metrics = &metrics_});
    server_->health().AddService("naru.a.A");
    server_->health().AddService("naru.b.B");
    server_->health().AddDependency("log", [this] { return log_up_ ? absl::OkStatus() : absl::UnavailableError("x"); });
    server_->health().AddDependency(
        "store", [this] { return store_up_ ? absl::OkStatus() : absl::UnavailableError("y"); }, {"naru.b.B"});
    EXPECT_TRUE(server_->Start().ok());
    channel_ = *MakeChannel({.address = server_->address()});
    stub_ = ::grpc::health::v1::Health::NewStub(channel_);
  }

  int Check(const std::string& service) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    const grpc::Status status = stub_->Check(&context, request, &response);
    return status.ok() ? static_cast<int>(response.status()) : -static_cast<int>(status.error_code());
  }

  std::atomic<bool> log_up_{true};
  std::atomic<bool> store_up_{true};
  MetricRegistry metrics_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<::grpc::health::v1::Health::Stub> stub_;
};

TEST_F(HealthTest, ADependencyConcernsTheServicesItWasNamedFor) {
  EXPECT_EQ(Check(""), HealthCheckResponse::SERVING);
  EXPECT_EQ(Check("naru.a.A"), HealthCheckResponse::SERVING);
  store_up_ = false;
  EXPECT_TRUE(WaitUntil([this] { return Check("naru.b.B") == HealthCheckResponse::NOT_SERVING; }));
  EXPECT_EQ(Check("naru.a.A"), HealthCheckResponse::SERVING);
  EXPECT_EQ(Check(""), HealthCheckResponse::NOT_SERVING);
  log_up_ = false;
  EXPECT_TRUE(WaitUntil([this] { return Check("naru.a.A") == HealthCheckResponse::NOT_SERVING; }));
  log_up_ = true;
  store_up_ = true;
  EXPECT_TRUE(WaitUntil([this] { return Check("") == HealthCheckResponse::SERVING; }));
}

TEST_F(HealthTest, UnknownServicesAreNotFound) {
  EXPECT_EQ(Check("naru.c.C"), -static_cast<int>(grpc::StatusCode::NOT_FOUND));
  EXPECT_FALSE(server_->health().IsServing("naru.c.C").ok());
}

TEST_F(HealthTest, WatchTellsEveryChangeAndEndsWithTheServer) {
  grpc::ClientContext context;
  auto stream = stub_->Watch(&context, HealthCheckRequest());
  HealthCheckResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  for (int round = 0; round < 3; ++round) {
    log_up_ = false;
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
    log_up_ = true;
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  }
  server_->Stop();
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(HealthTest, WatchOfAnUnknownServiceSaysSoAndGoesOn) {
  grpc::ClientContext context;
  HealthCheckRequest request;
  request.set_service("naru.c.C");
  auto stream = stub_->Watch(&context, request);
  HealthCheckResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(HealthTest, ManyWatchersComeAndGoWhileTheStateChanges) {
  for (int round = 0; round < 50; ++round) {
    grpc::ClientContext context;
    auto stream = stub_->Watch(&context, HealthCheckRequest());
    HealthCheckResponse response;
    ASSERT_TRUE(stream->Read(&response));
    log_up_ = round % 2 == 0;
    context.TryCancel();
    stream->Finish();
  }
}

TEST(HealthAloneTest, NothingServesBeforeStart) {
  Health health;
  EXPECT_FALSE(health.IsServing("").value());
  EXPECT_FALSE(health.GetReport().serving);
  health.Start(std::chrono::hours(1));
  EXPECT_TRUE(health.IsServing("").value());
  health.SetStopping();
  EXPECT_FALSE(health.IsServing("").value());
  EXPECT_TRUE(health.GetReport().stopping);
}

}  // namespace
}  // namespace naru
