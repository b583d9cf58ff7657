#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/config/option_state.h"

namespace naru {
namespace {

absl::Status BadFile(const std::string& path, const YAML::Mark& mark, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CONFIG", absl::StrCat(path, ":", mark.line + 1, ": ", what));
}

absl::Status Flatten(const std::string& path, const std::string& prefix, const YAML::Node& node,
                     std::vector<FileEntry>* out) {
  std::set<std::string> seen;
  for (const auto& pair : node) {
    if (!pair.first.IsScalar()) return BadFile(path, pair.first.Mark(), "a key must be a name");
    const std::string key = absl::StrCat(prefix, absl::StrReplaceAll(pair.first.Scalar(), {{"-", "_"}}));
    if (!seen.insert(key).second) return BadFile(path, pair.first.Mark(), absl::StrCat("`", key, "` is there twice"));
    const YAML::Node& value = pair.second;
    FileEntry entry;
    entry.key = key;
    entry.line = pair.first.Mark().line + 1;
    if (value.IsMap()) {
      const absl::Status nested = Flatten(path, key + "_", value, out);
      if (!nested.ok()) return nested;
      continue;
    }
    if (value.IsSequence()) {
      entry.is_list = true;
      for (const YAML::Node& item : value) {
        if (!item.IsScalar())
          return BadFile(path, item.Mark(), absl::StrCat("`", key, "`: items must be plain values"));
        entry.values.push_back(item.Scalar());
      }
    } else {
      entry.values.push_back(value.IsScalar() ? value.Scalar() : "");
    }
    out->push_back(std::move(entry));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<FileEntry>> ReadConfigFile(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return MakeError(absl::StatusCode::kNotFound, "CONFIG", absl::StrCat("there is no file `", path, "`"));
  }
  std::vector<FileEntry> entries;
  try {
    const YAML::Node root = YAML::LoadFile(path);
    if (root.IsNull()) return entries;
    if (!root.IsMap()) return BadFile(path, root.Mark(), "the file must hold `name: value` lines");
    const absl::Status status = Flatten(path, "", root, &entries);
    if (!status.ok()) return status;
  } catch (const YAML::BadFile&) {
    return MakeError(absl::StatusCode::kNotFound, "CONFIG", absl::StrCat("cannot read `", path, "`"));
  } catch (const YAML::Exception& exception) {
    return BadFile(path, exception.mark, exception.msg);
  }
  return entries;
}

}  // namespace naru
