#include "services/naru/offline_catalog.h"

#include "absl/strings/str_cat.h"
#include "common/catalog/catalog.h"
#include "common/catalog/catalog_writer.h"
#include "common/clock/clock.h"
#include "common/event_log/kafka_event_log.h"
#include "common/event_log/rocks_event_log.h"
#include "common/status/status.h"
#include "naru/catalog/v1/catalog.pb.h"
#include "services/naru/data_layout.h"

namespace naru::cli {
namespace {

absl::StatusOr<std::unique_ptr<event_log::EventLog>> OpenLog(const CatalogPlace& place) {
  if (!place.kafka_brokers.empty()) {
    event_log::KafkaEventLogOptions options;
    options.brokers = place.kafka_brokers;
    options.topic_prefix = place.topic_prefix;
    options.client_id = "naru-cli";
    return event_log::KafkaEventLog::Open(options);
  }
  event_log::RocksEventLogOptions options;
  options.path = LogDirectory(place.data_dir);
  options.topic_prefix = place.topic_prefix;
  absl::StatusOr<std::unique_ptr<event_log::RocksEventLog>> log = event_log::RocksEventLog::Open(options);
  if (log.status().code() == absl::StatusCode::kUnavailable) {
    // Not a server that cannot be reached, but one that is there.
    return MakeError(absl::StatusCode::kFailedPrecondition, "DATA_DIR_IN_USE",
                     absl::StrCat(log.status().message(),
                                  "; a server runs on this directory: leave --data_dir out and use its address"));
  }
  return log;
}

}  // namespace

struct OfflineCatalog::State {
  std::unique_ptr<event_log::EventLog> log;
  std::unique_ptr<catalog::Catalog> catalog;
  std::unique_ptr<catalog::CatalogWriter> writer;
};

OfflineCatalog::OfflineCatalog(std::unique_ptr<State> state) : state_(std::move(state)) {}
OfflineCatalog::~OfflineCatalog() {
  // The writer and the catalog use the log until they are gone.
  state_->writer.reset();
  state_->catalog.reset();
}

absl::StatusOr<std::unique_ptr<OfflineCatalog>> OfflineCatalog::Open(const CatalogPlace& place) {
  auto state = std::make_unique<State>();
  NARU_ASSIGN_OR_RETURN(state->log, OpenLog(place));
  NARU_ASSIGN_OR_RETURN(state->catalog, catalog::Catalog::Open(*state->log, *Clock::System()));
  state->writer = std::make_unique<catalog::CatalogWriter>(*state->log, *state->catalog, *Clock::System(),
                                                           *Random::System(), nullptr);
  return std::unique_ptr<OfflineCatalog>(new OfflineCatalog(std::move(state)));
}

absl::StatusOr<catalog::v1::CreateApiKeyResponse> OfflineCatalog::CreateApiKey(const std::string& display_name,
                                                                               const std::vector<std::string>& scopes) {
  return state_->writer->CreateApiKey(display_name, scopes);
}

catalog::v1::ListApiKeysResponse OfflineCatalog::ListApiKeys() {
  catalog::v1::ListApiKeysResponse response;
  const std::shared_ptr<const catalog::Snapshot> snapshot = state_->catalog->snapshot();
  for (const catalog::v1::ApiKey* key : snapshot->ApiKeys()) {
    catalog::v1::ApiKey* listed = response.add_api_keys();
    *listed = *key;
    listed->clear_sha256();
  }
  return response;
}

absl::Status OfflineCatalog::RevokeApiKey(const std::string& id) { return state_->writer->RevokeApiKey(id).status(); }

}  // namespace naru::cli
