#include "common/catalog/catalog_key_store.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/log/log.h"
#include "naru/catalog/v1/catalog.pb.h"

namespace naru::catalog {
namespace {

std::vector<MemoryKeyStore::Entry> ValidKeys(const Snapshot& snapshot) {
  std::vector<MemoryKeyStore::Entry> entries;
  for (const v1::ApiKey* key : snapshot.ApiKeys()) {
    if (key->has_revoke_time()) continue;
    auto scopes = Scopes::FromNames({key->scopes().begin(), key->scopes().end()});
    if (!scopes.ok()) {
      // Written by a newer release: a key whose rights are not understood opens nothing.
      NARU_LOG(WARNING, "API key left out", {{"id", key->id()}, {"error", scopes.status()}});
      continue;
    }
    MemoryKeyStore::Entry entry;
    entry.id = key->id();
    entry.scopes = *scopes;
    entry.sha256 = key->sha256();
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace

CatalogKeyStore::CatalogKeyStore(Catalog& catalog) : catalog_(catalog) {
  token_ = catalog_.Subscribe(
      [this](const std::shared_ptr<const Snapshot>& snapshot) { keys_.Replace(ValidKeys(*snapshot)); });
}

CatalogKeyStore::~CatalogKeyStore() { catalog_.Unsubscribe(token_); }

}  // namespace naru::catalog
