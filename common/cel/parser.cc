#include "common/cel/parser.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/cel/lexer.h"
#include "common/event/utf8.h"

namespace naru::cel {
namespace {

using AstPtr = std::unique_ptr<Ast>;

/// Longest chain of operators or selections without brackets: bounds the recursion over the tree.
constexpr int kMaxChain = 256;

bool IsReserved(absl::string_view name) {
  static constexpr absl::string_view kReserved[] = {"as",        "break",  "const",  "continue", "else", "for",
                                                    "function",  "if",     "import", "let",      "loop", "package",
                                                    "namespace", "return", "var",    "void",     "while"};
  for (absl::string_view reserved : kReserved) {
    if (reserved == name) return true;
  }
  return false;
}

/// Recursive descent. After the first problem every function returns null; an error token matches nothing.
class Parser {
 public:
  Parser(absl::string_view source, CompileProblem* problem) : source_(source), lexer_(source), problem_(problem) {
    Advance();
  }

  AstPtr ParseAll() {
    if (token_.kind == TokenKind::kEnd) return Fail(0, "the expression is empty");
    AstPtr ast = Expression();
    if (ast != nullptr && token_.kind != TokenKind::kEnd) {
      Fail(token_.offset, absl::StrCat("`", token_.text, "` is too much here: an operator or the end was expected"));
    }
    return failed_ ? nullptr : std::move(ast);
  }

 private:
  void Advance() {
    token_ = lexer_.Next();
    if (token_.kind == TokenKind::kError) Fail(token_.offset, token_.string);
  }

  AstPtr Fail(size_t offset, std::string message) {
    if (!failed_) {
      failed_ = true;
      Locate(source_, offset, problem_);
      problem_->message = std::move(message);
    }
    return nullptr;
  }

  AstPtr FailHere(absl::string_view expected) {
    if (token_.kind == TokenKind::kEnd) {
      return Fail(token_.offset, absl::StrCat("the expression ends where ", expected, " was expected"));
    }
    return Fail(token_.offset, absl::StrCat("`", token_.text, "` stands where ", expected, " was expected"));
  }

  bool Expect(TokenKind kind, absl::string_view what) {
    if (token_.kind != kind) {
      FailHere(what);
      return false;
    }
    Advance();
    return !failed_;
  }

  AstPtr Make(AstKind kind, size_t offset) {
    auto ast = std::make_unique<Ast>();
    ast->kind = kind;
    ast->position.offset = offset;
    return ast;
  }

  AstPtr Operator(Op op, size_t offset, AstPtr left, AstPtr right = nullptr) {
    AstPtr ast = Make(AstKind::kOperator, offset);
    ast->op = op;
    ast->children.push_back(std::move(left));
    if (right != nullptr) ast->children.push_back(std::move(right));
    return ast;
  }

  bool TooLong(int* count) {
    if (++*count <= kMaxChain) return false;
    Fail(token_.offset,
         absl::StrCat("more than ", kMaxChain, " operators in a row: use brackets, or `in` with a list"));
    return true;
  }

  AstPtr Expression() {
    if (++depth_ > kMaxDepth + 1) {
      return Fail(token_.offset, absl::StrCat("brackets, calls and conditionals are more than ", kMaxDepth, " deep"));
    }
    AstPtr condition = Logic(TokenKind::kOr);
    if (condition != nullptr && token_.kind == TokenKind::kQuestion) {
      const size_t offset = token_.offset;
      Advance();
      AstPtr yes = Logic(TokenKind::kOr);
      if (yes == nullptr || !Expect(TokenKind::kColon, "the `:` of a conditional")) return nullptr;
      AstPtr no = Expression();
      if (no == nullptr) return nullptr;
      condition = Operator(Op::kConditional, offset, std::move(condition), std::move(yes));
      condition->children.push_back(std::move(no));
    }
    --depth_;
    return condition;
  }

  /// `||` over `&&` over comparisons; a whole chain is one node, as these are associative.
  AstPtr Logic(TokenKind kind) {
    const bool is_or = kind == TokenKind::kOr;
    AstPtr left = is_or ? Logic(TokenKind::kAnd) : Relation();
    if (left == nullptr || token_.kind != kind) return left;
    AstPtr chain = Operator(is_or ? Op::kOr : Op::kAnd, token_.offset, std::move(left));
    int count = 0;
    while (token_.kind == kind) {
      if (TooLong(&count)) return nullptr;
      Advance();
      AstPtr right = is_or ? Logic(TokenKind::kAnd) : Relation();
      if (right == nullptr) return nullptr;
      chain->children.push_back(std::move(right));
    }
    return chain;
  }

  Op RelationOp() const {
    switch (token_.kind) {
      case TokenKind::kEqual:
        return Op::kEqual;
      case TokenKind::kNotEqual:
        return Op::kNotEqual;
      case TokenKind::kLess:
        return Op::kLess;
      case TokenKind::kLessEqual:
        return Op::kLessEqual;
      case TokenKind::kGreater:
        return Op::kGreater;
      case TokenKind::kGreaterEqual:
        return Op::kGreaterEqual;
      case TokenKind::kName:
        return token_.text == "in" ? Op::kIn : Op::kNone;
      default:
        return Op::kNone;
    }
  }

  AstPtr Relation() {
    AstPtr left = Arithmetic(false);
    int count = 0;
    while (left != nullptr && RelationOp() != Op::kNone) {
      if (TooLong(&count)) return nullptr;
      const Op op = RelationOp();
      const size_t offset = token_.offset;
      Advance();
      AstPtr right = Arithmetic(false);
      if (right == nullptr) return nullptr;
      left = Operator(op, offset, std::move(left), std::move(right));
    }
    return left;
  }

  Op ArithmeticOp(bool products) const {
    switch (token_.kind) {
      case TokenKind::kPlus:
        return products ? Op::kNone : Op::kAdd;
      case TokenKind::kMinus:
        return products ? Op::kNone : Op::kSubtract;
      case TokenKind::kStar:
        return products ? Op::kMultiply : Op::kNone;
      case TokenKind::kSlash:
        return products ? Op::kDivide : Op::kNone;
      case TokenKind::kPercent:
        return products ? Op::kModulo : Op::kNone;
      default:
        return Op::kNone;
    }
  }

  /// Sums over products over unary operators.
  AstPtr Arithmetic(bool products) {
    AstPtr left = products ? Unary() : Arithmetic(true);
    int count = 0;
    while (left != nullptr && ArithmeticOp(products) != Op::kNone) {
      if (TooLong(&count)) return nullptr;
      const Op op = ArithmeticOp(products);
      const size_t offset = token_.offset;
      Advance();
      AstPtr right = products ? Unary() : Arithmetic(true);
      if (right == nullptr) return nullptr;
      left = Operator(op, offset, std::move(left), std::move(right));
    }
    return left;
  }

  AstPtr Unary() {
    const TokenKind kind = token_.kind;
    if (kind != TokenKind::kNot && kind != TokenKind::kMinus) return Member();
    const size_t offset = token_.offset;
    int count = 0;
    while (token_.kind == kind) {
      if (TooLong(&count)) return nullptr;
      Advance();
    }
    // The smallest int has no positive counterpart, so its sign belongs to the literal.
    const bool smallest =
        kind == TokenKind::kMinus && token_.kind == TokenKind::kInt && token_.text == "9223372036854775808";
    AstPtr operand = smallest ? SmallestInt() : Member();
    if (smallest) --count;
    for (int i = 0; operand != nullptr && i < count; ++i) {
      operand = Operator(kind == TokenKind::kNot ? Op::kNot : Op::kNegate, offset, std::move(operand));
    }
    return operand;
  }

  AstPtr SmallestInt() {
    AstPtr ast = Make(AstKind::kLiteral, token_.offset);
    ast->literal = Value::Int(INT64_MIN);
    Advance();
    return ast;
  }

  AstPtr Member() {
    AstPtr ast = Primary();
    int count = 0;
    while (ast != nullptr && (token_.kind == TokenKind::kDot || token_.kind == TokenKind::kLeftBracket)) {
      if (TooLong(&count)) return nullptr;
      const size_t offset = token_.offset;
      const bool dot = token_.kind == TokenKind::kDot;
      Advance();
      ast = dot ? Selection(std::move(ast)) : Indexing(offset, std::move(ast));
    }
    return ast;
  }

  AstPtr Selection(AstPtr target) {
    if (token_.kind != TokenKind::kName) return FailHere("the name of a field or function");
    const size_t offset = token_.offset;
    const std::string name(token_.text);
    if (name == "in" || name == "true" || name == "false" || name == "null") {
      return Fail(offset, absl::StrCat("`", name, "` is a word of the language; write [\"", name, "\"]"));
    }
    Advance();
    if (token_.kind == TokenKind::kLeftParen) {
      AstPtr call = Make(AstKind::kCall, offset);
      call->text = name;
      call->has_target = true;
      call->children.push_back(std::move(target));
      return Elements(TokenKind::kRightParen, std::move(call));
    }
    AstPtr select = Make(AstKind::kSelect, offset);
    select->text = name;
    select->children.push_back(std::move(target));
    return select;
  }

  AstPtr Indexing(size_t offset, AstPtr target) {
    AstPtr index = Expression();
    if (index == nullptr || !Expect(TokenKind::kRightBracket, "`]`")) return nullptr;
    AstPtr ast = Make(AstKind::kIndex, offset);
    ast->children.push_back(std::move(target));
    ast->children.push_back(std::move(index));
    return ast;
  }

  /// Reads `( a, b )` or `[ a, b ]` from its opening bracket on.
  AstPtr Elements(TokenKind close, AstPtr into) {
    const bool is_list = close == TokenKind::kRightBracket;
    Advance();
    while (token_.kind != close) {
      AstPtr element = Expression();
      if (element == nullptr) return nullptr;
      into->children.push_back(std::move(element));
      if (into->children.size() > kMaxListElements) {
        return Fail(token_.offset, absl::StrCat("more than ", kMaxListElements, " elements"));
      }
      if (token_.kind == close) break;
      if (!Expect(TokenKind::kComma, is_list ? "`,` or `]`" : "`,` or `)`")) return nullptr;
      if (token_.kind == close && !is_list) return FailHere("another argument");
    }
    Advance();
    return into;
  }

  AstPtr Primary() {
    switch (token_.kind) {
      case TokenKind::kInt:
        return IntLiteral();
      case TokenKind::kDouble:
        return DoubleLiteral();
      case TokenKind::kString: {
        AstPtr ast = Make(AstKind::kString, token_.offset);
        ast->text = token_.string;
        Advance();
        return ast;
      }
      case TokenKind::kLeftParen: {
        Advance();
        AstPtr inner = Expression();
        if (inner == nullptr || !Expect(TokenKind::kRightParen, "`)`")) return nullptr;
        return inner;
      }
      case TokenKind::kLeftBracket:
        return Elements(TokenKind::kRightBracket, Make(AstKind::kList, token_.offset));
      case TokenKind::kLeftBrace:
        return Fail(token_.offset, "map literals are not supported");
      case TokenKind::kDot:
        Advance();
        return token_.kind == TokenKind::kName ? NameOrCall() : FailHere("a name");
      case TokenKind::kName:
        return NameOrCall();
      default:
        return FailHere("a value");
    }
  }

  AstPtr IntLiteral() {
    AstPtr ast = Make(AstKind::kLiteral, token_.offset);
    const bool hexadecimal = token_.text.size() > 2 && (token_.text[1] == 'x' || token_.text[1] == 'X');
    const char* begin = token_.text.data() + (hexadecimal ? 2 : 0);
    const char* end = token_.text.data() + token_.text.size();
    int64_t value = 0;
    const auto result = std::from_chars(begin, end, value, hexadecimal ? 16 : 10);
    if (result.ec != std::errc() || result.ptr != end) {
      return Fail(token_.offset,
                  absl::StrCat("`", token_.text, "` is too large for an int: at most 9223372036854775807"));
    }
    ast->literal = Value::Int(value);
    Advance();
    return ast;
  }

  AstPtr DoubleLiteral() {
    AstPtr ast = Make(AstKind::kLiteral, token_.offset);
    // Unlike from_chars it rounds what is too small to zero.
    const double value = std::strtod(std::string(token_.text).c_str(), nullptr);
    if (std::isinf(value)) {
      return Fail(token_.offset, absl::StrCat("`", token_.text, "` is out of a double's range"));
    }
    ast->literal = Value::Double(value);
    Advance();
    return ast;
  }

  AstPtr NameOrCall() {
    const size_t offset = token_.offset;
    const std::string name(token_.text);
    AstPtr ast = Make(AstKind::kLiteral, offset);
    if (name == "true" || name == "false" || name == "null") {
      if (name != "null") ast->literal = Value::Bool(name == "true");
      Advance();
      return ast;
    }
    if (name == "in") return FailHere("a value");
    if (IsReserved(name)) return Fail(offset, absl::StrCat("`", name, "` is a reserved word"));
    Advance();
    ast->text = name;
    if (token_.kind == TokenKind::kLeftParen) {
      ast->kind = AstKind::kCall;
      return Elements(TokenKind::kRightParen, std::move(ast));
    }
    if (token_.kind == TokenKind::kLeftBrace) return Fail(token_.offset, "message literals are not supported");
    ast->kind = AstKind::kName;
    return ast;
  }

  absl::string_view source_;
  Lexer lexer_;
  CompileProblem* problem_;
  Token token_;
  int depth_ = 0;
  bool failed_ = false;
};

}  // namespace

absl::string_view OpText(Op op) {
  switch (op) {
    case Op::kNone:
      return "";
    case Op::kAnd:
      return "&&";
    case Op::kOr:
      return "||";
    case Op::kNot:
      return "!";
    case Op::kNegate:
      return "-";
    case Op::kConditional:
      return "?:";
    case Op::kEqual:
      return "==";
    case Op::kNotEqual:
      return "!=";
    case Op::kLess:
      return "<";
    case Op::kLessEqual:
      return "<=";
    case Op::kGreater:
      return ">";
    case Op::kGreaterEqual:
      return ">=";
    case Op::kIn:
      return "in";
    case Op::kAdd:
      return "+";
    case Op::kSubtract:
      return "-";
    case Op::kMultiply:
      return "*";
    case Op::kDivide:
      return "/";
    case Op::kModulo:
      return "%";
  }
  return "";
}

void Locate(absl::string_view source, size_t offset, CompileProblem* problem) {
  problem->line = 1;
  problem->column = 1;
  for (size_t i = 0; i < offset && i < source.size(); ++i) {
    if (source[i] == '\n') {
      ++problem->line;
      problem->column = 1;
    } else if ((static_cast<unsigned char>(source[i]) & 0xC0) != 0x80) {
      ++problem->column;
    }
  }
}

std::unique_ptr<Ast> Parse(absl::string_view source, CompileProblem* problem) {
  if (source.size() > kMaxSourceBytes) {
    Locate(source, kMaxSourceBytes, problem);
    problem->message = absl::StrCat("the expression has ", source.size(), " bytes; at most ", kMaxSourceBytes);
    return nullptr;
  }
  if (!event::ValidUtf8(source)) {
    Locate(source, 0, problem);
    problem->message = "the expression is not valid UTF-8";
    return nullptr;
  }
  return Parser(source, problem).ParseAll();
}

}  // namespace naru::cel
