// What validation collects, and the checks that several kinds share.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/cel/cel.h"
#include "common/status/status.h"

namespace naru::catalog {

/// Problems of one resource. Not thread-safe.
class ProblemList {
 public:
  void Add(std::string field, std::string description) {
    violations_.push_back({std::move(field), std::move(description)});
  }
  std::vector<FieldViolation> Take() { return std::move(violations_); }
  bool empty() const { return violations_.empty(); }
  size_t size() const { return violations_.size(); }

  /// `value` must be one of `words`; empty is allowed unless `required`.
  void CheckWord(const std::string& field, absl::string_view value, const std::vector<std::string>& words,
                 bool required = false);
  /// Reads a duration; nothing when `text` is empty or wrong (which is then a problem).
  std::optional<std::chrono::microseconds> CheckDuration(const std::string& field, absl::string_view text,
                                                         std::chrono::microseconds low, std::chrono::microseconds high);
  /// An IANA zone name; empty is allowed.
  void CheckTimeZone(const std::string& field, absl::string_view name);
  /// A name that expressions can use: a letter or `_`, then letters, digits, `_`; at most 64 bytes.
  bool CheckIdentifier(const std::string& field, absl::string_view name);
  /// A path: names joined by dots. False when it is wrong.
  bool CheckPath(const std::string& field, absl::string_view path);
  /// Compiles an expression; an empty one is not compiled and gives an invalid program.
  cel::Program CheckExpression(const std::string& field, absl::string_view source, cel::Environment* environment,
                               const cel::CompileOptions& options);
  /// The same, checked against no event types.
  cel::Program CheckExpression(const std::string& field, absl::string_view source, bool filter,
                               cel::Environment* environment) {
    return CheckExpression(field, source, environment, cel::CompileOptions{.filter = filter});
  }
  /// Compiles the filter of events of `options.types`; returns those of the types that it lets through, absent: any
  /// type.
  std::optional<std::vector<std::string>> CheckFilter(const std::string& field, absl::string_view source,
                                                      cel::Environment* environment,
                                                      const cel::CompileOptions& options);

 private:
  std::vector<FieldViolation> violations_;
};

/// The longest duration that any setting takes: a hundred years.
inline constexpr std::chrono::hours kMaxDuration{24 * 36525};

}  // namespace naru::catalog
