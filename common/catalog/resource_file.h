// Resources as YAML documents: reading with file, line and column of every problem, and writing.
//
//     catalog::ResourceSet set = catalog::LoadPath("deploy/packs/weblog");
//     if (!set.problems.empty()) for (const auto& p : set.problems) Print(p.ToString());   // web.yaml:12:7: spec.x:
//     ...
//     // send set.Resources(); for a violation "resources[3].spec.window.size" of the answer:
//     set.Locate(violation).ToString();
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/catalog/test_runners.h"
#include "common/status/status.h"

namespace naru::catalog::v1 {
class Resource;
}

namespace naru::catalog {

class Snapshot;

/// Limits of what is read. Beyond them is a problem, not a crash.
inline constexpr size_t kMaxDocumentBytes = 1 << 20;
inline constexpr size_t kMaxFileBytes = 64 << 20;
inline constexpr int kMaxFiles = 10'000;
inline constexpr int kMaxYamlDepth = 64;
/// Of a document, after aliases are followed.
inline constexpr int kMaxYamlNodes = 100'000;

/// Where something is in a file. Lines and columns count from 1, columns in characters.
struct Position {
  int line = 0;
  int column = 0;
};

/// Something wrong in a file.
struct FileProblem {
  std::string file;
  Position position;    ///< line 0: the file as a whole
  std::string field;    ///< `spec.measures[2].expr`; empty: not about a field
  std::string message;  ///< what was wrong and what would be right
  /// `hot.yaml:12:7: spec.window.size: ...`
  std::string ToString() const;
};

/// A document that could be read as far as the proto goes.
struct LoadedResource {
  std::shared_ptr<const v1::Resource> resource;
  std::string file;
  Position position;                            ///< of its first line
  std::map<std::string, Position> positions;    ///< of each field, by path: `spec.window.size`
  std::map<std::string, Position> texts;        ///< of the values of fields that hold text, by the same paths
  std::shared_ptr<const std::string> document;  ///< as it is written
  int first_line = 1;                           ///< of the document, in the file
};

/// What was read. `problems` is in the order of the files.
struct ResourceSet {
  std::vector<LoadedResource> resources;
  std::vector<FileProblem> problems;

  /// Copies, in the order of the files.
  std::vector<v1::Resource> Resources() const;
  /// Where the field of a violation is: `resources[3].spec.window.size` as CatalogWriter and the service report it. The
  /// nearest enclosing field that is written in the file; a place inside an expression (`line 1, column 9: ...`)
  /// becomes its place in the file.
  FileProblem Locate(const FieldViolation& violation) const;
  /// Everything of `other` after what is here.
  void Append(ResourceSet other);
};

/// Reads the documents of one text (`file` is only a name). Never fails: what is wrong is in `problems`.
ResourceSet LoadText(absl::string_view file, absl::string_view text);

/// Reads a file, or all *.yaml and *.yml below a directory, sorted by path (directories whose name begins with `.` are
/// left out). A path that cannot be read, and a directory without such files, is a problem. Blocks on the disk.
ResourceSet LoadPath(const std::string& path);

/// Reads several paths; a resource that is given twice is a problem that names both places.
ResourceSet LoadPaths(const std::vector<std::string>& paths);

/// Validates all of `set` together and against what `snapshot` holds, compiles and runs the tests with `runners` unless
/// null, as a CatalogWriter does before it writes. Adds what is wrong to `set->problems`. Etags are not compared.
void CheckAgainst(const Snapshot& snapshot, const TestRunners* runners, ResourceSet* set);
/// The same without a server: resources that are referred to must be in the set or built in.
void CheckOffline(const TestRunners* runners, ResourceSet* set);

/// One document (without `---`), which LoadText reads back to an equal resource. What the catalog sets (version, etag,
/// update_time) is left out unless `with_catalog_fields`.
std::string ToYaml(const v1::Resource& resource, bool with_catalog_fields = false);

/// One difference between two resources.
struct Difference {
  std::string field;   ///< `spec.measures[logins].filter`: named elements by name, others by position
  std::string before;  ///< as YAML on one line; empty: was not there
  std::string after;   ///< empty: is no longer there
};
/// What changes from `before` to `after`, in the order of the fields; what the catalog sets is not looked at.
std::vector<Difference> Diff(const v1::Resource& before, const v1::Resource& after);

/// What a kind or a field is, from the protos' comments: `Metric`, `Metric.window`, `metric.measures.agg`. Ends with
/// the fields that lie below. Errors: NOT_FOUND with the nearest name.
absl::StatusOr<std::string> Explain(absl::string_view path);

}  // namespace naru::catalog
