#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "formats/json.h"
#include "tokenizers/jinja_syntax.h"

namespace headscope::jinja {

using Kind = Expr::Kind;

[[noreturn]] inline void fail(std::string message, ErrorCode code = ErrorCode::kInput) {
  throw Failure{code, std::move(message)};
}

inline std::string shown(const Token& token) {
  switch (token.kind) {
    case Token::Kind::kText:
      return "text";
    case Token::Kind::kPrintBegin:
      return "{{";
    case Token::Kind::kPrintEnd:
      return "}}";
    case Token::Kind::kTagBegin:
      return "{%";
    case Token::Kind::kTagEnd:
      return "%}";
    case Token::Kind::kEnd:
      return "the template's end";
    default:
      return json::quote(token.text);
  }
}

/// Expressions, loosest operators first; the parser of statements stands on it.
class ExpressionParser {
 public:
  ExpressionParser(std::vector<Token> tokens, int depth, int& line)
      : tokens_(std::move(tokens)), most_(depth), line_(line) {}

 protected:
  // What is looked at, and steps.
  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& take() {
    const Token& token = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    line_ = now().line;
    return token;
  }
  [[nodiscard]] bool is(std::string_view symbol) const {
    return now().kind == Token::Kind::kOperator && now().text == symbol;
  }
  [[nodiscard]] bool is_word(std::string_view word) const {
    return now().kind == Token::Kind::kName && now().text == word;
  }
  bool skip(std::string_view symbol) {
    if (!is(symbol)) return false;
    take();
    return true;
  }
  bool skip_word(std::string_view word) {
    if (!is_word(word)) return false;
    take();
    return true;
  }
  void need(std::string_view symbol) {
    if (!skip(symbol)) fail(fmt::format("expected {}, found {}", symbol, shown(now())));
  }
  void need(Token::Kind kind) {
    if (now().kind != kind) {
      fail(fmt::format("expected {}, found {}", shown({kind, 0, ""}), shown(now())));
    }
    take();
  }
  std::string need_name() {
    if (now().kind != Token::Kind::kName) fail("expected a name, found " + shown(now()));
    return take().text;
  }

  // Holds the nesting of what is being parsed.
  class Level {
   public:
    explicit Level(ExpressionParser& parser) : parser_(parser) {
      if (++parser_.depth_ > parser_.most_) parser_.too_deep();
    }
    ~Level() { --parser_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    ExpressionParser& parser_;
  };
  [[noreturn]] void too_deep() const {
    fail(fmt::format("expected at most {} nested parts, found more", most_), ErrorCode::kResources);
  }

  // Nodes.
  Expr node(Kind kind) const {
    Expr out;
    out.kind = kind;
    out.line = now().line;
    return out;
  }
  ExprPtr done(Expr expr) const {
    const auto below = [&](const ExprPtr& child) {
      if (child) expr.depth = std::max(expr.depth, child->depth + 1);
    };
    for (const ExprPtr& item : expr.items) below(item);
    for (const auto& item : expr.named) below(item.second);
    below(expr.more);
    below(expr.more_named);
    if (expr.depth > most_) too_deep();
    return std::make_unique<const Expr>(std::move(expr));
  }
  template <typename... Items>
  ExprPtr make(Kind kind, std::string name, Items... items) const {
    Expr out = node(kind);
    out.name = std::move(name);
    (out.items.push_back(std::move(items)), ...);
    return done(std::move(out));
  }

  // Expressions, loosest first.
  ExprPtr condition(bool with_condition = true) {
    const Level level(*this);
    ExprPtr left = disjunction();
    while (with_condition && skip_word("if")) {
      ExprPtr test = disjunction();
      ExprPtr other = skip_word("else") ? condition() : nullptr;
      left = make(Kind::kCondition, "", std::move(left), std::move(test), std::move(other));
    }
    return left;
  }

  ExprPtr disjunction() {
    ExprPtr left = conjunction();
    while (skip_word("or")) left = make(Kind::kOr, "", std::move(left), conjunction());
    return left;
  }

  ExprPtr conjunction() {
    ExprPtr left = negation();
    while (skip_word("and")) left = make(Kind::kAnd, "", std::move(left), negation());
    return left;
  }

  ExprPtr negation() {
    const Level level(*this);
    if (skip_word("not")) return make(Kind::kUnary, "not", negation());
    return comparison();
  }

  ExprPtr comparison() {
    constexpr std::array<std::string_view, 6> kOperators = {"==", "!=", "<=", ">=", "<", ">"};
    Expr out = node(Kind::kCompare);
    out.items.push_back(sum());
    while (true) {
      const auto* found = std::find_if(
          kOperators.begin(), kOperators.end(), [&](std::string_view op) { return is(op); });
      if (found != kOperators.end()) {
        out.names.push_back(take().text);
      } else if (skip_word("in")) {
        out.names.emplace_back("in");
      } else if (is_word("not") && ahead().kind == Token::Kind::kName && ahead().text == "in") {
        take();
        take();
        out.names.emplace_back("not in");
      } else {
        break;
      }
      out.items.push_back(sum());
    }
    return out.names.empty() ? std::move(out.items[0]) : done(std::move(out));
  }

  template <typename Next>
  ExprPtr left_to_right(std::initializer_list<std::string_view> symbols, Next next) {
    ExprPtr left = next();
    while (std::any_of(symbols.begin(), symbols.end(), [&](auto symbol) { return is(symbol); })) {
      std::string symbol = take().text;
      left = make(Kind::kBinary, std::move(symbol), std::move(left), next());
    }
    return left;
  }
  ExprPtr sum() {
    return left_to_right({"+", "-"}, [&] { return concatenation(); });
  }
  ExprPtr concatenation() {
    Expr out = node(Kind::kConcat);
    out.items.push_back(product());
    while (skip("~")) out.items.push_back(product());
    return out.items.size() == 1 ? std::move(out.items[0]) : done(std::move(out));
  }
  ExprPtr product() {
    return left_to_right({"*", "/", "//", "%"}, [&] { return power(); });
  }
  ExprPtr power() {  // from left to right in Jinja, unlike in Python
    return left_to_right({"**"}, [&] { return unary(true); });
  }

  ExprPtr unary(bool with_filters) {
    const Level level(*this);
    ExprPtr out;
    if (is("-") || is("+")) {
      std::string symbol = take().text;
      out = make(Kind::kUnary, std::move(symbol), unary(false));
    } else {
      out = primary();
    }
    out = postfix(std::move(out));
    return with_filters ? filters(std::move(out)) : std::move(out);
  }

  ExprPtr constant(Value value) const {
    Expr out = node(Kind::kConstant);
    out.value = std::move(value);
    return done(std::move(out));
  }

  ExprPtr primary() {
    const Token token = now();
    switch (token.kind) {
      case Token::Kind::kName:
        take();
        if (token.text == "true" || token.text == "True") return constant(Value::of(true));
        if (token.text == "false" || token.text == "False") return constant(Value::of(false));
        if (token.text == "none" || token.text == "None") return constant(Value());
        if (token.text == "varargs") uses_.uses_varargs = true;
        if (token.text == "kwargs") uses_.uses_kwargs = true;
        if (token.text == "caller") uses_.uses_caller = true;
        return make(Kind::kName, token.text);
      case Token::Kind::kString: {
        std::string text;
        while (now().kind == Token::Kind::kString) text += take().text;
        return constant(Value::of(std::move(text)));
      }
      case Token::Kind::kInteger:
        take();
        return constant(integer(token.text));
      case Token::Kind::kFloat:
        take();
        return constant(Value::of(std::strtod(token.text.c_str(), nullptr)));
      default:
        break;
    }
    if (skip("(")) {
      ExprPtr inside = tuple(")", true);
      need(")");
      return inside;
    }
    if (skip("[")) return list();
    if (skip("{")) return dict();
    fail("expected an expression, found " + shown(token));
  }

  static Value integer(const std::string& digits) {
    const int base = digits.size() > 2 && digits[1] == 'x'   ? 16
                     : digits.size() > 2 && digits[1] == 'o' ? 8
                     : digits.size() > 2 && digits[1] == 'b' ? 2
                                                             : 10;
    const char* begin = digits.data() + (base == 10 ? 0 : 2);
    const char* end = digits.data() + digits.size();
    std::int64_t number = 0;
    const auto [stop, error] = std::from_chars(begin, end, number, base);
    if (error != std::errc() || stop != end) {
      fail("expected a whole number of at most 64 bits, found " + json::quote(digits));
    }
    return Value::of(number);
  }

  // Expressions with commas between them: a tuple; one without a comma is itself.
  ExprPtr tuple(std::string_view end, bool may_be_empty) {
    Expr out = node(Kind::kTuple);
    bool comma = false;
    while (!is(end) && now().kind != Token::Kind::kTagEnd && now().kind != Token::Kind::kPrintEnd) {
      if (!out.items.empty() && !comma) break;
      out.items.push_back(condition());
      comma = skip(",");
    }
    if (out.items.size() == 1 && !comma) return std::move(out.items[0]);
    if (out.items.empty() && !may_be_empty) fail("expected an expression, found " + shown(now()));
    return done(std::move(out));
  }

  ExprPtr list() {
    Expr out = node(Kind::kList);
    while (!skip("]")) {
      if (!out.items.empty()) need(",");
      if (skip("]")) break;
      out.items.push_back(condition());
    }
    return done(std::move(out));
  }

  ExprPtr dict() {
    Expr out = node(Kind::kDict);
    while (!skip("}")) {
      if (!out.items.empty()) need(",");
      if (skip("}")) break;
      out.items.push_back(condition());
      need(":");
      out.items.push_back(condition());
    }
    return done(std::move(out));
  }

  ExprPtr postfix(ExprPtr left) {
    while (true) {
      if (skip(".")) {
        if (now().kind == Token::Kind::kInteger) {
          left = make(Kind::kItem, "", std::move(left), constant(integer(take().text)));
        } else {
          left = make(Kind::kAttribute, need_name(), std::move(left));
        }
      } else if (skip("[")) {
        left = item(std::move(left));
      } else if (is("(")) {
        left = call(Kind::kCall, "", std::move(left));
      } else {
        return left;
      }
    }
  }

  ExprPtr item(ExprPtr left) {
    std::array<ExprPtr, 3> parts;
    std::size_t colons = 0;
    while (!is("]")) {
      if (is(":") && colons < 2) {
        take();
        ++colons;
      } else if (!parts[colons]) {
        parts[colons] = condition();
        if (colons == 0 && is(",")) fail("expected one item in [], found several");
      } else {
        fail("expected ], found " + shown(now()));
      }
    }
    take();
    if (colons > 0) {
      return make(Kind::kSlice,
                  "",
                  std::move(left),
                  std::move(parts[0]),
                  std::move(parts[1]),
                  std::move(parts[2]));
    }
    if (!parts[0]) fail("expected an item in [], found none");
    return make(Kind::kItem, "", std::move(left), std::move(parts[0]));
  }

  // (arguments), or nothing for filters and tests without.
  ExprPtr call(Kind kind, std::string name, ExprPtr left) {
    Expr out = node(kind);
    out.name = std::move(name);
    out.items.push_back(std::move(left));
    if (skip("(")) arguments(out);
    return done(std::move(out));
  }

  void arguments(Expr& out) {
    bool first = true;
    while (!skip(")")) {
      if (!first) need(",");
      first = false;
      if (skip(")")) return;
      if (skip("**")) {
        if (out.more_named) fail("expected one ** in a call, found two");
        out.more_named = condition();
      } else if (skip("*")) {
        if (out.more) fail("expected one * in a call, found two");
        out.more = condition();
      } else if (now().kind == Token::Kind::kName && ahead().kind == Token::Kind::kOperator &&
                 ahead().text == "=") {
        std::string name = take().text;
        take();
        out.named.emplace_back(std::move(name), condition());
      } else {
        if (!out.named.empty() || out.more_named) {
          fail("expected arguments by position before those by name");
        }
        out.items.push_back(condition());
      }
    }
  }

  std::string dotted_name() {
    std::string name = need_name();
    while (skip(".")) name += '.' + need_name();
    return name;
  }

  ExprPtr filters(ExprPtr left) {
    while (true) {
      if (skip("|")) {
        left = call(Kind::kFilter, dotted_name(), std::move(left));
      } else if (is_word("is")) {
        left = test(std::move(left));
      } else if (is("(")) {
        left = call(Kind::kCall, "", std::move(left));
      } else {
        return left;
      }
    }
  }

  ExprPtr test(ExprPtr left) {
    take();
    const bool negated = skip_word("not");
    Expr out = node(Kind::kTest);
    out.name = dotted_name();
    out.items.push_back(std::move(left));
    const Token::Kind kind = now().kind;
    const bool word = kind == Token::Kind::kName && !is_word("else") && !is_word("or") &&
                      !is_word("and") && !is_word("if");
    if (skip("(")) {
      arguments(out);
    } else if (word || kind == Token::Kind::kString || kind == Token::Kind::kInteger ||
               kind == Token::Kind::kFloat || is("[") || is("{")) {
      if (is_word("is")) fail("expected one test after is, found a chain of them");
      const Level level(*this);
      out.items.push_back(postfix(primary()));
    }
    ExprPtr result = done(std::move(out));
    return negated ? make(Kind::kUnary, "not", std::move(result)) : std::move(result);
  }

  // `name`, `name.attribute`, `a, b`, `(a, b)`: what can be assigned to.
  ExprPtr target(bool with_attribute) {
    Expr out = node(Kind::kTuple);
    bool comma = false;
    const Level level(*this);
    do {
      if (comma && !is("(") && (now().kind != Token::Kind::kName || is_word("in"))) break;
      if (skip("(")) {
        out.items.push_back(target(false));
        need(")");
      } else {
        std::string name = need_name();
        constexpr std::array<std::string_view, 6> kConstants = {
            "true", "false", "none", "True", "False", "None"};
        if (std::find(kConstants.begin(), kConstants.end(), name) != kConstants.end()) {
          fail("expected a name to assign to, found " + name);
        }
        ExprPtr one = make(Kind::kName, std::move(name));
        if (with_attribute && skip(".")) return make(Kind::kAttribute, need_name(), std::move(one));
        out.items.push_back(std::move(one));
      }
      comma = skip(",");
    } while (comma);
    if (out.items.size() == 1 && !comma) return std::move(out.items[0]);
    return done(std::move(out));
  }

  struct Uses {
    bool uses_varargs = false;
    bool uses_kwargs = false;
    bool uses_caller = false;
  };

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  Uses uses_;
  int depth_ = 0;
  int most_;
  int& line_;
};

}  // namespace headscope::jinja
