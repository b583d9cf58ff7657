#include "common/catalog/catalog_writer.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/auth/api_key.h"
#include "common/catalog/apply_plan.h"
#include "common/catalog/builtin.h"
#include "common/catalog/nearest.h"
#include "common/catalog/validate.h"
#include "common/status/status.h"
#include "common/sync/mutex.h"
#include "google/protobuf/util/time_util.h"
#include "naru/catalog/v1/catalog.pb.h"

namespace naru::catalog {
namespace {

using google::protobuf::util::TimeUtil;

constexpr char kTransactionalId[] = "naru-catalog";
constexpr char kSchema[] = "naru.catalog.v1.CatalogRecord";
constexpr std::chrono::seconds kCatchUpTimeout{30};
constexpr size_t kMaxDisplayNameBytes = 128;

// Records of one change, owned until the commit.
class Change {
 public:
  void Put(absl::string_view kind, absl::string_view name, const v1::CatalogRecord& record) {
    keys_.push_back(RecordKey(kind, name));
    values_.push_back(record.SerializeAsString());
  }
  bool empty() const { return keys_.empty(); }
  std::vector<event_log::Record> Records(int64_t now_us) const {
    std::vector<event_log::Record> records(keys_.size());
    for (size_t i = 0; i < keys_.size(); ++i) {
      records[i].key = keys_[i];
      records[i].value = values_[i];
      records[i].timestamp_us = now_us;
    }
    return records;
  }

 private:
  std::deque<std::string> keys_;
  std::deque<std::string> values_;
};

}  // namespace

struct CatalogWriter::State {
  // Takes the transactional id and reads to the end: what the snapshot holds then is what a commit is compared with. A
  // writer that takes the id later fences this one, so nothing can come between.
  absl::Status Begin();
  absl::Status Commit(const Change& change);

  event_log::EventLog& log;
  Catalog& catalog;
  const Clock& clock;
  Random& random;
  const TestRunners* runners;
  Mutex mu;
  std::unique_ptr<event_log::Producer> producer ABSL_GUARDED_BY(mu);
};

absl::Status CatalogWriter::State::Begin() {
  event_log::ProducerOptions options;
  options.transactional_id = kTransactionalId;
  producer.reset();
  NARU_ASSIGN_OR_RETURN(producer, log.OpenProducer(options));
  return catalog.CatchUp(kCatchUpTimeout);
}

absl::Status CatalogWriter::State::Commit(const Change& change) {
  if (change.empty()) return absl::OkStatus();
  const std::vector<event_log::Record> records = change.Records(clock.NowMicros());
  event_log::AppendBatch batch;
  batch.topic = event_log::kCatalogTopic;
  batch.headers.schema = kSchema;
  batch.records = records;
  event_log::Transaction transaction;
  transaction.appends.push_back(batch);
  const auto result = producer->Commit(transaction);
  producer.reset();
  if (!result.ok()) return Annotate(result.status(), "the catalog was not changed");
  return catalog.WaitForPosition(result->back().last_offset + 1, kCatchUpTimeout);
}

CatalogWriter::CatalogWriter(event_log::EventLog& log, Catalog& catalog, const Clock& clock, Random& random,
                             const TestRunners* runners)
    : state_(new State{log, catalog, clock, random, runners}) {}

CatalogWriter::~CatalogWriter() = default;

absl::StatusOr<v1::ApplyResourcesResponse> CatalogWriter::Apply(const std::vector<v1::Resource>& resources,
                                                                bool dry_run) {
  MutexLock lock(&state_->mu);
  if (dry_run) {
    NARU_RETURN_IF_ERROR(state_->catalog.CatchUp(kCatchUpTimeout));
  } else {
    NARU_RETURN_IF_ERROR(state_->Begin());
  }
  const std::shared_ptr<const Snapshot> snapshot = state_->catalog.snapshot();
  auto plan = PlanApply(*snapshot, resources, state_->runners, state_->clock.NowMicros());
  if (!plan.ok() || dry_run) return plan;
  Change change;
  for (const v1::ApplyResult& result : plan->results()) {
    if (result.action() == v1::ApplyResult::UNCHANGED) continue;
    v1::CatalogRecord record;
    *record.mutable_resource() = result.resource();
    change.Put(result.resource().kind(), result.resource().metadata().name(), record);
  }
  NARU_RETURN_IF_ERROR(state_->Commit(change));
  return plan;
}

absl::StatusOr<v1::Resource> CatalogWriter::Delete(absl::string_view kind, absl::string_view name,
                                                   absl::string_view etag) {
  MutexLock lock(&state_->mu);
  NARU_RETURN_IF_ERROR(state_->Begin());
  const std::shared_ptr<const Snapshot> snapshot = state_->catalog.snapshot();
  const std::shared_ptr<const v1::Resource> current = snapshot->FindShared(kind, name);
  if (current == nullptr) return ResourceNotFound(*snapshot, kind, name);
  if (current == FindBuiltin(kind, name)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "BUILT_IN",
                     absl::StrCat(kind, " ", name, " is built in and cannot be deleted"));
  }
  if (!etag.empty() && etag != current->metadata().etag()) {
    return MakeError(absl::StatusCode::kAborted, "ETAG_MISMATCH",
                     absl::StrCat(kind, " ", name, " was changed by somebody else in between: its etag is `",
                                  current->metadata().etag(), "`, not `", etag, "`"));
  }
  if (const std::vector<std::string> referrers = Referrers(*snapshot, kind, name); !referrers.empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "IN_USE",
                     absl::StrCat(kind, " ", name, " is used by ", absl::StrJoin(referrers, ", "),
                                  "; delete or change these first"));
  }
  v1::CatalogRecord record;
  record.mutable_deleted()->set_kind(std::string(kind));
  record.mutable_deleted()->set_name(std::string(name));
  record.mutable_deleted()->set_version(current->metadata().version());
  Change change;
  change.Put(kind, name, record);
  NARU_RETURN_IF_ERROR(state_->Commit(change));
  return *current;
}

absl::StatusOr<v1::CreateApiKeyResponse> CatalogWriter::CreateApiKey(absl::string_view display_name,
                                                                     const std::vector<std::string>& scopes) {
  if (display_name.size() > kMaxDisplayNameBytes) {
    return MakeError(absl::StatusCode::kInvalidArgument, "DISPLAY_NAME",
                     absl::StrCat("display_name has ", display_name.size(), " bytes; at most ", kMaxDisplayNameBytes,
                                  " are allowed"));
  }
  NARU_ASSIGN_OR_RETURN(const Scopes parsed, Scopes::FromNames(scopes));
  MutexLock lock(&state_->mu);
  NARU_RETURN_IF_ERROR(state_->Begin());
  if (state_->catalog.snapshot()->ApiKeys().size() >= static_cast<size_t>(kMaxApiKeys)) {
    return MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_KEYS",
                     absl::StrCat("there are ", kMaxApiKeys, " API keys, which is the limit"));
  }
  NewApiKey made = MakeApiKey(state_->random);
  v1::CatalogRecord record;
  v1::ApiKey& stored = *record.mutable_api_key();
  stored.set_id(made.id);
  stored.set_display_name(std::string(display_name));
  for (std::string& scope : parsed.Names()) stored.add_scopes(std::move(scope));
  stored.set_sha256(made.sha256);
  *stored.mutable_create_time() = TimeUtil::MicrosecondsToTimestamp(state_->clock.NowMicros());
  Change change;
  change.Put("ApiKey", made.id, record);
  NARU_RETURN_IF_ERROR(state_->Commit(change));
  v1::CreateApiKeyResponse response;
  response.set_key(made.key);
  *response.mutable_api_key() = stored;
  response.mutable_api_key()->clear_sha256();
  return response;
}

absl::StatusOr<v1::ApiKey> CatalogWriter::RevokeApiKey(absl::string_view id) {
  MutexLock lock(&state_->mu);
  NARU_RETURN_IF_ERROR(state_->Begin());
  const std::shared_ptr<const Snapshot> snapshot = state_->catalog.snapshot();
  const v1::ApiKey* current = snapshot->FindApiKey(id);
  if (current == nullptr) {
    return MakeError(absl::StatusCode::kNotFound, "API_KEY_NOT_FOUND",
                     absl::StrCat("there is no API key with the id `", id, "`; `naru key list` shows them"));
  }
  v1::CatalogRecord record;
  *record.mutable_api_key() = *current;
  if (!current->has_revoke_time()) {
    *record.mutable_api_key()->mutable_revoke_time() = TimeUtil::MicrosecondsToTimestamp(state_->clock.NowMicros());
    Change change;
    change.Put("ApiKey", id, record);
    NARU_RETURN_IF_ERROR(state_->Commit(change));
  }
  record.mutable_api_key()->clear_sha256();
  return record.api_key();
}

absl::Status ResourceNotFound(const Snapshot& snapshot, absl::string_view kind, absl::string_view name) {
  const std::vector<std::string>& kinds = ResourceKinds();
  if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) {
    return MakeError(absl::StatusCode::kNotFound, "KIND_NOT_FOUND",
                     absl::StrCat("there is no kind `", kind, "`", DidYouMean(kind, kinds)));
  }
  std::vector<std::string> names;
  for (const v1::Resource* resource : snapshot.List(kind)) names.push_back(resource->metadata().name());
  for (const auto& resource : BuiltinResources()) {
    if (resource->kind() == kind) names.push_back(resource->metadata().name());
  }
  return MakeError(absl::StatusCode::kNotFound, "RESOURCE_NOT_FOUND",
                   absl::StrCat("there is no ", kind, " `", name, "`", DidYouMean(name, names), " (`naru get ", kind,
                                "` lists all)"));
}

}  // namespace naru::catalog
