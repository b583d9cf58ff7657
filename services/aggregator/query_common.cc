#include "services/aggregator/query_common.h"

#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace naru::aggregator {

uint64_t HashOfQuery(absl::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

std::string MakePageToken(int version, uint64_t fingerprint, absl::string_view position) {
  return absl::StrCat(version, ".", fingerprint, ".", absl::WebSafeBase64Escape(position));
}

bool ReadPageToken(const std::string& token, PageToken* read) {
  const std::vector<std::string> fields = absl::StrSplit(token, '.');
  return fields.size() == 3 && absl::SimpleAtoi(fields[0], &read->version) &&
         absl::SimpleAtoi(fields[1], &read->fingerprint) && absl::WebSafeBase64Unescape(fields[2], &read->position);
}

absl::Status NoPageToken() { return InvalidQuery("page_token", "is not a token of this service"); }

absl::Status CheckPageToken(int version, uint64_t fingerprint, const MetricPlan& plan, uint64_t expected,
                            absl::string_view what) {
  if (fingerprint != expected) {
    return InvalidQuery("page_token", "belongs to another query; start again without it");
  }
  if (version != plan.version) {
    return InvalidQuery("page_token", absl::StrCat(what, " has changed; start again without it"));
  }
  return absl::OkStatus();
}

}  // namespace naru::aggregator
