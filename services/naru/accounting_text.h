// The accounting: where every event went.
#pragma once

#include <string>

namespace naru::ingest::v1 {
class Accounting;
}

namespace naru::cli {

/// `received 10,000 = accepted 9,999 + duplicate 0 + rejected 1 (PARSE 1)`, `+ filtered 2` and what was replayed where
/// there is any was. At most `most_reasons` reasons are named; the others are added up.
std::string AccountingLine(const ingest::v1::Accounting& accounting, int most_reasons = 100);

/// {"received":..,"accepted":..,"duplicate":..,"rejected":..,"filtered":..,"replayed":..,"rejected_by_reason":{..},
/// "accepted_by_type":{..},"filtered_by_type":{..}}
std::string AccountingJson(const ingest::v1::Accounting& accounting);

}  // namespace naru::cli
