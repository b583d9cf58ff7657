// Changes the catalog.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/catalog/catalog.h"
#include "common/catalog/test_runners.h"

namespace naru::catalog::v1 {
class ApplyResourcesResponse;
class CreateApiKeyResponse;
}  // namespace naru::catalog::v1

namespace naru::catalog {

/// Limits of one call.
inline constexpr int kMaxResourcesAnApply = 10'000;
inline constexpr int kMaxResourceBytes = 256 * 1024;
inline constexpr int kMaxApiKeys = 10'000;
/// In an error: violations beyond these are only counted.
inline constexpr int kMaxProblemsReported = 1'000;

/// Writes the topic under the transactional id `naru-catalog`: takes the id (which fences any other writer), reads to
/// the end, compares, commits. Of two writers at the same time one gets ABORTED (reason FENCED) and may simply try
/// again. Each change is in the Catalog's snapshot when the call returns. Thread-safe; calls run one after another and
/// block for some transactions (embedded: a sync; on Kafka: about 100 ms).
class CatalogWriter {
 public:
  /// Borrows everything; `runners` may be null (tests are then not run: only for programs that have checked before).
  CatalogWriter(event_log::EventLog& log, Catalog& catalog, const Clock& clock, Random& random,
                const TestRunners* runners);
  ~CatalogWriter();

  /// Validates all resources together and against the catalog, runs their tests, then creates, updates or leaves alone
  /// each; all or nothing. `dry_run`: says what would happen.
  /// Errors: INVALID_ARGUMENT (reason INVALID_RESOURCES) with a violation `resources[3].spec.window.size` for each
  /// problem; ABORTED (ETAG_MISMATCH, FENCED); those of the log.
  absl::StatusOr<v1::ApplyResourcesResponse> Apply(const std::vector<v1::Resource>& resources, bool dry_run);

  /// Deletes and returns it. `etag` may be empty.
  /// Errors: NOT_FOUND (names the nearest one); FAILED_PRECONDITION (IN_USE: others refer to it, BUILT_IN); ABORTED.
  absl::StatusOr<v1::Resource> Delete(absl::string_view kind, absl::string_view name, absl::string_view etag);

  /// Makes a key; the secret is in this answer and nowhere else.
  /// Errors: INVALID_ARGUMENT (unknown or no scopes, display_name above 128 bytes); RESOURCE_EXHAUSTED (10,000 keys).
  absl::StatusOr<v1::CreateApiKeyResponse> CreateApiKey(absl::string_view display_name,
                                                        const std::vector<std::string>& scopes);
  /// Makes a key useless and returns it (without its hash). Revoking again changes nothing. Errors: NOT_FOUND.
  absl::StatusOr<v1::ApiKey> RevokeApiKey(absl::string_view id);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// NOT_FOUND for a resource, with the nearest existing name and what to type.
absl::Status ResourceNotFound(const Snapshot& snapshot, absl::string_view kind, absl::string_view name);

}  // namespace naru::catalog
