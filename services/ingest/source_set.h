// All Sources of the catalog: started, stopped and restarted as their resources change.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/catalog/catalog.h"
#include "services/ingest/import_formats.h"
#include "services/ingest/source_run.h"

namespace naru::ingest::v1 {
class SourceStatus;
}

namespace naru::ingest {

/// Follows the catalog in a thread of its own. Where several replicas run on one Kafka, one of them follows all Sources: the one
/// that is given the single partition of `naru.ledger` in the group `naru-ingest-sources`. Thread-safe.
class SourceSet {
 public:
  /// Borrows all of it.
  SourceSet(const SourceDependencies& dependencies, catalog::Catalog* catalog, ImportFormats* formats);
  /// Stops all Sources; what was submitted is stored.
  ~SourceSet();
  SourceSet(const SourceSet&) = delete;

  /// For IngestStatus, by name.
  std::vector<v1::SourceStatus> Statuses() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace naru::ingest
