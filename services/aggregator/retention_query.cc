#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status/status.h"
#include "naru/aggregator/v1/aggregator.pb.h"
#include "services/aggregator/query_common.h"
#include "services/aggregator/row_proto.h"
#include "services/aggregator/user_query.h"

namespace naru::aggregator {
namespace {

// The first unit that starts at or after a time; beyond all where there is no such bound.
int64_t UnitFrom(int64_t time_us, const CohortCalendar& calendar) {
  if (time_us == kNever) return INT64_MIN;
  if (time_us == kForever) return INT64_MAX;
  const int64_t unit = calendar.UnitOf(time_us);
  return calendar.StartOf(unit) < time_us ? unit + 1 : unit;
}

}  // namespace

absl::StatusOr<RetentionQuery> RetentionQuery::Compile(const v1::QueryRetentionRequest& request,
                                                       std::shared_ptr<const MetricPlan> plan) {
  int64_t from_us, to_us;
  NARU_RETURN_IF_ERROR(TakeTimes(request, &from_us, &to_us));
  const CohortCalendar& calendar = *plan->users->calendar;
  RetentionQuery query(plan, CohortCounter(UnitFrom(from_us, calendar), UnitFrom(to_us, calendar), plan->users->count));
  NARU_RETURN_IF_ERROR(TakePageSize(request.page_size(), kMaxUserPageSize, &query.page_size_));
  if (request.page_token().empty()) return query;
  // version.unit: the last row of the page before.
  const std::vector<std::string> fields = absl::StrSplit(request.page_token(), '.');
  int version;
  int64_t unit;
  if (fields.size() != 2 || !absl::SimpleAtoi(fields[0], &version) || !absl::SimpleAtoi(fields[1], &unit)) {
    return NoPageToken();
  }
  if (version != plan->version) return InvalidQuery("page_token", "the retention has changed; start again without it");
  query.after_unit_ = unit;
  return query;
}

absl::Status RetentionQuery::Add(absl::string_view state) {
  if (!DecodeRetentionUser(state, &user_)) {
    return MakeError(absl::StatusCode::kDataLoss, "STATE_DAMAGED", "a stored user of the retention cannot be read");
  }
  counter_.Add(user_.units, user_.truncated);
  return absl::OkStatus();
}

void RetentionQuery::Finish(int64_t frontier_us, v1::QueryRetentionResponse* response) {
  response->set_retention_version(plan_->version);
  const CohortCalendar& calendar = *plan_->users->calendar;
  const auto& cohorts = counter_.cohorts();
  size_t bytes = 0;
  for (auto it = after_unit_.has_value() ? cohorts.upper_bound(*after_unit_) : cohorts.begin(); it != cohorts.end();
       ++it) {
    const auto& [unit, cohort] = *it;
    v1::CohortRow* row = response->add_rows();
    const TimeSpan span = calendar.SpanOf(unit);
    TimeToProto(span.start_us, row->mutable_start_time());
    TimeToProto(span.end_us, row->mutable_end_time());
    row->set_user_count(cohort.users);
    row->set_truncated_user_count(cohort.truncated_users);
    int final_count = 0;
    for (const int64_t returned : cohort.returned) row->add_returned_counts(returned);
    while (final_count < row->returned_counts_size() && calendar.SpanOf(unit + final_count).end_us <= frontier_us) {
      ++final_count;
    }
    row->set_final_count(final_count);
    bytes += row->ByteSizeLong() + 4;
    const bool full = bytes > kMaxUserPageBytes || static_cast<size_t>(response->rows_size()) >= page_size_;
    if (!full || std::next(it) == cohorts.end()) continue;
    response->set_next_page_token(absl::StrCat(plan_->version, ".", unit));
    return;
  }
}

}  // namespace naru::aggregator
