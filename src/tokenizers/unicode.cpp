#include "tokenizers/unicode.h"

#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/uscript.h>
#include <unicode/utf16.h>

#include <array>

#include "headscope/error.h"

namespace headscope::tokenizers {
namespace {

constexpr int kCategoriesOf = 8;   // Unicode version of the category tables
constexpr int kNormalFormsOf = 9;  // Unicode version of the normal form tables

bool known_since(char32_t c, int version) {
  if (c < 0x250) return true;  // Latin has been there from the start
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  return age[0] != 0 && age[0] <= version;
}

/// The general category in Unicode 8: unassigned when younger, and as it was where it has changed.
int old_category(char32_t c) {
  if (!known_since(c, kCategoriesOf)) return U_UNASSIGNED;
  switch (c) {
    case 0x166D:
    case 0x111C9:
      return U_OTHER_PUNCTUATION;
    case 0x1734:
      return U_NON_SPACING_MARK;
    case 0x1885:
    case 0x1886:
      return U_OTHER_LETTER;
    case 0xA9BD:
      return U_COMBINING_SPACING_MARK;
    default:
      return u_charType(static_cast<UChar32>(c));
  }
}

bool in_category(int category, std::uint32_t mask) {
  return ((std::uint32_t{1} << category) & mask) != 0;
}

const UNormalizer2* normalizer(bool compatibility) {
  UErrorCode status = U_ZERO_ERROR;
  const UNormalizer2* found =
      compatibility ? unorm2_getNFKCInstance(&status) : unorm2_getNFCInstance(&status);
  if (U_FAILURE(status)) {
    throw Error(
        ErrorCode::kResources,
        std::string("[tokenizer] expected the Unicode data of ICU, found ") + u_errorName(status));
  }
  return found;
}

struct LaterCase {
  char32_t first, last, lower;
};
/// Capital letters of Unicode 16 and 17, which ICU 72 does not know.
constexpr std::array<LaterCase, 10> kLaterCapitals{{{0x1C89, 0x1C89, 0x1C8A},
                                                    {0xA7CB, 0xA7CB, 0x264},
                                                    {0xA7CC, 0xA7CC, 0xA7CD},
                                                    {0xA7CE, 0xA7CE, 0xA7CF},
                                                    {0xA7D2, 0xA7D2, 0xA7D3},
                                                    {0xA7D4, 0xA7D4, 0xA7D5},
                                                    {0xA7DA, 0xA7DA, 0xA7DB},
                                                    {0xA7DC, 0xA7DC, 0x19B},
                                                    {0x10D50, 0x10D65, 0x10D70},
                                                    {0x16EA0, 0x16EB8, 0x16EBB}}};

}  // namespace

char32_t next_utf8(std::string_view text, std::size_t& at) {
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0x80) {
    ++at;
    return first;
  }
  if (first < 0xC2 || first > 0xF4) return kNotUtf8;
  const std::size_t more = first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
  if (text.size() - at <= more) return kNotUtf8;
  char32_t c = first & (0x3Fu >> more);
  for (std::size_t i = 1; i <= more; ++i) {
    const auto byte = static_cast<unsigned char>(text[at + i]);
    if ((byte & 0xC0) != 0x80) return kNotUtf8;
    c = (c << 6) | (byte & 0x3Fu);
  }
  constexpr std::array<char32_t, 4> least{0, 0x80, 0x800, 0x10000};
  const bool surrogate = c >= 0xD800 && c <= 0xDFFF;
  if (c < least[more] || c > 0x10FFFF || surrogate) return kNotUtf8;
  at += more + 1;
  return c;
}

void append_utf8(char32_t c, std::string& out) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

std::string to_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_utf8(c, out);
  return out;
}

std::u32string to_utf32(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_utf8(text, at);
    if (c == kNotUtf8) ++at;
    out.push_back(c == kNotUtf8 ? 0xFFFD : c);
  }
  return out;
}

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0;
}

bool is_word(char32_t c) {
  const auto code = static_cast<UChar32>(c);
  constexpr std::uint32_t mask = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return u_isUAlphabetic(code) != 0 || in_category(u_charType(code), mask) ||
         u_hasBinaryProperty(code, UCHAR_JOIN_CONTROL) != 0;
}

bool is_numeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return in_category(u_charType(static_cast<UChar32>(c)), U_GC_N_MASK);
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
  }
  return in_category(old_category(c), U_GC_P_MASK);
}

bool is_other(char32_t c) {
  return in_category(old_category(c), U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK);
}

bool is_nonspacing_mark(char32_t c) {
  return c >= 0x300 && in_category(old_category(c), U_GC_MN_MASK);
}

bool is_combining_mark(char32_t c) {
  if (c < 0x300 || c == 0x111C9 || !known_since(c, kNormalFormsOf)) return false;
  // The two Vedic signs were marks until Unicode 12.
  return c == 0x1CF2 || c == 0x1CF3 ||
         in_category(u_charType(static_cast<UChar32>(c)), U_GC_M_MASK);
}

bool is_cjk(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

int script_of(char32_t c) {
  if (c == ' ') return kAnyScript;
  if (c == 0x30FC) return USCRIPT_HAN;  // the long vowel mark of kana
  UErrorCode status = U_ZERO_ERROR;
  const UScriptCode script = uscript_getScript(static_cast<UChar32>(c), &status);
  if (script == USCRIPT_HIRAGANA || script == USCRIPT_KATAKANA) return USCRIPT_HAN;
  return script == USCRIPT_UNKNOWN ? kAnyScript : int{script};
}

namespace {

int grapheme_break(char32_t c) {
  return u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_GRAPHEME_CLUSTER_BREAK);
}

}  // namespace

bool extends_grapheme(char32_t c) {
  if (c < 0x300) return false;
  const int kind = grapheme_break(c);
  return kind == U_GCB_EXTEND || kind == U_GCB_ZWJ || kind == U_GCB_SPACING_MARK;
}

bool prepends_grapheme(char32_t c) { return c >= 0x600 && grapheme_break(c) == U_GCB_PREPEND; }

bool ends_grapheme(char32_t c) {
  if (c < 0x80) return c < ' ' || c == 0x7F;
  const int kind = grapheme_break(c);
  return kind == U_GCB_CONTROL || kind == U_GCB_CR || kind == U_GCB_LF;
}

void append_lower(char32_t c, std::u32string& out) {
  if (c < 0x80) {
    out.push_back(c >= 'A' && c <= 'Z' ? c + 32 : c);
    return;
  }
  if (c == 0x130) {  // the one letter whose small form is two: i and a dot above
    out.append({U'i', char32_t{0x307}});
    return;
  }
  for (const LaterCase& later : kLaterCapitals) {
    if (c >= later.first && c <= later.last) {
      out.push_back(later.lower + (c - later.first));
      return;
    }
  }
  out.push_back(static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
}

void append_decomposition(char32_t c, bool compatibility, std::u32string& out) {
  if (c < 0xA0 || !known_since(c, kNormalFormsOf)) {
    out.push_back(c);
    return;
  }
  std::array<UChar, 40> units{};
  UErrorCode status = U_ZERO_ERROR;
  const std::int32_t size = unorm2_getDecomposition(normalizer(compatibility),
                                                    static_cast<UChar32>(c),
                                                    units.data(),
                                                    static_cast<std::int32_t>(units.size()),
                                                    &status);
  if (size < 0 || U_FAILURE(status)) {
    out.push_back(c);
    return;
  }
  for (std::int32_t i = 0; i < size;) {
    UChar32 part = 0;
    U16_NEXT(units.data(), i, size, part);
    out.push_back(static_cast<char32_t>(part));
  }
}

bool stays_composed(char32_t c, bool compatibility) {
  if (c < 0xA0 || (c >= 0x400 && c <= 0x482)) return true;  // Cyrillic without marks
  const UProperty check = compatibility ? UCHAR_NFKC_QUICK_CHECK : UCHAR_NFC_QUICK_CHECK;
  const auto code = static_cast<UChar32>(c);
  return u_getIntPropertyValue(code, check) == UNORM_YES && u_getCombiningClass(code) == 0;
}

std::uint8_t combining_class(char32_t c) {
  if (c < 0x300 || !known_since(c, kNormalFormsOf)) return 0;
  return u_getCombiningClass(static_cast<UChar32>(c));
}

char32_t compose(char32_t a, char32_t b) {
  const UChar32 both =
      unorm2_composePair(normalizer(false), static_cast<UChar32>(a), static_cast<UChar32>(b));
  if (both < 0 || !known_since(static_cast<char32_t>(both), kNormalFormsOf)) return 0;
  return static_cast<char32_t>(both);
}

}  // namespace headscope::tokenizers
