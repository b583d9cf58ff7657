// Prints results: aligned columns for people, a JSON object or CSV record a line for programs.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/naru/terminal.h"

namespace naru::cli {

enum class OutputFormat { kTable, kJson, kJsonl, kCsv };

/// Errors: INVALID_ARGUMENT naming the formats there are.
absl::StatusOr<OutputFormat> ParseOutputFormat(absl::string_view name);
inline bool IsJson(OutputFormat format) { return format == OutputFormat::kJson || format == OutputFormat::kJsonl; }

/// One value of a row in its two forms.
struct Cell {
  std::string text;  ///< for people, any characters
  std::string json;  ///< for programs
  bool right_aligned = false;
  Colour colour = Colour::kNone;
  std::string csv;  ///< for spreadsheets; empty: `text` where `json` is a string, else `json`
};

Cell TextCell(absl::string_view text, Colour colour = Colour::kNone);
Cell NumberCell(int64_t number);
Cell NumberCell(double number);
Cell BoolCell(bool value);
/// A missing value: `-`, null, nothing.
Cell NullCell();
/// `text` for people, `json` (already JSON) for programs.
Cell RawCell(absl::string_view text, absl::string_view json, bool right_aligned = false);

/// Writes rows of the same columns. Tables are held back until `buffer_rows` rows show how wide columns are; what comes
/// later is aligned to those. Not thread-safe.
class RowPrinter {
 public:
  /// `out` is borrowed. `columns` name the JSON keys and CSV header; tables show them in capitals.
  RowPrinter(FILE* out, OutputFormat format, bool colour, std::vector<std::string> columns, size_t buffer_rows = 10000);
  ~RowPrinter() { Finish(); }
  RowPrinter(const RowPrinter&) = delete;
  RowPrinter& operator=(const RowPrinter&) = delete;

  /// `cells` has one cell a column. With `json_line` JSON output prints that instead of an object made from the cells.
  void Add(std::vector<Cell> cells, absl::string_view json_line = {});
  /// Prints what was held back. A table without rows prints nothing, a CSV its header.
  void Finish();

 private:
  void PrintHeld();
  void PrintTableRow(const std::vector<Cell>& cells, bool header);
  void PrintCsvHeader();

  FILE* out_;
  OutputFormat format_;
  bool colour_;
  std::vector<std::string> columns_;
  size_t buffer_rows_;
  std::vector<std::vector<Cell>> held_;
  std::vector<size_t> widths_;
  bool header_printed_ = false;
};

/// Quotes a CSV field where needed (RFC 4180).
std::string CsvField(absl::string_view field);

}  // namespace naru::cli
