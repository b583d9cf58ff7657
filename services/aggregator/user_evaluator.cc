#include "services/aggregator/user_evaluator.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock/rfc3339.h"
#include "google/protobuf/struct.pb.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/aggregator/metric_evaluator.h"
#include "services/aggregator/metric_state.h"
#include "services/aggregator/row_check.h"
#include "services/aggregator/user_query.h"

namespace naru::aggregator {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

void SetNumber(const char* name, double number, Struct* json) {
  (*json->mutable_fields())[name].set_number_value(number);
}

void SetTimeText(const char* name, const google::protobuf::Timestamp& time, Struct* json) {
  (*json->mutable_fields())[name].set_string_value(FormatRfc3339(time.seconds() * 1'000'000 + time.nanos() / 1000));
}

Struct ToStruct(const v1::FunnelRow& row) {
  Struct json;
  Struct* group = (*json.mutable_fields())["group"].mutable_struct_value();
  for (const auto& [name, value] : row.group()) (*group->mutable_fields())[name] = value;
  auto* steps = (*json.mutable_fields())["steps"].mutable_list_value();
  for (const v1::FunnelStepCount& count : row.steps()) {
    Struct* step = steps->add_values()->mutable_struct_value();
    (*step->mutable_fields())["name"].set_string_value(count.name());
    SetNumber("users", static_cast<double>(count.user_count()), step);
    if (count.has_from_previous_ratio()) SetNumber("from_previous", count.from_previous_ratio(), step);
    if (count.has_from_first_ratio()) SetNumber("from_first", count.from_first_ratio(), step);
    if (count.has_median_from_previous_us()) {
      SetNumber("median_from_previous_s", static_cast<double>(count.median_from_previous_us()) / 1e6, step);
      SetNumber("median_from_first_s", static_cast<double>(count.median_from_first_us()) / 1e6, step);
      SetNumber("average_from_previous_s", count.average_from_previous_us() / 1e6, step);
      SetNumber("average_from_first_s", count.average_from_first_us() / 1e6, step);
    }
  }
  (*json.mutable_fields())["final"].set_bool_value(row.final());
  if (row.truncated_user_count() > 0) {
    SetNumber("truncated_users", static_cast<double>(row.truncated_user_count()), &json);
  }
  return json;
}

Struct ToStruct(const v1::CohortRow& row) {
  Struct json;
  SetTimeText("start", row.start_time(), &json);
  SetTimeText("end", row.end_time(), &json);
  SetNumber("users", static_cast<double>(row.user_count()), &json);
  auto* returned = (*json.mutable_fields())["returned"].mutable_list_value();
  for (const int64_t count : row.returned_counts()) {
    returned->add_values()->set_number_value(static_cast<double>(count));
  }
  SetNumber("final_count", row.final_count(), &json);
  if (row.truncated_user_count() > 0) {
    SetNumber("truncated_users", static_cast<double>(row.truncated_user_count()), &json);
  }
  return json;
}

// The plan belongs to the evaluator, which outlives the query.
std::shared_ptr<const MetricPlan> PlanOf(const MetricEvaluator& evaluator) {
  return {std::shared_ptr<const MetricPlan>(), &evaluator.state().plan()};
}

absl::StatusOr<std::vector<Struct>> FunnelRows(const MetricEvaluator& evaluator, bool by_group) {
  const std::shared_ptr<const MetricPlan> plan = PlanOf(evaluator);
  v1::QueryFunnelRequest request;
  for (size_t i = 0; by_group && i < plan->dimensions.size(); ++i) request.add_group_by(plan->dimensions[i].name);
  std::vector<Struct> rows;
  do {
    NARU_ASSIGN_OR_RETURN(FunnelQuery query, FunnelQuery::Compile(request, plan));
    absl::Status status;
    evaluator.state().entities.ForEachLoaded([&](const Entity& entity) {
      if (status.ok()) status = query.Add(entity.state, entity.id().low);
    });
    NARU_RETURN_IF_ERROR(status);
    v1::QueryFunnelResponse response;
    query.Finish(evaluator.frontier_us(), &response);
    for (const v1::FunnelRow& row : response.rows()) rows.push_back(ToStruct(row));
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return rows;
}

absl::StatusOr<std::vector<Struct>> CohortRows(const MetricEvaluator& evaluator) {
  v1::QueryRetentionRequest request;
  std::vector<Struct> rows;
  do {
    NARU_ASSIGN_OR_RETURN(RetentionQuery query, RetentionQuery::Compile(request, PlanOf(evaluator)));
    absl::Status status;
    evaluator.state().entities.ForEachLoaded([&](const Entity& entity) {
      if (status.ok()) status = query.Add(entity.state);
    });
    NARU_RETURN_IF_ERROR(status);
    v1::QueryRetentionResponse response;
    query.Finish(evaluator.frontier_us(), &response);
    for (const v1::CohortRow& row : response.rows()) rows.push_back(ToStruct(row));
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return rows;
}

template <typename RowsFor>
std::vector<FieldViolation> RunTests(const catalog::v1::Resource& resource, const catalog::ResourceLookup& lookup,
                                     const RowShape& shape, const RowsFor& rows_for) {
  std::vector<FieldViolation> failures;
  for (int i = 0; i < resource.tests_size(); ++i) {
    const catalog::v1::ResourceTest& test = resource.tests(i);
    const std::string field = absl::StrCat("tests[", i, "]");
    const auto evaluator = MetricEvaluator::RunEvents(resource, test, lookup, field, &failures);
    if (evaluator == nullptr) continue;
    for (int r = 0; r < test.rows_size(); ++r) {
      const absl::StatusOr<std::vector<Struct>> rows = rows_for(*evaluator, test.rows(r));
      const std::string row_field = absl::StrCat(field, ".rows[", r, "]");
      if (rows.ok()) {
        CheckRow(shape, row_field, test.rows(r), *rows, &failures);
      } else {
        failures.push_back({row_field, std::string(rows.status().message())});
      }
    }
  }
  return failures;
}

}  // namespace

std::vector<FieldViolation> RunFunnelTests(const catalog::v1::Resource& resource,
                                           const catalog::ResourceLookup& lookup) {
  return RunTests(resource, lookup, {{"group", "steps", "final", "truncated_users"}, {"group"}},
                  [](const MetricEvaluator& evaluator, const Struct& expected) {
                    return FunnelRows(evaluator, expected.fields().count("group") > 0);
                  });
}

std::vector<FieldViolation> RunRetentionTests(const catalog::v1::Resource& resource,
                                              const catalog::ResourceLookup& lookup) {
  return RunTests(resource, lookup,
                  {{"start", "end", "users", "returned", "final_count", "truncated_users"}, {"start", "end"}},
                  [](const MetricEvaluator& evaluator, const Struct& /*expected*/) { return CohortRows(evaluator); });
}

void RegisterUserTests(catalog::TestRunners* runners) {
  runners->Register("Funnel", RunFunnelTests);
  runners->Register("Retention", RunRetentionTests);
}

}  // namespace naru::aggregator
