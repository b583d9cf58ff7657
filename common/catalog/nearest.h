// "Did you mean ...?"
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace naru::catalog {

/// Number of letters to insert, remove, replace or swap with their neighbour to get from `a` to `b` (optimal string
/// alignment); case counts a quarter. At most 256 bytes of each are looked at.
double EditDistance(absl::string_view a, absl::string_view b);

/// The candidate nearest to `word`, when it is near enough to be meant (a third of the letters may differ); else empty.
std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates);

/// `; did you mean "minimum"?`; where none is near enough, all of them: `; known: minimum, maximum`; empty without any.
std::string DidYouMean(absl::string_view word, const std::vector<std::string>& candidates);

}  // namespace naru::catalog
