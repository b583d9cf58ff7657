#include "common/catalog/catalog_service.h"

#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/event_log/rocks_event_log.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "common/testing/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "naru/catalog/v1/catalog.grpc.pb.h"

namespace naru::catalog {
namespace {

using ::testing::HasSubstr;

class CatalogServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    event_log::RocksEventLogOptions options;
    options.path = dir_.File("log");
    auto log = event_log::RocksEventLog::Open(options);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
    auto catalog = Catalog::Open(*log_, *Clock::System());
    ASSERT_TRUE(catalog.ok()) << catalog.status();
    catalog_ = *std::move(catalog);
    writer_ = std::make_unique<CatalogWriter>(*log_, *catalog_, *Clock::System(), *Random::System(), nullptr);
    service_ = MakeCatalogService(*catalog_, *writer_);
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = v1::CatalogService::NewStub(server_->InProcessChannel({}));
  }
  void TearDown() override {
    if (server_ != nullptr) server_->Shutdown();
  }

  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (v1::CatalogService::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    return FromGrpcStatus((stub_.get()->*method)(&context, request, response));
  }
  absl::Status Apply(const std::vector<std::string>& names) {
    v1::ApplyResourcesRequest request;
    for (const std::string& name : names) {
      v1::Resource* resource = request.add_resources();
      resource->set_api_version("naru.dev/v1");
      resource->set_kind("EventType");
      resource->mutable_metadata()->set_name(name);
      resource->mutable_event_type()->set_description("x");
    }
    v1::ApplyResourcesResponse response;
    return Call(&v1::CatalogService::Stub::ApplyResources, request, &response);
  }

  testing::TempDir dir_;
  std::unique_ptr<event_log::RocksEventLog> log_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<CatalogWriter> writer_;
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::CatalogService::Stub> stub_;
};

TEST_F(CatalogServiceTest, AppliesGetsAndDeletes) {
  ASSERT_TRUE(Apply({"a"}).ok());
  v1::GetResourceRequest get;
  get.set_kind("EventType");
  get.set_name("a");
  v1::Resource resource;
  ASSERT_TRUE(Call(&v1::CatalogService::Stub::GetResource, get, &resource).ok());
  EXPECT_EQ(resource.metadata().version(), 1);
  v1::DeleteResourceRequest remove;
  remove.set_kind("EventType");
  remove.set_name("a");
  remove.set_etag(resource.metadata().etag());
  ASSERT_TRUE(Call(&v1::CatalogService::Stub::DeleteResource, remove, &resource).ok());
  const absl::Status missing = Call(&v1::CatalogService::Stub::GetResource, get, &resource);
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetErrorDetails(missing).reason, "RESOURCE_NOT_FOUND");
  EXPECT_EQ(GetErrorDetails(missing).domain, "catalog.naru.dev");
}

TEST_F(CatalogServiceTest, ReportsProblemsAsFieldViolations) {
  const absl::Status status = Apply({"good", "not good", "neither\n"});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  ASSERT_EQ(GetErrorDetails(status).violations.size(), 2u);
  EXPECT_EQ(GetErrorDetails(status).violations[0].field, "resources[1].metadata.name");
}

TEST_F(CatalogServiceTest, ListsInPagesThatMissAndRepeatNothing) {
  std::vector<std::string> names;
  for (int i = 0; i < 257; ++i) names.push_back(absl::StrCat("type", i));
  names.push_back("type-1");
  names.push_back("type");
  ASSERT_TRUE(Apply(names).ok());
  std::set<std::string> seen;
  std::string before;
  v1::ListResourcesRequest request;
  request.set_page_size(50);
  int pages = 0;
  do {
    v1::ListResourcesResponse response;
    ASSERT_TRUE(Call(&v1::CatalogService::Stub::ListResources, request, &response).ok());
    for (const v1::Resource& resource : response.resources()) {
      EXPECT_LT(before, resource.metadata().name());
      before = resource.metadata().name();
      seen.insert(before);
    }
    request.set_page_token(response.next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_EQ(seen.size(), names.size());
  EXPECT_EQ(pages, 6);
}

TEST_F(CatalogServiceTest, RefusesWrongPages) {
  v1::ListResourcesResponse response;
  v1::ListResourcesRequest request;
  request.set_page_size(1001);
  EXPECT_EQ(Call(&v1::CatalogService::Stub::ListResources, request, &response).code(),
            absl::StatusCode::kInvalidArgument);
  request.set_page_size(0);
  request.set_page_token("!");
  EXPECT_EQ(Call(&v1::CatalogService::Stub::ListResources, request, &response).code(),
            absl::StatusCode::kInvalidArgument);
  request.set_page_token("");
  request.set_kind("Eventtype");
  EXPECT_THAT(Call(&v1::CatalogService::Stub::ListResources, request, &response).message(),
              HasSubstr("did you mean \"EventType\"?"));
}

TEST_F(CatalogServiceTest, NeverReturnsTheHashOfAKey) {
  v1::CreateApiKeyRequest create;
  create.set_display_name("x");
  create.add_scopes("read");
  v1::CreateApiKeyResponse created;
  ASSERT_TRUE(Call(&v1::CatalogService::Stub::CreateApiKey, create, &created).ok());
  EXPECT_TRUE(created.api_key().sha256().empty());
  v1::ListApiKeysResponse list;
  ASSERT_TRUE(Call(&v1::CatalogService::Stub::ListApiKeys, v1::ListApiKeysRequest(), &list).ok());
  ASSERT_EQ(list.api_keys_size(), 1);
  EXPECT_TRUE(list.api_keys(0).sha256().empty());
  v1::RevokeApiKeyRequest revoke;
  revoke.set_id(created.api_key().id());
  v1::ApiKey revoked;
  ASSERT_TRUE(Call(&v1::CatalogService::Stub::RevokeApiKey, revoke, &revoked).ok());
  EXPECT_TRUE(revoked.has_revoke_time());
  EXPECT_TRUE(revoked.sha256().empty());
}

TEST_F(CatalogServiceTest, NamesAScopeForEveryMethod) {
  const auto* service = v1::CatalogRecord::descriptor()->file()->FindServiceByName("CatalogService");
  const auto scopes = CatalogServiceScopes();
  EXPECT_EQ(static_cast<int>(scopes.size()), service->method_count());
  for (int i = 0; i < service->method_count(); ++i) {
    const std::string method = absl::StrCat("/", service->full_name(), "/", service->method(i)->name());
    EXPECT_TRUE(std::any_of(scopes.begin(), scopes.end(), [&](const auto& scope) { return scope.first == method; }))
        << method;
  }
}

}  // namespace
}  // namespace naru::catalog
