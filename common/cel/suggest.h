// "Did you mean ...?"
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace naru::cel {

/// Returns the name that is at most a third of its letters (two at most) away from `word`; empty: none is near.
std::string Nearest(absl::string_view word, const std::vector<std::string>& names);

}  // namespace naru::cel
