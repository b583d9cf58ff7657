#include "common/catalog/scalar_place.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace naru::catalog {
namespace {

/// Steps through the source of a scalar while counting the characters of its value.
class ScalarWalk {
 public:
  ScalarWalk(absl::string_view text, int first_line, int line, int column)
      : text_(text), raw_{first_line, 1}, wanted_{line, column} {}

  bool Seek(Position start) {
    while (at_ < text_.size() && raw_.line < start.line) Step();
    while (at_ < text_.size() && raw_.line == start.line && raw_.column < start.column) Step();
    return at_ < text_.size() && raw_.line == start.line && raw_.column == start.column;
  }

  std::optional<Position> Walk() {
    // An anchor and a tag stand before the scalar.
    while (Peek() == '&' || Peek() == '!') {
      while (at_ < text_.size() && !absl::ascii_isspace(Peek())) Step();
      while (at_ < text_.size() && absl::ascii_isspace(Peek())) Step();
    }
    const char first = Peek();
    if (first == '|' || first == '>') return Block(first == '>');
    if (first == '"' || first == '\'') {
      Step();
      return Flow(first);
    }
    return Flow('\0');
  }

 private:
  char Peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

  /// One character of the source.
  void Step() {
    const bool line_feed = text_[at_] == '\n';
    ++at_;
    while (at_ < text_.size() && (static_cast<unsigned char>(text_[at_]) & 0xC0) == 0x80) ++at_;
    raw_ = line_feed ? Position{raw_.line + 1, 1} : Position{raw_.line, raw_.column + 1};
  }

  /// One character of the value comes from `from`. True: it is the wanted one.
  bool Emit(bool line_feed, Position from) {
    if (value_.line == wanted_.line && value_.column == wanted_.column) {
      found_ = from;
      return true;
    }
    value_ = line_feed ? Position{value_.line + 1, 1} : Position{value_.line, value_.column + 1};
    return false;
  }
  bool Emit(bool line_feed, int count, Position from) {
    while (count-- > 0) {
      if (Emit(line_feed, from)) return true;
    }
    return false;
  }

  /// Plain and quoted scalars.
  std::optional<Position> Flow(char quote) {
    while (at_ < text_.size() && !(quote != '\0' && Peek() == quote && !(quote == '\'' && Peek(1) == '\''))) {
      const Position from = raw_;
      if (absl::ascii_isspace(Peek())) {
        if (Blank()) return found_;
      } else if (quote == '"' && Peek() == '\\') {
        if (Escape()) return found_;
      } else {
        if (quote == '\'' && Peek() == '\'') Step();
        if (Emit(false, from)) return found_;
        Step();
      }
    }
    // Just behind the value: where an expression ends too early.
    return Emit(false, raw_) ? found_ : std::nullopt;
  }

  /// White space: one line break is a space, more of them are one less, and the blanks around them are nothing.
  bool Blank() {
    const Position from = raw_;
    size_t end = at_;
    while (end < text_.size() && absl::ascii_isspace(text_[end])) ++end;
    const auto breaks = std::count(text_.begin() + at_, text_.begin() + end, '\n');
    if (breaks == 0) {
      if (Emit(false, from)) return true;
      Step();
      return false;
    }
    if (breaks == 1 ? Emit(false, from) : Emit(true, static_cast<int>(breaks) - 1, from)) return true;
    while (at_ < end) Step();
    return false;
  }

  bool Escape() {
    const Position from = raw_;
    Step();
    const char kind = Peek();
    if (kind == '\n') {  // the line goes on; blank lines after it count
      Step();
      SkipBlanks();
      while (Peek() == '\n') {
        if (Emit(true, raw_)) return true;
        Step();
        SkipBlanks();
      }
      return false;
    }
    const int digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
    for (int i = 0; i <= digits && at_ < text_.size(); ++i) Step();
    return Emit(kind == 'n', from);
  }

  void SkipBlanks() {
    while (at_ < text_.size() && absl::ascii_isblank(Peek())) Step();
  }

  /// The number of spaces that a line begins with; nothing for a blank line.
  std::optional<size_t> Indentation(size_t begin) const {
    size_t end = begin;
    while (end < text_.size() && text_[end] == ' ') ++end;
    if (end >= text_.size() || text_[end] == '\n' || text_[end] == '\r') return std::nullopt;
    return end - begin;
  }
  size_t NextLine(size_t begin) const {
    const size_t end = text_.find('\n', begin);
    return end == absl::string_view::npos ? text_.size() : end + 1;
  }

  std::optional<Position> Block(bool folded) {
    bool comment = false;
    while (at_ < text_.size() && Peek() != '\n') {
      comment = comment || Peek() == '#';
      if (!comment && absl::ascii_isdigit(Peek())) return std::nullopt;
      Step();
    }
    if (at_ < text_.size()) Step();
    size_t line = at_;
    while (line < text_.size() && !Indentation(line).has_value()) line = NextLine(line);
    if (line >= text_.size()) return std::nullopt;
    const size_t indent = *Indentation(line);
    while (at_ < line) {
      if (Peek() == '\n' && Emit(true, raw_)) return found_;
      Step();
    }
    while (at_ < text_.size() && Indentation(at_).value_or(0) >= indent) {
      for (size_t i = 0; i < indent; ++i) Step();
      const bool deeper = absl::ascii_isblank(Peek());
      while (at_ < text_.size() && Peek() != '\n') {
        if (Emit(false, raw_)) return found_;
        Step();
      }
      if (LineEnd(folded, deeper, indent)) return found_;
    }
    return Emit(false, raw_) ? found_ : std::nullopt;
  }

  /// The end of a line of a block and the blank lines after it.
  bool LineEnd(bool folded, bool deeper, size_t indent) {
    const Position from = raw_;
    int blank = -1;
    while (at_ < text_.size() && (blank < 0 || !Indentation(at_).has_value())) {
      while (at_ < text_.size() && Peek() != '\n') Step();
      if (at_ < text_.size()) Step();
      ++blank;
    }
    const size_t next = at_ + indent;
    const bool ends = Indentation(at_).value_or(0) < indent;
    const bool next_deeper = next < text_.size() && absl::ascii_isblank(text_[next]);
    if (!folded || ends || deeper || next_deeper) return Emit(true, blank + 1, from);
    return blank == 0 ? Emit(false, from) : Emit(true, blank, from);
  }

  const absl::string_view text_;
  size_t at_ = 0;
  Position raw_;
  Position value_{1, 1};
  const Position wanted_;
  std::optional<Position> found_;
};

}  // namespace

std::optional<Position> PlaceInScalar(absl::string_view document, int first_line, Position start, int line,
                                      int column) {
  ScalarWalk walk(document, first_line, line, column);
  return walk.Seek(start) ? walk.Walk() : std::nullopt;
}

}  // namespace naru::catalog
