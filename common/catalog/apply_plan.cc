#include "common/catalog/apply_plan.h"

#include <algorithm>
#include <cinttypes>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/catalog/builtin.h"
#include "common/catalog/catalog_writer.h"
#include "common/catalog/entity_check.h"
#include "common/catalog/validate.h"
#include "common/status/status.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/util/time_util.h"
#include "naru/catalog/v1/catalog.pb.h"
#include "xxhash.h"

namespace naru::catalog {
namespace {

using google::protobuf::util::TimeUtil;

// Maps come out sorted, so equal messages give equal bytes.
std::string Deterministic(const google::protobuf::Message& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return bytes;
}

std::string MakeEtag(const v1::Resource& resource) {
  v1::Resource copy = resource;
  copy.mutable_metadata()->clear_etag();
  const std::string bytes = Deterministic(copy);
  return absl::StrFormat("%016x", XXH3_64bits(bytes.data(), bytes.size()));
}

v1::Resource OnlySpec(const v1::Resource& resource) {
  v1::Resource spec = resource;
  spec.clear_metadata();
  spec.clear_tests();
  return spec;
}

std::string Title(const v1::Resource& resource) {
  return absl::StrCat(resource.kind(), " ", resource.metadata().name());
}

// Collects problems of many resources; keeps the first kMaxProblemsReported and counts the rest.
class Problems {
 public:
  void Add(int index, FieldViolation violation) {
    ++count_;
    if (violations_.size() >= kMaxProblemsReported) return;
    violation.field = absl::StrCat("resources[", index, "].", violation.field);
    violations_.push_back(std::move(violation));
  }
  void AddAll(int index, std::vector<FieldViolation> violations) {
    for (FieldViolation& violation : violations) Add(index, std::move(violation));
  }
  bool empty() const { return count_ == 0; }
  /// Whether something is known to be wrong with this field.
  bool Has(int index, absl::string_view field) const {
    const std::string path = absl::StrCat("resources[", index, "].", field);
    return std::any_of(violations_.begin(), violations_.end(),
                       [&path](const FieldViolation& violation) { return violation.field == path; });
  }

  absl::Status ToStatus() {
    ErrorDetails details;
    details.reason = "INVALID_RESOURCES";
    details.metadata["problems"] = absl::StrCat(count_);
    std::string message =
        absl::StrCat(count_, count_ == 1 ? " problem: " : " problems; the first: ", violations_[0].field, ": ",
                     violations_[0].description);
    details.violations = std::move(violations_);
    return MakeError(absl::StatusCode::kInvalidArgument, message, std::move(details));
  }

 private:
  std::vector<FieldViolation> violations_;
  int64_t count_ = 0;
};

// Resources of the request by kind and name, before those of the catalog.
class Overlay {
 public:
  Overlay(const Snapshot& snapshot, const std::vector<v1::Resource>& resources) : snapshot_(snapshot) {
    for (const v1::Resource& resource : resources) {
      by_key_.emplace(RecordKey(resource.kind(), resource.metadata().name()), &resource);
    }
  }
  const v1::Resource* Find(absl::string_view kind, absl::string_view name) const {
    const auto found = by_key_.find(RecordKey(kind, name));
    return found == by_key_.end() ? snapshot_.Find(kind, name) : found->second;
  }
  std::vector<const v1::Resource*> List(absl::string_view kind) const {
    std::vector<const v1::Resource*> list;
    for (const v1::Resource* resource : snapshot_.List(kind)) {
      if (Find(kind, resource->metadata().name()) == resource) list.push_back(resource);
    }
    for (const auto& [key, resource] : by_key_) {
      if (resource->kind() == kind) list.push_back(resource);
    }
    return list;
  }

 private:
  const Snapshot& snapshot_;
  std::map<std::string, const v1::Resource*> by_key_;
};

void CheckOne(const Snapshot& snapshot, const v1::Resource& resource, int index, const ResourceLookup& lookup,
              const TestRunners* runners, Problems* problems) {
  if (resource.ByteSizeLong() > static_cast<size_t>(kMaxResourceBytes)) {
    problems->Add(index, {"spec", absl::StrCat("it takes ", resource.ByteSizeLong(), " bytes; at most ",
                                               kMaxResourceBytes, " are allowed")});
    return;
  }
  std::vector<FieldViolation> found = Validate(resource, lookup);
  if (found.empty() && runners != nullptr) found = runners->Check(resource, lookup);
  const bool valid = found.empty();
  problems->AddAll(index, std::move(found));
  if (FindBuiltin(resource.kind(), resource.metadata().name()) != nullptr) {
    problems->Add(index, {"metadata.name", absl::StrCat("`", resource.metadata().name(),
                                                        "` is built in and cannot be changed; choose another name")});
    return;
  }
  if (!valid) return;
  const v1::Resource* current = snapshot.Find(resource.kind(), resource.metadata().name());
  if (current != nullptr) problems->AddAll(index, CheckChange(*current, resource));
  if (runners != nullptr) problems->AddAll(index, runners->Run(resource, lookup));
}

// What counts by subject or session must find all events of one in one partition. Told of the resource that counts if
// it is being applied, else of the event type that is.
void CheckEntities(const Overlay& overlay, const std::map<const v1::Resource*, int>& index, Problems* problems) {
  const std::vector<const v1::Resource*> types = overlay.List("EventType");
  for (const char* kind : {"Funnel", "Metric", "Retention"}) {
    for (const v1::Resource* user : overlay.List(kind)) {
      const std::optional<EntityUse> use = FindEntityUse(*user);
      if (!use.has_value()) continue;
      for (const v1::Resource* type : types) {
        if (!IsSplitBy(*use, *type)) continue;
        if (const auto applied = index.find(user); applied != index.end()) {
          if (problems->Has(applied->second, use->field)) break;
          problems->Add(applied->second, {use->field, DescribeSplit(*use, *type)});
          break;
        }
        if (const auto applied = index.find(type); applied != index.end()) {
          problems->Add(applied->second, {"spec.partition_by", DescribeSplit(Title(*user), *use, *type)});
        }
      }
    }
  }
}

absl::Status CheckAll(const Snapshot& snapshot, const std::vector<v1::Resource>& resources,
                      const TestRunners* runners) {
  Problems problems;
  const Overlay overlay(snapshot, resources);
  const ResourceLookup lookup = [&overlay](absl::string_view kind, absl::string_view name) {
    return overlay.Find(kind, name);
  };
  std::map<std::string, int> first_index;
  std::map<const v1::Resource*, int> index;
  for (int i = 0; i < static_cast<int>(resources.size()); ++i) {
    const v1::Resource& resource = resources[i];
    const auto [first, is_first] = first_index.emplace(RecordKey(resource.kind(), resource.metadata().name()), i);
    if (!is_first) {
      problems.Add(i, {"metadata.name", absl::StrCat(Title(resource), " is given twice: resources[", first->second,
                                                     "] has the same kind and name")});
    }
    CheckOne(snapshot, resource, i, lookup, runners, &problems);
    index.emplace(&resource, i);
  }
  CheckEntities(overlay, index, &problems);
  return problems.empty() ? absl::OkStatus() : problems.ToStatus();
}

absl::Status CheckEtag(const v1::Resource& resource, const v1::Resource* current) {
  const std::string& wanted = resource.metadata().etag();
  if (wanted.empty()) return absl::OkStatus();
  const std::string have = current == nullptr ? "" : current->metadata().etag();
  if (wanted == have) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kAborted, "ETAG_MISMATCH",
      absl::StrCat(Title(resource),
                   current == nullptr ? " does not exist (any more)" : " was changed by somebody else in between",
                   ": its etag is `", have, "`, not `", wanted, "`; read it again, or leave etag out"));
}

v1::ApplyResult PlanOne(const Snapshot& snapshot, const v1::Resource& resource, int64_t now_us) {
  v1::ApplyResult result;
  const std::string& name = resource.metadata().name();
  const v1::Resource* current = snapshot.Find(resource.kind(), name);
  if (current != nullptr && SameContent(*current, resource)) {
    result.set_action(v1::ApplyResult::UNCHANGED);
    *result.mutable_resource() = *current;
    return result;
  }
  *result.mutable_resource() = resource;
  v1::Metadata& metadata = *result.mutable_resource()->mutable_metadata();
  if (current == nullptr) {
    result.set_action(v1::ApplyResult::CREATED);
    metadata.set_version(snapshot.DeletedVersion(resource.kind(), name) + 1);
  } else {
    result.set_action(v1::ApplyResult::UPDATED);
    const bool same_spec = Deterministic(OnlySpec(*current)) == Deterministic(OnlySpec(resource));
    metadata.set_version(current->metadata().version() + (same_spec ? 0 : 1));
    // Always later than the version before, also when the machine's clock was set back: the etag depends on it.
    now_us = std::max(now_us, TimeUtil::TimestampToMicroseconds(current->metadata().update_time()) + 1);
  }
  *metadata.mutable_update_time() = TimeUtil::MicrosecondsToTimestamp(now_us);
  metadata.set_etag(MakeEtag(result.resource()));
  return result;
}

}  // namespace

bool SameContent(const v1::Resource& a, const v1::Resource& b) {
  const auto content = [](v1::Resource resource) {
    resource.mutable_metadata()->clear_version();
    resource.mutable_metadata()->clear_etag();
    resource.mutable_metadata()->clear_update_time();
    return Deterministic(resource);
  };
  return content(a) == content(b);
}

absl::StatusOr<v1::ApplyResourcesResponse> PlanApply(const Snapshot& snapshot,
                                                     const std::vector<v1::Resource>& resources,
                                                     const TestRunners* runners, int64_t now_us) {
  if (resources.size() > static_cast<size_t>(kMaxResourcesAnApply)) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "TOO_MANY_RESOURCES",
        absl::StrCat(resources.size(), " resources in one call; at most ", kMaxResourcesAnApply, " are allowed"));
  }
  NARU_RETURN_IF_ERROR(CheckAll(snapshot, resources, runners));
  v1::ApplyResourcesResponse response;
  for (const v1::Resource& resource : resources) {
    NARU_RETURN_IF_ERROR(CheckEtag(resource, snapshot.Find(resource.kind(), resource.metadata().name())));
    *response.add_results() = PlanOne(snapshot, resource, now_us);
  }
  return response;
}

std::vector<std::string> Referrers(const Snapshot& snapshot, absl::string_view kind, absl::string_view name) {
  std::vector<std::string> referrers;
  if (kind == "InputFormat") {
    for (const v1::Resource* source : snapshot.List("Source")) {
      if (source->source().format() == name) referrers.push_back(Title(*source));
    }
  }
  if (kind == "Metric") {
    for (const v1::Resource* sink : snapshot.List("Sink")) {
      const auto& metrics = sink->sink().metrics();
      if (std::find(metrics.begin(), metrics.end(), name) != metrics.end()) referrers.push_back(Title(*sink));
    }
  }
  return referrers;
}

}  // namespace naru::catalog
