// Event types compiled into checks that run on encoded data.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/event/event_view.h"

namespace naru::catalog::v1 {
class EventType;
}

namespace naru::event {

/// What a schema found wrong; as the FIELD_* reasons of naru.ingest.v1.RejectReason.
enum class SchemaError : uint8_t { kOk, kRequired, kKind, kRange, kEnum, kUnknown };

struct SchemaProblem {
  SchemaError error = SchemaError::kOk;
  std::string field;     ///< `data.user_age`, `data.items[2].price`
  std::string value;     ///< at most 64 bytes; empty for personal fields
  std::string expected;  ///< `an integer from 0 to 150`
};

/// The schema of one event type.
///
/// JSON null counts as absent everywhere. `unknown_fields` goes for the top level and for nested objects that declare
/// properties; an object that declares none is free. Of a key given twice the last value counts. Immutable;
/// thread-safe.
class TypeSchema {
 public:
  /// Errors: INVALID_ARGUMENT with a field violation (`spec.schema...`) for every mistake: unknown kinds and words,
  /// bad patterns, minimum above maximum, enum values of another kind, more than 8 levels.
  static absl::StatusOr<TypeSchema> Compile(const catalog::v1::EventType& type);

  TypeSchema(TypeSchema&&) noexcept;
  TypeSchema& operator=(TypeSchema&&) noexcept;
  ~TypeSchema();

  /// Whether `data` (wire bytes of a Struct that ParseEvent accepted; empty: none) fits. If not, `*problem` (when not
  /// null) is filled with the first mistake: missing fields in the order of `required`, then fields as they come.
  /// `*drops` (when not null) is set to whether DropUnknown would leave something out.
  bool Check(absl::string_view data, SchemaProblem* problem, bool* drops = nullptr) const;

  /// Appends `data` without the fields that the schema does not name. For types with `unknown_fields: drop`.
  void DropUnknown(absl::string_view data, std::string* out) const;

 private:
  struct Object;
  TypeSchema();
  std::unique_ptr<Object> root_;
};

}  // namespace naru::event
