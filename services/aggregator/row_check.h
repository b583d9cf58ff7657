// Rows that the `tests` of a resource expect, compared with those that came out.
#pragma once

#include <string>
#include <vector>

#include "common/status/status.h"

namespace google::protobuf {
class Struct;
}

namespace naru::aggregator {

/// What rows of a kind have.
struct RowShape {
  std::vector<std::string> names;     ///< of their fields
  std::vector<std::string> identity;  ///< those of them that say which row it is
};

/// Adds what is wrong to `*failures` unless a row has all that `expected` names. Numbers that differ by rounding and
/// times that are the same are equal.
void CheckRow(const RowShape& shape, const std::string& field, const google::protobuf::Struct& expected,
              const std::vector<google::protobuf::Struct>& rows, std::vector<FieldViolation>* failures);

}  // namespace naru::aggregator
