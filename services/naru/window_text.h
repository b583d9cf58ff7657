// Rows of windows as the command line prints them.
#pragma once

#include <string>
#include <vector>

#include "services/naru/row_printer.h"

namespace google::protobuf {
class Value;
}
namespace naru::aggregator::v1 {
class MeasureValue;
class WindowRow;
}  // namespace naru::aggregator::v1

namespace naru::cli {

/// {"window_start":"...","window_end":"...","group":{...},"measures":{...},"final":true,"revision":1}, and where they
/// apply "relative_error":{measure: share}, "truncated":true, "valid_from":"..." (not all is in it that was received
/// before).
std::string WindowRowJson(const aggregator::v1::WindowRow& row);

/// A measure for people and programs: numbers, text, `word 12, word 9` for top_k, `<=10: 3, >10: 0` for a histogram,
/// null, or the error.
Cell MeasureCell(const aggregator::v1::MeasureValue& value);

/// A dimension's value; a missing one is `-`.
Cell GroupCell(const google::protobuf::Value& value);

/// The columns of flat output, from the first row: window_start, window_end, dimensions, measures, final, revision.
struct WindowColumns {
  explicit WindowColumns(const aggregator::v1::WindowRow& row);
  std::vector<std::string> Names() const;
  /// Times are shown in `time_zone` in tables; programs get RFC 3339 UTC.
  std::vector<Cell> Cells(const aggregator::v1::WindowRow& row, absl::string_view time_zone) const;

  std::vector<std::string> dimensions;
  std::vector<std::string> measures;
};

}  // namespace naru::cli
