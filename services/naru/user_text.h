// Rows of funnels and retentions as the command line prints them.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/naru/row_printer.h"

namespace naru::aggregator::v1 {
class CohortRow;
class FunnelRow;
}  // namespace naru::aggregator::v1

namespace naru::cli {

/// {"interval_start":"...","interval_end":"...","group":{...},"steps":[{"name":"search","users":9,"from_previous":1,
/// "from_first":1,"median_from_previous_s":3.5,"average_from_previous_s":..,"median_from_first_s":..,
/// "average_from_first_s":..}],"final":true}; the interval where there is one, "truncated_users" where there are.
std::string FunnelRowJson(const aggregator::v1::FunnelRow& row);

/// The columns of flat output, a line a step; from the first row: interval_start, dimensions, step, users, ...
struct FunnelColumns {
  explicit FunnelColumns(const aggregator::v1::FunnelRow& row);
  std::vector<std::string> Names() const;
  std::vector<Cell> Cells(const aggregator::v1::FunnelRow& row, int step, absl::string_view time_zone) const;

  bool intervals = false;
  std::vector<std::string> dimensions;
};

/// {"start":"...","end":"...","users":9,"returned":[9,4,0],"final_count":2}, and "truncated_users" where there are.
std::string CohortRowJson(const aggregator::v1::CohortRow& row);

/// start, users, and a column for each number of units after it, in percent for people; what is not final and 0 is `-`.
std::vector<std::string> CohortColumns(const aggregator::v1::CohortRow& row);
std::vector<Cell> CohortCells(const aggregator::v1::CohortRow& row, absl::string_view time_zone);

/// A length of time for people: `1d2h`, `3m5s`, `2.5s`: the two greatest units.
std::string ShortDuration(double us);

}  // namespace naru::cli
