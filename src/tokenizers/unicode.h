#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

/// What the parts of a tokenizer ask of Unicode. The published vocabularies were made with the
/// tables of the Rust crates behind Hugging Face tokenizers, and those stand still: categories are
/// of Unicode 8, normal forms of Unicode 9, small letters of today. A character that came later is
/// unassigned here although ICU knows it, or else the ids would differ.
namespace headscope::tokenizers {

/// What next_utf8 gives where a text is not UTF-8; no code point.
inline constexpr char32_t kNotUtf8 = 0xFFFFFFFF;

/// The code point at byte `at`, which moves behind it; kNotUtf8, and `at` stays, for a surrogate,
/// an overlong form, a code point beyond U+10FFFF, a stray or missing byte.
char32_t next_utf8(std::string_view text, std::size_t& at);
/// Appends one code point as UTF-8. `c` must be a scalar value.
void append_utf8(char32_t c, std::string& out);
std::string to_utf8(std::u32string_view text);
/// `text` must be UTF-8 (JSON strings are); text from users goes through decode (aligned_text.h).
std::u32string to_utf32(std::string_view text);

/// White_Space.
bool is_white_space(char32_t c);
/// `\w` of regular expressions: letters, marks, decimal digits, connectors, joiners.
bool is_word(char32_t c);
/// Categories Nd, Nl and No.
bool is_numeric(char32_t c);
/// Categories P*, and the symbols of ASCII ($+<=>^`|~).
bool is_punctuation(char32_t c);
/// Categories Cc, Cf and Co; not unassigned ones.
bool is_other(char32_t c);
/// Category Mn, by the tables of the BERT normaliser (Unicode 8).
bool is_nonspacing_mark(char32_t c);
/// Categories M*, by the tables of normal forms (Unicode 9).
bool is_combining_mark(char32_t c);
/// The ideographs BERT puts spaces around: neither kana nor hangul. Extension E begins at U+2B920
/// as published, although Unicode begins it at U+2B820.
bool is_cjk(char32_t c);

/// The script of a space, which is of any.
inline constexpr int kAnyScript = -2;
/// A number for the script of a character, as SentencePiece tells them apart.
int script_of(char32_t c);
/// Whether `c` never begins a grapheme cluster of its own behind a character that may have one:
/// marks, joiners and the like.
bool extends_grapheme(char32_t c);
/// Whether what follows `c` is in its grapheme cluster.
bool prepends_grapheme(char32_t c);
/// Whether a grapheme cluster always ends behind `c`.
bool ends_grapheme(char32_t c);

/// Appends the small letter(s), without regard to context. Only U+0130 becomes two.
void append_lower(char32_t c, std::u32string& out);

/// Appends the full canonical (or compatibility) decomposition; the code point itself when it has
/// none. At most 18 code points.
void append_decomposition(char32_t c, bool compatibility, std::u32string& out);
/// Whether characters of this kind, among themselves, are in form C (or KC) as they are.
bool stays_composed(char32_t c, bool compatibility);
/// Canonical combining class.
std::uint8_t combining_class(char32_t c);
/// The canonical composition of two code points, 0 when they have none.
char32_t compose(char32_t a, char32_t b);

}  // namespace headscope::tokenizers
