#include <string>

#include "common/catalog/event_type_fields.h"
#include "common/catalog/validate_kinds.h"
#include "common/event/schema.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {

void ValidateEventType(const v1::EventType& type, ProblemList* problems) {
  const auto schema = event::TypeSchema::Compile(type);
  if (!schema.ok()) {
    const std::vector<FieldViolation> violations = GetErrorDetails(schema.status()).violations;
    for (const FieldViolation& violation : violations) problems->Add(violation.field, violation.description);
    if (violations.empty()) problems->Add("spec.schema", std::string(schema.status().message()));
  }
  problems->CheckWord("spec.partition_by", type.partition_by(), {"subject", "session"});
  problems->CheckWord("spec.compatibility", type.compatibility(), {"backward", "none"});
  problems->CheckDuration("spec.deduplication_window", type.deduplication_window(), std::chrono::seconds(1),
                          std::chrono::hours(24 * 7));
  problems->CheckDuration("spec.retention", type.retention(), std::chrono::seconds(1), kMaxDuration);
  cel::Environment environment = cel::Environment::ForEvents();
  const OwnFields fields(type);
  problems->CheckExpression("spec.exclude", type.exclude(), &environment, {.filter = true, .data_types = &fields});
}

}  // namespace naru::catalog
