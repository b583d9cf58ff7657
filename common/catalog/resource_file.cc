#include "common/catalog/resource_file.h"

#include <re2/re2.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/catalog/apply_plan.h"
#include "common/catalog/resource_reader.h"
#include "common/catalog/scalar_place.h"
#include "common/catalog/snapshot.h"
#include "common/catalog/yaml_tree.h"
#include "naru/catalog/v1/catalog.pb.h"

namespace naru::catalog {
namespace {

namespace fs = std::filesystem;

FileProblem WholeFile(absl::string_view file, std::string message) {
  FileProblem problem;
  problem.file = std::string(file);
  problem.message = std::move(message);
  return problem;
}

bool IsYamlFile(const fs::path& path) { return path.extension() == ".yaml" || path.extension() == ".yml"; }

// All YAML files below `directory`, sorted by path. False with a problem when it cannot be read.
bool ListFiles(const std::string& directory, std::vector<std::string>* files, FileProblem* problem) {
  std::error_code error;
  fs::recursive_directory_iterator it(directory, fs::directory_options::follow_directory_symlink, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    std::error_code ignored;  // a file that vanished in between is not a file
    const bool hidden = absl::StartsWith(it->path().filename().string(), ".");
    if (hidden || it.depth() >= 32) it.disable_recursion_pending();
    if (hidden || !IsYamlFile(it->path()) || !it->is_regular_file(ignored)) continue;
    files->push_back(it->path().string());
    if (files->size() > static_cast<size_t>(kMaxFiles)) {
      *problem = WholeFile(directory, absl::StrCat("more than ", kMaxFiles, " files"));
      return false;
    }
  }
  if (error) {
    *problem = WholeFile(directory, absl::StrCat("cannot read the directory: ", error.message()));
    return false;
  }
  std::sort(files->begin(), files->end());
  if (files->empty()) {
    *problem = WholeFile(directory, "no *.yaml or *.yml file in this directory");
    return false;
  }
  return true;
}

ResourceSet LoadFile(const std::string& path) {
  ResourceSet set;
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  if (!error && size > kMaxFileBytes) {
    set.problems.push_back(
        WholeFile(path, absl::StrCat("the file has ", size, " bytes; at most ", kMaxFileBytes, " are allowed")));
    return set;
  }
  std::ifstream stream(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  if (stream.bad() || !stream.is_open()) {
    set.problems.push_back(
        WholeFile(path, absl::StrCat("cannot read the file: ", error ? error.message() : std::strerror(errno))));
    return set;
  }
  return LoadText(path, text);
}

// The longest part of `path` that has a position, cutting at `.` and `[` from the end.
const Position* NearestPosition(const LoadedResource& loaded, std::string path) {
  while (!path.empty()) {
    const auto found = loaded.positions.find(path);
    if (found != loaded.positions.end()) return &found->second;
    const size_t cut = path.find_last_of(".[");
    path.resize(cut == std::string::npos ? 0 : cut);
  }
  return nullptr;
}

// A problem inside an expression names the line and column of the expression's text: in the file that is another place.
void MoveIntoText(const LoadedResource& loaded, FileProblem* problem) {
  static const LazyRE2 kPlace = {"(?s)line (\\d+), column (\\d+): (.*)"};
  int line = 0;
  int column = 0;
  std::string rest;
  const auto text = loaded.texts.find(problem->field);
  if (text == loaded.texts.end() || loaded.document == nullptr) return;
  if (!RE2::FullMatch(problem->message, *kPlace, &line, &column, &rest)) return;
  const auto place = PlaceInScalar(*loaded.document, loaded.first_line, text->second, line, column);
  if (!place.has_value()) return;
  problem->position = *place;
  problem->message = rest;
}

// A resource that is defined again is a problem and is left out.
void RemoveTwins(ResourceSet* set) {
  std::map<std::string, std::string> first;
  std::vector<LoadedResource> kept;
  for (LoadedResource& loaded : set->resources) {
    const v1::Resource& resource = *loaded.resource;
    const auto [twin, is_first] = first.emplace(RecordKey(resource.kind(), resource.metadata().name()),
                                                absl::StrCat(loaded.file, ":", loaded.position.line));
    if (is_first) {
      kept.push_back(std::move(loaded));
      continue;
    }
    FileProblem problem;
    problem.file = loaded.file;
    problem.field = "metadata.name";
    const Position* position = NearestPosition(loaded, problem.field);
    problem.position = position == nullptr ? loaded.position : *position;
    problem.message = absl::StrCat(resource.kind(), " ", resource.metadata().name(),
                                   " is given twice; the first is at ", twin->second);
    set->problems.push_back(std::move(problem));
  }
  set->resources = std::move(kept);
}

}  // namespace

std::string FileProblem::ToString() const {
  std::string text = file;
  if (position.line > 0) absl::StrAppend(&text, ":", position.line, ":", position.column);
  if (!field.empty()) absl::StrAppend(&text, ": ", field);
  return absl::StrCat(text, ": ", message);
}

std::vector<v1::Resource> ResourceSet::Resources() const {
  std::vector<v1::Resource> copies;
  copies.reserve(resources.size());
  for (const LoadedResource& loaded : resources) copies.push_back(*loaded.resource);
  return copies;
}

FileProblem ResourceSet::Locate(const FieldViolation& violation) const {
  FileProblem problem;
  problem.field = violation.field;
  problem.message = violation.description;
  absl::string_view rest = violation.field;
  if (!absl::ConsumePrefix(&rest, "resources[")) return problem;
  const size_t close = rest.find(']');
  size_t index = 0;
  if (close == absl::string_view::npos || !absl::SimpleAtoi(rest.substr(0, close), &index) ||
      index >= resources.size()) {
    return problem;
  }
  rest.remove_prefix(close + 1);
  absl::ConsumePrefix(&rest, ".");
  const LoadedResource& loaded = resources[index];
  problem.file = loaded.file;
  problem.field = std::string(rest);
  const Position* position = NearestPosition(loaded, problem.field);
  problem.position = position == nullptr ? loaded.position : *position;
  MoveIntoText(loaded, &problem);
  return problem;
}

void ResourceSet::Append(ResourceSet other) {
  std::move(other.resources.begin(), other.resources.end(), std::back_inserter(resources));
  std::move(other.problems.begin(), other.problems.end(), std::back_inserter(problems));
}

ResourceSet LoadText(absl::string_view file, absl::string_view text) {
  ResourceSet set;
  FileProblem problem = WholeFile(file, "");
  if (!CheckYamlBytes(text, &problem)) {
    set.problems.push_back(problem);
    return set;
  }
  for (const YamlDocumentText& document : SplitYamlStream(text)) {
    YamlTree tree;
    problem = WholeFile(file, "");
    if (!ParseYamlDocument(document, &tree, &problem)) {
      set.problems.push_back(problem);
      continue;
    }
    if (tree.root < 0 || tree.at(tree.root).kind == YamlNode::Kind::kNull) continue;
    LoadedResource loaded;
    loaded.document = std::make_shared<const std::string>(document.text);
    loaded.first_line = document.first_line;
    // What has problems is left out: the others are still checked, so that one run shows as much as possible.
    if (ReadResource(tree, file, &loaded, &set.problems)) set.resources.push_back(std::move(loaded));
  }
  return set;
}

ResourceSet LoadPath(const std::string& path) { return LoadPaths({path}); }

ResourceSet LoadPaths(const std::vector<std::string>& paths) {
  ResourceSet set;
  for (const std::string& path : paths) {
    std::error_code error;
    std::vector<std::string> files = {path};
    FileProblem problem;
    if (fs::is_directory(path, error)) {
      files.clear();
      if (!ListFiles(path, &files, &problem)) set.problems.push_back(problem);
    }
    for (const std::string& file : files) set.Append(LoadFile(file));
  }
  RemoveTwins(&set);
  return set;
}

void CheckAgainst(const Snapshot& snapshot, const TestRunners* runners, ResourceSet* set) {
  std::vector<v1::Resource> resources = set->Resources();
  for (v1::Resource& resource : resources) resource.mutable_metadata()->clear_etag();
  const auto plan = PlanApply(snapshot, resources, runners, 0);
  if (plan.ok()) return;
  const std::vector<FieldViolation> violations = GetErrorDetails(plan.status()).violations;
  for (const FieldViolation& violation : violations) set->problems.push_back(set->Locate(violation));
  if (violations.empty()) set->problems.push_back(WholeFile("", std::string(plan.status().message())));
}

void CheckOffline(const TestRunners* runners, ResourceSet* set) { CheckAgainst(Snapshot(), runners, set); }

}  // namespace naru::catalog
