// Whose events a resource follows one by one (funnels, retentions, session windows), and whether each one's events lie
// in one partition of the log, as they must.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "absl/strings/string_view.h"

namespace naru::catalog::v1 {
class Resource;
}

namespace naru::catalog {

/// What a resource follows.
struct EntityUse {
  std::string field;                           ///< that says so: `spec.entity`
  std::string entity;                          ///< `subject` or `session`
  std::optional<std::set<std::string>> types;  ///< of which event types; absent: of any, as far as can be told
};

/// Absent: it follows nobody, or says wrongly whom.
std::optional<EntityUse> FindEntityUse(const v1::Resource& resource);
/// Whether the resource looks at events of this type, and they are partitioned by something else.
bool IsSplitBy(const EntityUse& use, const v1::Resource& event_type);
/// What is wrong then, for the resource; with its title for the event type.
std::string DescribeSplit(const EntityUse& use, const v1::Resource& event_type);
std::string DescribeSplit(absl::string_view user, const EntityUse& use, const v1::Resource& event_type);

}  // namespace naru::catalog
