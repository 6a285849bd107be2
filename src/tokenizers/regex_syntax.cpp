#include "tokenizers/regex_syntax.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <utility>
#include <vector>

namespace headscope::tokenizers {
namespace {

/// The inside of a class, and the inside of its complement (empty: there is none that is short).
struct ClassText {
  char name;
  std::string_view inside, outside;
};
constexpr std::array<ClassText, 4> kClasses{
    {{'s',
      R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})",
      R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff})"
      R"(\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})"},
     {'w',
      R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})",
      ""},
     {'d', R"(\p{Nd})", R"(\P{Nd})"},
     {'h', "0-9A-Fa-f", R"(\x{0}-/:-@G-`g-\x{10ffff})"}}};

/// The insides of [:name:].
constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kPosix{
    {{"alnum", R"(\p{Alphabetic}\p{Nd})"},
     {"alpha", R"(\p{Alphabetic})"},
     {"blank", R"(\p{Zs}\t)"},
     {"cntrl", R"(\p{Cc})"},
     {"digit", R"(\p{Nd})"},
     {"lower", R"(\p{Lowercase})"},
     {"punct", R"(\p{P}\p{S})"},
     {"space", kClasses[0].inside},
     {"upper", R"(\p{Uppercase})"},
     {"word", kClasses[1].inside}}};

/// Properties by the names that Oniguruma takes and PCRE2 does not.
constexpr std::array<std::pair<std::string_view, std::string_view>, 17> kProperties{
    {{"letter", "L"},
     {"mark", "M"},
     {"number", "N"},
     {"punctuation", "P"},
     {"symbol", "S"},
     {"separator", "Z"},
     {"other", "C"},
     {"alpha", "Alphabetic"},
     {"digit", "Nd"},
     {"upper", "Uppercase"},
     {"lower", "Lowercase"},
     {"uppercaseletter", "Lu"},
     {"lowercaseletter", "Ll"},
     {"titlecaseletter", "Lt"},
     {"modifierletter", "Lm"},
     {"otherletter", "Lo"},
     {"decimalnumber", "Nd"}}};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  std::string run() {
    while (at_ < in_.size()) step();
    return std::move(out_);
  }

 private:
  [[nodiscard]] char peek(std::size_t ahead = 0) const {
    return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0';
  }
  void copy(std::size_t n) {
    n = std::min(n, in_.size() - at_);
    out_.append(in_.substr(at_, n));
    at_ += n;
  }
  void begin_atom() { atom_ = out_.size(); }

  void step() {
    const char c = peek();
    if (c == '\\') {
      begin_atom();
      escape(false);
    } else if (c == '[') {
      begin_atom();
      character_class();
    } else if (c == '(') {
      groups_.push_back(out_.size());
      copy(1);
    } else if (c == ')') {
      copy(1);
      if (!groups_.empty()) {
        atom_ = groups_.back();
        groups_.pop_back();
      }
    } else if (c == '{' && interval() > 0) {
      repeat();
    } else {
      if (c != '*' && c != '+' && c != '?') begin_atom();
      copy(1);
    }
  }

  /// How long the {n,m} here is; 0 when it is none, but text.
  [[nodiscard]] std::size_t interval() const {
    std::size_t n = 1;
    bool digits = false;
    for (; std::isdigit(static_cast<unsigned char>(peek(n))) != 0 || peek(n) == ','; ++n) {
      digits = digits || peek(n) != ',';
    }
    return digits && peek(n) == '}' ? n + 1 : 0;
  }

  void repeat() {
    const std::size_t n = interval();
    if (in_.substr(at_ + 1, 1) == ",") {  // {,m}
      out_ += "{0";
      ++at_;
      copy(n - 1);
    } else {
      copy(n);
    }
    if (peek() != '+') return;
    out_.insert(atom_, "(?:");
    out_ += ")";
    copy(1);
  }

  /// \p{Name} and \p{^Name}, with the name that PCRE2 knows.
  void property() {
    const std::size_t close = in_.find('}', at_);
    if (peek(2) != '{' || close == in_.npos) {
      copy(2);
      return;
    }
    std::string_view name = in_.substr(at_ + 3, close - at_ - 3);
    std::string plain;
    for (const char c : name) {
      if (c != ' ' && c != '_' && c != '-') {
        plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      }
    }
    const bool caret = plain.starts_with('^');
    if (caret) plain.erase(0, 1);
    for (const auto& [long_name, known] : kProperties) {
      if (plain == long_name) name = known;
    }
    if (caret && name.starts_with('^')) name.remove_prefix(1);
    const bool negated = (peek(1) == 'P') != caret;
    out_ += negated ? "\\P{" : "\\p{";
    out_.append(name) += '}';
    at_ = close + 1;
  }

  /// Between a word and what is none (\b), or not (\B).
  void boundary(bool change) {
    const std::string word = std::string("[").append(kClasses[1].inside) + "]";
    const std::string_view inside = change ? "!" : "=";
    const std::string_view outside = change ? "=" : "!";
    out_.append("(?:(?<=").append(word).append(")(?").append(inside).append(word);
    out_.append(")|(?<!").append(word).append(")(?").append(outside).append(word).append("))");
    at_ += 2;
  }

  /// [:name:] or [:^name:] inside of a class.
  void posix() {
    const std::size_t close = in_.find(":]", at_ + 2);
    if (close == in_.npos) return copy(1);
    const std::string_view name = in_.substr(at_ + 2, close - at_ - 2);
    for (const auto& [known, inside] : kPosix) {
      if (name != known) continue;
      out_ += inside;
      at_ = close + 2;
      return;
    }
    copy(close + 2 - at_);
  }

  void escape(bool in_class) {
    const char name = peek(1);
    if (name == 'p' || name == 'P') return property();
    if (!in_class && (name == 'b' || name == 'B')) return boundary(name == 'b');
    const char small = static_cast<char>(std::tolower(static_cast<unsigned char>(name)));
    for (const ClassText& known : kClasses) {
      if (known.name != small) continue;
      const bool negated = name != small;
      if (in_class && negated && known.outside.empty()) break;  // PCRE2's own \W
      if (in_class) {
        out_ += negated ? known.outside : known.inside;
      } else {
        out_.append(negated ? "[^" : "[").append(known.inside) += ']';
      }
      at_ += 2;
      return;
    }
    copy(2);
  }

  /// [...]; a [ inside that opens no [:name:] is a mere character here.
  void character_class() {
    copy(1);
    if (peek() == '^') copy(1);
    if (peek() == ']') copy(1);
    while (at_ < in_.size() && peek() != ']') {
      if (peek() == '\\') {
        escape(true);
      } else if (peek() == '[' && peek(1) == ':') {
        posix();
      } else {
        copy(1);
      }
    }
    copy(1);
  }

  std::string_view in_;
  std::size_t at_ = 0;
  std::string out_;
  std::size_t atom_ = 0;  ///< where in out_ what a repetition would repeat begins
  std::vector<std::size_t> groups_;
};

}  // namespace

std::string pcre_pattern(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace headscope::tokenizers
