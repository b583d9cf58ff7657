#include "services/naru/input_files.h"

#include <glob.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"

namespace naru::cli {
namespace {

namespace fs = std::filesystem;

absl::Status NotFound(const std::string& argument, absl::string_view what) {
  return MakeError(absl::StatusCode::kNotFound, "FILE_NOT_FOUND", absl::StrCat(argument, ": ", what));
}

bool IsHidden(const fs::path& path) {
  const std::string name = path.filename().string();
  return !name.empty() && name[0] == '.';
}

absl::Status AddDirectory(const std::string& directory, std::vector<std::string>* files) {
  std::vector<std::string> found;
  std::error_code error;
  fs::recursive_directory_iterator at(directory, error);
  for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    if (IsHidden(at->path())) {
      if (at->is_directory()) at.disable_recursion_pending();
      continue;
    }
    if (at->is_regular_file()) found.push_back(at->path().string());
  }
  if (error) return NotFound(directory, error.message());
  if (found.empty()) return NotFound(directory, "the directory holds no files");
  std::sort(found.begin(), found.end());
  files->insert(files->end(), found.begin(), found.end());
  return absl::OkStatus();
}

absl::Status AddPattern(const std::string& pattern, std::vector<std::string>* files) {
  glob_t matches{};
  const int result = glob(pattern.c_str(), GLOB_TILDE, nullptr, &matches);
  if (result == 0) files->insert(files->end(), matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
  globfree(&matches);
  return result == 0 ? absl::OkStatus() : NotFound(pattern, "no file matches");
}

}  // namespace

absl::StatusOr<std::vector<std::string>> FindInputFiles(const std::vector<std::string>& arguments) {
  std::vector<std::string> files;
  for (const std::string& argument : arguments) {
    std::error_code error;
    if (argument == "-") {
      files.push_back(argument);
    } else if (fs::is_directory(argument, error)) {
      NARU_RETURN_IF_ERROR(AddDirectory(argument, &files));
    } else if (fs::exists(argument, error)) {
      files.push_back(argument);
    } else if (argument.find_first_of("*?[") != std::string::npos) {
      NARU_RETURN_IF_ERROR(AddPattern(argument, &files));
    } else {
      return NotFound(argument, "no such file");
    }
  }
  return files;
}

}  // namespace naru::cli
