// How wide text is on a terminal: Korean, Chinese and Japanese characters take two columns, combining marks none.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace naru::cli {

/// Returns the columns that `text` (UTF-8) takes: by Unicode's East Asian width (wide and full-width characters and
/// emoji are 2, combining marks and format characters 0). Bytes that are not UTF-8 count one each.
size_t DisplayWidth(absl::string_view text);

/// Returns `text` cut to at most `width` columns, ending with `…` where something was cut. Never splits a character.
std::string CutToWidth(absl::string_view text, size_t width);

/// Returns `text` with spaces added on the right (or, with `right_aligned`, on the left) up to `width` columns.
std::string PadToWidth(absl::string_view text, size_t width, bool right_aligned = false);

/// Returns `text` safe to print on a terminal: control characters (escape sequences of a hostile event, line breaks)
/// and bytes that are not UTF-8 become visible (`\n`, `\x1b`).
std::string MakePrintable(absl::string_view text);

}  // namespace naru::cli
