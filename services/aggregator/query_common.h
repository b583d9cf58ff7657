// What the compiled forms of questions have in common: how requests are read, and tokens of pages.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/status/status.h"
#include "services/aggregator/metric_plan.h"
#include "services/aggregator/row_proto.h"
#include "services/aggregator/timelines.h"

namespace naru::aggregator {

/// A page about users is cut before: clients take messages of 4 MiB unless told otherwise.
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
  *from_us = request.has_from_time() ? TimeFromProto(request.from_time()) : kNever;
  *to_us = request.has_to_time() ? TimeFromProto(request.to_time()) : kForever;
  if (*from_us > *to_us) return InvalidQuery("to_time", "must not be before from_time");
  return absl::OkStatus();
}

/// page_size of a request; 0 leaves what `page_size` says.
inline absl::Status TakePageSize(int32_t asked, int32_t largest, size_t* page_size) {
  if (asked < 0 || asked > largest) {
    return InvalidQuery("page_size", absl::StrCat(asked, " must be between 0 and ", largest));
  }
  if (asked > 0) *page_size = static_cast<size_t>(asked);
  return absl::OkStatus();
}

uint64_t HashOfQuery(absl::string_view bytes);

/// What a request asks for, whichever page of it and however long it may wait.
template <typename Request>
uint64_t FingerprintOf(const Request& request) {
  Request identity = request;
  identity.clear_page_token();
  identity.clear_page_size();
  identity.clear_after();
  identity.clear_fast();
  return HashOfQuery(identity.SerializeAsString());
}

/// The token of a page: version.fingerprint.position, the position in base64.
struct PageToken {
  int version = 0;
  uint64_t fingerprint = 0;
  std::string position;
};
std::string MakePageToken(int version, uint64_t fingerprint, absl::string_view position);
/// False: it is none.
bool ReadPageToken(const std::string& token, PageToken* read);
/// What is told of a token that none of these questions gave.
absl::Status NoPageToken();
/// Refuses the token of another question, or of another version of what it asked (`what`, "the metric").
absl::Status CheckPageToken(int version, uint64_t fingerprint, const MetricPlan& plan, uint64_t expected,
                            absl::string_view what);

}  // namespace naru::aggregator
