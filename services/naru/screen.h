// The layout of `naru top`: small tables beside each other, as many as fit, and the accounting under them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace naru::catalog::v1 {
class Metric;
class Resource;
}  // namespace naru::catalog::v1

namespace naru::cli {

/// A column of a panel: one measure, or the sum of several.
struct ScreenColumn {
  std::string title;
  std::vector<std::string> measures;
};

/// A dimension that has a panel.
struct ScreenDimension {
  std::string title;
  std::string name;
};

/// What of a metric is shown. From the annotations of the resource, where it has them:
///   naru.dev/top-title: what the section is called (default: the metric's name)
///   naru.dev/top-order: sections are sorted by this number (default 100), then by name; `hide` leaves the metric out
///   naru.dev/top-by: dimensions, a panel each: `gender, age = age_band` (default: the first three; `none`: one row)
///   naru.dev/top-columns: `title = measure + measure; title = measure` (default: the first five measures)
struct SectionPlan {
  std::string metric;
  std::string title;
  std::string time_zone;
  int order = 100;
  bool hidden = false;
  std::vector<ScreenDimension> dimensions;
  std::vector<ScreenColumn> columns;
  int64_t size_us = 0;   ///< hopping: length of a window; else 0
  int64_t slide_us = 0;  ///< hopping: distance of starts; else 0

  /// Start of the newest window that reaches to the end of the newest pane: `newest_start_us` is the latest start of a
  /// window with rows, which for hopping windows has just begun.
  int64_t ShownStart(int64_t newest_start_us) const;
};

/// Errors: INVALID_ARGUMENT for annotations that name no measure or dimension of the metric.
absl::StatusOr<SectionPlan> PlanSection(const catalog::v1::Resource& metric);

/// A table: columns of numbers are aligned right, the first one and texts left.
struct Panel {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  bool ranking = false;  ///< largest first: the last rows may be left out where the screen is small
};

struct ScreenSection {
  std::string title;  ///< with the window's times
  std::vector<Panel> panels;
};

struct ScreenContents {
  std::string headline;
  std::vector<ScreenSection> sections;
  std::vector<std::string> footer;  ///< always shown, whatever the height
};

/// Returns the lines of the screen: at most `height` of them (0: no limit), none wider than `width` columns. Where that
/// is too little, rankings get shorter (not under three rows), then the last sections are left out.
std::vector<std::string> LayOut(const ScreenContents& contents, int width, int height, bool colour);

}  // namespace naru::cli
