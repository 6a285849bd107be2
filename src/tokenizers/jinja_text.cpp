#include "tokenizers/jinja_text.h"

#include <fmt/format.h>
#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>

#include "headscope/error.h"
#include "tokenizers/jinja_value.h"
#include "tokenizers/unicode.h"

namespace headscope::jinja {

namespace {

// The character at byte `at`, which moves behind it; kNotUtf8 for a stray byte.
char32_t take(std::string_view text, std::size_t& at) {
  const char32_t c = tokenizers::next_utf8(text, at);
  if (c == tokenizers::kNotUtf8) ++at;
  return c;
}

// str.isspace: White_Space and the four separators of ASCII.
bool is_space(char32_t c) {
  return (c >= 0x1C && c <= 0x1F) || (c != tokenizers::kNotUtf8 && tokenizers::is_white_space(c));
}

bool ends_line(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

bool is_printable(char32_t c) {
  if (c == tokenizers::kNotUtf8) return false;
  if (c == ' ') return true;
  constexpr std::uint32_t kHidden = U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CS_MASK | U_GC_CO_MASK |
                                    U_GC_CN_MASK | U_GC_ZL_MASK | U_GC_ZP_MASK | U_GC_ZS_MASK;
  return ((std::uint32_t{1} << u_charType(static_cast<UChar32>(c))) & kHidden) == 0;
}

template <typename Change>
std::string changed(std::string_view text, Change change) {
  icu::UnicodeString wide = icu::UnicodeString::fromUTF8(
      icu::StringPiece(text.data(), static_cast<std::int32_t>(text.size())));
  change(wide);
  std::string out;
  wide.toUTF8String(out);
  return out;
}

// One character in the form it has at the head of a title.
std::string title_of(std::string_view character) {
  std::size_t at = 0;
  const char32_t c = take(character, at);
  if (c == tokenizers::kNotUtf8) return std::string(character);
  const auto titled = static_cast<char32_t>(u_totitle(static_cast<UChar32>(c)));
  // Letters that become several when large (ß) go by their full mapping.
  if (titled == c && u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_LOWERCASE)) {
    const std::string large = upper(character);
    return large.empty() ? large
                         : large.substr(0, next_character(large, 0)) +
                               lower(std::string_view(large).substr(next_character(large, 0)));
  }
  std::string out;
  tokenizers::append_utf8(titled, out);
  return out;
}

bool has_case(char32_t c) {
  return c != tokenizers::kNotUtf8 &&
         (u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_LOWERCASE) ||
          u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_UPPERCASE) ||
          u_charType(static_cast<UChar32>(c)) == U_TITLECASE_LETTER);
}

// Up to `most` words and what is left behind them, as split() without a separator.
std::vector<std::string> words(std::string_view text, std::int64_t most, bool from_right) {
  std::vector<std::string> out;
  const Sides side = from_right ? Sides::kRight : Sides::kLeft;
  text = strip(text, side, std::nullopt);
  while (!text.empty() && (most < 0 || static_cast<std::int64_t>(out.size()) < most)) {
    std::size_t begin = 0;  // of the white space that ends the word, or begins it
    std::size_t end = 0;
    bool found = false;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t here = at;
      if (!is_space(take(text, at))) continue;
      found = true;
      begin = here;
      end = at;
      if (!from_right) break;
    }
    if (!found) break;
    out.emplace_back(from_right ? text.substr(end) : text.substr(0, begin));
    text = strip(from_right ? text.substr(0, begin) : text.substr(end), side, std::nullopt);
  }
  const Sides other = from_right ? Sides::kLeft : Sides::kRight;
  if (most < 0) text = strip(text, other, std::nullopt);
  if (!text.empty()) out.emplace_back(text);
  return out;
}

}  // namespace

std::size_t next_character(std::string_view text, std::size_t at) {
  take(text, at);
  return at;
}

std::size_t characters(std::string_view text) {
  std::size_t n = 0;
  for (std::size_t at = 0; at < text.size(); ++n) take(text, at);
  return n;
}

std::size_t byte_of_character(std::string_view text, std::size_t n) {
  std::size_t at = 0;
  while (n-- > 0 && at < text.size()) take(text, at);
  return at;
}

std::string python_quoted(std::string_view text) {
  const bool both = text.find('"') != std::string_view::npos;
  const char quote = text.find('\'') != std::string_view::npos && !both ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = take(text, at);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out += text.substr(begin, at - begin);
    } else if (c == tokenizers::kNotUtf8) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[begin]));
    } else {
      const auto code = static_cast<std::uint32_t>(c);
      out += code < 0x100     ? fmt::format("\\x{:02x}", code)
             : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                              : fmt::format("\\U{:08x}", code);
    }
  }
  return out + quote;
}

void append_json_text(std::string_view text, bool ascii, std::string& out) {
  constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t";
  constexpr std::string_view kLetters = "\"\\bfnrt";
  out += '"';
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = take(text, at);
    const auto code = static_cast<std::uint32_t>(c);
    const std::size_t letter = c < 0x80 ? kEscaped.find(static_cast<char>(c)) : kEscaped.npos;
    if (letter != kEscaped.npos) {
      out += '\\';
      out += kLetters[letter];
    } else if (c < 0x20 || (ascii && c > 0x7E && c < 0x10000)) {
      out += fmt::format("\\u{:04x}", code);
    } else if (ascii && c >= 0x10000 && c != tokenizers::kNotUtf8) {
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xD7C0 + (code >> 10), 0xDC00 + (code & 0x3FF));
    } else {
      out += text.substr(begin, at - begin);
    }
  }
  out += '"';
}

std::string_view strip(std::string_view text, Sides sides, std::optional<std::string_view> set) {
  const auto goes = [&](std::size_t begin, std::size_t end) {
    if (set.has_value()) {
      for (std::size_t at = 0; at < set->size();) {
        const std::size_t from = at;
        at = next_character(*set, at);
        if (set->substr(from, at - from) == text.substr(begin, end - begin)) return true;
      }
      return false;
    }
    return is_space(take(text, begin));
  };
  std::size_t begin = 0;
  if (sides != Sides::kRight) {
    while (begin < text.size()) {
      const std::size_t after = next_character(text, begin);
      if (!goes(begin, after)) break;
      begin = after;
    }
  }
  std::size_t end = text.size();
  while (sides != Sides::kLeft && end > begin) {
    std::size_t from = end - 1;
    while (from > begin && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80) --from;
    if (next_character(text, from) != end) from = end - 1;
    if (!goes(from, end)) break;
    end = from;
  }
  return text.substr(begin, end - begin);
}

std::vector<std::string> split(std::string_view text,
                               std::optional<std::string_view> separator,
                               std::int64_t most,
                               bool from_right) {
  std::vector<std::string> out;
  if (!separator.has_value()) {
    out = words(text, most, from_right);
  } else {
    while (most < 0 || static_cast<std::int64_t>(out.size()) < most) {
      const std::size_t at = from_right ? text.rfind(*separator) : text.find(*separator);
      if (at == text.npos) break;
      const std::size_t behind = at + separator->size();
      out.emplace_back(from_right ? text.substr(behind) : text.substr(0, at));
      text = from_right ? text.substr(0, at) : text.substr(behind);
    }
    out.emplace_back(text);
  }
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string> out;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = at;
    const char32_t c = take(text, at);
    if (c == tokenizers::kNotUtf8 || !ends_line(c)) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    out.emplace_back(text.substr(begin, (keep_ends ? at : end) - begin));
    begin = at;
  }
  if (begin < text.size()) out.emplace_back(text.substr(begin));
  return out;
}

std::string replace(std::string_view text,
                    std::string_view old,
                    std::string_view fresh,
                    std::int64_t most,
                    std::size_t limit) {
  std::string out;
  const auto check = [&] {
    if (out.size() > limit) {
      throw Failure{ErrorCode::kResources,
                    fmt::format("expected a text of at most {} bytes, found more", limit)};
    }
  };
  std::size_t at = 0;
  while (most != 0 && at <= text.size()) {
    const std::size_t found = old.empty() ? at : text.find(old, at);
    if (found == text.npos) break;
    out += text.substr(at, found - at);
    out += fresh;
    at = found + old.size();
    if (old.empty()) {  // between all characters, and at both ends
      const std::size_t after = at < text.size() ? next_character(text, at) : at + 1;
      if (at < text.size()) out += text.substr(at, after - at);
      at = after;
    }
    if (most > 0) --most;
    check();
  }
  if (at < text.size()) out += text.substr(at);
  check();
  return out;
}

std::string upper(std::string_view text) {
  return changed(text, [](icu::UnicodeString& wide) { wide.toUpper(icu::Locale::getRoot()); });
}

std::string lower(std::string_view text) {
  return changed(text, [](icu::UnicodeString& wide) { wide.toLower(icu::Locale::getRoot()); });
}

std::string capitalize(std::string_view text) {
  const std::size_t first = text.empty() ? 0 : next_character(text, 0);
  return first == 0 ? std::string() : title_of(text.substr(0, first)) + lower(text.substr(first));
}

std::string title(std::string_view text, bool filter) {
  constexpr std::string_view kBefore = "-({[<";
  std::string out;
  bool begins = true;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = take(text, at);
    const std::string_view one = text.substr(begin, at - begin);
    const bool between =
        filter ? is_space(c) || (c < 0x80 && kBefore.find(static_cast<char>(c)) != kBefore.npos)
               : !has_case(c);
    if (between) {
      out += one;
    } else if (begins) {
      out += filter ? upper(one) : title_of(one);
    } else {
      out += lower(one);
    }
    begins = between;
  }
  return out;
}

bool is_all(std::string_view text, Letters kind) {
  bool cased = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = take(text, at);
    if (c == tokenizers::kNotUtf8) return false;
    const auto code = static_cast<UChar32>(c);
    const bool alpha = u_isalpha(code) != 0;
    const bool digit = u_getIntPropertyValue(code, UCHAR_NUMERIC_TYPE) == U_NT_DECIMAL ||
                       u_getIntPropertyValue(code, UCHAR_NUMERIC_TYPE) == U_NT_DIGIT;
    const bool numeric = u_getIntPropertyValue(code, UCHAR_NUMERIC_TYPE) != U_NT_NONE;
    const bool large =
        u_hasBinaryProperty(code, UCHAR_UPPERCASE) != 0 || u_charType(code) == U_TITLECASE_LETTER;
    const bool small = u_hasBinaryProperty(code, UCHAR_LOWERCASE) != 0;
    cased = cased || large || small;
    switch (kind) {
      case Letters::kAlpha:
        if (!alpha) return false;
        break;
      case Letters::kDigit:
        if (!digit) return false;
        break;
      case Letters::kAlphaNumeric:
        if (!alpha && !numeric) return false;
        break;
      case Letters::kSpace:
        if (!is_space(c)) return false;
        break;
      case Letters::kUpper:
        if (small) return false;
        break;
      case Letters::kLower:
        if (large) return false;
        break;
    }
  }
  return kind == Letters::kUpper || kind == Letters::kLower ? cased : !text.empty();
}

}  // namespace headscope::jinja
