#include "common/catalog/event_type_fields.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/catalog/nearest.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

using cel::StaticType;
using Properties = google::protobuf::Map<std::string, v1::Field>;

StaticType KindOf(const v1::Field& field) {
  const std::string& type = field.type();
  if (type == "string" || type == "timestamp") return StaticType::kString;  // timestamps are RFC 3339 texts
  if (type == "integer" || type == "number") return StaticType::kNumber;
  if (type == "boolean") return StaticType::kBool;
  if (type == "array") return StaticType::kList;
  if (type == "object") return StaticType::kStruct;
  return StaticType::kDynamic;
}

/// What one type says of a path.
struct Found {
  bool impossible = false;
  StaticType type = StaticType::kDynamic;
  // Impossible:
  std::string missing;                ///< the part of the path that there is not
  std::vector<std::string> siblings;  ///< what there is instead
};

Found FindIn(const v1::EventType& type, const std::vector<std::string>& path) {
  // What is dropped is not in stored events either.
  const bool closed = type.unknown_fields() == "reject" || type.unknown_fields() == "drop";
  Found found;
  const Properties* properties = &type.schema().properties();
  for (size_t i = 0; i < path.size(); ++i) {
    const auto field = properties->find(path[i]);
    if (field == properties->end()) {
      found.type = StaticType::kDynamic;
      found.impossible = closed;
      found.missing = path[i];
      for (const auto& [name, other] : *properties) found.siblings.push_back(name);
      std::sort(found.siblings.begin(), found.siblings.end());
      return found;
    }
    found.type = KindOf(field->second);
    if (i + 1 == path.size()) return found;
    // Below anything but an object that names its fields, the compiler knows what is right.
    if (found.type != StaticType::kStruct || field->second.properties().empty()) break;
    properties = &field->second.properties();
  }
  found.type = StaticType::kDynamic;
  return found;
}

std::string NoSuchField(const std::vector<std::string>& path, absl::string_view who, const Found& found) {
  return absl::StrCat("there is no field data.", absl::StrJoin(path, "."), who,
                      DidYouMean(found.missing, found.siblings));
}

}  // namespace

bool EventTypeFields::Find(const std::vector<std::string>& path, const std::vector<std::string>* types,
                           StaticType* type, std::string* problem) const {
  *type = StaticType::kDynamic;
  if (types == nullptr || types->empty()) return true;
  bool first = true;
  bool any_possible = false;
  Found impossible;
  for (const std::string& name : *types) {
    const v1::Resource* resource = lookup_ == nullptr ? nullptr : lookup_("EventType", name);
    Found found;
    if (resource != nullptr) found = FindIn(resource->event_type(), path);
    if (found.impossible) {
      impossible = std::move(found);
      continue;
    }
    any_possible = true;
    if (first) *type = found.type;
    if (*type != found.type) *type = StaticType::kDynamic;
    first = false;
  }
  if (any_possible) return true;
  *problem =
      NoSuchField(path, absl::StrCat(" in ", absl::StrJoin(*types, ", "), ", which keeps no other fields"), impossible);
  return false;
}

bool OwnFields::Find(const std::vector<std::string>& path, const std::vector<std::string>* /*types*/, StaticType* type,
                     std::string* problem) const {
  const Found found = FindIn(own_, path);
  *type = found.type;
  // What the schema does not name is dropped or rejected later: `exclude` sees events as they came.
  if (!found.impossible || own_.unknown_fields() == "drop") return true;
  *problem = NoSuchField(path, " in this type, which rejects other fields", found);
  return false;
}

}  // namespace naru::catalog
