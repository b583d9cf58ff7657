// Keeps a program's API keys as the catalog has them.
#pragma once

#include <cstdint>

#include "common/auth/api_key.h"
#include "common/catalog/catalog.h"

namespace naru::catalog {

/// A KeyStore that follows a Catalog: a key that was revoked is refused as soon as the record has been read.
/// Thread-safe. Destroy before the catalog.
class CatalogKeyStore : public KeyStore {
 public:
  explicit CatalogKeyStore(Catalog& catalog);
  ~CatalogKeyStore() override;
  CatalogKeyStore(const CatalogKeyStore&) = delete;
  CatalogKeyStore& operator=(const CatalogKeyStore&) = delete;

  std::optional<Principal> Check(absl::string_view key) const override { return keys_.Check(key); }
  /// How many valid keys there are.
  size_t size() const { return keys_.size(); }

 private:
  Catalog& catalog_;
  MemoryKeyStore keys_;
  int64_t token_ = 0;
};

}  // namespace naru::catalog
