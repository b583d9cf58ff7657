// What a plain YAML scalar means by the core schema of YAML 1.2: `no`, `on` and `2022-11-01` are strings.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace naru::catalog {

/// Kinds of the core schema.
enum class ScalarKind : uint8_t { kNull, kBool, kInteger, kFloat, kString };

/// A resolved scalar.
struct Scalar {
  ScalarKind kind = ScalarKind::kString;
  bool boolean = false;
  int64_t integer = 0;
  double number = 0;       ///< integers too
  bool overflows = false;  ///< an integer beyond 64 bits; `number` holds it, rounded
};

/// Resolves an unquoted scalar.
Scalar ResolvePlain(absl::string_view text);

/// `text` as it can be written inside flow and block collections and be read back as the same string: plain where that
/// is safe (for YAML 1.1 readers too, which take `no` for false), else quoted.
std::string QuoteString(absl::string_view text);

/// Whether `text` reads well as a literal block (`|`), and survives it.
bool FitsLiteralBlock(absl::string_view text);

/// The shortest text that resolves to this number: `3`, `0.1`, `1e+22`. Finite numbers only.
std::string FormatNumber(double number);

}  // namespace naru::catalog
