#include "services/naru/accounting_text.h"

#include "absl/strings/str_cat.h"
#include "naru/ingest/v1/ingest.pb.h"
#include "services/naru/json_text.h"
#include "services/naru/terminal.h"

namespace naru::cli {

std::string AccountingLine(const ingest::v1::Accounting& accounting, int most_reasons) {
  std::string line = absl::StrCat("received ", WithThousands(accounting.received_count()), " = accepted ",
                                  WithThousands(accounting.accepted_count()), " + duplicate ",
                                  WithThousands(accounting.duplicate_count()), " + rejected ",
                                  WithThousands(accounting.rejected_count()));
  std::string reasons;
  int64_t others = 0;
  for (int i = 0; i < accounting.rejected_by_reason_size(); ++i) {
    const auto& reason = accounting.rejected_by_reason(i);
    if (i >= most_reasons) {
      others += reason.count();
      continue;
    }
    absl::StrAppend(&reasons, reasons.empty() ? "" : ", ", ingest::v1::RejectReason_Name(reason.reason()), " ",
                    WithThousands(reason.count()));
  }
  if (others > 0) absl::StrAppend(&reasons, ", others ", WithThousands(others));
  if (!reasons.empty()) absl::StrAppend(&line, " (", reasons, ")");
  if (accounting.filtered_count() > 0)
    absl::StrAppend(&line, " + filtered ", WithThousands(accounting.filtered_count()));
  if (accounting.replayed_count() > 0)
    absl::StrAppend(&line, "; replayed ", WithThousands(accounting.replayed_count()));
  return line;
}

std::string AccountingJson(const ingest::v1::Accounting& accounting) {
  JsonObject reasons;
  for (const auto& reason : accounting.rejected_by_reason()) {
    reasons.Add(ingest::v1::RejectReason_Name(reason.reason()), reason.count());
  }
  JsonObject types;
  for (const auto& type : accounting.accepted_by_type()) types.Add(type.type(), type.count());
  JsonObject filtered;
  for (const auto& type : accounting.filtered_by_type()) filtered.Add(type.type(), type.count());
  JsonObject json;
  json.Add("received", accounting.received_count()).Add("accepted", accounting.accepted_count());
  json.Add("duplicate", accounting.duplicate_count()).Add("rejected", accounting.rejected_count());
  json.Add("filtered", accounting.filtered_count()).Add("replayed", accounting.replayed_count());
  json.AddRaw("rejected_by_reason", reasons.Text()).AddRaw("accepted_by_type", types.Text());
  json.AddRaw("filtered_by_type", filtered.Text());
  return json.Text();
}

}  // namespace naru::cli
