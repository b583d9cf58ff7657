// Why a line did not become an event.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace naru::ingest::v1 {
enum RejectReason : int;
}

namespace naru::input_format {

/// Limits of what is read.
inline constexpr size_t kMaxLineBytes = size_t{1} << 20;
inline constexpr int kMaxDataDepth = 8;              ///< of objects and lists in `data`
inline constexpr int64_t kMaxExactInteger = int64_t{1} << 53;  ///< beyond it doubles skip integers
inline constexpr size_t kMaxRejectedValue = 64;      ///< bytes of a value that a rejection shows

/// One line (or one element of an exploded one) that could not be read.
struct LineRejection {
  ingest::v1::RejectReason reason{};
  std::string field;     ///< path in the line; may be empty
  std::string value;     ///< at most kMaxRejectedValue bytes
  std::string expected;  ///< what would be right
  int element = -1;      ///< exploded lines: which element, from 0; -1: the whole line
};

/// Fills `*rejection` and returns false, so that readers can `return Reject(...)`.
bool Reject(ingest::v1::RejectReason reason, absl::string_view field, absl::string_view value, absl::string_view expected,
            LineRejection* rejection);

}  // namespace naru::input_format
