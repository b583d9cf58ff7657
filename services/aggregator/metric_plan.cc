#include "services/aggregator/metric_plan.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/clock/duration.h"
#include "common/clock/rfc3339.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::aggregator {
namespace {

constexpr int64_t kYearUs = int64_t{366} * 86'400 * 1'000'000;

// Takes a string literal without escapes off the front.
bool TakeLiteral(absl::string_view* in, std::string* literal) {
  *in = absl::StripLeadingAsciiWhitespace(*in);
  if (in->empty() || (in->front() != '"' && in->front() != '\'')) return false;
  const size_t end = in->find(in->front(), 1);
  if (end == absl::string_view::npos) return false;
  const absl::string_view text = in->substr(1, end - 1);
  if (absl::StrContains(text, "\\") || absl::StrContains(text, "\n")) return false;
  *literal = std::string(text);
  in->remove_prefix(end + 1);
  return true;
}

bool TakeToken(absl::string_view* in, absl::string_view token) {
  *in = absl::StripLeadingAsciiWhitespace(*in);
  return absl::ConsumePrefix(in, token);
}

// Whether what follows the first conjunct is a chain of `&&`, so that the first one alone can make the whole false:
// anything that binds more loosely than && (or might hide it) sends us the slow way.
bool IsConjunction(absl::string_view rest) {
  if (!absl::StartsWith(rest, "&&") || absl::StrContains(rest, "\"\"\"") || absl::StrContains(rest, "'''"))
    return false;
  char quote = 0;
  int depth = 0;
  for (size_t i = 0; i < rest.size(); ++i) {
    const char c = rest[i];
    if (quote != 0) {
      if (c == '\\') return false;
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '(' || c == '[') {
      ++depth;
    } else if (c == ')' || c == ']') {
      --depth;
    } else if (depth == 0 &&
               (c == '?' || absl::StartsWith(rest.substr(i), "||") || absl::StartsWith(rest.substr(i), "//"))) {
      return false;
    }
  }
  return quote == 0 && depth == 0;
}

// Collects every problem of one metric.
class Compiler {
 public:
  Compiler(const catalog::v1::Metric& metric, cel::Environment* environment)
      : metric_(metric), environment_(environment) {}

  void Problem(std::string field, std::string description) {
    problems_.push_back({absl::StrCat("spec.", field), std::move(description)});
  }

  // From here on expressions are over sessions.
  void BeginSession(SessionPlan* session) { session_ = session; }

  cel::Program Expression(const std::string& field, absl::string_view source, bool filter) {
    cel::CompileOptions options;
    options.filter = filter;
    if (session_ != nullptr) options.data_types = &SessionDataTypes();
    cel::Environment* environment = session_ != nullptr ? &session_->environment : environment_;
    absl::StatusOr<cel::Program> program = environment->Compile(source, options);
    if (!program.ok()) {
      Problem(field, std::string(program.status().message()));
      return {};
    }
    if (session_ != nullptr) session_->Use(*program);
    return *std::move(program);
  }

  Condition Filter(const std::string& field, const std::string& source) {
    Condition condition;
    if (source.empty()) return condition;
    condition.program = Expression(field, source, true);
    if (condition.program.valid()) FindTypeCondition(source, &condition);
    return condition;
  }

  int64_t Duration(const char* field, const std::string& text, int64_t fallback, int64_t minimum) {
    if (text.empty()) return fallback;
    const absl::StatusOr<std::chrono::microseconds> parsed = ParseDuration(text);
    if (!parsed.ok()) {
      Problem(field, std::string(parsed.status().message()));
    } else if (parsed->count() < minimum || parsed->count() > 100 * kYearUs) {
      Problem(field, absl::StrCat("`", text, "` must be between ", FormatDuration(std::chrono::microseconds(minimum)),
                                  " and 100 years"));
    } else {
      return parsed->count();
    }
    return fallback;
  }

  void Grid(MetricPlan* plan);
  void Times(int64_t updated_us, MetricPlan* plan);
  void Dimensions(MetricPlan* plan);
  void Measures(MetricPlan* plan);
  void MeasureExpression(const std::string& field, const catalog::v1::Measure& measure, MeasurePlan* compiled);
  void MeasureSettings(const std::string& field, const catalog::v1::Measure& measure, MeasureShape* shape);
  int RatioPart(const std::string& field, const std::string& name);
  absl::Status Finish(const std::string& name);

 private:
  void CheckName(const std::string& field, const std::string& name, std::set<std::string>* seen);

  const catalog::v1::Metric& metric_;
  cel::Environment* environment_;
  SessionPlan* session_ = nullptr;
  std::vector<FieldViolation> problems_;
};

void Compiler::CheckName(const std::string& field, const std::string& name, std::set<std::string>* seen) {
  const bool word = !name.empty() && name.size() <= 64 && !absl::ascii_isdigit(name[0]) &&
                    std::all_of(name.begin(), name.end(), [](char c) { return absl::ascii_isalnum(c) || c == '_'; });
  if (!word)
    Problem(field, absl::StrCat("`", name, "` must be letters, digits and `_`, 1 to 64, not beginning with a digit"));
  if (name == "window_start" || name == "window_end")
    Problem(field, absl::StrCat("`", name, "` is taken by every row"));
  if (!seen->insert(name).second) Problem(field, absl::StrCat("`", name, "` is used twice"));
}

void Compiler::Grid(MetricPlan* plan) {
  const bool session = metric_.window().type() == "session";
  if (session) plan->session = SessionPlan::Compile(metric_.window(), &problems_);
  absl::StatusOr<WindowGrid> grid = WindowGrid::Compile(
      session ? SessionPlan::ReportWindow(metric_.window()) : metric_.window(), metric_.time_zone());
  if (grid.ok()) {
    plan->grid = *std::move(grid);
    return;
  }
  for (FieldViolation& violation : GetErrorDetails(grid.status()).violations) {
    if (session && violation.field == "spec.window.size") violation.field = "spec.window.report";
    problems_.push_back(violation);
  }
}

void Compiler::Times(int64_t updated_us, MetricPlan* plan) {
  plan->out_of_orderness_us = Duration("out_of_orderness", metric_.out_of_orderness(), plan->out_of_orderness_us, 0);
  plan->idle_timeout_us = Duration("idle_timeout", metric_.idle_timeout(), plan->idle_timeout_us, 1000);
  plan->retention_us = Duration("retention", metric_.retention(), plan->retention_us, 1'000'000);
  if (!metric_.allowed_lateness().empty() && metric_.allowed_lateness() != "unlimited") {
    plan->allowed_lateness_us = Duration("allowed_lateness", metric_.allowed_lateness(), 0, 0);
  }
  if (metric_.start() == "latest") {
    plan->start = {StartRule::Kind::kTime, updated_us};
  } else if (!metric_.start().empty() && metric_.start() != "earliest") {
    const absl::StatusOr<int64_t> time = ParseRfc3339(metric_.start());
    if (time.ok()) {
      plan->start = {StartRule::Kind::kTime, *time};
    } else {
      Problem("start",
              absl::StrCat("`", metric_.start(), "` must be earliest, latest or a time such as 2024-05-01T00:00:00Z"));
    }
  }
  if (metric_.max_groups() < 0 || metric_.max_groups() > 100'000'000) {
    Problem("max_groups", absl::StrCat(metric_.max_groups(), " must be between 1 and 100000000"));
  } else if (metric_.max_groups() > 0) {
    plan->max_groups = metric_.max_groups();
  }
}

void Compiler::Dimensions(MetricPlan* plan) {
  if (metric_.dimensions_size() > kMaxDimensions) Problem("dimensions", absl::StrCat("at most ", kMaxDimensions));
  std::set<std::string> names;
  for (int i = 0; i < metric_.dimensions_size(); ++i) {
    const catalog::v1::Dimension& dimension = metric_.dimensions(i);
    const std::string field = absl::StrCat("dimensions[", i, "]");
    CheckName(field + ".name", dimension.name(), &names);
    const std::string source = dimension.expr().empty() ? absl::StrCat("data.", dimension.name()) : dimension.expr();
    plan->dimensions.push_back({dimension.name(), Expression(field + ".expr", source, false)});
  }
}

void Compiler::Measures(MetricPlan* plan) {
  if (metric_.measures_size() == 0) Problem("measures", "at least one is needed");
  if (metric_.measures_size() > kMaxMeasures) Problem("measures", absl::StrCat("at most ", kMaxMeasures));
  std::set<std::string> names;
  for (const DimensionPlan& dimension : plan->dimensions) names.insert(dimension.name);
  std::vector<MeasureShape> shapes;
  for (int i = 0; i < metric_.measures_size(); ++i) {
    const catalog::v1::Measure& measure = metric_.measures(i);
    const std::string field = absl::StrCat("measures[", i, "]");
    CheckName(field + ".name", measure.name(), &names);
    MeasurePlan compiled;
    compiled.name = measure.name();
    if (!FindMeasureKind(measure.agg(), &compiled.shape.kind)) {
      Problem(field + ".agg",
              absl::StrCat("`", measure.agg(), "` is not supported: must be one of ", SupportedAggregations()));
      continue;
    }
    MeasureExpression(field, measure, &compiled);
    MeasureSettings(field, measure, &compiled.shape);
    shapes.push_back(compiled.shape);
    plan->measures.push_back(std::move(compiled));
  }
  if (session_ != nullptr) shapes.push_back({MeasureKind::kCount});
  plan->layout = CellLayout(std::move(shapes));
}

void Compiler::MeasureExpression(const std::string& field, const catalog::v1::Measure& measure, MeasurePlan* compiled) {
  const MeasureKind kind = compiled->shape.kind;
  if (kind == MeasureKind::kCount || kind == MeasureKind::kRatio) {
    if (!measure.expr().empty()) {
      Problem(field + ".expr",
              absl::StrCat("is not for ", measure.agg(), kind == MeasureKind::kCount ? "; use `filter`" : ""));
    }
  } else if (measure.expr().empty()) {
    Problem(field + ".expr", absl::StrCat("is needed for ", measure.agg()));
  } else {
    compiled->expr = Expression(field + ".expr", measure.expr(), false);
  }
  if (kind == MeasureKind::kRatio && !measure.filter().empty()) {
    Problem(field + ".filter", "is not for ratio; its two measures may have one each");
  } else {
    compiled->filter = Filter(field + ".filter", measure.filter());
  }
}

void Compiler::MeasureSettings(const std::string& field, const catalog::v1::Measure& measure, MeasureShape* shape) {
  if (shape->kind == MeasureKind::kTopK) {
    shape->k = measure.k() == 0 ? 10 : measure.k();
    if (measure.k() < 0 || measure.k() > 1000)
      Problem(field + ".k", absl::StrCat(measure.k(), " must be between 1 and 1000"));
  } else if (measure.k() != 0) {
    Problem(field + ".k", "is only for top_k");
  }
  shape->percentile = measure.percentile();
  if (shape->kind == MeasureKind::kPercentile) {
    if (!(measure.percentile() > 0 && measure.percentile() <= 100))
      Problem(field + ".percentile", absl::StrCat(measure.percentile(), " must be above 0 and at most 100"));
  } else if (measure.percentile() != 0) {
    Problem(field + ".percentile", "is only for percentile");
  }
  shape->bounds.assign(measure.bounds().begin(), measure.bounds().end());
  const auto finite = [](double bound) { return std::isfinite(bound); };
  if (shape->kind == MeasureKind::kHistogram) {
    const bool ascending =
        std::adjacent_find(shape->bounds.begin(), shape->bounds.end(), std::greater_equal<>()) == shape->bounds.end();
    if (shape->bounds.empty() || shape->bounds.size() > kMaxBounds || !ascending ||
        !std::all_of(shape->bounds.begin(), shape->bounds.end(), finite)) {
      Problem(field + ".bounds", absl::StrCat("must be 1 to ", kMaxBounds, " finite numbers in ascending order"));
    }
  } else if (!shape->bounds.empty()) {
    Problem(field + ".bounds", "are only for histogram");
  }
  if (shape->kind == MeasureKind::kRatio) {
    shape->numerator = RatioPart(field + ".numerator", measure.numerator());
    shape->denominator = RatioPart(field + ".denominator", measure.denominator());
  } else if (!measure.numerator().empty() || !measure.denominator().empty()) {
    Problem(field + (measure.numerator().empty() ? ".denominator" : ".numerator"), "is only for ratio");
  }
}

// Measures may be declared in any order, so the definition is asked, not what was compiled so far.
int Compiler::RatioPart(const std::string& field, const std::string& name) {
  for (int i = 0; i < metric_.measures_size(); ++i) {
    if (metric_.measures(i).name() != name || name.empty()) continue;
    const std::string& agg = metric_.measures(i).agg();
    if (agg == "ratio" || agg == "top_k" || agg == "histogram" || agg == "first" || agg == "last") {
      Problem(field, absl::StrCat("`", name, "` is a ", agg, ", which cannot be divided"));
      return -1;
    }
    return i;
  }
  Problem(field, absl::StrCat("`", name, "` must be the name of another measure"));
  return -1;
}

absl::Status Compiler::Finish(const std::string& name) {
  if (problems_.empty()) return absl::OkStatus();
  ErrorDetails details;
  details.reason = "METRIC_INVALID";
  details.violations = problems_;
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat("metric ", name, ": ", problems_[0].field, ": ", problems_[0].description), details);
}

bool Contains(const std::vector<std::string>& types, absl::string_view type) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

}  // namespace

void FindTypeCondition(absl::string_view source, Condition* condition) {
  condition->types.reset();
  condition->types_decide = false;
  absl::string_view rest = absl::StripAsciiWhitespace(source);
  if (!absl::ConsumePrefix(&rest, "type")) return;
  std::vector<std::string> types;
  std::string literal;
  const bool is_word = !rest.empty() && absl::ascii_isspace(rest[0]);  // `typein [...]` is not ours
  if (TakeToken(&rest, "==")) {
    if (!TakeLiteral(&rest, &literal)) return;
    types.push_back(literal);
  } else if (is_word && TakeToken(&rest, "in") && TakeToken(&rest, "[")) {
    do {
      if (!TakeLiteral(&rest, &literal)) return;
      types.push_back(literal);
    } while (TakeToken(&rest, ","));
    if (!TakeToken(&rest, "]")) return;
  } else {
    return;
  }
  rest = absl::StripAsciiWhitespace(rest);
  if (!rest.empty() && !IsConjunction(rest)) return;
  condition->types_decide = rest.empty();
  condition->types = std::move(types);
}

absl::StatusOr<std::shared_ptr<const MetricPlan>> MetricPlan::Compile(const std::string& name, int32_t version,
                                                                      int64_t updated_us,
                                                                      const catalog::v1::Metric& metric,
                                                                      cel::Environment* environment) {
  auto plan = std::make_shared<MetricPlan>();
  plan->name = name;
  plan->version = version;
  plan->spec = metric.SerializeAsString();
  Compiler compiler(metric, environment);
  if (!metric.topic().empty() && metric.topic() != "events") {
    compiler.Problem("topic", absl::StrCat("`", metric.topic(), "` is not supported: must be events"));
  }
  compiler.Grid(plan.get());
  plan->filter = compiler.Filter("filter", metric.filter());
  compiler.Times(updated_us, plan.get());
  if (plan->session != nullptr) {
    if (plan->retention_us <= plan->session->gap_us) compiler.Problem("retention", "must be longer than `window.gap`");
    compiler.BeginSession(plan->session.get());
  }
  compiler.Dimensions(plan.get());
  compiler.Measures(plan.get());
  NARU_RETURN_IF_ERROR(compiler.Finish(name));
  return std::shared_ptr<const MetricPlan>(std::move(plan));
}

MetricPlan::TypeRoute MetricPlan::RouteOf(absl::string_view type) const {
  TypeRoute route;
  if (!filter.program.valid()) {
    route.filter_matches = true;
  } else if (filter.types.has_value()) {
    const bool possible = Contains(*filter.types, type);
    route.filter_fails = !possible;
    route.filter_matches = possible && filter.types_decide;
  }
  if (!route.filter_fails) AddMeasures(type, &route);
  return route;
}

MetricPlan::TypeRoute MetricPlan::RouteOfSession() const {
  TypeRoute route;
  AddMeasures(kSessionType, &route);
  return route;
}

void MetricPlan::AddMeasures(absl::string_view type, TypeRoute* route) const {
  for (size_t i = 0; i < measures.size(); ++i) {
    if (measures[i].shape.kind == MeasureKind::kRatio) continue;  // made of others when asked for
    const Condition& condition = measures[i].filter;
    if (condition.types.has_value() && !Contains(*condition.types, type)) continue;
    const bool always = !condition.program.valid() || (condition.types.has_value() && condition.types_decide);
    (always ? route->unconditional : route->conditional).push_back(static_cast<uint16_t>(i));
  }
}

std::optional<std::vector<std::string>> MetricPlan::EventTypes() const {
  return filter.program.valid() ? filter.program.event_types() : std::nullopt;
}

int MetricPlan::FindDimension(absl::string_view name) const {
  for (size_t i = 0; i < dimensions.size(); ++i) {
    if (dimensions[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

int MetricPlan::FindMeasure(absl::string_view name) const {
  for (size_t i = 0; i < measures.size(); ++i) {
    if (measures[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

const MetricPlan* PlanSet::Find(absl::string_view name, int32_t version) const {
  for (const auto& plan : plans) {
    if (plan->name == name && plan->version == version) return plan.get();
  }
  return nullptr;
}

}  // namespace naru::aggregator
