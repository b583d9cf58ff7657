#include <re2/re2.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/catalog/nearest.h"
#include "common/catalog/validate_kinds.h"
#include "google/protobuf/struct.pb.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

constexpr int kMaxColumns = 1000;
constexpr size_t kMaxFieldNameBytes = 256;

class FormatChecker {
 public:
  FormatChecker(const v1::InputFormat& format, ProblemList* problems) : format_(format), problems_(*problems) {}

  void Check() {
    CheckParser();
    CheckTime();
    if (!format_.event().has_type()) {
      problems_.Add("spec.event.type", "missing; each event has a type: a path, or {const: NAME}");
    }
    CheckMapping("spec.event.id", format_.event().has_id(), format_.event().id());
    CheckMapping("spec.event.source", format_.event().has_source(), format_.event().source());
    CheckMapping("spec.event.type", format_.event().has_type(), format_.event().type());
    CheckMapping("spec.event.subject", format_.event().has_subject(), format_.event().subject());
    CheckMapping("spec.event.session", format_.event().has_session(), format_.event().session());
    CheckData();
  }

 private:
  void CheckParser();
  void CheckDelimiter();
  void CheckColumns();
  void CheckPattern();
  void CheckTime();
  void CheckData();
  void CheckMapping(const std::string& field, bool present, const v1::Mapping& mapping);
  void CheckTemplate(const std::string& field, const std::string& text);
  void CheckExpr(const std::string& field, const std::string& expr);
  void CheckFrom(const std::string& field, absl::string_view path);

  bool Is(absl::string_view type) const { return format_.parser().type() == type; }

  const v1::InputFormat& format_;
  ProblemList& problems_;
  std::optional<std::vector<std::string>> known_;  // names that lines have; absent: only the line itself says
};

void FormatChecker::CheckParser() {
  problems_.CheckWord("spec.parser.type", format_.parser().type(),
                      {"json", "csv", "delimited", "regex", "apache_combined"}, true);
  CheckDelimiter();
  CheckColumns();
  CheckPattern();
  if (format_.parser().header() && !Is("csv")) problems_.Add("spec.parser.header", "is for csv only");
  if (Is("apache_combined")) {
    known_ = {"clientip", "ident",    "auth",   "timestamp", "request",  "method",
              "path",     "protocol", "status", "bytes",     "referrer", "agent"};
  }
}

void FormatChecker::CheckDelimiter() {
  const std::string& delimiter = format_.parser().delimiter();
  if (delimiter.empty()) return;
  if (!Is("csv") && !Is("delimited")) {
    problems_.Add("spec.parser.delimiter", "is for csv and delimited only");
  } else if (delimiter != "\\t" && (delimiter.size() != 1 || delimiter[0] == '\n' || delimiter[0] == '\r' ||
                                    (delimiter[0] == '"' && Is("csv")))) {
    problems_.Add("spec.parser.delimiter", absl::StrCat("`", delimiter, "` is not one ASCII character or \\t"));
  }
}

void FormatChecker::CheckColumns() {
  const v1::Parser& parser = format_.parser();
  if (!Is("csv") && !Is("delimited")) {
    if (!parser.columns().empty()) problems_.Add("spec.parser.columns", "are for csv and delimited only");
    if (!parser.json_columns().empty()) problems_.Add("spec.parser.json_columns", "are for csv and delimited only");
    return;
  }
  if (parser.columns().empty() && !(Is("csv") && parser.header())) {
    problems_.Add("spec.parser.columns", Is("csv") ? "missing; name the columns, or say header: true" : "missing");
  }
  if (parser.columns_size() > kMaxColumns) {
    problems_.Add("spec.parser.columns", absl::StrCat("at most ", kMaxColumns, " are allowed"));
  }
  std::set<std::string> seen;
  for (int i = 0; i < parser.columns_size(); ++i) {
    const std::string& name = parser.columns(i);
    const std::string field = absl::StrCat("spec.parser.columns[", i, "]");
    if (name.empty() || name.size() > kMaxFieldNameBytes || name.find('.') != std::string::npos) {
      problems_.Add(field, absl::StrCat("`", name.substr(0, 64), "` is not a name without dots"));
    } else if (!seen.insert(name).second) {
      problems_.Add(field, absl::StrCat("`", name, "` is given twice"));
    }
  }
  for (int i = 0; i < parser.json_columns_size(); ++i) {
    if (parser.columns().empty() || seen.count(parser.json_columns(i)) != 0) continue;
    problems_.Add(absl::StrCat("spec.parser.json_columns[", i, "]"),
                  absl::StrCat("there is no column `", parser.json_columns(i), "`",
                               DidYouMean(parser.json_columns(i), {seen.begin(), seen.end()})));
  }
  if (!parser.columns().empty()) known_ = std::vector<std::string>(seen.begin(), seen.end());
}

void FormatChecker::CheckPattern() {
  const std::string& pattern = format_.parser().pattern();
  if (!Is("regex")) {
    if (!pattern.empty()) problems_.Add("spec.parser.pattern", "is for regex only");
    return;
  }
  if (pattern.empty()) {
    problems_.Add("spec.parser.pattern", "missing; an RE2 expression with named groups: (?P<name>...)");
    return;
  }
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(1 << 20);
  const RE2 regex(pattern, options);
  if (!regex.ok()) {
    problems_.Add("spec.parser.pattern", absl::StrCat("not an RE2 regular expression: ", regex.error()));
    return;
  }
  known_.emplace();
  for (const auto& [name, index] : regex.NamedCapturingGroups()) known_->push_back(name);
  if (known_->empty()) problems_.Add("spec.parser.pattern", "has no named group: (?P<name>...)");
}

void FormatChecker::CheckTime() {
  if (!format_.has_time()) return;
  const v1::TimeField& time = format_.time();
  if (time.field().empty()) {
    problems_.Add("spec.time.field", "missing; the path of the field that holds the time");
  } else {
    CheckFrom("spec.time.field", time.field());
  }
  problems_.CheckTimeZone("spec.time.time_zone", time.time_zone());
}

void FormatChecker::CheckData() {
  const bool json = Is("json");
  if (!format_.explode().empty()) {
    if (!json) problems_.Add("spec.explode", "is for json only");
    problems_.CheckPath("spec.explode", format_.explode());
  }
  if (!format_.data_from().empty()) {
    if (!json) problems_.Add("spec.data_from", "is for json only");
    if (!format_.data().empty()) problems_.Add("spec.data_from", "and data cannot both be given");
    problems_.CheckPath("spec.data_from", format_.data_from());
  }
  for (const auto& [name, mapping] : format_.data()) {
    const std::string field = absl::StrCat("spec.data.", name);
    if (name.empty() || name.size() > kMaxFieldNameBytes) {
      problems_.Add(field, absl::StrCat("a name has 1 to ", kMaxFieldNameBytes, " bytes"));
    }
    CheckMapping(field, true, mapping);
  }
}

void FormatChecker::CheckMapping(const std::string& field, bool present, const v1::Mapping& mapping) {
  if (!present) return;
  const int sources =
      !mapping.from().empty() + mapping.has_const_() + !mapping.template_().empty() + !mapping.expr().empty();
  if (sources != 1) problems_.Add(field, "needs exactly one of from, const, template, expr");
  if (!mapping.from().empty()) CheckFrom(absl::StrCat(field, ".from"), mapping.from());
  if (!mapping.template_().empty()) CheckTemplate(absl::StrCat(field, ".template"), mapping.template_());
  if (!mapping.expr().empty()) CheckExpr(absl::StrCat(field, ".expr"), mapping.expr());
  if (mapping.has_const_() &&
      (mapping.const_().has_struct_value() || mapping.const_().has_list_value() || mapping.const_().has_null_value())) {
    problems_.Add(absl::StrCat(field, ".const"), "is a string, a number or a truth value");
  }
  problems_.CheckWord(absl::StrCat(field, ".type"), mapping.type(),
                      {"string", "integer", "number", "boolean", "timestamp"});
  if (mapping.type() != "timestamp") {
    if (!mapping.layout().empty()) problems_.Add(absl::StrCat(field, ".layout"), "is for type: timestamp only");
    if (!mapping.time_zone().empty()) problems_.Add(absl::StrCat(field, ".time_zone"), "is for type: timestamp only");
  }
  problems_.CheckTimeZone(absl::StrCat(field, ".time_zone"), mapping.time_zone());
}

// `{clientip}|{agent}`: every brace opens the path of a field.
void FormatChecker::CheckTemplate(const std::string& field, const std::string& text) {
  size_t at = 0;
  int paths = 0;
  while ((at = text.find_first_of("{}", at)) != std::string::npos) {
    const size_t close = text.find_first_of("{}", at + 1);
    if (text[at] != '{' || close == std::string::npos || text[close] != '}') {
      problems_.Add(field, absl::StrCat("`", text, "` has a brace without its partner"));
      return;
    }
    CheckFrom(field, absl::string_view(text).substr(at + 1, close - at - 1));
    ++paths;
    at = close + 1;
  }
  if (paths == 0) problems_.Add(field, absl::StrCat("`", text, "` names no field; write it in braces, or use const"));
}

void FormatChecker::CheckExpr(const std::string& field, const std::string& expr) {
  cel::Environment environment = cel::Environment::ForAnyVariables();
  if (!problems_.CheckExpression(field, expr, false, &environment).valid() || !known_.has_value()) return;
  for (const std::string& name : environment.variables()) CheckFrom(field, name);
}

void FormatChecker::CheckFrom(const std::string& field, absl::string_view path) {
  if (!problems_.CheckPath(field, path) || !known_.has_value()) return;
  const std::string first(path.substr(0, path.find('.')));
  if (std::find(known_->begin(), known_->end(), first) != known_->end()) return;
  problems_.Add(field, absl::StrCat("a line has no field `", first, "`", DidYouMean(first, *known_)));
}

}  // namespace

void ValidateInputFormat(const v1::InputFormat& format, ProblemList* problems) {
  FormatChecker(format, problems).Check();
}

}  // namespace naru::catalog
