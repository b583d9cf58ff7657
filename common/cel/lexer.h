// Cuts an expression's text into tokens.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace naru::cel {

enum class TokenKind : uint8_t {
  kEnd,
  kName,
  kInt,
  kDouble,
  kString,
  kError,
  kLeftParen,
  kRightParen,
  kLeftBracket,
  kRightBracket,
  kLeftBrace,
  kRightBrace,
  kDot,
  kComma,
  kQuestion,
  kColon,
  kPlus,
  kMinus,
  kStar,
  kSlash,
  kPercent,
  kNot,
  kAnd,
  kOr,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
};

/// A token. `text` points into the source, except for strings, whose escapes are resolved in `string`.
struct Token {
  TokenKind kind = TokenKind::kEnd;
  size_t offset = 0;  ///< in bytes
  absl::string_view text;
  std::string string;  ///< kString: the value; kError: what was wrong and what would be right
};

/// Reads tokens from first to last. The source is borrowed.
class Lexer {
 public:
  explicit Lexer(absl::string_view source) : source_(source) {}
  Token Next();

 private:
  char At(size_t offset) const { return offset < source_.size() ? source_[offset] : '\0'; }
  void SkipBlanks();
  Token Make(TokenKind kind, size_t size);
  Token Fail(size_t offset, std::string message);
  Token Number();
  Token Name();
  Token Punctuation();
  Token String(size_t prefix_size, bool raw);
  bool Escape(Token* token);
  bool CodePoint(int digits, Token* token);

  absl::string_view source_;
  size_t pos_ = 0;
};

/// Appends a code point as UTF-8; false for surrogates and beyond U+10FFFF.
bool AppendUtf8(uint32_t code_point, std::string* out);

}  // namespace naru::cel
