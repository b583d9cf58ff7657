// What questions about users have in common.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/status/status.h"
#include "google/protobuf/timestamp.pb.h"
#include "services/aggregator/metric_plan.h"
#include "services/aggregator/timelines.h"
#include "services/aggregator/user_query.h"

namespace naru::aggregator {

/// A page is cut before: clients take messages of 4 MiB unless told otherwise.
inline constexpr size_t kMaxUserPageBytes = size_t{3} << 20;

inline absl::Status InvalidQuery(absl::string_view field, absl::string_view description) {
  ErrorDetails details;
  details.reason = "QUERY_INVALID";
  details.violations.push_back({std::string(field), std::string(description)});
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(field, ": ", description), details);
}

/// `; there are: a, b`.
inline std::string KnownNames(const MetricPlan& plan) {
  std::string names;
  for (const DimensionPlan& dimension : plan.dimensions) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", dimension.name);
  }
  return absl::StrCat("; there are: ", names.empty() ? "none" : names);
}

/// from_time and to_time of a request; kNever and kForever where absent.
template <typename Request>
absl::Status TakeTimes(const Request& request, int64_t* from_us, int64_t* to_us) {
  const auto micros = [](const google::protobuf::Timestamp& time) {
    return time.seconds() * 1'000'000 + time.nanos() / 1000;
  };
  *from_us = request.has_from_time() ? micros(request.from_time()) : kNever;
  *to_us = request.has_to_time() ? micros(request.to_time()) : kForever;
  if (*from_us > *to_us) return InvalidQuery("to_time", "must not be before from_time");
  return absl::OkStatus();
}

inline absl::Status TakePageSize(int32_t asked, size_t* page_size) {
  if (asked < 0 || asked > kMaxUserPageSize) {
    return InvalidQuery("page_size", absl::StrCat(asked, " must be between 0 and ", kMaxUserPageSize));
  }
  *page_size = static_cast<size_t>(asked == 0 ? kMaxUserPageSize : asked);
  return absl::OkStatus();
}

}  // namespace naru::aggregator
