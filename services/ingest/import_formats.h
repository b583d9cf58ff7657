// Compiled input formats by their name in the catalog.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "common/catalog/catalog.h"
#include "common/input_format/input_format.h"
#include "common/sync/mutex.h"
#include "services/ingest/dead_letters.h"

namespace naru::ingest {

/// Finds and compiles formats; keeps what it compiled until the resource changes. Thread-safe.
class ImportFormats {
 public:
  explicit ImportFormats(catalog::Catalog* catalog) : catalog_(catalog) {}

  /// Errors: NOT_FOUND (FORMAT_NOT_FOUND) names the nearest known ones; INVALID_ARGUMENT as InputFormat::Compile.
  absl::StatusOr<std::shared_ptr<const input_format::InputFormat>> Find(const std::string& name);

  /// Reads the lines of dead letters by their format as it is now. Borrows this.
  LineReader MakeLineReader();

 private:
  absl::StatusOr<std::vector<std::string>> ReadLetter(const v1::RejectedEvent& letter);

  catalog::Catalog* const catalog_;
  Mutex mu_;
  /// The resource that a format was compiled from keeps its address while it does not change.
  std::map<std::string, std::pair<std::shared_ptr<const catalog::v1::Resource>,
                                  std::shared_ptr<const input_format::InputFormat>>>
      compiled_ ABSL_GUARDED_BY(mu_);
};

}  // namespace naru::ingest
