#include <fmt/format.h>

#include <algorithm>

#include "tokenizers/jinja_expressions-inl.h"

namespace headscope::jinja {

namespace {

class Parser : private ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;
  Body whole() { return body({}); }

 private:
  // Statements up to one of `ends`, whose name is taken.
  Body body(std::initializer_list<std::string_view> ends) {
    const Level level(*this);
    Body out;
    while (true) {
      Stmt stmt;
      stmt.line = now().line;
      if (now().kind == Token::Kind::kText) {
        stmt.text = take().text;
      } else if (now().kind == Token::Kind::kPrintBegin) {
        take();
        stmt.kind = Stmt::Kind::kPrint;
        stmt.value = tuple("}}", false);
        need(Token::Kind::kPrintEnd);
      } else if (now().kind == Token::Kind::kTagBegin) {
        take();
        if (std::any_of(ends.begin(), ends.end(), [&](auto end) { return is_word(end); })) {
          return out;
        }
        tag(stmt);
      } else if (ends.size() == 0 && now().kind == Token::Kind::kEnd) {
        return out;
      } else {
        fail(fmt::format("expected {{% {} %}}, found {}",
                         ends.size() == 0 ? "tag" : *(ends.end() - 1),
                         shown(now())));
      }
      out.push_back(std::make_unique<const Stmt>(std::move(stmt)));
    }
  }

  // As body, for the one tag that ends it.
  Body block(std::string_view end) {
    need(Token::Kind::kTagEnd);
    Body out = body({end});
    take();
    need(Token::Kind::kTagEnd);
    return out;
  }

  void tag(Stmt& stmt) {
    const std::string name = now().kind == Token::Kind::kName ? now().text : std::string();
    if (name.empty()) fail("expected the name of a tag, found " + shown(now()));
    take();
    if (name == "if") {
      tag_if(stmt);
    } else if (name == "for") {
      tag_for(stmt);
    } else if (name == "set") {
      tag_set(stmt);
    } else if (name == "macro") {
      stmt.kind = Stmt::Kind::kMacro;
      stmt.text = need_name();
      need("(");
      parameters(stmt);
      macro_body(stmt, "endmacro");
    } else if (name == "call") {
      stmt.kind = Stmt::Kind::kCall;
      if (skip("(")) parameters(stmt);
      stmt.value = condition();
      if (stmt.value->kind != Kind::kCall) fail("expected a call of a macro after call");
      macro_body(stmt, "endcall");
    } else if (name == "filter") {
      stmt.kind = Stmt::Kind::kFilter;
      stmt.value = filters(call(Kind::kFilter, dotted_name(), nullptr));
      stmt.body = block("endfilter");
    } else if (name == "with") {
      tag_with(stmt);
    } else if (name == "generation") {
      stmt.kind = Stmt::Kind::kScope;
      stmt.body = block("endgeneration");
    } else if (name == "break" || name == "continue") {
      if (loops_ == 0) fail(fmt::format("expected {} inside a loop, found it outside", name));
      stmt.kind = name == "break" ? Stmt::Kind::kBreak : Stmt::Kind::kContinue;
      need(Token::Kind::kTagEnd);
    } else {
      fail(fmt::format("expected a tag of if, for, set, macro, call, filter, with, raw, "
                       "generation, break or continue, found {}",
                       json::quote(name)),
           name.starts_with("end") || name == "else" || name == "elif" ? ErrorCode::kInput
                                                                       : ErrorCode::kUnsupported);
    }
  }

  void macro_body(Stmt& stmt, std::string_view end) {
    const Uses outer = std::exchange(uses_, {});
    stmt.body = block(end);
    stmt.uses_varargs = uses_.uses_varargs;
    stmt.uses_kwargs = uses_.uses_kwargs;
    stmt.uses_caller = uses_.uses_caller;
    uses_ = outer;
  }

  void tag_if(Stmt& stmt) {
    stmt.kind = Stmt::Kind::kIf;
    stmt.value = tuple("%}", false);
    need(Token::Kind::kTagEnd);
    stmt.body = body({"elif", "else", "endif"});
    if (skip_word("elif")) {
      const Level level(*this);
      Stmt next;
      next.line = now().line;
      tag_if(next);
      stmt.other.push_back(std::make_unique<const Stmt>(std::move(next)));
      return;
    }
    if (skip_word("else")) {
      need(Token::Kind::kTagEnd);
      stmt.other = body({"endif"});
    }
    take();
    need(Token::Kind::kTagEnd);
  }

  void tag_for(Stmt& stmt) {
    stmt.kind = Stmt::Kind::kFor;
    stmt.target = target(false);
    if (!skip_word("in")) fail("expected in, found " + shown(now()));
    Expr tuple_of = node(Kind::kTuple);
    bool comma = false;
    do {
      if (comma && (now().kind == Token::Kind::kTagEnd || is_word("recursive"))) break;
      tuple_of.items.push_back(condition(false));
      comma = skip(",");
    } while (comma);
    stmt.value = tuple_of.items.size() == 1 && !comma ? std::move(tuple_of.items[0])
                                                      : done(std::move(tuple_of));
    if (skip_word("if")) stmt.condition = condition();
    stmt.recursive = skip_word("recursive");
    need(Token::Kind::kTagEnd);
    ++loops_;
    stmt.body = body({"else", "endfor"});
    --loops_;
    if (skip_word("else")) {
      need(Token::Kind::kTagEnd);
      stmt.other = body({"endfor"});
    }
    take();
    need(Token::Kind::kTagEnd);
  }

  void tag_set(Stmt& stmt) {
    stmt.target = target(true);
    if (skip("=")) {
      stmt.kind = Stmt::Kind::kSet;
      stmt.value = tuple("%}", false);
      need(Token::Kind::kTagEnd);
      return;
    }
    stmt.kind = Stmt::Kind::kCapture;
    if (is("|")) stmt.value = filters(nullptr);
    stmt.body = block("endset");
  }

  void tag_with(Stmt& stmt) {
    stmt.kind = Stmt::Kind::kWith;
    while (now().kind != Token::Kind::kTagEnd) {
      if (!stmt.targets.empty()) need(",");
      stmt.targets.push_back(target(false));
      need("=");
      stmt.values.push_back(condition());
    }
    stmt.body = block("endwith");
  }

  void parameters(Stmt& stmt) {
    while (!skip(")")) {
      if (!stmt.parameters.empty()) need(",");
      if (skip(")")) return;
      Parameter parameter{need_name(), nullptr};
      if (skip("=")) {
        parameter.fallback = condition();
      } else if (!stmt.parameters.empty() && stmt.parameters.back().fallback) {
        fail("expected a default for every parameter behind one that has a default");
      }
      stmt.parameters.push_back(std::move(parameter));
    }
  }

  int loops_ = 0;
};

}  // namespace

Body parse(std::string_view source, int depth, int& line) {
  std::vector<Token> tokens = tokenize(source, line);
  line = 1;
  return Parser(std::move(tokens), depth, line).whole();
}

}  // namespace headscope::jinja
