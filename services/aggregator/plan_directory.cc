#include "services/aggregator/plan_directory.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/config/config.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/user_plan.h"

namespace naru::aggregator {
namespace {

const catalog::v1::Resource* FindResource(const catalog::Snapshot& snapshot, absl::string_view plan_name) {
  const auto [kind, name] = SplitPlanName(plan_name);
  return snapshot.Find(kind, name);
}

void DeclareTypes(const catalog::Snapshot& snapshot, cel::Environment* environment) {
  for (const catalog::v1::Resource* resource : snapshot.List("EventType")) {
    std::vector<std::string> fields;
    for (const auto& [name, field] : resource->event_type().schema().properties()) fields.push_back(name);
    environment->DeclareType(resource->metadata().name(), fields);
  }
}

// Sessions need all events of an entity in one partition.
absl::Status CheckEntity(const catalog::Snapshot& snapshot, const MetricPlan& plan) {
  if (plan.session == nullptr) return absl::OkStatus();
  const std::optional<std::vector<std::string>> types = plan.EventTypes();
  for (const catalog::v1::Resource* resource : snapshot.List("EventType")) {
    const std::string& name = resource->metadata().name();
    if (types.has_value() && std::find(types->begin(), types->end(), name) == types->end()) continue;
    const std::string problem = EntityProblem(*plan.session, name, resource->event_type());
    if (problem.empty()) continue;
    ErrorDetails details;
    details.reason = "METRIC_INVALID";
    details.violations.push_back({"spec.window.entity", problem});
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("metric ", plan.name, ": spec.window.entity: ", problem), details);
  }
  return absl::OkStatus();
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
  for (const absl::string_view kind : kPlanKinds) {
    for (const catalog::v1::Resource* resource : snapshot.List(kind)) {
      auto plan = CompilePlan(*resource, &plans->environment);
      if (plan.ok()) {
        const absl::Status status = CheckEntity(snapshot, **plan);
        if (!status.ok()) plan = status;
      }
      if (plan.ok()) {
        plans->plans.push_back(*std::move(plan));
        continue;
      }
      const std::string name = PlanNameOf(kind, resource->metadata().name());
      (*failures)[name] = plan.status();
      NARU_LOG(WARNING, "a metric cannot be computed", {{"metric", name}, {"error", plan.status()}});
    }
  }
  for (const MetricId& id : view_.Metrics()) {
    if (plans->Find(id.name, id.version) != nullptr || IsObsolete(id)) continue;
    const std::string spec = view_.GetSpec(id);
    if (spec.empty()) continue;
    auto plan = CompileStoredPlan(id, spec, &plans->environment);
    if (plan.ok()) plans->plans.push_back(*std::move(plan));
  }
  return plans;
}

int32_t PlanDirectory::NewestVersion(absl::string_view name) const {
  MutexLock lock(&mu_);
  if (snapshot_ == nullptr) return 0;
  const catalog::v1::Resource* resource = FindResource(*snapshot_, name);
  return resource == nullptr ? 0 : resource->metadata().version();
}

std::string PlanDirectory::NearestName(absl::string_view plan_name) const {
  const auto [kind, name] = SplitPlanName(plan_name);
  MutexLock lock(&mu_);
  std::vector<std::string> names;
  if (snapshot_ == nullptr) return "";
  for (const catalog::v1::Resource* resource : snapshot_->List(kind)) names.push_back(resource->metadata().name());
  return NearestWord(std::string(name), names);
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
    const auto [kind, name] = SplitPlanName(metric.name);
    const catalog::v1::Resource* resource = snapshot_->Find(kind, name);
    // Only what the catalog says was deleted: a resource that this release cannot read is not gone.
    if (resource == nullptr) return snapshot_->DeletedVersion(kind, name) >= metric.version;
    newest = resource->metadata().version();
  }
  return newest > metric.version && view_.Joined({metric.name, newest});
}

}  // namespace naru::aggregator
