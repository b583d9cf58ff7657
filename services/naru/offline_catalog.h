// The catalog of a data directory or of brokers, without a server: for the first API key.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace naru::catalog::v1 {
class CreateApiKeyResponse;
class ListApiKeysResponse;
}  // namespace naru::catalog::v1

namespace naru::cli {

/// Where the catalog is: one of the first two.
struct CatalogPlace {
  std::string data_dir;
  std::string kafka_brokers;
  std::string topic_prefix;
};

/// An open catalog. Holds the data directory's lock while it lives. Not thread-safe.
class OfflineCatalog {
 public:
  /// Errors: FAILED_PRECONDITION while a server runs on the directory; those of opening the log.
  static absl::StatusOr<std::unique_ptr<OfflineCatalog>> Open(const CatalogPlace& place);
  ~OfflineCatalog();

  absl::StatusOr<catalog::v1::CreateApiKeyResponse> CreateApiKey(const std::string& display_name,
                                                                 const std::vector<std::string>& scopes);
  catalog::v1::ListApiKeysResponse ListApiKeys();
  absl::Status RevokeApiKey(const std::string& id);

 private:
  struct State;
  explicit OfflineCatalog(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace naru::cli
