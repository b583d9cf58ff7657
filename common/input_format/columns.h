// Takes a line of text apart into named columns.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/input_format/rejection.h"

namespace naru::catalog::v1 {
class Parser;
}

namespace naru::input_format {

/// One column of a line.
struct Column {
  absl::string_view text;
  bool present = false;
};

/// The columns of one line, in the order of ColumnParser::names(). Views point into the line or into `unescaped`.
struct Columns {
  std::vector<Column> values;
  std::string unescaped;
};

/// Bytes that must be readable after a column's text, for the JSON parser.
inline constexpr size_t kPaddingBytes = 64;

/// How lines of one format are taken apart. Immutable, so thread-safe.
class ColumnParser {
 public:
  virtual ~ColumnParser() = default;
  /// Fills `*columns`. False: the line does not fit, with `*rejection` (reason PARSE) saying why.
  virtual bool Parse(absl::string_view line, Columns* columns, LineRejection* rejection) const = 0;
  virtual const std::vector<std::string>& names() const = 0;
  /// Columns that hold numbers and are taken as such.
  virtual bool IsNumber(size_t column) const;
};

/// Makes the parser for csv, delimited, regex or apache_combined. For csv with a header and no columns, see
/// MakeCsvParser. Errors: INVALID_ARGUMENT names the field of the spec.
absl::StatusOr<std::unique_ptr<ColumnParser>> MakeColumnParser(const catalog::v1::Parser& spec);

/// A csv parser for these columns.
std::unique_ptr<ColumnParser> MakeCsvParser(char delimiter, std::vector<std::string> columns);

/// The delimiter that a spec means (`,` `|` `\t` ...). Errors: INVALID_ARGUMENT.
absl::StatusOr<char> DelimiterOf(const catalog::v1::Parser& spec);

/// Splits one CSV record. False: text after a closing quote, or a quote that does not close.
bool SplitCsv(absl::string_view record, char delimiter, Columns* columns, LineRejection* rejection);

/// The parser of Apache's and nginx's combined format.
std::unique_ptr<ColumnParser> MakeApacheCombinedParser();

}  // namespace naru::input_format
