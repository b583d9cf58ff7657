#include "common/catalog/nearest.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace naru::catalog {
namespace {

constexpr size_t kMaxBytes = 256;
constexpr size_t kMaxListed = 30;

double ReplaceCost(char a, char b) {
  if (a == b) return 0;
  return absl::ascii_tolower(a) == absl::ascii_tolower(b) ? 0.25 : 1;
}

}  // namespace

double EditDistance(absl::string_view a, absl::string_view b) {
  a = a.substr(0, kMaxBytes);
  b = b.substr(0, kMaxBytes);
  std::vector<double> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) above[j] = static_cast<double>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<double>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + ReplaceCost(a[i - 1], b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(above);
    above.swap(row);
  }
  return above[b.size()];
}

std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates) {
  const double limit = std::max(1.0, std::ceil(static_cast<double>(std::min(word.size(), kMaxBytes)) / 3));
  double best = limit;
  std::string nearest;
  for (const std::string& candidate : candidates) {
    const double distance = EditDistance(word, candidate);
    // A word that is wholly different is no suggestion, however short.
    if (distance >= static_cast<double>(std::max(word.size(), candidate.size()))) continue;
    if (distance < best || (distance == best && nearest.empty())) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

std::string DidYouMean(absl::string_view word, const std::vector<std::string>& candidates) {
  if (candidates.empty()) return "";
  const std::string nearest = Nearest(word, candidates);
  if (!nearest.empty()) return absl::StrCat("; did you mean \"", nearest, "\"?");
  if (candidates.size() > kMaxListed) return "";
  return absl::StrCat("; known: ", absl::StrJoin(candidates, ", "));
}

}  // namespace naru::catalog
