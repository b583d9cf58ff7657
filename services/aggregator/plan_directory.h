// Which metrics there are: the catalog's, and older versions that still answer until their successors have caught up.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "common/catalog/snapshot.h"
#include "common/sync/mutex.h"
#include "services/aggregator/metric_plan.h"
#include "services/aggregator/serving_view.h"

namespace naru::aggregator {

/// Compiles metrics, funnels and retentions. Thread-safe. Borrows the view.
///
/// Names are those of plans: of a metric its own, of others `Funnel/NAME` (user_plan.h).
class PlanDirectory {
 public:
  explicit PlanDirectory(ServingView& view);

  /// Takes a newer state of the catalog; compiled by the next Refresh.
  void SetSnapshot(std::shared_ptr<const catalog::Snapshot> snapshot);
  /// Compiles again where the catalog changed, or a new version has caught up. Returns the plans, the same object as
  /// before when nothing changed. For one thread at a time.
  std::shared_ptr<const PlanSet> Refresh();
  /// The newest plans. Never null.
  std::shared_ptr<const PlanSet> current() const;

  /// The newest version of a metric in the catalog; 0 = there is none.
  int32_t NewestVersion(absl::string_view name) const;
  /// The nearest name of a resource of the same kind, where there is none of this name; empty: none is near.
  std::string NearestName(absl::string_view plan_name) const;
  /// The version that answers: the newest that has caught up, else the newest. Null: there is no such metric, or (then
  /// with an error in Failure) it cannot be computed.
  std::shared_ptr<const MetricPlan> Answering(absl::string_view name) const;
  /// Why the newest version of a metric is not computed; OK when it is.
  absl::Status Failure(absl::string_view name) const;
  std::map<std::string, absl::Status> Failures() const;
  /// Whether what is stored of this version is of no use any more: the metric was deleted, or a newer version answers.
  bool IsObsolete(const MetricId& metric) const;

 private:
  std::shared_ptr<const PlanSet> Compile(const catalog::Snapshot& snapshot,
                                         std::map<std::string, absl::Status>* failures);

  ServingView& view_;
  mutable Mutex mu_;
  std::shared_ptr<const catalog::Snapshot> snapshot_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const catalog::Snapshot> compiled_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const PlanSet> plans_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, absl::Status> failures_ ABSL_GUARDED_BY(mu_);
};

}  // namespace naru::aggregator
