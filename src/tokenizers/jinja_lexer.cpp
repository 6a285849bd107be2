#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "formats/json.h"
#include "tokenizers/jinja_syntax.h"
#include "tokenizers/jinja_text.h"
#include "tokenizers/unicode.h"

namespace headscope::jinja {

namespace {

[[noreturn]] void fail(std::string message) {
  throw Failure{ErrorCode::kInput, std::move(message)};
}

// All line ends become \n, and one at the very end goes.
std::string with_plain_lines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      out += '\n';
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::optional<std::uint32_t> hex_digits(std::string_view text) {
  std::uint32_t code = 0;
  for (const char c : text) {
    const std::size_t digit =
        std::string_view("0123456789abcdef").find(static_cast<char>(c | 0x20));
    if (is_digit(c)) {
      code = code * 16 + static_cast<std::uint32_t>(c - '0');
    } else if (digit != std::string_view::npos && digit >= 10) {
      code = code * 16 + static_cast<std::uint32_t>(digit);
    } else {
      return std::nullopt;
    }
  }
  return code;
}

// The text that a literal stands for, with the escapes of Python.
std::string unescaped(std::string_view inside) {
  constexpr std::string_view kLetters = "abfnrtv\\'\"";
  constexpr std::string_view kMeaning = "\a\b\f\n\r\t\v\\'\"";
  std::string out;
  for (std::size_t i = 0; i < inside.size(); ++i) {
    if (inside[i] != '\\' || i + 1 == inside.size()) {
      out += inside[i];
      continue;
    }
    const char c = inside[++i];
    const std::size_t letter = kLetters.find(c);
    const std::size_t width = c == 'x' ? 2 : (c == 'u' ? 4 : (c == 'U' ? 8 : 0));
    if (letter != kLetters.npos) {
      out += kMeaning[letter];
    } else if (c == '\n') {  // a line that goes on
    } else if (width > 0) {
      const std::string_view digits = inside.substr(i + 1, width);
      const auto code = digits.size() == width ? hex_digits(digits) : std::nullopt;
      if (!code || *code > 0x10FFFF || (*code >= 0xD800 && *code < 0xE000)) {
        fail(fmt::format("expected {} hexadecimal digits of a character after \\{}", width, c));
      }
      tokenizers::append_utf8(static_cast<char32_t>(*code), out);
      i += width;
    } else if (c >= '0' && c <= '7') {
      std::uint32_t code = 0;
      std::size_t end = i;
      for (; end < inside.size() && end < i + 3 && inside[end] >= '0' && inside[end] <= '7'; ++end)
        code = code * 8 + static_cast<std::uint32_t>(inside[end] - '0');
      tokenizers::append_utf8(static_cast<char32_t>(code), out);
      i = end - 1;
    } else {
      out += '\\';
      out += c;
    }
  }
  return out;
}

class Lexer {
 public:
  Lexer(std::string_view source, int& line) : source_(with_plain_lines(source)), line_(line) {}

  std::vector<Token> run() {
    line_ = 1;
    while (at_ < source_.size()) outside();
    add(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[nodiscard]] std::string_view rest() const { return std::string_view(source_).substr(at_); }
  [[nodiscard]] char peek(std::size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }

  void add(Token::Kind kind, std::string text) {
    tokens_.push_back({kind, line_, std::move(text)});
  }

  // Goes to `end`, counting lines.
  void go_to(std::size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(end),
                                         '\n'));
    at_ = end;
  }

  void skip_space() {
    const std::string_view left = strip(rest(), Sides::kLeft, std::nullopt);
    go_to(source_.size() - left.size());
  }

  // Text up to the next tag, and the tag's opening.
  void outside() {
    std::size_t open = source_.find('{', at_);
    while (open != source_.npos &&
           (open + 1 == source_.size() ||
            std::string_view("{%#").find(source_[open + 1]) == std::string_view::npos)) {
      open = source_.find('{', open + 1);
    }
    if (open == source_.npos) open = source_.size();
    std::string_view text = std::string_view(source_).substr(at_, open - at_);
    const char sign = open + 2 < source_.size() ? source_[open + 2] : '\0';
    const bool is_tag = open < source_.size();
    if (is_tag && sign == '-') {
      text = strip(text, Sides::kRight, std::nullopt);
    } else if (is_tag && sign != '+' && source_[open + 1] != '{') {
      const std::size_t line_begin = text.rfind('\n') + 1;  // npos + 1 is 0
      const std::string_view indent = text.substr(line_begin);
      if ((line_begin > 0 || line_starts_) && strip(indent, Sides::kLeft, std::nullopt).empty())
        text = text.substr(0, line_begin);
    }
    if (!text.empty()) add(Token::Kind::kText, std::string(text));
    go_to(open);
    if (!is_tag) return;
    const char kind = peek(1);
    go_to(at_ + (sign == '-' || sign == '+' ? 3 : 2));
    if (kind == '#') {
      comment();
    } else if (kind == '%' && raw()) {
      return;
    } else {
      add(kind == '{' ? Token::Kind::kPrintBegin : Token::Kind::kTagBegin, "");
      inside(kind == '{');
    }
  }

  // Behind a closing bracket: what `-` and trim_blocks take away.
  void close(std::size_t end, char sign, bool trims_line) {
    go_to(end);
    if (sign == '-') {
      skip_space();
    } else if (sign != '+' && trims_line && peek() == '\n') {
      go_to(at_ + 1);
    }
    line_starts_ = at_ > 0 && source_[at_ - 1] == '\n';
  }

  void comment() {
    const std::size_t end = source_.find("#}", at_);
    if (end == source_.npos) fail("expected a comment that ends with #}, found the template's end");
    const char sign = end > at_ ? source_[end - 1] : '\0';
    close(end + 2, sign, true);
  }

  // {% raw %} ... {% endraw %}: text as it stands. False when this tag is another.
  bool raw() {
    std::size_t i = at_;
    const auto spaces = [&] {
      while (i < source_.size() &&
             std::string_view(" \t\n\v\f").find(source_[i]) != std::string_view::npos)
        ++i;
    };
    spaces();
    if (source_.compare(i, 3, "raw") != 0) return false;
    i += 3;
    spaces();
    const bool strips = i < source_.size() && source_[i] == '-';
    if (strips) ++i;
    if (source_.compare(i, 2, "%}") != 0) return false;
    close(i + 2, strips ? '-' : '\0', false);
    for (std::size_t open = source_.find("{%", at_); open != source_.npos;
         open = source_.find("{%", open + 2)) {
      i = open + 2;
      const char before = i < source_.size() ? source_[i] : '\0';
      if (before == '-' || before == '+') ++i;
      spaces();
      if (source_.compare(i, 6, "endraw") != 0) continue;
      i += 6;
      spaces();
      const char sign = i < source_.size() ? source_[i] : '\0';
      if (sign == '-' || sign == '+') ++i;
      if (source_.compare(i, 2, "%}") != 0) continue;
      std::string_view text = std::string_view(source_).substr(at_, open - at_);
      if (before == '-') {
        text = strip(text, Sides::kRight, std::nullopt);
      } else if (before != '+') {
        const std::size_t begin = text.rfind('\n') + 1;
        if ((begin > 0 || line_starts_) &&
            strip(text.substr(begin), Sides::kLeft, std::nullopt).empty())
          text = text.substr(0, begin);
      }
      add(Token::Kind::kText, std::string(text));
      close(i + 2, sign, true);
      return true;
    }
    fail("expected {% endraw %}, found the template's end");
  }

  // Up to the end of {{ }} or {% %}.
  void inside(bool prints) {
    const std::string_view end = prints ? "}}" : "%}";
    std::string brackets;
    while (true) {
      if (brackets.empty()) {
        const char sign = peek();
        const std::size_t skip = sign == '-' || (sign == '+' && !prints) ? 1 : 0;
        if (rest().substr(skip).starts_with(end)) {
          add(prints ? Token::Kind::kPrintEnd : Token::Kind::kTagEnd, "");
          close(at_ + skip + 2, skip == 1 ? sign : '\0', !prints);
          return;
        }
      }
      if (at_ >= source_.size()) fail(fmt::format("expected {}, found the template's end", end));
      token(brackets);
    }
  }

  void token(std::string& brackets) {
    const std::size_t before = at_;
    skip_space();
    if (at_ > before) return;
    const char c = peek();
    if (is_digit(c)) {
      number();
    } else if (c == '\'' || c == '"') {
      text();
    } else if (!name()) {
      symbol(brackets);
    }
  }

  bool name() {
    std::size_t end = at_;
    while (end < source_.size()) {
      std::size_t next = end;
      const char32_t c = tokenizers::next_utf8(source_, next);
      if (c == tokenizers::kNotUtf8 || !(c == '_' || tokenizers::is_word(c))) break;
      end = next;
    }
    if (end == at_) return false;
    add(Token::Kind::kName, source_.substr(at_, end - at_));
    at_ = end;
    return true;
  }

  // Digits of `set` with single underscores between them, without the underscores.
  std::string digits(std::string_view set) {
    std::string out;
    while (true) {
      const bool gap = peek() == '_' && !out.empty();
      const char c = peek(gap ? 1 : 0);
      if (c == '\0' || set.find(c) == set.npos) return out;
      out += c;
      at_ += gap ? 2 : 1;
    }
  }

  void number() {
    constexpr std::string_view kTen = "0123456789";
    const char base = static_cast<char>(peek(1) | 0x20);
    if (peek() == '0' && (base == 'x' || base == 'o' || base == 'b')) {
      at_ += 2;
      const std::string_view set = base == 'x'   ? "0123456789abcdefABCDEF"
                                   : base == 'o' ? kTen.substr(0, 8)
                                                 : kTen.substr(0, 2);
      add(Token::Kind::kInteger, std::string("0") + base + digits(set));
      return;
    }
    std::string out = digits(kTen);
    // 1.real is an attribute of a number and x.0.1 two items, so a fraction needs a digit.
    const bool after_dot = !tokens_.empty() && tokens_.back().text == "." &&
                           tokens_.back().kind == Token::Kind::kOperator;
    const auto exponent = [&] {
      const std::size_t sign = peek(1) == '+' || peek(1) == '-' ? 1 : 0;
      return (peek() | 0x20) == 'e' && is_digit(peek(1 + sign));
    };
    bool real = false;
    if (!after_dot && peek() == '.' && is_digit(peek(1))) {
      ++at_;
      out += '.' + digits(kTen);
      real = true;
    }
    if (!after_dot && exponent()) {
      out += 'e';
      ++at_;
      if (peek() == '+' || peek() == '-') out += source_[at_++];
      out += digits(kTen);
      real = true;
    }
    add(real ? Token::Kind::kFloat : Token::Kind::kInteger, std::move(out));
  }

  void text() {
    const char quote = peek();
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) {
      fail(fmt::format("expected a text that ends with {}, found the template's end", quote));
    }
    add(Token::Kind::kString, unescaped(std::string_view(source_).substr(at_ + 1, end - at_ - 1)));
    go_to(end + 1);
  }

  void symbol(std::string& brackets) {
    constexpr std::array<std::string_view, 26> kSymbols = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    constexpr std::string_view kOpening = "([{";
    constexpr std::string_view kClosing = ")]}";
    for (const std::string_view symbol : kSymbols) {
      if (!rest().starts_with(symbol)) continue;
      const char c = symbol[0];
      if (const std::size_t i = kOpening.find(c); i != kOpening.npos) brackets += kClosing[i];
      if (kClosing.find(c) != kClosing.npos) {
        if (brackets.empty() || brackets.back() != c) {
          fail(brackets.empty() ? fmt::format("expected no {}, found one", c)
                                : fmt::format("expected {}, found {}", brackets.back(), c));
        }
        brackets.pop_back();
      }
      add(Token::Kind::kOperator, std::string(symbol));
      at_ += symbol.size();
      return;
    }
    const std::size_t end = next_character(source_, at_);
    fail("expected an expression, found " + json::quote(source_.substr(at_, end - at_)));
  }

  const std::string source_;
  int& line_;
  std::size_t at_ = 0;
  bool line_starts_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, int& line) {
  return Lexer(source, line).run();
}

}  // namespace headscope::jinja
