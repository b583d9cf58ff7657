// What an import tells people: totals and rejected lines.
#pragma once

#include <cstdint>
#include <string>

#include "services/naru/command.h"

namespace naru::ingest::v1 {
class ImportEventsResponse;
}

namespace naru::cli {

/// What became of the lines of several imports.
struct ImportTotals {
  int64_t files = 0;
  int64_t read = 0;
  int64_t accepted = 0;
  int64_t duplicate = 0;
  int64_t rejected = 0;
  int64_t filtered = 0;
  int64_t bytes = 0;

  /// Adds an import's last answer.
  void Add(const ingest::v1::ImportEventsResponse& last);
};

/// Says which lines an answer names as rejected, `*left` of them at most; counts it down.
void SayRejectedLines(const Session& session, const std::string& name, const ingest::v1::ImportEventsResponse& response,
                      int* left);
/// Where rejected lines are, and the exit code: kRejectedLines if there are some and `strict` wants to know.
int FinishImport(const Session& session, const ImportTotals& totals, bool strict);

/// The columns of the totals, and their cells.
std::vector<std::string> ImportTotalsColumns();
std::vector<Cell> ImportTotalsCells(const ImportTotals& totals);

}  // namespace naru::cli
