// naru.catalog.v1.CatalogService: the catalog over gRPC, the same in every program that serves it.
//
//     std::unique_ptr<grpc::Service> service = catalog::MakeCatalogService(*catalog, *writer);
//     server.AddService(catalog::CatalogServiceName(), service.get());
//     for (const auto& [method, scope] : catalog::CatalogServiceScopes()) server.RequireScope(method, scope);
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/auth/api_key.h"
#include "common/catalog/catalog.h"
#include "common/catalog/catalog_writer.h"

namespace grpc {
class Service;
}

namespace naru::catalog {

/// The service; borrows both. Reads first catch up with the log for at most two seconds, so that they see what another
/// replica has just written; when the log cannot be reached they answer from what was read before. Thread-safe.
std::unique_ptr<grpc::Service> MakeCatalogService(Catalog& catalog, CatalogWriter& writer);

/// `naru.catalog.v1.CatalogService`.
std::string CatalogServiceName();

/// What each method needs: reading resources `read`, everything else `admin`.
std::vector<std::pair<std::string, Scope>> CatalogServiceScopes();

}  // namespace naru::catalog
