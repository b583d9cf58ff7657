#include "services/naru/import_report.h"

#include "absl/strings/str_cat.h"
#include "naru/ingest/v1/ingest.pb.h"
#include "services/naru/text_width.h"

namespace naru::cli {

void ImportTotals::Add(const ingest::v1::ImportEventsResponse& last) {
  read += last.read_count();
  accepted += last.accepted_count();
  duplicate += last.duplicate_count();
  rejected += last.rejected_count();
  filtered += last.filtered_count();
  bytes += last.received_bytes();
}

void SayRejectedLines(const Session& session, const std::string& name, const ingest::v1::ImportEventsResponse& response,
                      int* left) {
  for (const auto& line : response.rejected_lines()) {
    if (*left <= 0) return;
    --*left;
    const std::string what =
        absl::StrCat(line.field().empty() ? "" : absl::StrCat(" ", line.field()),
                     line.value().empty() ? "" : absl::StrCat(" `", MakePrintable(line.value()), "`"),
                     line.expected().empty() ? "" : absl::StrCat(": expected ", line.expected()));
    session.Say(absl::StrCat(name, ":", line.line_number(), ": rejected, ",
                             ingest::v1::RejectReason_Name(line.reason()), what));
    if (!line.line().empty()) session.Say(absl::StrCat("    ", CutToWidth(MakePrintable(line.line()), 160)));
  }
}

int FinishImport(const Session& session, const ImportTotals& totals, bool strict) {
  if (totals.rejected == 0) return kDone;
  session.Say(
      absl::StrCat("rejected lines are kept: `naru dlq list`; after mending the format or type `naru dlq replay`"));
  return strict ? kRejectedLines : kDone;
}

std::vector<std::string> ImportTotalsColumns() {
  return {"read", "accepted", "duplicate", "rejected", "filtered", "files", "bytes"};
}

std::vector<Cell> ImportTotalsCells(const ImportTotals& totals) {
  return {NumberCell(totals.read),     NumberCell(totals.accepted), NumberCell(totals.duplicate),
          NumberCell(totals.rejected), NumberCell(totals.filtered), NumberCell(totals.files),
          NumberCell(totals.bytes)};
}

}  // namespace naru::cli
