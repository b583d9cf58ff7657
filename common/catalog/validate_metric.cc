#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/catalog/event_type_fields.h"
#include "common/catalog/nearest.h"
#include "common/catalog/validate_kinds.h"
#include "common/clock/rfc3339.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

constexpr int kMaxMeasures = 64;
constexpr int kMaxGroups = 10'000'000;
constexpr int kMaxTopK = 1000;
constexpr int kMaxBounds = 200;

// Names of columns that every row has.
bool IsReserved(absl::string_view name) {
  return name == "window_start" || name == "window_end" || name == "final" || name == "revision" || name == "truncated";
}

// Results that no calculation can come of.
bool IsNeverANumber(const cel::Program& program) {
  if (!program.valid()) return false;
  switch (program.result_type()) {
    case cel::StaticType::kBool:
    case cel::StaticType::kString:
    case cel::StaticType::kTimestamp:
    case cel::StaticType::kList:
    case cel::StaticType::kStruct:
    case cel::StaticType::kNull:
      return true;
    default:
      return false;
  }
}

/// Event types that an expression can see, sorted; absent: any.
using EventTypes = std::optional<std::vector<std::string>>;

class MetricChecker {
 public:
  MetricChecker(const v1::Metric& metric, const ResourceLookup& lookup, ProblemList* problems)
      : metric_(metric), fields_(lookup), problems_(*problems) {}

  void Check() {
    CheckSettings();
    ValidateWindow(metric_.window(), &problems_);
    types_ = CheckFilter("spec.filter", metric_.filter(), std::nullopt);
    // What follows is about sessions, whose fields the aggregator knows.
    if (metric_.window().type() == "session") {
      types_.reset();
      value_fields_ = nullptr;
    }
    if (metric_.dimensions_size() > kMaxDimensions) {
      problems_.Add("spec.dimensions", absl::StrCat("at most ", kMaxDimensions, " are allowed"));
    }
    for (int i = 0; i < metric_.dimensions_size(); ++i) CheckDimension(i);
    if (metric_.measures().empty()) problems_.Add("spec.measures", "missing; a metric has at least one measure");
    if (metric_.measures_size() > kMaxMeasures) {
      problems_.Add("spec.measures", absl::StrCat("at most ", kMaxMeasures, " are allowed"));
    }
    for (const v1::Measure& measure : metric_.measures()) measures_[measure.name()] = &measure;
    for (int i = 0; i < metric_.measures_size(); ++i) CheckMeasure(i);
  }

 private:
  void CheckSettings();
  void CheckName(const std::string& field, const std::string& name);
  void CheckDimension(int i);
  void CheckMeasure(int i);
  /// Returns the event types that the filter leaves of `types`.
  EventTypes CheckFilter(const std::string& field, const std::string& source, const EventTypes& types);
  cel::Program CheckValue(const std::string& field, const std::string& source, const EventTypes& types);
  void CheckExpr(const v1::Measure& measure, const std::string& field, const EventTypes& types);
  void CheckRatio(const v1::Measure& measure, const std::string& field);
  void CheckNumbers(const v1::Measure& measure, const std::string& field);
  void CheckBounds(const v1::Measure& measure, const std::string& field);

  const v1::Metric& metric_;
  const EventTypeFields fields_;
  ProblemList& problems_;
  cel::Environment environment_ = cel::Environment::ForEvents();
  EventTypes types_;                                ///< that the metric's filter takes
  const EventTypeFields* value_fields_ = &fields_;  ///< of what dimensions and measures see; null: not known
  std::set<std::string> names_;
  std::map<std::string, const v1::Measure*> measures_;
};

void MetricChecker::CheckSettings() {
  problems_.CheckWord("spec.topic", metric_.topic(), {"events"});
  problems_.CheckTimeZone("spec.time_zone", metric_.time_zone());
  problems_.CheckDuration("spec.out_of_orderness", metric_.out_of_orderness(), std::chrono::microseconds(0),
                          std::chrono::hours(24 * 30));
  if (metric_.allowed_lateness() != "unlimited") {
    problems_.CheckDuration("spec.allowed_lateness", metric_.allowed_lateness(), std::chrono::microseconds(0),
                            kMaxDuration);
  }
  problems_.CheckDuration("spec.idle_timeout", metric_.idle_timeout(), std::chrono::milliseconds(1), kMaxDuration);
  problems_.CheckDuration("spec.retention", metric_.retention(), std::chrono::seconds(1), kMaxDuration);
  const std::string& start = metric_.start();
  if (!start.empty() && start != "earliest" && start != "latest" && !ParseRfc3339(start).ok()) {
    problems_.Add("spec.start",
                  absl::StrCat("`", start, "` is not earliest, latest or a time like 2022-11-01T00:00:00Z"));
  }
  if (metric_.max_groups() < 0 || metric_.max_groups() > kMaxGroups) {
    problems_.Add("spec.max_groups", absl::StrCat(metric_.max_groups(), " is outside 1 to ", kMaxGroups));
  }
}

void MetricChecker::CheckName(const std::string& field, const std::string& name) {
  if (!problems_.CheckIdentifier(field, name)) return;
  if (IsReserved(name)) {
    problems_.Add(field, absl::StrCat("`", name, "` is a column that every row has; choose another name"));
  } else if (!names_.insert(name).second) {
    problems_.Add(field, absl::StrCat("`", name, "` is the name of another dimension or measure"));
  }
}

EventTypes MetricChecker::CheckFilter(const std::string& field, const std::string& source, const EventTypes& types) {
  return problems_.CheckFilter(field, source, &environment_,
                               {.filter = true, .data_types = value_fields_, .types = types});
}

cel::Program MetricChecker::CheckValue(const std::string& field, const std::string& source, const EventTypes& types) {
  return problems_.CheckExpression(field, source, &environment_, {.data_types = value_fields_, .types = types});
}

void MetricChecker::CheckDimension(int i) {
  const v1::Dimension& dimension = metric_.dimensions(i);
  const std::string field = absl::StrCat("spec.dimensions[", i, "]");
  CheckName(absl::StrCat(field, ".name"), dimension.name());
  if (!dimension.expr().empty()) {
    CheckValue(absl::StrCat(field, ".expr"), dimension.expr(), types_);
    return;
  }
  // The default is written nowhere, so its problem has no place in a line.
  cel::StaticType type;
  std::string problem;
  if (types_.has_value() && !fields_.Find({dimension.name()}, &*types_, &type, &problem)) {
    problems_.Add(absl::StrCat(field, ".name"), absl::StrCat(problem, "; without `expr` a dimension is data.<name>"));
  }
}

void MetricChecker::CheckMeasure(int i) {
  const v1::Measure& measure = metric_.measures(i);
  const std::string field = absl::StrCat("spec.measures[", i, "]");
  CheckName(absl::StrCat(field, ".name"), measure.name());
  problems_.CheckWord(absl::StrCat(field, ".agg"), measure.agg(),
                      {"count", "sum", "min", "max", "avg", "variance", "stddev", "first", "last", "count_distinct",
                       "percentile", "top_k", "ratio", "histogram"},
                      true);
  EventTypes types = types_;
  if (measure.agg() == "ratio" && !measure.filter().empty()) {
    problems_.Add(absl::StrCat(field, ".filter"), "a ratio has none; its two measures may have one each");
  } else {
    types = CheckFilter(absl::StrCat(field, ".filter"), measure.filter(), types_);
  }
  CheckExpr(measure, field, types);
  CheckRatio(measure, field);
  CheckNumbers(measure, field);
  CheckBounds(measure, field);
}

void MetricChecker::CheckExpr(const v1::Measure& measure, const std::string& field, const EventTypes& types) {
  static const std::set<std::string> kNumeric = {"sum", "avg", "variance", "stddev", "percentile", "histogram"};
  const std::string expr = absl::StrCat(field, ".expr");
  if (measure.agg() == "count" || measure.agg() == "ratio") {
    if (!measure.expr().empty()) {
      problems_.Add(expr, absl::StrCat("is not for ", measure.agg(),
                                       measure.agg() == "count" ? "; use filter to count some events only" : ""));
    }
    return;
  }
  if (measure.expr().empty()) {
    problems_.Add(expr, absl::StrCat("missing; ", measure.agg(), " needs an expression like data.", measure.name()));
    return;
  }
  const cel::Program program = CheckValue(expr, measure.expr(), types);
  if (kNumeric.count(measure.agg()) != 0 && IsNeverANumber(program)) {
    problems_.Add(expr, absl::StrCat("is never a number, which ", measure.agg(), " needs"));
  }
}

void MetricChecker::CheckRatio(const v1::Measure& measure, const std::string& field) {
  const bool ratio = measure.agg() == "ratio";
  std::vector<std::string> names;
  for (const auto& [name, other] : measures_) names.push_back(name);
  for (const auto& [word, name] : {std::pair<const char*, const std::string&>("numerator", measure.numerator()),
                                   std::pair<const char*, const std::string&>("denominator", measure.denominator())}) {
    const std::string path = absl::StrCat(field, ".", word);
    const auto found = measures_.find(name);
    if (!ratio) {
      if (!name.empty()) problems_.Add(path, "is for ratio only");
    } else if (name.empty()) {
      problems_.Add(path, "missing; the name of a measure");
    } else if (found == measures_.end()) {
      problems_.Add(path, absl::StrCat("there is no measure `", name, "`", DidYouMean(name, names)));
    } else if (const std::string& agg = found->second->agg();
               agg == "ratio" || agg == "top_k" || agg == "histogram" || agg == "first" || agg == "last") {
      problems_.Add(path, absl::StrCat("`", name, "` is a ", agg, ", which cannot be divided"));
    }
  }
}

void MetricChecker::CheckNumbers(const v1::Measure& measure, const std::string& field) {
  if (measure.agg() == "top_k" ? measure.k() < 1 || measure.k() > kMaxTopK : measure.k() != 0) {
    problems_.Add(absl::StrCat(field, ".k"), measure.agg() == "top_k"
                                                 ? absl::StrCat(measure.k(), " is outside 1 to ", kMaxTopK)
                                                 : "is for top_k only");
  }
  const double p = measure.percentile();
  if (measure.agg() == "percentile" ? !(p > 0 && p <= 100) : p != 0) {
    problems_.Add(absl::StrCat(field, ".percentile"),
                  measure.agg() == "percentile" ? absl::StrCat(p, " is not above 0 and at most 100 (0 is min)")
                                                : "is for percentile only");
  }
}

void MetricChecker::CheckBounds(const v1::Measure& measure, const std::string& field) {
  const std::string path = absl::StrCat(field, ".bounds");
  const auto& bounds = measure.bounds();
  if (measure.agg() != "histogram") {
    if (!bounds.empty()) problems_.Add(path, "are for histogram only");
    return;
  }
  const bool finite = std::all_of(bounds.begin(), bounds.end(), [](double bound) { return std::isfinite(bound); });
  const bool ascending = std::adjacent_find(bounds.begin(), bounds.end(), std::greater_equal<>()) == bounds.end();
  if (bounds.empty() || bounds.size() > kMaxBounds || !finite || !ascending) {
    problems_.Add(path, absl::StrCat("needs 1 to ", kMaxBounds, " finite numbers, each greater than the one before"));
  }
}

}  // namespace

void ValidateMetric(const v1::Metric& metric, const ResourceLookup& lookup, ProblemList* problems) {
  MetricChecker(metric, lookup, problems).Check();
}

}  // namespace naru::catalog
