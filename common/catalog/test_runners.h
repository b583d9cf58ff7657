// What only those who work with a kind can check: whether it compiles, and whether its examples (`tests`) hold. Event
// checks, input formats and windows register theirs here; the catalog depends on none of them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/status/status.h"

namespace naru::catalog::v1 {
class Resource;
}

namespace naru::catalog {

/// Looks up resources that an example needs: those being applied first, then the catalog's. Null: there is none.
using ResourceLookup = std::function<const v1::Resource*(absl::string_view kind, absl::string_view name)>;

/// Runs all tests of `resource` and returns what failed; empty = all passed. `field` is `tests[2].rows[0]`, the
/// description says what came out and what was expected. Thread-safe; does not block on anything outside the process.
using TestRunner =
    std::function<std::vector<FieldViolation>(const v1::Resource& resource, const ResourceLookup& lookup)>;

/// Compiles the spec of `resource` and returns what is wrong, also what this release does not do: `spec.window.type`.
/// Called only for resources that Validate (validate.h) has passed. Thread-safe; does not block.
using SpecCheck =
    std::function<std::vector<FieldViolation>(const v1::Resource& resource, const ResourceLookup& lookup)>;

/// The checks and runners of a program, by kind. Filled before use, then only read: thread-safe from then on.
class TestRunners {
 public:
  void Register(absl::string_view kind, TestRunner runner);
  void RegisterCheck(absl::string_view kind, SpecCheck check);
  bool Has(absl::string_view kind) const;
  std::vector<FieldViolation> Check(const v1::Resource& resource, const ResourceLookup& lookup) const;
  /// Kinds without a runner: nothing is run and nothing is wrong, but a warning is logged. A service on its own cannot
  /// run the tests of another's kinds; whoever applies has them all.
  std::vector<FieldViolation> Run(const v1::Resource& resource, const ResourceLookup& lookup) const;

 private:
  std::map<std::string, TestRunner, std::less<>> runners_;
  std::map<std::string, SpecCheck, std::less<>> checks_;
};

}  // namespace naru::catalog
