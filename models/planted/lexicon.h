#pragma once

#include <array>
#include <bitset>
#include <string>
#include <string_view>
#include <vector>

namespace headscope::planted {

/// What grammar says about a word, as yes or no. The model knows nothing else about words.
enum Fact : std::size_t {
  kFirst,    ///< [CLS], where a head rests that finds nothing
  kUnknown,  ///< [UNK]: whatever does not stand in the vocabulary
  kWord,     ///< a word we know; no mark, no special token
  kVerb,
  kWho,      ///< Russian: alive and nominative, can give
  kWhom,     ///< Russian: alive and dative, can receive
  kAnimate,  ///< English: alive (English nouns do not show who and whom)
  kPlainFacts
};
/// An adjective asks its noun a question, a noun form answers some: a Russian pupil's way to find
/// what agrees. Twelve questions for Russian, and the last one for all of English.
inline constexpr std::size_t kQuestions = 13;
inline constexpr std::size_t kAsks = kPlainFacts;
inline constexpr std::size_t kAnswers = kAsks + kQuestions;
inline constexpr std::size_t kFacts = kAnswers + kQuestions;

struct Word {
  std::string text;
  std::bitset<kFacts> facts;
};

/// The words of a vocabulary in the order of their ids: five special tokens, then each form where
/// it first stands. Errors: kFormat, naming the line.
std::vector<Word> read_lexicon(std::string_view text, std::string_view name);

}  // namespace headscope::planted
