#include "common/input_format/record_splitter.h"

#include <algorithm>
#include <cstring>

namespace naru::input_format {
namespace {

constexpr size_t kNone = absl::string_view::npos;

size_t FindNewline(absl::string_view data, size_t from) {
  if (from >= data.size()) return kNone;
  const void* found = std::memchr(data.data() + from, '\n', data.size() - from);
  return found == nullptr ? kNone : static_cast<const char*>(found) - data.data();
}

}  // namespace

RecordSplitter RecordSplitter::ForCsv(char delimiter) {
  RecordSplitter splitter;
  splitter.csv_ = true;
  splitter.delimiter_ = delimiter;
  return splitter;
}

bool RecordSplitter::Next(absl::string_view data, bool at_end, Record* record) {
  *record = Record();
  size_t skipped = 0;
  if (skipping_) {
    const size_t newline = FindNewline(data, 0);
    skipped = newline == kNone ? data.size() : newline + 1;
    skipping_ = newline == kNone && !at_end;
    data.remove_prefix(skipped);
  }
  record->size = skipped;
  if (data.empty()) return false;
  const size_t end = FindEnd(data, at_end);
  if (end == kNone) {
    // One more byte than the limit may be the \r of a line that fits.
    if (data.size() <= kMaxLineBytes + 1 && !at_end) return false;
    if (data.size() <= kMaxLineBytes) {
      record->text = data;
      record->size += data.size();
      return true;
    }
    skipping_ = !at_end;
    record->size += data.size();
    record->too_long = true;
    record->text = data.substr(0, kMaxLineBytes);
    return true;
  }
  record->text = data.substr(0, end);
  if (!record->text.empty() && record->text.back() == '\r') record->text.remove_suffix(1);
  if (record->text.size() > kMaxLineBytes) {
    record->too_long = true;
    record->text = record->text.substr(0, kMaxLineBytes);
  }
  record->size += end + 1;
  return true;
}

size_t RecordSplitter::FindEnd(absl::string_view data, bool at_end) const {
  const size_t newline = FindNewline(data, 0);
  if (!csv_ || newline == kNone) {
    return newline;
  }
  // Most records have no quote at all.
  if (std::memchr(data.data(), '"', newline) == nullptr) return newline;
  return FindCsvEnd(data, newline, at_end);
}

size_t RecordSplitter::FindCsvEnd(absl::string_view data, size_t first_newline, bool at_end) const {
  bool quoted = false;
  bool field_start = true;
  bool just_closed = false;
  const size_t limit = std::min(data.size(), kMaxLineBytes + 2);
  for (size_t i = 0; i < limit; ++i) {
    const char c = data[i];
    if (quoted) {
      quoted = c != '"';
      just_closed = !quoted;
      continue;
    }
    if (c == '\n') return i;
    // Two quotes inside quotes are one: what the first closed, the second opens again.
    quoted = c == '"' && (field_start || just_closed);
    field_start = c == delimiter_;
    just_closed = false;
  }
  // A quote that never closes must not swallow the file: the record is then its first line, and will be rejected.
  return at_end || data.size() >= kMaxLineBytes + 2 ? first_newline : kNone;
}

absl::string_view SkipByteOrderMark(absl::string_view data, bool at_end, bool* undecided) {
  static constexpr absl::string_view kMark = "\xEF\xBB\xBF";
  *undecided = !at_end && data.size() < kMark.size() && kMark.substr(0, data.size()) == data;
  if (data.substr(0, kMark.size()) == kMark) data.remove_prefix(kMark.size());
  return data;
}

}  // namespace naru::input_format
