#include "common/catalog/sink_table_name.h"

#include <xxhash.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"

namespace naru::catalog {
namespace {

constexpr size_t kMaxBytes = 52;  // of 63; partitions add `_p20221101`
constexpr size_t kHashBytes = 9;  // `_` and 8 digits

}  // namespace

std::string SinkTableName(absl::string_view metric) {
  std::string name;
  if (metric.empty() || absl::ascii_isdigit(metric.front())) name.push_back('_');
  for (const char c : metric) name.push_back(absl::ascii_isalnum(c) ? absl::ascii_tolower(c) : '_');
  if (name.size() <= kMaxBytes) return name;
  name.resize(kMaxBytes - kHashBytes);
  return name + absl::StrFormat("_%08x", static_cast<uint32_t>(XXH3_64bits(metric.data(), metric.size())));
}

}  // namespace naru::catalog
