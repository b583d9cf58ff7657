// What an InputFormat compiles to: internal to common/input_format.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/cel/cel.h"
#include "common/event/event_view.h"
#include "common/input_format/columns.h"
#include "common/input_format/json_reader.h"
#include "common/input_format/time_layout.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::input_format {

/// Where a value stands in a line.
struct FieldPath {
  std::string text;  ///< as it was written
  int column = -1;   ///< formats with columns
  // json, and JSON columns. Of exploded lines both may be set: the element is asked first.
  int element_key = -1;
  std::vector<std::string> element_below;
  int line_key = -1;
  std::vector<std::string> line_below;
};

/// How a value is made.
struct ValueSource {
  enum class Kind : uint8_t { kNone, kFrom, kConst, kTemplate, kExpr };
  enum class Type : uint8_t { kAsParsed, kString, kInteger, kNumber, kBoolean, kTimestamp };
  struct TemplatePart {
    std::string literal;  ///< comes before the field
    std::optional<FieldPath> path;
  };

  Kind kind = Kind::kNone;
  Type type = Type::kAsParsed;
  bool hash = false;
  bool plain = false;     ///< kFrom, as parsed, not hashed
  std::string label;  ///< `subject`, `data.age`: for rejections
  FieldPath path;
  event::ValueView constant;
  std::string constant_bytes;
  std::vector<TemplatePart> parts;
  cel::Program program;
  std::optional<TimeLayout> layout;
  int zone_slot = -1;  ///< which of the parser's zone offsets `layout` uses
};

/// A column that holds JSON objects.
struct JsonColumn {
  bool is_json = false;
  JsonKeys keys;
};

struct FormatPlan {
  std::string name;
  catalog::v1::InputFormat spec;
  std::string default_source;
  bool header = false;
  bool columns_known = true;  ///< false: they come with the header
  char delimiter = ',';
  std::vector<std::string> null_values;

  std::unique_ptr<ColumnParser> columns;  ///< null: json
  std::vector<std::string> column_names;
  std::vector<JsonColumn> json_columns;  ///< by column

  JsonKeys line_keys;
  JsonKeys element_keys;
  bool explode = false;
  std::vector<std::string> explode_path;

  std::optional<FieldPath> time_path;
  std::optional<TimeLayout> time_layout;
  bool time_optional = false;
  ValueSource id, source, type, subject, session;

  std::vector<std::pair<std::string, ValueSource>> data;  ///< sorted by name
  bool whole = false;                                      ///< no mapping: everything that was not used
  std::optional<FieldPath> data_from;
  UsedFields used;                 ///< json: in the line, or in the element where lines are exploded
  std::vector<int> whole_columns;  ///< columns that go into data, sorted by name

  std::optional<cel::Environment> environment;  ///< has the variables of all `expr`
  std::vector<FieldPath> variables;             ///< by variable number
  int zone_slots = 1;                           ///< slot 0 is the time's
};

}  // namespace naru::input_format
