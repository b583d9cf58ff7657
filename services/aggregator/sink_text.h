// Rows as the text that stores and their readers understand.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/aggregator/window_query.h"

namespace naru::aggregator {

/// A window's start or end: RFC 3339 in UTC; `-infinity` and `infinity` outside the years 1 to 9999.
std::string WindowTimeText(int64_t time_us);

/// What tells a window from the others of its metric: its start; of cumulative ones `START/END`.
std::string WindowName(const TimeSpan& window, bool cumulative);

/// The shortest decimal text that reads back to the same number; whole numbers without a point. `NaN`, `Infinity`,
/// `-Infinity`.
std::string NumberText(double number);

/// The value of a dimension as plain text; nothing for null. Times as RFC 3339, durations in seconds.
std::optional<std::string> GroupValueText(const GroupValue& value);

/// The last part of a row's key: the dimensions' values in their order, joined by `,`. `all` without dimensions,
/// `__other__` for the groups beyond max_groups. Null is `~`. In strings, `%`, `:`, `,`, and control characters become
/// `%XX`, as does the first character of a string that begins with `@` or would otherwise read as a null, a number, a
/// truth value or
/// `__other__`. Times and durations have `@` before them. So different groups have different texts.
std::string GroupText(const ResultRow& row);

/// The value of a measure as text; nothing for null, errors and lists of most frequent values. Histograms as JSON.
std::optional<std::string> MeasureText(const MeasureResult& result, const MeasureShape& shape);
/// The same as JSON; `null` for null and errors. Lists of most frequent values are arrays of {key, count, max_error},
/// histograms objects of `bounds` and `counts` (one more than bounds).
std::string MeasureJson(const MeasureResult& result, const MeasureShape& shape);
/// A JSON object of the measures that have an error instead of a value, by `names`; empty: none has.
std::string MeasureErrorsJson(const std::vector<MeasureResult>& results, const std::vector<std::string>& names);

/// Appends a JSON string.
void AppendJsonText(absl::string_view text, std::string* out);

}  // namespace naru::aggregator
