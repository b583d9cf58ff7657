// Answers about users out of the serving view.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "services/aggregator/finality.h"
#include "services/aggregator/plan_directory.h"
#include "services/aggregator/serving_view.h"
#include "services/aggregator/user_query.h"

namespace naru::aggregator {

/// All borrowed.
struct UserAnswerDependencies {
  ServingView& view;
  PlanDirectory& plans;
  Finality& finality;
};

/// Answers with the version of the plan that answers now, from what the view has. Errors: those of Compile and Add of
/// the query; why the plan failed; those of the store.
absl::Status AnswerUsers(const UserAnswerDependencies& deps, const std::string& plan_name,
                         const v1::QueryFunnelRequest& request, v1::QueryFunnelResponse* response);
absl::Status AnswerUsers(const UserAnswerDependencies& deps, const std::string& plan_name,
                         const v1::QueryRetentionRequest& request, v1::QueryRetentionResponse* response);

}  // namespace naru::aggregator
