// Turns the InputFormat resource into a plan, reporting every mistake at once.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/cel/suggest.h"
#include "common/event/event_writer.h"
#include "common/input_format/format_plan.h"
#include "common/input_format/input_format.h"
#include "common/status/status.h"

namespace naru::input_format {
namespace {

using catalog::v1::Mapping;
using google::protobuf::Value;

/// Columns that `data` would only repeat when everything is taken.
constexpr absl::string_view kRepeatedApacheColumn = "request";

class PlanCompiler {
 public:
  PlanCompiler(absl::string_view name, const catalog::v1::InputFormat& spec) : spec_(spec), plan_(new FormatPlan()) {
    plan_->name = std::string(name);
    plan_->spec = spec;
  }

  absl::StatusOr<std::unique_ptr<const FormatPlan>> Compile() {
    plan_->null_values.assign(spec_.null_values().begin(), spec_.null_values().end());
    plan_->environment = cel::Environment::ForAnyVariables();
    CompileParser();
    if (!violations_.empty()) return Failure();
    CompileTime();
    CompileEvent();
    CompileData();
    // After all expressions: only now all their variables are known.
    for (const std::string& variable : plan_->environment->variables()) {
      plan_->variables.push_back(Path(variable, absl::StrCat("expr: ", variable)));
    }
    if (!violations_.empty()) return Failure();
    return std::unique_ptr<const FormatPlan>(std::move(plan_));
  }

 private:
  absl::Status Failure() {
    const FieldViolation& first = violations_.front();
    ErrorDetails details;
    details.reason = "INPUT_FORMAT_INVALID";
    details.violations = violations_;
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("input format `", plan_->name, "`: ", first.field, ": ", first.description), details);
  }

  void Add(absl::string_view field, absl::string_view description) {
    violations_.push_back({std::string(field), std::string(description)});
  }

  /// Messages of the parts below begin with the field's name: `spec.parser.pattern: ...`.
  void AddStatus(const absl::Status& status) {
    const std::string message(status.message());
    const size_t colon = message.find(": ");
    Add(message.substr(0, colon), colon == std::string::npos ? message : message.substr(colon + 2));
  }

  void CompileParser() {
    const catalog::v1::Parser& parser = spec_.parser();
    plan_->header = parser.header();
    if (parser.header() && parser.type() != "csv") Add("spec.parser.header", "only csv files have a header");
    if (!spec_.explode().empty() && parser.type() != "json") Add("spec.explode", "only json lines can be exploded");
    if (!spec_.data_from().empty() && parser.type() != "json") Add("spec.data_from", "only json has objects to take");
    if (!spec_.data_from().empty() && !spec_.data().empty()) Add("spec.data_from", "cannot stand beside `data`");
    if (parser.type() == "json") {
      plan_->explode = !spec_.explode().empty();
      if (plan_->explode) plan_->explode_path = absl::StrSplit(spec_.explode(), '.');
      return;
    }
    if (parser.type() == "csv") {
      const auto delimiter = DelimiterOf(parser);
      if (!delimiter.ok()) return AddStatus(delimiter.status());
      plan_->delimiter = *delimiter;
      plan_->columns_known = !parser.columns().empty() || !parser.header();
    }
    if (plan_->columns_known) {
      auto columns = MakeColumnParser(parser);
      if (!columns.ok()) return AddStatus(columns.status());
      plan_->columns = *std::move(columns);
      plan_->column_names = plan_->columns->names();
    }
    plan_->json_columns.resize(plan_->column_names.size());
    for (const std::string& name : parser.json_columns()) {
      const int column = ColumnOf(name, "spec.parser.json_columns");
      if (column >= 0) plan_->json_columns[column].is_json = true;
    }
  }

  /// -1: there is no such column, which is reported.
  int ColumnOf(absl::string_view name, absl::string_view field) {
    auto& names = plan_->column_names;
    const auto found = std::find(names.begin(), names.end(), name);
    if (found != names.end()) return static_cast<int>(found - names.begin());
    if (!plan_->columns_known) {
      names.emplace_back(name);
      plan_->json_columns.emplace_back();
      return static_cast<int>(names.size()) - 1;
    }
    const std::string near = cel::Nearest(name, names);
    Add(field, absl::StrCat("there is no column `", name, "`; ",
                            near.empty() ? absl::StrCat("there are ", absl::StrJoin(names, ", "))
                                         : absl::StrCat("did you mean `", near, "`?")));
    return -1;
  }

  FieldPath Path(absl::string_view text, absl::string_view field) {
    FieldPath path;
    path.text = std::string(text);
    const std::vector<std::string> names = absl::StrSplit(text, '.');
    if (std::find(names.begin(), names.end(), "") != names.end()) {
      Add(field, absl::StrCat("`", text, "` is not a path; write field or field.field"));
      return path;
    }
    if (spec_.parser().type() == "json") {
      JsonPath(names, &path);
      return path;
    }
    const auto& columns = plan_->column_names;
    const bool exact = std::find(columns.begin(), columns.end(), text) != columns.end();
    path.column = ColumnOf(exact || names.size() == 1 ? text : absl::string_view(names[0]), field);
    if (path.column < 0 || exact || names.size() == 1) return path;
    JsonColumn& column = plan_->json_columns[path.column];
    if (!column.is_json) {
      Add(field, absl::StrCat("column `", names[0], "` holds no JSON; name it in spec.parser.json_columns"));
      return path;
    }
    path.line_key = column.keys.Add(names[1]);
    path.line_below.assign(names.begin() + 2, names.end());
    return path;
  }

  void JsonPath(const std::vector<std::string>& names, FieldPath* path) {
    const auto& explode = plan_->explode_path;
    const bool in_array = plan_->explode && names.size() > explode.size() &&
                          std::equal(explode.begin(), explode.end(), names.begin());
    if (plan_->explode) {
      const size_t skip = in_array ? explode.size() : 0;
      path->element_key = plan_->element_keys.Add(names[skip]);
      path->element_below.assign(names.begin() + skip + 1, names.end());
    }
    if (!in_array) {
      path->line_key = plan_->line_keys.Add(names[0]);
      path->line_below.assign(names.begin() + 1, names.end());
    }
  }

  void Use(const FieldPath& path) {
    if (spec_.parser().type() != "json") {
      if (path.column >= 0 && path.line_key < 0) used_columns_.push_back(path.column);
      return;
    }
    std::string text = path.text;
    const std::string prefix = absl::StrCat(spec_.explode(), ".");
    if (plan_->explode && text.substr(0, prefix.size()) == prefix) text = text.substr(prefix.size());
    plan_->used.Add(text);
  }

  std::optional<TimeLayout> Layout(absl::string_view layout, absl::string_view zone, const std::string& field) {
    auto compiled = TimeLayout::Compile(layout, zone);
    if (compiled.ok()) return *std::move(compiled);
    Add(field, compiled.status().message());
    return std::nullopt;
  }

  void CompileTime() {
    const bool apache = spec_.parser().type() == "apache_combined";
    if (!spec_.has_time() && !apache) return;
    const bool given = !spec_.time().field().empty();
    if (!given && !apache) return Add("spec.time.field", "is needed");
    const std::string layout = apache && spec_.time().layout().empty() ? "%d/%b/%Y:%H:%M:%S %z" : spec_.time().layout();
    plan_->time_path = Path(given ? spec_.time().field() : "timestamp", "spec.time.field");
    plan_->time_layout = Layout(layout, spec_.time().time_zone(), "spec.time.layout");
    plan_->time_optional = spec_.time().optional();
    Use(*plan_->time_path);
  }

  void CompileEvent() {
    const catalog::v1::EventMapping& event = spec_.event();
    plan_->id = Source(event.has_id(), event.id(), "id", "spec.event.id");
    plan_->source = Source(event.has_source(), event.source(), "source", "spec.event.source");
    plan_->type = Source(event.has_type(), event.type(), "type", "spec.event.type");
    plan_->subject = Source(event.has_subject(), event.subject(), "subject", "spec.event.subject");
    plan_->session = Source(event.has_session(), event.session(), "session", "spec.event.session");
    if (plan_->type.kind == ValueSource::Kind::kNone) Add("spec.event.type", "is needed: a field, or {const: NAME}");
    plan_->default_source = plan_->name;
    const ValueSource& source = plan_->source;
    if (source.kind == ValueSource::Kind::kConst && source.constant.kind == event::Kind::kString) {
      plan_->default_source = source.constant_bytes;
    }
    for (const ValueSource* used : {&plan_->id, &plan_->source, &plan_->type, &plan_->subject, &plan_->session}) {
      if (used->kind == ValueSource::Kind::kFrom) Use(used->path);
    }
  }

  void CompileData() {
    if (!spec_.data_from().empty()) {
      plan_->data_from = Path(spec_.data_from(), "spec.data_from");
      return;
    }
    for (const auto& [name, mapping] : spec_.data()) {
      plan_->data.emplace_back(name, Source(true, mapping, absl::StrCat("data.", name), absl::StrCat("spec.data.", name)));
    }
    std::sort(plan_->data.begin(), plan_->data.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    plan_->whole = plan_->data.empty();
    if (spec_.parser().type() == "json") return;
    for (size_t i = 0; i < plan_->column_names.size(); ++i) {
      const bool used = std::find(used_columns_.begin(), used_columns_.end(), static_cast<int>(i)) != used_columns_.end();
      const bool repeated =
          spec_.parser().type() == "apache_combined" && plan_->column_names[i] == kRepeatedApacheColumn;
      if (!used && !repeated) plan_->whole_columns.push_back(static_cast<int>(i));
    }
    std::sort(plan_->whole_columns.begin(), plan_->whole_columns.end(),
              [&](int a, int b) { return plan_->column_names[a] < plan_->column_names[b]; });
  }

  ValueSource Source(bool given, const Mapping& mapping, std::string label, const std::string& field) {
    ValueSource source;
    source.label = std::move(label);
    if (!given) return source;
    const int ways = !mapping.from().empty() + mapping.has_const_() + !mapping.template_().empty() + !mapping.expr().empty();
    if (ways != 1) {
      Add(field, "needs exactly one of from, const, template, expr");
      return source;
    }
    source.hash = mapping.hash();
    CompileType(mapping, field, &source);
    if (!mapping.from().empty()) {
      source.kind = ValueSource::Kind::kFrom;
      source.plain = source.type == ValueSource::Type::kAsParsed && !source.hash;
      source.path = Path(mapping.from(), field);
    } else if (mapping.has_const_()) {
      CompileConstant(mapping.const_(), field, &source);
    } else if (!mapping.template_().empty()) {
      CompileTemplate(mapping.template_(), field, &source);
    } else {
      source.kind = ValueSource::Kind::kExpr;
      auto program = plan_->environment->Compile(mapping.expr());
      if (program.ok()) {
        source.program = *std::move(program);
      } else {
        Add(absl::StrCat(field, ".expr"), program.status().message());
      }
    }
    return source;
  }

  void CompileType(const Mapping& mapping, const std::string& field, ValueSource* source) {
    static constexpr std::pair<absl::string_view, ValueSource::Type> kTypes[] = {
        {"", ValueSource::Type::kAsParsed},       {"string", ValueSource::Type::kString},
        {"integer", ValueSource::Type::kInteger}, {"number", ValueSource::Type::kNumber},
        {"boolean", ValueSource::Type::kBoolean}, {"timestamp", ValueSource::Type::kTimestamp}};
    const auto* known = std::find_if(std::begin(kTypes), std::end(kTypes),
                                     [&](const auto& type) { return type.first == mapping.type(); });
    if (known == std::end(kTypes)) {
      Add(absl::StrCat(field, ".type"), absl::StrCat("`", mapping.type(), "` is not known; there are string, integer, "
                                                     "number, boolean, timestamp"));
      return;
    }
    source->type = known->second;
    if (source->type == ValueSource::Type::kTimestamp) {
      source->layout = Layout(mapping.layout(), mapping.time_zone(), absl::StrCat(field, ".layout"));
      source->zone_slot = plan_->zone_slots++;
    } else if (!mapping.layout().empty() || !mapping.time_zone().empty()) {
      Add(absl::StrCat(field, ".layout"), "layout and time_zone are for type: timestamp");
    }
  }

  void CompileConstant(const Value& constant, const std::string& field, ValueSource* source) {
    source->kind = ValueSource::Kind::kConst;
    switch (constant.kind_case()) {
      case Value::kStringValue:
        source->constant.kind = event::Kind::kString;
        source->constant_bytes = constant.string_value();
        break;
      case Value::kNumberValue:
        source->constant.kind = event::Kind::kNumber;
        source->constant.number = constant.number_value();
        break;
      case Value::kBoolValue:
        source->constant.kind = event::Kind::kBool;
        source->constant.boolean = constant.bool_value();
        break;
      case Value::kStructValue:
        source->constant.kind = event::Kind::kStruct;
        source->constant_bytes = constant.struct_value().SerializeAsString();
        break;
      case Value::kListValue:
        source->constant.kind = event::Kind::kList;
        source->constant_bytes = constant.list_value().SerializeAsString();
        break;
      default: Add(absl::StrCat(field, ".const"), "null is no value; leave the field out"); break;
    }
  }

  void CompileTemplate(absl::string_view text, const std::string& field, ValueSource* source) {
    source->kind = ValueSource::Kind::kTemplate;
    std::string literal;
    for (size_t i = 0; i < text.size(); ++i) {
      if ((text[i] == '{' || text[i] == '}') && i + 1 < text.size() && text[i + 1] == text[i]) {
        literal.push_back(text[i++]);
      } else if (text[i] == '{') {
        const size_t close = text.find('}', i);
        if (close == absl::string_view::npos) return Add(absl::StrCat(field, ".template"), "`{` has no closing `}`");
        const FieldPath path = Path(text.substr(i + 1, close - i - 1), absl::StrCat(field, ".template"));
        source->parts.push_back({literal, path});
        literal.clear();
        i = close;
      } else {
        literal.push_back(text[i]);
      }
    }
    if (!literal.empty()) source->parts.push_back({literal, std::nullopt});
  }

  const catalog::v1::InputFormat& spec_;
  std::unique_ptr<FormatPlan> plan_;
  std::vector<FieldViolation> violations_;
  std::vector<int> used_columns_;
};

}  // namespace

InputFormat::InputFormat(std::unique_ptr<const FormatPlan> plan) : plan_(std::move(plan)) {}
InputFormat::~InputFormat() = default;

absl::StatusOr<std::shared_ptr<const InputFormat>> InputFormat::Compile(absl::string_view name,
                                                                        const catalog::v1::InputFormat& spec) {
  auto plan = PlanCompiler(name, spec).Compile();
  if (!plan.ok()) return plan.status();
  return std::shared_ptr<const InputFormat>(new InputFormat(*std::move(plan)));
}

const std::string& InputFormat::name() const { return plan_->name; }
const std::string& InputFormat::default_source() const { return plan_->default_source; }
bool InputFormat::has_header() const { return plan_->header; }

absl::StatusOr<std::shared_ptr<const InputFormat>> InputFormat::WithHeader(absl::string_view header) const {
  Columns columns;
  LineRejection rejection;
  if (!SplitCsv(header, plan_->delimiter, &columns, &rejection)) {
    return absl::InvalidArgumentError(absl::StrCat("the header cannot be read: ", rejection.expected, " is missing"));
  }
  std::vector<std::string> names;
  for (const Column& column : columns.values) names.emplace_back(column.text);
  if (plan_->columns_known && names != plan_->column_names) {
    return absl::InvalidArgumentError(absl::StrCat("the header names ", absl::StrJoin(names, ", "), "; the format expects ",
                                                   absl::StrJoin(plan_->column_names, ", ")));
  }
  catalog::v1::InputFormat spec = plan_->spec;
  spec.mutable_parser()->set_header(false);
  spec.mutable_parser()->clear_columns();
  for (const std::string& name : names) spec.mutable_parser()->add_columns(name);
  return Compile(plan_->name, spec);
}

RecordSplitter InputFormat::MakeSplitter() const {
  return plan_->spec.parser().type() == "csv" ? RecordSplitter::ForCsv(plan_->delimiter) : RecordSplitter();
}

}  // namespace naru::input_format
