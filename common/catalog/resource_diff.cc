#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/catalog/resource_file.h"
#include "common/catalog/yaml_writer.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

class Differ {
 public:
  explicit Differ(std::vector<Difference>* differences) : differences_(differences) {}

  void Compare(const WordNode& before, const WordNode& after, const std::string& path) {
    if (before.kind != after.kind || before.kind == WordNode::Kind::kScalar) {
      if (FlowText(before) != FlowText(after)) differences_->push_back({path, FlowText(before), FlowText(after)});
    } else if (before.kind == WordNode::Kind::kMap) {
      CompareMaps(before, after, path);
    } else {
      CompareLists(before, after, path);
    }
  }

 private:
  static std::string Child(const std::string& path, const std::string& key) {
    return path.empty() ? key : absl::StrCat(path, ".", key);
  }

  void CompareMaps(const WordNode& before, const WordNode& after, const std::string& path) {
    for (size_t i = 0; i < before.keys.size(); ++i) {
      const std::string child = Child(path, before.keys[i]);
      const WordNode* other = after.Find(before.keys[i]);
      if (other != nullptr) {
        Compare(before.children[i], *other, child);
      } else {
        differences_->push_back({child, FlowText(before.children[i]), ""});
      }
    }
    for (size_t i = 0; i < after.keys.size(); ++i) {
      if (before.Find(after.keys[i]) != nullptr) continue;
      differences_->push_back({Child(path, after.keys[i]), "", FlowText(after.children[i])});
    }
  }

  // The names of the elements when every one has its own; else nothing.
  static std::vector<std::string> Names(const WordNode& list) {
    std::vector<std::string> names;
    std::set<std::string> seen;
    for (const WordNode& item : list.children) {
      const WordNode* name = item.Find("name");
      if (name == nullptr || name->text.empty() || !seen.insert(name->text).second) return {};
      names.push_back(name->text);
    }
    return names;
  }

  void CompareLists(const WordNode& before, const WordNode& after, const std::string& path) {
    const std::vector<std::string> old_names = Names(before);
    const std::vector<std::string> new_names = Names(after);
    if (old_names.size() == before.children.size() && new_names.size() == after.children.size()) {
      CompareByName(before, after, old_names, new_names, path);
      return;
    }
    for (size_t i = 0; i < std::max(before.children.size(), after.children.size()); ++i) {
      const std::string child = absl::StrCat(path, "[", i, "]");
      if (i >= after.children.size()) {
        differences_->push_back({child, FlowText(before.children[i]), ""});
      } else if (i >= before.children.size()) {
        differences_->push_back({child, "", FlowText(after.children[i])});
      } else {
        Compare(before.children[i], after.children[i], child);
      }
    }
  }

  void CompareByName(const WordNode& before, const WordNode& after, const std::vector<std::string>& old_names,
                     const std::vector<std::string>& new_names, const std::string& path) {
    std::vector<std::string> kept_before, kept_after;
    for (size_t i = 0; i < old_names.size(); ++i) {
      const std::string child = absl::StrCat(path, "[", old_names[i], "]");
      const auto found = std::find(new_names.begin(), new_names.end(), old_names[i]);
      if (found == new_names.end()) {
        differences_->push_back({child, FlowText(before.children[i]), ""});
        continue;
      }
      kept_before.push_back(old_names[i]);
      Compare(before.children[i], after.children[found - new_names.begin()], child);
    }
    for (size_t i = 0; i < new_names.size(); ++i) {
      if (std::find(old_names.begin(), old_names.end(), new_names[i]) == old_names.end()) {
        differences_->push_back({absl::StrCat(path, "[", new_names[i], "]"), "", FlowText(after.children[i])});
      } else {
        kept_after.push_back(new_names[i]);
      }
    }
    if (kept_before != kept_after) {
      differences_->push_back(
          {absl::StrCat(path, " (order)"), absl::StrJoin(kept_before, ", "), absl::StrJoin(kept_after, ", ")});
    }
  }

  std::vector<Difference>* differences_;
};

}  // namespace

std::vector<Difference> Diff(const v1::Resource& before, const v1::Resource& after) {
  std::vector<Difference> differences;
  Differ(&differences).Compare(ToWords(before, false), ToWords(after, false), "");
  return differences;
}

}  // namespace naru::catalog
