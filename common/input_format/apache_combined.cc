#include <algorithm>
#include <cstring>
#include <utility>

#include "common/input_format/columns.h"
#include "naru/ingest/v1/ingest.pb.h"

namespace naru::input_format {
namespace {

enum Field : size_t {
  kClientIp, kIdent, kAuth, kTimestamp, kRequest, kMethod, kPath, kProtocol, kStatus, kBytes, kReferrer, kAgent, kFieldCount
};

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// Undoes Apache's escapes: \" \\ \n \r \t \b \v, and \xhh for bytes that it would not print. A \xhh outside ASCII is kept
/// as it stands, as what it comes from was often not UTF-8.
void Unescape(absl::string_view text, std::string* out) {
  static constexpr char kFrom[] = "\"\\nrtbv";
  static constexpr char kTo[] = "\"\\\n\r\t\b\v";
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out->push_back(text[i]);
      continue;
    }
    const char c = text[i + 1];
    const char* known = c == '\0' ? nullptr : std::strchr(kFrom, c);
    if (known != nullptr) {
      out->push_back(kTo[known - kFrom]);
      ++i;
      continue;
    }
    const int high = c == 'x' && i + 3 < text.size() ? HexDigit(text[i + 2]) : -1;
    const int low = high >= 0 ? HexDigit(text[i + 3]) : -1;
    if (low >= 0 && high < 8) {
      out->push_back(static_cast<char>(high * 16 + low));
      i += 3;
      continue;
    }
    out->push_back('\\');
  }
}

/// Walks one line from left to right.
class LineReader {
 public:
  LineReader(absl::string_view line, Columns* columns, LineRejection* rejection)
      : line_(line), columns_(columns), rejection_(rejection) {}

  bool Read() {
    columns_->values.assign(kFieldCount, Column());
    columns_->unescaped.clear();
    if (columns_->unescaped.capacity() < line_.size() + kPaddingBytes) {
      columns_->unescaped.reserve(line_.size() + kPaddingBytes);
    }
    if (!ReadWord(kClientIp, "an address and a blank") || !ReadWord(kIdent, "an identity (or -) and a blank")) return false;
    // A user's name may hold blanks; what follows it is " [".
    const size_t bracket = line_.find(" [", pos_);
    if (bracket == absl::string_view::npos) return Fail("a user (or -) and a time in brackets");
    Set(kAuth, line_.substr(pos_, bracket - pos_));
    pos_ = bracket + 2;
    const size_t close = line_.find(']', pos_);
    if (close == absl::string_view::npos) return Fail("a closing ] after the time");
    Set(kTimestamp, line_.substr(pos_, close - pos_));
    pos_ = close + 1;
    if (!Blank() || !ReadQuoted(kRequest, "the request in quotes") || !Blank()) return false;
    SplitRequest();
    if (!ReadWord(kStatus, "a status (or -) and a blank") || !ReadWord(kBytes, "a number of bytes (or -) and a blank")) {
      return false;
    }
    if (!IsNumber(kStatus) || !IsNumber(kBytes)) return false;
    if (!ReadQuoted(kReferrer, "the referrer in quotes") || !Blank()) return false;
    if (!ReadQuoted(kAgent, "the user agent in quotes")) return false;
    return pos_ == line_.size() || Fail("nothing after the user agent");
  }

 private:
  bool Fail(absl::string_view expected) {
    return Reject(ingest::v1::PARSE, "", line_.substr(std::min(pos_, line_.size())), expected, rejection_);
  }

  void Set(Field field, absl::string_view text) { columns_->values[field] = {text, !text.empty() && text != "-"}; }

  bool Blank() {
    if (pos_ >= line_.size() || line_[pos_] != ' ') return Fail("a blank");
    ++pos_;
    return true;
  }

  bool ReadWord(Field field, absl::string_view expected) {
    const size_t blank = line_.find(' ', pos_);
    if (blank == absl::string_view::npos || blank == pos_) return Fail(expected);
    Set(field, line_.substr(pos_, blank - pos_));
    pos_ = blank + 1;
    return true;
  }

  bool IsNumber(Field field) {
    const Column& column = columns_->values[field];
    const bool digits = std::all_of(column.text.begin(), column.text.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!column.present || (digits && column.text.size() <= 15)) return true;
    return Reject(ingest::v1::PARSE, field == kStatus ? "status" : "bytes", column.text, "a number (or -)", rejection_);
  }

  bool ReadQuoted(Field field, absl::string_view expected) {
    if (pos_ >= line_.size() || line_[pos_] != '"') return Fail(expected);
    const size_t start = pos_ + 1;
    bool escaped = false;
    size_t i = start;
    while (true) {
      const size_t quote = line_.find('"', i);
      if (quote == absl::string_view::npos) return Fail("a closing quote");
      // A quote belongs to the text if an odd number of backslashes stands before it.
      size_t slashes = 0;
      while (quote - slashes > start && line_[quote - slashes - 1] == '\\') ++slashes;
      escaped = escaped || slashes > 0;
      i = quote + 1;
      if (slashes % 2 == 1) continue;
      const absl::string_view text = line_.substr(start, quote - start);
      pos_ = i;
      Set(field, escaped || std::memchr(text.data(), '\\', text.size()) != nullptr ? Unescaped(text) : text);
      return true;
    }
  }

  absl::string_view Unescaped(absl::string_view text) {
    const size_t start = columns_->unescaped.size();
    Unescape(text, &columns_->unescaped);
    return absl::string_view(columns_->unescaped).substr(start);
  }

  /// `GET /path HTTP/1.1`; of anything else (an attack, an empty connection) only `request` is kept.
  void SplitRequest() {
    const absl::string_view request = columns_->values[kRequest].text;
    const size_t first = request.find(' ');
    const size_t last = request.rfind(' ');
    if (first == absl::string_view::npos || first == 0 || last == first) return;
    const absl::string_view protocol = request.substr(last + 1);
    if (protocol.substr(0, 5) != "HTTP/") return;
    Set(kMethod, request.substr(0, first));
    Set(kPath, request.substr(first + 1, last - first - 1));
    Set(kProtocol, protocol);
  }

  absl::string_view line_;
  Columns* columns_;
  LineRejection* rejection_;
  size_t pos_ = 0;
};

class ApacheCombinedParser : public ColumnParser {
 public:
  bool Parse(absl::string_view line, Columns* columns, LineRejection* rejection) const override {
    return LineReader(line, columns, rejection).Read();
  }
  const std::vector<std::string>& names() const override { return names_; }
  bool IsNumber(size_t column) const override { return column == kStatus || column == kBytes; }

 private:
  const std::vector<std::string> names_ = {"clientip", "ident",    "auth",   "timestamp", "request",  "method",
                                           "path",     "protocol", "status", "bytes",     "referrer", "agent"};
};

}  // namespace

std::unique_ptr<ColumnParser> MakeApacheCombinedParser() { return std::make_unique<ApacheCombinedParser>(); }

}  // namespace naru::input_format
