#include "common/catalog/problem_list.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "common/catalog/nearest.h"
#include "common/clock/duration.h"

namespace naru::catalog {
namespace {

constexpr size_t kMaxIdentifierBytes = 64;
constexpr size_t kMaxPathBytes = 1024;

std::string Shown(absl::string_view text) {
  return absl::StrCat("`", text.substr(0, 64), text.size() > 64 ? "..." : "", "`");
}

}  // namespace

void ProblemList::CheckWord(const std::string& field, absl::string_view value, const std::vector<std::string>& words,
                            bool required) {
  if (value.empty() && !required) return;
  if (std::find(words.begin(), words.end(), value) != words.end()) return;
  if (value.empty()) {
    Add(field, absl::StrCat("missing; one of ", absl::StrJoin(words, ", ")));
  } else {
    Add(field, absl::StrCat(Shown(value), " is not one of ", absl::StrJoin(words, ", ")));
  }
}

std::optional<std::chrono::microseconds> ProblemList::CheckDuration(const std::string& field, absl::string_view text,
                                                                    std::chrono::microseconds low,
                                                                    std::chrono::microseconds high) {
  if (text.empty()) return std::nullopt;
  const auto duration = ParseDuration(text);
  if (!duration.ok()) {
    Add(field, std::string(duration.status().message()));
    return std::nullopt;
  }
  if (*duration < low || *duration > high) {
    Add(field, absl::StrCat(Shown(text), " is outside ", FormatDuration(low), " to ", FormatDuration(high)));
    return std::nullopt;
  }
  return *duration;
}

void ProblemList::CheckTimeZone(const std::string& field, absl::string_view name) {
  absl::TimeZone zone;
  if (name.empty() || absl::LoadTimeZone(name, &zone)) return;
  Add(field, absl::StrCat(Shown(name), " is not an IANA time zone like Asia/Seoul"));
}

bool ProblemList::CheckIdentifier(const std::string& field, absl::string_view name) {
  const auto is_letter = [](char c) { return absl::ascii_isalpha(c) || c == '_'; };
  const bool ok = !name.empty() && name.size() <= kMaxIdentifierBytes && is_letter(name[0]) &&
                  std::all_of(name.begin(), name.end(), [&](char c) { return is_letter(c) || absl::ascii_isdigit(c); });
  if (!ok) {
    Add(field, absl::StrCat(Shown(name), " is not a name: letters, digits and _, no digit first, at most ",
                            kMaxIdentifierBytes, " bytes"));
  }
  return ok;
}

bool ProblemList::CheckPath(const std::string& field, absl::string_view path) {
  for (const absl::string_view part : absl::StrSplit(path, '.')) {
    if (!part.empty() && path.size() <= kMaxPathBytes) continue;
    Add(field, absl::StrCat(Shown(path), " is not a path: names joined by dots"));
    return false;
  }
  return true;
}

cel::Program ProblemList::CheckExpression(const std::string& field, absl::string_view source,
                                          cel::Environment* environment, const cel::CompileOptions& options) {
  if (source.empty()) return {};
  auto program = environment->Compile(source, options);
  if (program.ok()) return *std::move(program);
  Add(field, std::string(program.status().message()));
  return {};
}

std::optional<std::vector<std::string>> ProblemList::CheckFilter(const std::string& field, absl::string_view source,
                                                                 cel::Environment* environment,
                                                                 const cel::CompileOptions& options) {
  const cel::Program filter = CheckExpression(field, source, environment, options);
  if (!filter.valid() || !filter.event_types().has_value()) return options.types;
  if (!options.types.has_value()) return filter.event_types();
  std::vector<std::string> both;
  std::set_intersection(options.types->begin(), options.types->end(), filter.event_types()->begin(),
                        filter.event_types()->end(), std::back_inserter(both));
  return both;
}

}  // namespace naru::catalog
