#include <cctype>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/config/config.h"

namespace naru {
namespace {

struct Unit {
  absl::string_view name;
  int64_t bytes;
};
// Largest first, powers of 1,024 before those of 1,000: what FormatByteSize tries.
constexpr Unit kUnits[] = {{"TiB", 1LL << 40}, {"GiB", 1LL << 30},    {"MiB", 1LL << 20},
                           {"KiB", 1LL << 10}, {"TB", 1000000000000}, {"GB", 1000000000},
                           {"MB", 1000000},    {"KB", 1000},          {"B", 1}};

}  // namespace

absl::StatusOr<ByteSize> ParseByteSize(absl::string_view text) {
  const absl::string_view trimmed = absl::StripAsciiWhitespace(text);
  size_t digits = 0;
  while (digits < trimmed.size() && absl::ascii_isdigit(static_cast<unsigned char>(trimmed[digits]))) ++digits;
  const absl::string_view unit_name = absl::StripLeadingAsciiWhitespace(trimmed.substr(digits));
  int64_t factor = unit_name.empty() ? 1 : 0;
  for (const Unit& unit : kUnits) {
    if (absl::EqualsIgnoreCase(unit.name, unit_name)) factor = unit.bytes;
  }
  int64_t number = 0;
  if (digits == 0 || factor == 0 || !absl::SimpleAtoi(trimmed.substr(0, digits), &number) ||
      number > std::numeric_limits<int64_t>::max() / factor) {
    return MakeError(absl::StatusCode::kInvalidArgument, "BYTE_SIZE",
                     absl::StrCat("`", text.substr(0, 64), "` is not a size like 64MiB, 1GB or 4096"));
  }
  return ByteSize{number * factor};
}

std::string FormatByteSize(ByteSize size) {
  for (const Unit& unit : kUnits) {
    if (size.bytes != 0 && size.bytes % unit.bytes == 0) return absl::StrCat(size.bytes / unit.bytes, unit.name);
  }
  return absl::StrCat(size.bytes, "B");
}

}  // namespace naru
