#include "services/naru/packs.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/status.h"

namespace naru::cli {
namespace {

namespace fs = std::filesystem;

void AddRootsAbove(fs::path start, std::vector<std::string>* roots) {
  std::error_code error;
  for (int i = 0; i < 6 && !start.empty(); ++i) {
    for (const char* below : {"deploy/packs", "share/naru/packs"}) {
      if (fs::is_directory(start / below, error)) roots->push_back((start / below).string());
    }
    if (start == start.root_path()) return;
    start = start.parent_path();
  }
}

}  // namespace

std::vector<std::string> PackRoots(const std::function<std::string(const char*)>& environment) {
  std::vector<std::string> roots;
  if (std::string root = environment("NARU_PACKS_DIR"); !root.empty()) roots.push_back(root);
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) AddRootsAbove(program.parent_path(), &roots);
  const fs::path here = fs::current_path(error);
  if (!error) AddRootsAbove(here, &roots);
  return roots;
}

absl::StatusOr<std::string> FindPack(const std::string& name_or_path,
                                     const std::function<std::string(const char*)>& environment) {
  std::error_code error;
  const bool is_path = name_or_path.find('/') != std::string::npos;
  if (is_path && fs::is_directory(name_or_path, error)) return name_or_path;
  const std::vector<std::string> roots = PackRoots(environment);
  std::vector<std::string> known;
  for (const std::string& root : roots) {
    const fs::path folder = fs::path(root) / name_or_path;
    if (!is_path && !name_or_path.empty() && fs::is_directory(folder, error)) return folder.string();
    for (const auto& entry : fs::directory_iterator(root, error)) {
      if (entry.is_directory()) known.push_back(entry.path().filename().string());
    }
  }
  if (!is_path && fs::is_directory(name_or_path, error)) return name_or_path;
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  return MakeError(
      absl::StatusCode::kNotFound, "PACK_NOT_FOUND",
      absl::StrCat("there is no pack `", name_or_path, "`; ",
                   known.empty() ? "no folder of packs was found: set NARU_PACKS_DIR or give a path"
                                 : absl::StrCat("there are ", absl::StrJoin(known, ", "), ", or give a path")));
}

}  // namespace naru::cli
