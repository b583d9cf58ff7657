// Numbers as measures take them: exact integers where they are integers.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/cel/value.h"

namespace naru::aggregator {

/// A number as an exact integer where it is one.
struct Exact {
  bool is_integer = false;
  int64_t integer = 0;
  double number = 0;

  double AsDouble() const { return is_integer ? static_cast<double>(integer) : number; }
};

/// False for what is not a finite number. A whole double up to 2^53 is an integer: numbers of event data are doubles.
inline bool ToExact(const cel::Value& value, Exact* exact) {
  if (value.kind() == cel::Kind::kInt) {
    *exact = {true, value.int_value(), 0};
    return true;
  }
  if (value.kind() != cel::Kind::kDouble || !std::isfinite(value.double_value())) return false;
  const double number = value.double_value();
  constexpr double kLimit = 9007199254740992.0;  // 2^53: beyond, doubles are not every integer
  if (number >= -kLimit && number <= kLimit) {
    // Not std::trunc, which is a call where SSE4.1 is not sure to be there.
    const auto integer = static_cast<int64_t>(number);
    if (static_cast<double>(integer) == number) {
      *exact = {true, integer, 0};
      return true;
    }
  }
  *exact = {false, 0, number};
  return true;
}

}  // namespace naru::aggregator
