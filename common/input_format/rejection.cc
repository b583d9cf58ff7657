#include "common/input_format/rejection.h"

#include "common/event/utf8.h"

namespace naru::input_format {

bool Reject(ingest::v1::RejectReason reason, absl::string_view field, absl::string_view value, absl::string_view expected,
            LineRejection* rejection) {
  rejection->reason = reason;
  rejection->field = std::string(field);
  rejection->value = std::string(event::CutUtf8(value, kMaxRejectedValue));
  rejection->expected = std::string(expected);
  return false;
}

}  // namespace naru::input_format
