#include "services/aggregator/user_answers.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "services/aggregator/query_common.h"
#include "services/aggregator/row_proto.h"

namespace naru::aggregator {
namespace {

// Calls fn(id, state) for each user, over all partitions.
absl::Status VisitUsers(ServingView& view, const MetricId& id,
                        const std::function<absl::Status(const EntityId&, absl::string_view)>& fn) {
  for (int32_t p = 0; p < view.partitions(); ++p) {
    absl::Status status;
    NARU_RETURN_IF_ERROR(view.VisitEntities(id, p, EntityId{}, [&](const EntityId& entity, absl::string_view value) {
      EntityRecord record;
      status = DecodeEntity(value, &record)
                   ? fn(entity, record.state)
                   : MakeError(absl::StatusCode::kDataLoss, "STATE_DAMAGED", "a stored user cannot be read");
      return status.ok();
    }));
    NARU_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

template <typename Response>
void SetValidFrom(const ServingView& view, const MetricId& id, Response* response) {
  std::optional<int64_t> valid_from;
  for (int32_t p = 0; p < view.partitions(); ++p) {
    const std::optional<Progress> progress = view.GetProgress(id, p);
    if (!progress.has_value() || !progress->valid_from_us.has_value()) continue;
    valid_from = std::max(valid_from.value_or(kNever), *progress->valid_from_us);
  }
  if (valid_from.has_value()) TimeToProto(*valid_from, response->mutable_valid_from_time());
}

}  // namespace

absl::Status AnswerUsers(const UserAnswerDependencies& deps, const std::string& plan_name,
                         const v1::QueryFunnelRequest& request, v1::QueryFunnelResponse* response) {
  const std::shared_ptr<const MetricPlan> plan = deps.plans.Answering(plan_name);
  if (plan == nullptr) return deps.plans.Failure(plan_name);  // `fast`, and it is about to be compiled
  NARU_ASSIGN_OR_RETURN(FunnelQuery query, FunnelQuery::Compile(request, plan));
  const MetricId id{plan->name, plan->version};
  // Before the users: what is final by it is in what is read after it.
  const int64_t frontier_us = deps.finality.Frontier(*plan);
  NARU_RETURN_IF_ERROR(VisitUsers(deps.view, id, [&query](const EntityId& entity, absl::string_view state) {
    return query.Add(state, entity.low);
  }));
  query.Finish(frontier_us, response);
  SetValidFrom(deps.view, id, response);
  return absl::OkStatus();
}

absl::Status AnswerUsers(const UserAnswerDependencies& deps, const std::string& plan_name,
                         const v1::QueryRetentionRequest& request, v1::QueryRetentionResponse* response) {
  const std::shared_ptr<const MetricPlan> plan = deps.plans.Answering(plan_name);
  if (plan == nullptr) return deps.plans.Failure(plan_name);
  NARU_ASSIGN_OR_RETURN(RetentionQuery query, RetentionQuery::Compile(request, plan));
  const MetricId id{plan->name, plan->version};
  const int64_t frontier_us = deps.finality.Frontier(*plan);
  NARU_RETURN_IF_ERROR(
      VisitUsers(deps.view, id, [&query](const EntityId&, absl::string_view state) { return query.Add(state); }));
  query.Finish(frontier_us, response);
  SetValidFrom(deps.view, id, response);
  return absl::OkStatus();
}

}  // namespace naru::aggregator
