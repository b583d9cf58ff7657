#include "common/cel/suggest.h"

#include <algorithm>
#include <numeric>

namespace naru::cel {
namespace {

/// Longest word that is compared: the table below has one row of this size.
constexpr size_t kMaxWord = 64;

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// Number of letters to insert, remove or change, without regard to case.
size_t Distance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (Lower(a[i - 1]) == Lower(b[j - 1]) ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string Nearest(absl::string_view word, const std::vector<std::string>& names) {
  std::string best;
  size_t best_distance = std::min<size_t>(2, std::max<size_t>(1, word.size() / 3)) + 1;
  for (const std::string& name : names) {
    if (word.size() > kMaxWord || name.size() > kMaxWord) continue;
    const size_t distance = Distance(word, name);
    if (distance < best_distance) {
      best_distance = distance;
      best = name;
    }
  }
  return best;
}

}  // namespace naru::cel
