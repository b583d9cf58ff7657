// Input formats: how lines of a file, or messages of a topic, become encoded events.
//
//     NARU_ASSIGN_OR_RETURN(auto format, InputFormat::Compile("apache-combined", spec));
//     LineParser parser(format);                       // one a thread
//     parser.Parse(line, {.line_id = id}, &events, &rejections);
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/input_format/record_splitter.h"
#include "common/input_format/rejection.h"
#include "common/input_format/wire_buffer.h"

namespace naru::catalog::v1 {
class InputFormat;
}

namespace naru::input_format {

struct FormatPlan;

/// A compiled InputFormat resource. Immutable, so thread-safe.
///
/// Paths (`from`, `{...}`, names in `expr`): `column`, `column.field` of a JSON column, or `field.field` of JSON. With
/// `explode`, a path is looked for in the element first, then in the whole line; `events.type` also means the element's.
/// The source is what the import says, else the mapping, else the format's name. Without a `data` mapping, json gives the
/// whole object less the fields that `event` and `time` are taken from; columns give all other columns.
class InputFormat {
 public:
  /// Errors: INVALID_ARGUMENT with a FieldViolation for each mistake (`spec.parser.pattern`, `spec.data.age.expr`, ...).
  static absl::StatusOr<std::shared_ptr<const InputFormat>> Compile(absl::string_view name,
                                                                    const catalog::v1::InputFormat& spec);
  ~InputFormat();

  const std::string& name() const;
  /// The source of events when the import gives none and the format has a constant one (or none: then its name).
  const std::string& default_source() const;
  /// The first record is a header: WithHeader must be called with it, and lines parsed by what it returns.
  bool has_header() const;
  /// Errors: INVALID_ARGUMENT when the header does not name the columns that the format reads.
  absl::StatusOr<std::shared_ptr<const InputFormat>> WithHeader(absl::string_view header) const;
  /// Cuts a file of this format into records.
  RecordSplitter MakeSplitter() const;

  const FormatPlan& plan() const { return *plan_; }

 private:
  explicit InputFormat(std::unique_ptr<const FormatPlan> plan);
  std::unique_ptr<const FormatPlan> plan_;
};

/// Encoded events, one after the other.
struct EventBuffer {
  WireBuffer bytes;
  std::vector<size_t> ends;  ///< where each event ends in `bytes`

  size_t size() const { return ends.size(); }
  absl::string_view event(size_t i) const {
    const size_t begin = i == 0 ? 0 : ends[i - 1];
    return bytes.view().substr(begin, ends[i] - begin);
  }
  void Clear() {
    bytes.Clear();
    ends.clear();
  }
};

/// What the line itself does not say.
struct LineContext {
  absl::string_view line_id;        ///< the event's id, unless the format maps one; elements get `-INDEX` added
  absl::string_view import_source;  ///< not empty: the events' source
  bool padded = false;              ///< 64 bytes after the line may be read
};

/// Turns lines into events. Not thread-safe.
class LineParser {
 public:
  explicit LineParser(std::shared_ptr<const InputFormat> format);
  ~LineParser();

  /// Appends the line's event, or with `explode` its events, to `*events`, and what cannot be read to `*rejections`: for
  /// most formats exactly one of both. What fits is not checked against limits of events or types: ingest does that.
  void Parse(absl::string_view line, const LineContext& context, EventBuffer* events,
             std::vector<LineRejection>* rejections);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace naru::input_format
