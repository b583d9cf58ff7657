#include "services/aggregator/plan_directory.h"

#include <utility>
#include <vector>

#include "common/config/config.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::aggregator {
namespace {

constexpr char kMetricKind[] = "Metric";

int64_t UpdatedMicros(const catalog::v1::Resource& resource) {
  const auto& time = resource.metadata().update_time();
  return time.seconds() * 1'000'000 + time.nanos() / 1000;
}

void DeclareTypes(const catalog::Snapshot& snapshot, cel::Environment* environment) {
  for (const catalog::v1::Resource* resource : snapshot.List("EventType")) {
    std::vector<std::string> fields;
    for (const auto& [name, field] : resource->event_type().schema().properties()) fields.push_back(name);
    environment->DeclareType(resource->metadata().name(), fields);
  }
}

}  // namespace

PlanDirectory::PlanDirectory(ServingView& view) : view_(view), plans_(std::make_shared<PlanSet>()) {}

void PlanDirectory::SetSnapshot(std::shared_ptr<const catalog::Snapshot> snapshot) {
  MutexLock lock(&mu_);
  snapshot_ = std::move(snapshot);
}

std::shared_ptr<const PlanSet> PlanDirectory::current() const {
  MutexLock lock(&mu_);
  return plans_;
}

std::shared_ptr<const PlanSet> PlanDirectory::Refresh() {
  std::shared_ptr<const catalog::Snapshot> snapshot;
  std::shared_ptr<const PlanSet> plans;
  bool stale = false;
  {
    MutexLock lock(&mu_);
    snapshot = snapshot_;
    plans = plans_;
    stale = snapshot_ != compiled_;
  }
  if (snapshot == nullptr) return plans;
  for (const auto& plan : plans->plans) stale = stale || IsObsolete({plan->name, plan->version});
  if (!stale) return plans;
  std::map<std::string, absl::Status> failures;
  plans = Compile(*snapshot, &failures);
  MutexLock lock(&mu_);
  compiled_ = snapshot;
  plans_ = plans;
  failures_ = std::move(failures);
  return plans;
}

std::shared_ptr<const PlanSet> PlanDirectory::Compile(const catalog::Snapshot& snapshot,
                                                      std::map<std::string, absl::Status>* failures) {
  auto plans = std::make_shared<PlanSet>();
  DeclareTypes(snapshot, &plans->environment);
  for (const catalog::v1::Resource* resource : snapshot.List(kMetricKind)) {
    const std::string& name = resource->metadata().name();
    auto plan = MetricPlan::Compile(name, resource->metadata().version(), UpdatedMicros(*resource), resource->metric(),
                                    &plans->environment);
    if (plan.ok()) {
      plans->plans.push_back(*std::move(plan));
    } else {
      (*failures)[name] = plan.status();
      NARU_LOG(WARNING, "a metric cannot be computed", {{"metric", name}, {"error", plan.status()}});
    }
  }
  for (const MetricId& id : view_.Metrics()) {
    if (plans->Find(id.name, id.version) != nullptr || IsObsolete(id)) continue;
    catalog::v1::Metric spec;
    const std::string bytes = view_.GetSpec(id);
    if (bytes.empty() || !spec.ParseFromString(bytes)) continue;
    auto plan = MetricPlan::Compile(id.name, id.version, 0, spec, &plans->environment);
    if (plan.ok()) plans->plans.push_back(*std::move(plan));
  }
  return plans;
}

int32_t PlanDirectory::NewestVersion(absl::string_view name) const {
  MutexLock lock(&mu_);
  if (snapshot_ == nullptr) return 0;
  const catalog::v1::Resource* resource = snapshot_->Find(kMetricKind, name);
  return resource == nullptr ? 0 : resource->metadata().version();
}

std::string PlanDirectory::NearestName(absl::string_view name) const {
  MutexLock lock(&mu_);
  std::vector<std::string> names;
  if (snapshot_ == nullptr) return "";
  for (const catalog::v1::Resource* resource : snapshot_->List(kMetricKind))
    names.push_back(resource->metadata().name());
  return NearestWord(name, names);
}

std::shared_ptr<const MetricPlan> PlanDirectory::Answering(absl::string_view name) const {
  const int32_t newest = NewestVersion(name);
  if (newest == 0) return nullptr;
  const std::shared_ptr<const PlanSet> plans = current();
  std::shared_ptr<const MetricPlan> answering, latest;
  for (const auto& plan : plans->plans) {
    if (plan->name != name || plan->version > newest) continue;
    if (latest == nullptr || plan->version > latest->version) latest = plan;
    if (!view_.Joined({plan->name, plan->version})) continue;
    if (answering == nullptr || plan->version > answering->version) answering = plan;
  }
  const std::shared_ptr<const MetricPlan>& chosen = answering != nullptr ? answering : latest;
  // The plan keeps its whole set alive: expressions belong to the set's environment.
  return chosen == nullptr ? nullptr : std::shared_ptr<const MetricPlan>(plans, chosen.get());
}

absl::Status PlanDirectory::Failure(absl::string_view name) const {
  MutexLock lock(&mu_);
  const auto found = failures_.find(std::string(name));
  return found == failures_.end() ? absl::OkStatus() : found->second;
}

std::map<std::string, absl::Status> PlanDirectory::Failures() const {
  MutexLock lock(&mu_);
  return failures_;
}

bool PlanDirectory::IsObsolete(const MetricId& metric) const {
  int32_t newest = 0;
  {
    MutexLock lock(&mu_);
    if (snapshot_ == nullptr) return false;
    const catalog::v1::Resource* resource = snapshot_->Find(kMetricKind, metric.name);
    // Only what the catalog says was deleted: a resource that this release cannot read is not gone.
    if (resource == nullptr) return snapshot_->DeletedVersion(kMetricKind, metric.name) >= metric.version;
    newest = resource->metadata().version();
  }
  return newest > metric.version && view_.Joined({metric.name, newest});
}

}  // namespace naru::aggregator
