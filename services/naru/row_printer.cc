#include "services/naru/row_printer.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status/status.h"
#include "services/naru/json_text.h"
#include "services/naru/text_width.h"

namespace naru::cli {

absl::StatusOr<OutputFormat> ParseOutputFormat(absl::string_view name) {
  if (name == "table") return OutputFormat::kTable;
  if (name == "json") return OutputFormat::kJson;
  if (name == "jsonl") return OutputFormat::kJsonl;
  if (name == "csv") return OutputFormat::kCsv;
  return MakeError(absl::StatusCode::kInvalidArgument, "OUTPUT_FORMAT",
                   absl::StrCat("--output: `", name, "` is none of table, json, jsonl, csv"));
}

Cell TextCell(absl::string_view text, Colour colour) { return {std::string(text), JsonString(text), false, colour}; }
Cell NumberCell(int64_t number) { return {WithThousands(number), std::to_string(number), true, Colour::kNone}; }
Cell NumberCell(double number) {
  const bool whole = number == std::floor(number) && std::fabs(number) < 1e15;
  const std::string text = whole ? WithThousands(static_cast<int64_t>(number)) : absl::StrFormat("%.6g", number);
  return {text, JsonNumber(number), true, Colour::kNone};
}
Cell BoolCell(bool value) { return {value ? "yes" : "no", value ? "true" : "false", false, Colour::kNone}; }
Cell NullCell() { return {"-", "null", false, Colour::kDim}; }
Cell RawCell(absl::string_view text, absl::string_view json, bool right_aligned) {
  return {std::string(text), std::string(json), right_aligned, Colour::kNone};
}

std::string CsvField(absl::string_view field) {
  if (field.find_first_of("\",\r\n") == absl::string_view::npos) return std::string(field);
  std::string out = "\"";
  for (const char c : field) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

RowPrinter::RowPrinter(FILE* out, OutputFormat format, bool colour, std::vector<std::string> columns,
                       size_t buffer_rows)
    : out_(out), format_(format), colour_(colour), columns_(std::move(columns)), buffer_rows_(buffer_rows) {
  if (format_ == OutputFormat::kCsv) PrintCsvHeader();
}

void RowPrinter::PrintCsvHeader() {
  std::string line;
  for (const std::string& column : columns_) absl::StrAppend(&line, line.empty() ? "" : ",", CsvField(column));
  std::fprintf(out_, "%s\n", line.c_str());
}

void RowPrinter::Add(std::vector<Cell> cells, absl::string_view json_line) {
  if (IsJson(format_)) {
    std::string line(json_line);
    if (line.empty()) {
      JsonObject object;
      for (size_t i = 0; i < columns_.size(); ++i) object.AddRaw(columns_[i], cells[i].json);
      line = object.Text();
    }
    line += '\n';
    std::fwrite(line.data(), 1, line.size(), out_);
    return;
  }
  if (format_ == OutputFormat::kCsv) {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) line += ',';
      const Cell& cell = cells[i];
      if (cell.json == "null") continue;
      line += !cell.csv.empty() ? CsvField(cell.csv)
                                : CsvField(!cell.json.empty() && cell.json[0] == '"' ? cell.text : cell.json);
    }
    line += '\n';
    std::fwrite(line.data(), 1, line.size(), out_);
    return;
  }
  if (header_printed_) {
    PrintTableRow(cells, false);
    return;
  }
  held_.push_back(std::move(cells));
  if (held_.size() >= buffer_rows_) PrintHeld();
}

void RowPrinter::Finish() {
  if (!held_.empty()) PrintHeld();
  std::fflush(out_);
}

void RowPrinter::PrintHeld() {
  widths_.assign(columns_.size(), 0);
  for (size_t i = 0; i < columns_.size(); ++i) widths_[i] = DisplayWidth(columns_[i]);
  for (const auto& row : held_) {
    for (size_t i = 0; i < row.size(); ++i) widths_[i] = std::max(widths_[i], DisplayWidth(MakePrintable(row[i].text)));
  }
  std::vector<Cell> header;
  for (size_t i = 0; i < columns_.size(); ++i) {
    header.push_back({absl::AsciiStrToUpper(columns_[i]), "", held_.front()[i].right_aligned, Colour::kBold});
  }
  PrintTableRow(header, true);
  header_printed_ = true;
  for (const auto& row : held_) PrintTableRow(row, false);
  held_.clear();
}

void RowPrinter::PrintTableRow(const std::vector<Cell>& cells, bool header) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    const bool last = i + 1 == cells.size();
    const std::string text = header ? cells[i].text : MakePrintable(cells[i].text);
    // No trailing blanks after the last column.
    const std::string padded =
        last && !cells[i].right_aligned ? text : PadToWidth(text, widths_[i], cells[i].right_aligned);
    absl::StrAppend(&line, i == 0 ? "" : "  ", Paint(padded, cells[i].colour, colour_));
  }
  std::fprintf(out_, "%s\n", line.c_str());
}

}  // namespace naru::cli
