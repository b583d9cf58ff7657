#include "common/catalog/entity_check.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/cel/cel.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

constexpr char kSubject[] = "subject";

using Types = std::optional<std::set<std::string>>;

Types TypesOf(const std::string& filter) {
  if (filter.empty()) return std::nullopt;
  cel::Environment environment = cel::Environment::ForEvents();
  const auto program = environment.Compile(filter, {.filter = true});
  if (!program.ok() || !program->event_types().has_value()) return std::nullopt;
  return std::set<std::string>(program->event_types()->begin(), program->event_types()->end());
}

// Of events that may pass one filter or the other.
Types Either(const Types& a, const Types& b) {
  if (!a.has_value() || !b.has_value()) return std::nullopt;
  std::set<std::string> types = *a;
  types.insert(b->begin(), b->end());
  return types;
}

// Of events that may pass both.
Types Both(const Types& a, const Types& b) {
  if (!a.has_value()) return b;
  if (!b.has_value()) return a;
  std::set<std::string> types;
  std::set_intersection(a->begin(), a->end(), b->begin(), b->end(), std::inserter(types, types.end()));
  return types;
}

Types TypesOf(const v1::Funnel& funnel) {
  const Types filter = TypesOf(funnel.filter());
  // There, other events than those of steps matter, too.
  const auto& modes = funnel.modes();
  if (std::find(modes.begin(), modes.end(), "strict_order") != modes.end()) return filter;
  Types steps = std::set<std::string>();
  for (const v1::FunnelStep& step : funnel.steps()) steps = Either(steps, TypesOf(step.filter()));
  return Both(filter, steps);
}

std::string PartitionBy(const v1::Resource& event_type) {
  const std::string& by = event_type.event_type().partition_by();
  return by.empty() ? kSubject : by;
}

}  // namespace

std::optional<EntityUse> FindEntityUse(const v1::Resource& resource) {
  EntityUse use;
  use.field = "spec.entity";
  if (resource.has_funnel()) {
    use.entity = resource.funnel().entity();
    use.types = TypesOf(resource.funnel());
  } else if (resource.has_retention()) {
    use.entity = resource.retention().entity();
    use.types = Either(TypesOf(resource.retention().first()), TypesOf(resource.retention().returned()));
  } else if (resource.has_metric() && resource.metric().window().type() == "session") {
    use.field = "spec.window.entity";
    use.entity = resource.metric().window().entity();
    use.types = TypesOf(resource.metric().filter());
  } else {
    return std::nullopt;
  }
  if (use.entity.empty()) use.entity = kSubject;
  if (use.entity != kSubject && use.entity != "session") return std::nullopt;
  return use;
}

bool IsSplitBy(const EntityUse& use, const v1::Resource& event_type) {
  if (use.types.has_value() && use.types->count(event_type.metadata().name()) == 0) return false;
  return PartitionBy(event_type) != use.entity;
}

std::string DescribeSplit(const EntityUse& use, const v1::Resource& event_type) {
  const std::string by = PartitionBy(event_type);
  return absl::StrCat("`", use.entity, "`, but events of type ", event_type.metadata().name(), " are partitioned by ",
                      by, ", so those of one ", use.entity, " are not together; use `", by, "`",
                      use.types.has_value() ? "" : ", or say of which types events are: `type in [...] && ...`");
}

std::string DescribeSplit(absl::string_view user, const EntityUse& use, const v1::Resource& event_type) {
  return absl::StrCat("must be ", use.entity, ", not ", PartitionBy(event_type), ": ", user, " counts ",
                      use.types.has_value() ? "these events" : "events of any type", " by ", use.entity);
}

}  // namespace naru::catalog
