// What event types say of `data`, for checking expressions when resources are applied.
#pragma once

#include <string>
#include <vector>

#include "common/catalog/test_runners.h"
#include "common/cel/cel.h"

namespace naru::catalog::v1 {
class EventType;
}

namespace naru::catalog {

/// Fields of the event types that a lookup finds. A field is known where every type that an expression is about says
/// the same of it; a type that is not in the catalog, or that keeps fields which it does not name, may have any field.
/// Borrows the lookup. Thread-safe if the lookup is.
class EventTypeFields : public cel::DataTypes {
 public:
  explicit EventTypeFields(const ResourceLookup& lookup) : lookup_(lookup) {}
  bool Find(const std::vector<std::string>& path, const std::vector<std::string>* types, cel::StaticType* type,
            std::string* problem) const override;

 private:
  const ResourceLookup& lookup_;
};

/// The fields of one type, whatever an expression says of `type`: for the type's own expressions. Borrows it.
class OwnFields : public cel::DataTypes {
 public:
  explicit OwnFields(const v1::EventType& own) : own_(own) {}
  bool Find(const std::vector<std::string>& path, const std::vector<std::string>* types, cel::StaticType* type,
            std::string* problem) const override;

 private:
  const v1::EventType& own_;
};

}  // namespace naru::catalog
