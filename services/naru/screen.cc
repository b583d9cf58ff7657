#include "services/naru/screen.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/clock/duration.h"
#include "common/status/status.h"
#include "naru/catalog/v1/resources.pb.h"
#include "services/naru/terminal.h"
#include "services/naru/text_width.h"

namespace naru::cli {
namespace {

constexpr char kGap[] = "  ";
// Of a first column, and of the others (lists of words).
constexpr size_t kMaxName = 40;
constexpr size_t kMaxCell = 64;
constexpr size_t kFewestRows = 3;
constexpr size_t kMostRows = 10;

std::string Annotation(const catalog::v1::Resource& resource, const std::string& key) {
  const auto found = resource.metadata().annotations().find("naru.dev/" + key);
  return found == resource.metadata().annotations().end() ? "" : found->second;
}

absl::Status AnnotationError(const catalog::v1::Resource& resource, absl::string_view key, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "ANNOTATION",
                   absl::StrCat("Metric ", resource.metadata().name(), ": annotation naru.dev/", key, ": ", what));
}

absl::StatusOr<std::vector<ScreenColumn>> PlanColumns(const catalog::v1::Resource& resource) {
  const catalog::v1::Metric& metric = resource.metric();
  std::vector<ScreenColumn> columns;
  const std::string text = Annotation(resource, "top-columns");
  if (text.empty()) {
    for (int i = 0; i < std::min(metric.measures_size(), 5); ++i) {
      columns.push_back({metric.measures(i).name(), {metric.measures(i).name()}});
    }
    return columns;
  }
  for (absl::string_view part : absl::StrSplit(text, ';', absl::SkipWhitespace())) {
    const std::pair<absl::string_view, absl::string_view> sides = absl::StrSplit(part, absl::MaxSplits('=', 1));
    ScreenColumn column;
    column.title = std::string(absl::StripAsciiWhitespace(sides.first));
    const absl::string_view sum = sides.second.empty() ? sides.first : sides.second;
    for (absl::string_view name : absl::StrSplit(sum, '+', absl::SkipWhitespace())) {
      const std::string measure(absl::StripAsciiWhitespace(name));
      const bool known = std::any_of(metric.measures().begin(), metric.measures().end(),
                                     [&](const auto& candidate) { return candidate.name() == measure; });
      if (!known) return AnnotationError(resource, "top-columns", absl::StrCat("there is no measure `", measure, "`"));
      column.measures.push_back(measure);
    }
    columns.push_back(std::move(column));
  }
  return columns;
}

absl::StatusOr<std::vector<ScreenDimension>> PlanDimensions(const catalog::v1::Resource& resource) {
  const catalog::v1::Metric& metric = resource.metric();
  std::vector<ScreenDimension> dimensions;
  const std::string text = Annotation(resource, "top-by");
  if (text == "none") return dimensions;
  if (text.empty()) {
    for (int i = 0; i < std::min(metric.dimensions_size(), 3); ++i) {
      dimensions.push_back({metric.dimensions(i).name(), metric.dimensions(i).name()});
    }
    return dimensions;
  }
  for (absl::string_view part : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    const std::pair<absl::string_view, absl::string_view> sides = absl::StrSplit(part, absl::MaxSplits('=', 1));
    const std::string title(absl::StripAsciiWhitespace(sides.first));
    const std::string name(absl::StripAsciiWhitespace(sides.second.empty() ? sides.first : sides.second));
    const bool known = std::any_of(metric.dimensions().begin(), metric.dimensions().end(),
                                   [&](const auto& candidate) { return candidate.name() == name; });
    if (!known) return AnnotationError(resource, "top-by", absl::StrCat("there is no dimension `", name, "`"));
    dimensions.push_back({title, name});
  }
  return dimensions;
}

// Whether a column holds numbers, which are aligned right; everything else is read from the left.
bool IsNumeric(const Panel& panel, size_t column) {
  if (column == 0 && panel.header.size() > 1 && panel.ranking) return false;
  return std::all_of(panel.rows.begin(), panel.rows.end(), [&](const auto& row) {
    return row[column].find_first_not_of("0123456789,.-+e") == std::string::npos;
  });
}

std::vector<size_t> ColumnWidths(const Panel& panel) {
  std::vector<size_t> widths(panel.header.size(), 0);
  const auto take = [&](const std::vector<std::string>& cells) {
    for (size_t i = 0; i < cells.size() && i < widths.size(); ++i) {
      widths[i] = std::max(widths[i], std::min(DisplayWidth(MakePrintable(cells[i])), i == 0 ? kMaxName : kMaxCell));
    }
  };
  take(panel.header);
  for (const auto& row : panel.rows) take(row);
  return widths;
}

// A panel as lines of the same width. The last column of texts (lists of words) may be cut to what is left.
struct Block {
  size_t width = 0;
  std::vector<std::string> lines;
};

Block RenderPanel(const Panel& panel, size_t max_width, size_t most_rows, bool colour) {
  const std::vector<size_t> widths = ColumnWidths(panel);
  std::vector<bool> numeric(widths.size());
  for (size_t i = 0; i < widths.size(); ++i) numeric[i] = IsNumeric(panel, i);
  Block block;
  for (const size_t width : widths) block.width += width;
  block.width += widths.empty() ? 0 : 2 * (widths.size() - 1);
  block.width = std::min(block.width, max_width);
  const auto render = [&](const std::vector<std::string>& cells, bool header) {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i) {
      const std::string cell = PadToWidth(CutToWidth(MakePrintable(cells[i]), widths[i]), widths[i], numeric[i]);
      absl::StrAppend(&line, i == 0 ? "" : "  ", cell);
    }
    line = PadToWidth(CutToWidth(line, block.width), block.width);
    block.lines.push_back(header ? Paint(line, Colour::kDim, colour) : line);
  };
  render(panel.header, true);
  const size_t shown = panel.ranking ? std::min(panel.rows.size(), most_rows) : panel.rows.size();
  for (size_t i = 0; i < shown; ++i) render(panel.rows[i], false);
  return block;
}

// Puts blocks side by side while they fit, then below.
void AppendBlocks(const std::vector<Block>& blocks, size_t width, std::vector<std::string>* lines) {
  for (size_t begin = 0; begin < blocks.size();) {
    size_t used = blocks[begin].width;
    size_t end = begin + 1;
    while (end < blocks.size() && used + std::size(kGap) - 1 + blocks[end].width <= width) {
      used += std::size(kGap) - 1 + blocks[end].width;
      ++end;
    }
    size_t height = 0;
    for (size_t i = begin; i < end; ++i) height = std::max(height, blocks[i].lines.size());
    for (size_t row = 0; row < height; ++row) {
      std::string line;
      for (size_t i = begin; i < end; ++i) {
        const bool present = row < blocks[i].lines.size();
        absl::StrAppend(&line, i == begin ? "" : kGap,
                        present ? blocks[i].lines[row] : std::string(blocks[i].width, ' '));
      }
      absl::StripTrailingAsciiWhitespace(&line);
      lines->push_back(std::move(line));
    }
    begin = end;
  }
}

// The headline and the first `sections` sections.
std::vector<std::string> Body(const ScreenContents& contents, size_t sections, size_t columns, size_t most_rows,
                              bool colour) {
  std::vector<std::string> lines;
  if (!contents.headline.empty()) {
    lines.push_back(Paint(CutToWidth(contents.headline, columns), Colour::kBold, colour));
  }
  for (size_t i = 0; i < sections; ++i) {
    const ScreenSection& section = contents.sections[i];
    lines.push_back("");
    lines.push_back(Paint(CutToWidth(MakePrintable(section.title), columns), Colour::kCyan, colour));
    std::vector<Block> blocks;
    for (const Panel& panel : section.panels) blocks.push_back(RenderPanel(panel, columns, most_rows, colour));
    AppendBlocks(blocks, columns, &lines);
  }
  return lines;
}

// Breaks a line at blanks; what does not fit at all is cut.
void AppendWrapped(absl::string_view text, size_t columns, std::vector<std::string>* lines) {
  std::string line;
  for (absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (!line.empty() && DisplayWidth(line) + 1 + DisplayWidth(word) > columns) {
      lines->push_back(CutToWidth(line, columns));
      line = " ";
    }
    absl::StrAppend(&line, line.empty() ? "" : " ", word);
  }
  lines->push_back(CutToWidth(line, columns));
}

}  // namespace

int64_t SectionPlan::ShownStart(int64_t newest_start_us) const {
  if (slide_us <= 0 || size_us <= slide_us) return newest_start_us;
  const int64_t steps_back = (size_us - 1) / slide_us;
  return newest_start_us - steps_back * slide_us;
}

absl::StatusOr<SectionPlan> PlanSection(const catalog::v1::Resource& resource) {
  const catalog::v1::Metric& metric = resource.metric();
  SectionPlan plan;
  plan.metric = resource.metadata().name();
  plan.title = Annotation(resource, "top-title");
  if (plan.title.empty()) plan.title = plan.metric;
  plan.time_zone = metric.time_zone().empty() ? "UTC" : metric.time_zone();
  const std::string order = Annotation(resource, "top-order");
  plan.hidden = order == "hide";
  if (!order.empty() && !plan.hidden && !absl::SimpleAtoi(order, &plan.order)) {
    return AnnotationError(resource, "top-order", absl::StrCat("`", order, "` is neither a number nor `hide`"));
  }
  NARU_ASSIGN_OR_RETURN(plan.dimensions, PlanDimensions(resource));
  NARU_ASSIGN_OR_RETURN(plan.columns, PlanColumns(resource));
  if (metric.window().type() == "hopping") {
    const auto size = ParseDuration(metric.window().size());
    const auto slide = ParseDuration(metric.window().slide());
    if (size.ok() && slide.ok()) {
      plan.size_us = size->count();
      plan.slide_us = slide->count();
    }
  }
  return plan;
}

std::vector<std::string> LayOut(const ScreenContents& contents, int width, int height, bool colour) {
  const size_t columns = static_cast<size_t>(std::max(width, 20));
  std::vector<std::string> footer = {""};
  for (const std::string& line : contents.footer) AppendWrapped(line, columns, &footer);
  if (height <= 0) {
    std::vector<std::string> lines = Body(contents, contents.sections.size(), columns, kMostRows, colour);
    lines.insert(lines.end(), footer.begin(), footer.end());
    return lines;
  }
  const size_t room = static_cast<size_t>(height) > footer.size() ? height - footer.size() : 0;
  std::vector<std::string> lines;
  for (size_t sections = contents.sections.size();; --sections) {
    for (size_t rows = kMostRows; rows >= kFewestRows; --rows) {
      lines = Body(contents, sections, columns, rows, colour);
      if (lines.size() <= room) break;
    }
    if (lines.size() <= room || sections <= 1) break;
  }
  if (lines.size() > room) lines.resize(room);
  lines.insert(lines.end(), footer.begin(), footer.end());
  return lines;
}

}  // namespace naru::cli
