#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/catalog/event_type_fields.h"
#include "common/catalog/validate_kinds.h"
#include "common/clock/duration.h"
#include "common/clock/rfc3339.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

constexpr int kMaxSteps = 32;
constexpr int kMaxCount = 400;
constexpr std::chrono::hours kMaxWithin{24 * 366};

// What funnels and retentions say alike.
template <typename Spec>
std::optional<std::chrono::microseconds> CheckSettings(const Spec& spec, ProblemList* problems) {
  problems->CheckWord("spec.topic", spec.topic(), {"events"});
  problems->CheckTimeZone("spec.time_zone", spec.time_zone());
  problems->CheckWord("spec.entity", spec.entity(), {"subject", "session"});
  problems->CheckDuration("spec.out_of_orderness", spec.out_of_orderness(), std::chrono::microseconds(0),
                          std::chrono::hours(24 * 30));
  problems->CheckDuration("spec.idle_timeout", spec.idle_timeout(), std::chrono::milliseconds(1), kMaxDuration);
  const std::string& start = spec.start();
  if (!start.empty() && start != "earliest" && start != "latest" && !ParseRfc3339(start).ok()) {
    problems->Add("spec.start",
                  absl::StrCat("`", start, "` is not earliest, latest or a time like 2022-11-01T00:00:00Z"));
  }
  return problems->CheckDuration("spec.retention", spec.retention(), std::chrono::seconds(1), kMaxDuration);
}

// Event types that an expression can see, sorted; absent: any.
using EventTypes = std::optional<std::vector<std::string>>;

// Expressions over events, checked against what the event types say.
class Expressions {
 public:
  Expressions(const ResourceLookup& lookup, ProblemList* problems) : fields_(lookup), problems_(*problems) {}

  // Returns the event types that the filter leaves of `types`.
  EventTypes CheckFilter(const std::string& field, const std::string& source, const EventTypes& types) {
    return problems_.CheckFilter(field, source, &environment_,
                                 {.filter = true, .data_types = &fields_, .types = types});
  }

  // The same of a filter that has to be there.
  EventTypes CheckNeededFilter(const std::string& field, const std::string& source, const char* example,
                               const EventTypes& types) {
    if (!source.empty()) return CheckFilter(field, source, types);
    problems_.Add(field, absl::StrCat("missing; which events, like ", example));
    return types;
  }

  void CheckDimension(const std::string& field, const v1::Dimension& dimension, const EventTypes& types) {
    if (!dimension.expr().empty()) {
      problems_.CheckExpression(absl::StrCat(field, ".expr"), dimension.expr(), &environment_,
                                {.data_types = &fields_, .types = types});
      return;
    }
    cel::StaticType type;
    std::string problem;
    if (types.has_value() && !fields_.Find({dimension.name()}, &*types, &type, &problem)) {
      problems_.Add(absl::StrCat(field, ".name"), absl::StrCat(problem, "; without `expr` a dimension is data.<name>"));
    }
  }

 private:
  const EventTypeFields fields_;
  ProblemList& problems_;
  cel::Environment environment_ = cel::Environment::ForEvents();
};

void CheckName(const std::string& field, const std::string& name, const char* what, std::set<std::string>* names,
               ProblemList* problems) {
  if (problems->CheckIdentifier(field, name) && !names->insert(name).second) {
    problems->Add(field, absl::StrCat("`", name, "` is the name of another ", what));
  }
}

// `types` are those of the first step's events.
void CheckDimensions(const v1::Funnel& funnel, const EventTypes& types, Expressions* expressions,
                     ProblemList* problems) {
  if (funnel.dimensions_size() > kMaxDimensions) {
    problems->Add("spec.dimensions", absl::StrCat("at most ", kMaxDimensions, " are allowed"));
  }
  std::set<std::string> names;
  for (int i = 0; i < funnel.dimensions_size(); ++i) {
    const std::string field = absl::StrCat("spec.dimensions[", i, "]");
    CheckName(absl::StrCat(field, ".name"), funnel.dimensions(i).name(), "dimension", &names, problems);
    expressions->CheckDimension(field, funnel.dimensions(i), types);
  }
}

// Returns the event types of the first step.
EventTypes CheckSteps(const v1::Funnel& funnel, const EventTypes& types, Expressions* expressions,
                      ProblemList* problems) {
  if (funnel.steps().empty()) problems->Add("spec.steps", "missing; a funnel has at least one step");
  if (funnel.steps_size() > kMaxSteps) {
    problems->Add("spec.steps", absl::StrCat(funnel.steps_size(), " steps; at most ", kMaxSteps, " are allowed"));
  }
  EventTypes first = types;
  std::set<std::string> names;
  for (int i = 0; i < funnel.steps_size(); ++i) {
    const std::string field = absl::StrCat("spec.steps[", i, "]");
    CheckName(absl::StrCat(field, ".name"), funnel.steps(i).name(), "step", &names, problems);
    EventTypes of_step = expressions->CheckNeededFilter(absl::StrCat(field, ".filter"), funnel.steps(i).filter(),
                                                        "type == \"view_item\"", types);
    if (i == 0) first = std::move(of_step);
  }
  return first;
}

// The longest that a unit lasts.
std::optional<std::chrono::hours> UnitLength(const std::string& unit) {
  if (unit == "1d") return std::chrono::hours(25);
  if (unit == "1w") return std::chrono::hours(24 * 7 + 1);
  if (unit == "1mo") return std::chrono::hours(24 * 31 + 1);
  return std::nullopt;
}

}  // namespace

void ValidateFunnel(const v1::Funnel& funnel, const ResourceLookup& lookup, ProblemList* problems) {
  Expressions expressions(lookup, problems);
  const auto retention = CheckSettings(funnel, problems);
  const EventTypes types = expressions.CheckFilter("spec.filter", funnel.filter(), std::nullopt);
  if (funnel.within().empty()) problems->Add("spec.within", "missing; from the first step to the last, like 7d");
  const auto within = problems->CheckDuration("spec.within", funnel.within(), std::chrono::microseconds(0), kMaxWithin);
  if (within.has_value() && retention.has_value() && *retention < *within) {
    problems->Add("spec.retention", absl::StrCat("`", funnel.retention(), "` is shorter than `within` (",
                                                 funnel.within(), "): users would be forgotten before the last step"));
  }
  std::set<std::string> modes;
  for (int i = 0; i < funnel.modes_size(); ++i) {
    const std::string field = absl::StrCat("spec.modes[", i, "]");
    const std::string& mode = funnel.modes(i);
    if (mode == "strict_once") {
      problems->Add(field, "`strict_once` is always so: one event never fills two steps; leave it out");
      continue;
    }
    problems->CheckWord(field, mode, {"strict_order", "strict_deduplication", "strict_increase"}, true);
    if (!modes.insert(mode).second) problems->Add(field, absl::StrCat("`", mode, "` is there twice"));
  }
  const EventTypes first = CheckSteps(funnel, types, &expressions, problems);
  CheckDimensions(funnel, first, &expressions, problems);
}

void ValidateRetention(const v1::Retention& retention, const ResourceLookup& lookup, ProblemList* problems) {
  Expressions expressions(lookup, problems);
  const auto kept = CheckSettings(retention, problems);
  constexpr char kExample[] = "type == \"UserLogin\"";
  expressions.CheckNeededFilter("spec.first", retention.first(), kExample, std::nullopt);
  expressions.CheckNeededFilter("spec.returned", retention.returned(), kExample, std::nullopt);
  problems->CheckWord("spec.unit", retention.unit(), {"1d", "1w", "1mo"}, true);
  if (retention.count() < 1 || retention.count() > kMaxCount) {
    problems->Add("spec.count", absl::StrCat(retention.count(), " is outside 1 to ", kMaxCount));
    return;
  }
  const auto unit = UnitLength(retention.unit());
  if (kept.has_value() && unit.has_value() && *kept < *unit * (retention.count() + 1)) {
    problems->Add("spec.retention", absl::StrCat("`", retention.retention(),
                                                 "` is shorter than `count` + 1 units: users would be forgotten "
                                                 "before they can come back; at least ",
                                                 FormatDuration(*unit * (retention.count() + 1)), " are needed"));
  }
}

}  // namespace naru::catalog
