#include "common/catalog/catalog_service.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/catalog/nearest.h"
#include "common/catalog/validate.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "naru/catalog/v1/catalog.grpc.pb.h"

namespace naru::catalog {
namespace {

constexpr char kDomain[] = "catalog.naru.dev";
constexpr int kDefaultPage = 100;
constexpr int kMaxPage = 1000;
// A page stays well below the size that clients take by default.
constexpr size_t kMaxPageBytes = 3 << 20;
constexpr std::chrono::milliseconds kReadCatchUp{2000};

template <typename T>
grpc::Status Answer(absl::StatusOr<T> result, T* response) {
  if (!result.ok()) return ToGrpcStatus(result.status(), kDomain);
  *response = *std::move(result);
  return grpc::Status::OK;
}

absl::Status BadField(const char* field, std::string description) {
  ErrorDetails details;
  details.reason = "INVALID_REQUEST";
  details.violations.push_back({field, description});
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(field, ": ", description), std::move(details));
}

class CatalogRpc final : public v1::CatalogService::Service {
 public:
  CatalogRpc(Catalog& catalog, CatalogWriter& writer) : catalog_(catalog), writer_(writer) {}

  grpc::Status GetResource(grpc::ServerContext*, const v1::GetResourceRequest* request,
                           v1::Resource* response) override {
    const std::shared_ptr<const Snapshot> snapshot = Newest();
    const v1::Resource* found = snapshot->Find(request->kind(), request->name());
    if (found == nullptr) {
      return ToGrpcStatus(ResourceNotFound(*snapshot, request->kind(), request->name()), kDomain);
    }
    *response = *found;
    return grpc::Status::OK;
  }

  grpc::Status ListResources(grpc::ServerContext*, const v1::ListResourcesRequest* request,
                             v1::ListResourcesResponse* response) override {
    return Answer(List(*request), response);
  }

  grpc::Status ApplyResources(grpc::ServerContext*, const v1::ApplyResourcesRequest* request,
                              v1::ApplyResourcesResponse* response) override {
    return Answer(writer_.Apply({request->resources().begin(), request->resources().end()}, request->dry_run()),
                  response);
  }

  grpc::Status DeleteResource(grpc::ServerContext*, const v1::DeleteResourceRequest* request,
                              v1::Resource* response) override {
    return Answer(writer_.Delete(request->kind(), request->name(), request->etag()), response);
  }

  grpc::Status CreateApiKey(grpc::ServerContext*, const v1::CreateApiKeyRequest* request,
                            v1::CreateApiKeyResponse* response) override {
    return Answer(writer_.CreateApiKey(request->display_name(), {request->scopes().begin(), request->scopes().end()}),
                  response);
  }

  grpc::Status ListApiKeys(grpc::ServerContext*, const v1::ListApiKeysRequest*,
                           v1::ListApiKeysResponse* response) override {
    const std::shared_ptr<const Snapshot> snapshot = Newest();
    for (const v1::ApiKey* key : snapshot->ApiKeys()) {
      *response->add_api_keys() = *key;
      response->mutable_api_keys(response->api_keys_size() - 1)->clear_sha256();
    }
    return grpc::Status::OK;
  }

  grpc::Status RevokeApiKey(grpc::ServerContext*, const v1::RevokeApiKeyRequest* request,
                            v1::ApiKey* response) override {
    return Answer(writer_.RevokeApiKey(request->id()), response);
  }

 private:
  // What another replica acknowledged must be seen here too; a log that does not answer is no reason to know nothing.
  std::shared_ptr<const Snapshot> Newest() {
    catalog_.CatchUp(kReadCatchUp).IgnoreError();
    return catalog_.snapshot();
  }

  absl::StatusOr<v1::ListResourcesResponse> List(const v1::ListResourcesRequest& request) {
    if (request.page_size() < 0 || request.page_size() > kMaxPage) {
      return BadField("page_size", absl::StrCat(request.page_size(), " is outside 0 to ", kMaxPage));
    }
    const std::vector<std::string>& kinds = ResourceKinds();
    if (!request.kind().empty() && std::find(kinds.begin(), kinds.end(), request.kind()) == kinds.end()) {
      return BadField("kind",
                      absl::StrCat("there is no kind `", request.kind(), "`", DidYouMean(request.kind(), kinds)));
    }
    std::string after;
    if (!absl::WebSafeBase64Unescape(request.page_token(), &after)) {
      return BadField("page_token", "is not from a response's next_page_token");
    }
    const size_t page_size = request.page_size() == 0 ? kDefaultPage : request.page_size();
    const std::shared_ptr<const Snapshot> snapshot = Newest();
    v1::ListResourcesResponse response;
    size_t bytes = 0;
    std::string last;
    for (const v1::Resource* resource : snapshot->List(request.kind())) {
      // A zero byte sorts before every byte of a name, as the order of the list does.
      std::string key = absl::StrCat(resource->kind(), std::string(1, '\0'), resource->metadata().name());
      if (key <= after) continue;
      if (response.resources_size() == static_cast<int>(page_size) || bytes > kMaxPageBytes) {
        response.set_next_page_token(absl::WebSafeBase64Escape(last));
        break;
      }
      bytes += resource->ByteSizeLong();
      *response.add_resources() = *resource;
      last = std::move(key);
    }
    return response;
  }

  Catalog& catalog_;
  CatalogWriter& writer_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeCatalogService(Catalog& catalog, CatalogWriter& writer) {
  return std::make_unique<CatalogRpc>(catalog, writer);
}

std::string CatalogServiceName() { return v1::CatalogService::service_full_name(); }

std::vector<std::pair<std::string, Scope>> CatalogServiceScopes() {
  const std::string prefix = absl::StrCat("/", CatalogServiceName(), "/");
  return {{prefix + "GetResource", Scope::kRead},     {prefix + "ListResources", Scope::kRead},
          {prefix + "ApplyResources", Scope::kAdmin}, {prefix + "DeleteResource", Scope::kAdmin},
          {prefix + "CreateApiKey", Scope::kAdmin},   {prefix + "ListApiKeys", Scope::kAdmin},
          {prefix + "RevokeApiKey", Scope::kAdmin}};
}

}  // namespace naru::catalog
