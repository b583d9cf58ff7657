#include "common/cel/lexer.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace naru::cel {
namespace {

bool IsNameStart(char c) { return absl::ascii_isalpha(c) || c == '_'; }
bool IsNamePart(char c) { return absl::ascii_isalnum(c) || c == '_'; }

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool AppendUtf8(uint32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out->push_back(static_cast<char>(0xC0 | (c >> 6)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else if (c < 0x10000) {
    if (c >= 0xD800 && c <= 0xDFFF) return false;
    out->push_back(static_cast<char>(0xE0 | (c >> 12)));
    out->push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else {
    if (c > 0x10FFFF) return false;
    out->push_back(static_cast<char>(0xF0 | (c >> 18)));
    out->push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
  }
  return true;
}

void Lexer::SkipBlanks() {
  while (pos_ < source_.size()) {
    const char c = source_[pos_];
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f') {
      ++pos_;
    } else if (c == '/' && At(pos_ + 1) == '/') {
      while (pos_ < source_.size() && source_[pos_] != '\n') ++pos_;
    } else {
      return;
    }
  }
}

Token Lexer::Make(TokenKind kind, size_t size) {
  Token token;
  token.kind = kind;
  token.offset = pos_;
  token.text = source_.substr(pos_, size);
  pos_ += size;
  return token;
}

Token Lexer::Fail(size_t offset, std::string message) {
  Token token;
  token.kind = TokenKind::kError;
  token.offset = offset;
  token.string = std::move(message);
  pos_ = source_.size();
  return token;
}

Token Lexer::Next() {
  SkipBlanks();
  if (pos_ >= source_.size()) return Make(TokenKind::kEnd, 0);
  const char c = source_[pos_];
  if (absl::ascii_isdigit(c) || (c == '.' && absl::ascii_isdigit(At(pos_ + 1)))) return Number();
  if (c == '"' || c == '\'') return String(0, false);
  const char next = At(pos_ + 1);
  if ((c == 'r' || c == 'R') && (next == '"' || next == '\'')) return String(1, true);
  const bool bytes = (c == 'b' || c == 'B') && (next == '"' || next == '\'' || next == 'r' || next == 'R');
  const char after = At(pos_ + 2);
  if ((bytes && (next == '"' || next == '\'' || after == '"' || after == '\'')) ||
      ((c == 'r' || c == 'R') && (next == 'b' || next == 'B') && (after == '"' || after == '\''))) {
    return Fail(pos_, "bytes literals are not supported: events hold text; write a string");
  }
  if (IsNameStart(c)) return Name();
  return Punctuation();
}

Token Lexer::Name() {
  size_t end = pos_ + 1;
  while (IsNamePart(At(end))) ++end;
  return Make(TokenKind::kName, end - pos_);
}

Token Lexer::Number() {
  size_t end = pos_;
  bool is_double = false;
  if (At(end) == '0' && (At(end + 1) == 'x' || At(end + 1) == 'X')) {
    end += 2;
    while (HexDigit(At(end)) >= 0) ++end;
    if (end == pos_ + 2) return Fail(pos_, "a hexadecimal number needs digits: 0x1F");
  } else {
    while (absl::ascii_isdigit(At(end))) ++end;
    if (At(end) == '.' && absl::ascii_isdigit(At(end + 1))) {
      is_double = true;
      ++end;
      while (absl::ascii_isdigit(At(end))) ++end;
    }
    if (At(end) == 'e' || At(end) == 'E') {
      size_t digits = end + 1;
      if (At(digits) == '+' || At(digits) == '-') ++digits;
      if (!absl::ascii_isdigit(At(digits))) return Fail(pos_, "an exponent needs digits: 1e6");
      is_double = true;
      end = digits;
      while (absl::ascii_isdigit(At(end))) ++end;
    }
  }
  if (At(end) == 'u' || At(end) == 'U') {
    return Fail(pos_, "unsigned integers are not supported: leave out the `u`");
  }
  if (IsNamePart(At(end))) return Fail(end, absl::StrCat("a number cannot go on with `", source_.substr(end, 1), "`"));
  return Make(is_double ? TokenKind::kDouble : TokenKind::kInt, end - pos_);
}

Token Lexer::Punctuation() {
  struct Pair {
    absl::string_view text;
    TokenKind kind;
  };
  static constexpr Pair kPairs[] = {
      {"&&", TokenKind::kAnd},         {"||", TokenKind::kOr},        {"==", TokenKind::kEqual},
      {"!=", TokenKind::kNotEqual},    {"<=", TokenKind::kLessEqual}, {">=", TokenKind::kGreaterEqual},
      {"<", TokenKind::kLess},         {">", TokenKind::kGreater},    {"!", TokenKind::kNot},
      {"(", TokenKind::kLeftParen},    {")", TokenKind::kRightParen}, {"[", TokenKind::kLeftBracket},
      {"]", TokenKind::kRightBracket}, {"{", TokenKind::kLeftBrace},  {"}", TokenKind::kRightBrace},
      {".", TokenKind::kDot},          {",", TokenKind::kComma},      {"?", TokenKind::kQuestion},
      {":", TokenKind::kColon},        {"+", TokenKind::kPlus},       {"-", TokenKind::kMinus},
      {"*", TokenKind::kStar},         {"/", TokenKind::kSlash},      {"%", TokenKind::kPercent},
  };
  const absl::string_view rest = source_.substr(pos_);
  for (const Pair& pair : kPairs) {
    if (rest.substr(0, pair.text.size()) == pair.text) return Make(pair.kind, pair.text.size());
  }
  if (rest[0] == '=') return Fail(pos_, "`=` does not compare: write `==`");
  if (rest[0] == '&') return Fail(pos_, "`&` is not an operator: write `&&`");
  if (rest[0] == '|') return Fail(pos_, "`|` is not an operator: write `||`");
  if (static_cast<unsigned char>(rest[0]) >= 0x80) {
    return Fail(pos_, "letters outside ASCII are only allowed inside quotes: data[\"나이\"]");
  }
  return Fail(pos_, absl::StrCat("`", rest.substr(0, 1), "` does not belong in an expression"));
}

Token Lexer::String(size_t prefix_size, bool raw) {
  Token token;
  token.kind = TokenKind::kString;
  token.offset = pos_;
  const size_t start = pos_;
  pos_ += prefix_size;
  const char quote = source_[pos_];
  const bool triple = At(pos_ + 1) == quote && At(pos_ + 2) == quote;
  pos_ += triple ? 3 : 1;
  while (true) {
    if (pos_ >= source_.size()) return Fail(start, "the string has no closing quote");
    const char c = source_[pos_];
    if (c == quote && (!triple || (At(pos_ + 1) == quote && At(pos_ + 2) == quote))) {
      pos_ += triple ? 3 : 1;
      break;
    }
    if (!triple && (c == '\n' || c == '\r')) {
      return Fail(start, "a line ends inside the string: close the quote, or use three quotes");
    }
    if (c == '\\' && !raw) {
      if (!Escape(&token)) {
        return Fail(pos_, std::move(token.string));
      }
      continue;
    }
    token.string.push_back(c);
    ++pos_;
  }
  token.text = source_.substr(start, pos_ - start);
  return token;
}

bool Lexer::Escape(Token* token) {
  static constexpr char kFrom[] = "abfnrtv\\?\"'`";
  static constexpr char kTo[] = "\a\b\f\n\r\t\v\\?\"'`";
  const char c = At(pos_ + 1);
  for (size_t i = 0; c != '\0' && kFrom[i] != '\0'; ++i) {
    if (kFrom[i] == c) {
      token->string.push_back(kTo[i]);
      pos_ += 2;
      return true;
    }
  }
  if (c == 'x' || c == 'X') return CodePoint(2, token);
  if (c == 'u') return CodePoint(4, token);
  if (c == 'U') return CodePoint(8, token);
  if (c >= '0' && c <= '3') {
    uint32_t value = 0;
    for (int i = 1; i <= 3; ++i) {
      const char digit = At(pos_ + i);
      if (digit < '0' || digit > '7') {
        token->string = "an octal escape has three digits: \\101";
        return false;
      }
      value = value * 8 + (digit - '0');
    }
    AppendUtf8(value, &token->string);
    pos_ += 4;
    return true;
  }
  token->string =
      absl::StrCat("`\\", source_.substr(pos_ + 1, 1), "` is not an escape; for a backslash write \\\\, or r\"...\"");
  return false;
}

bool Lexer::CodePoint(int digits, Token* token) {
  uint32_t value = 0;
  for (int i = 0; i < digits; ++i) {
    const int digit = HexDigit(At(pos_ + 2 + i));
    if (digit < 0) {
      token->string = absl::StrCat("`\\", source_.substr(pos_ + 1, 1), "` needs ", digits, " hexadecimal digits");
      return false;
    }
    value = (value << 4) | static_cast<uint32_t>(digit);
  }
  if (!AppendUtf8(value, &token->string)) {
    token->string = "the escape is not a Unicode character";
    return false;
  }
  pos_ += 2 + digits;
  return true;
}

}  // namespace naru::cel
