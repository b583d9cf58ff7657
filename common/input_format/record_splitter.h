// Cuts a stream of bytes into records: lines, or for CSV what may span lines inside quotes.
#pragma once

#include <cstddef>

#include "absl/strings/string_view.h"
#include "common/input_format/rejection.h"

namespace naru::input_format {

/// Not thread-safe. The bytes stay the caller's: what could not be cut yet is given again, with more after it.
class RecordSplitter {
 public:
  /// Lines end with \n; a \r before it does not belong to the line.
  RecordSplitter() = default;
  /// The same, but inside double quotes (which open only at the start of a field) a line goes on.
  static RecordSplitter ForCsv(char delimiter);

  struct Record {
    absl::string_view text;   ///< without its end; cut to kMaxLineBytes when too long
    bool too_long = false;    ///< the rest of the line is skipped
    size_t size = 0;          ///< bytes to take off the front of the data: the record and its end
  };

  /// Finds the record at the front of `data`. `at_end`: nothing comes after `data`; a last line without its end counts,
  /// unless it is empty. False: there is none (yet); then `record->size` bytes are to be taken off and no more.
  /// How the stream was cut into calls makes no difference to the records.
  bool Next(absl::string_view data, bool at_end, Record* record);

 private:
  size_t FindEnd(absl::string_view data, bool at_end) const;
  size_t FindCsvEnd(absl::string_view data, size_t first_newline, bool at_end) const;

  bool csv_ = false;
  char delimiter_ = ',';
  bool skipping_ = false;  ///< inside a line that is too long
};

/// Takes a UTF-8 byte order mark off the front of a file's first bytes. `*undecided`: more bytes are needed to tell.
absl::string_view SkipByteOrderMark(absl::string_view data, bool at_end, bool* undecided);

}  // namespace naru::input_format
