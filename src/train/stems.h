#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

/// Words as stem and ending, by the Snowball stemmers.
namespace headscope::train {

/// What kind of word it is, by its letters.
enum class Script { kRussian, kEnglish, kOther };
Script script_of_word(std::string_view word);

/// Not safe to share among threads: make one for each.
class Stemmer {
 public:
  /// Errors: kUnsupported when the library lacks a language.
  Stemmer();
  Stemmer(Stemmer&&) noexcept;
  Stemmer& operator=(Stemmer&&) noexcept;
  ~Stemmer();

  /// Bytes of a word in small letters (with е for ё) that are its stem; the rest is its ending. All of it for a word
  /// that has no ending, or is of another language. Russian: what Snowball takes away. English: only where that is
  /// one of the endings of inflection (-s, -es, -ed, -ing, ...), for Snowball also takes those that make other words.
  [[nodiscard]] std::size_t stem_of(std::string_view word) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// Whether a word is of a closed class (article, preposition, pronoun, conjunction, auxiliary), in small letters.
bool is_function_word(std::string_view word, Script script);

}  // namespace headscope::train
