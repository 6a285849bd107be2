#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/words.h"
#include "doctor/measures.h"
#include "headscope/sighting.h"

/// What the command line says about heads, computed from a Sighting with q and k kept.
namespace headscope::cli {

using doctor::HeadId;
using doctor::Summary;

/// All heads of a sighting, [layer][head]. Cost  O(T) a head. Errors: kUsage when q and k were not
/// kept.
std::vector<std::vector<Summary>> summarise(const Sighting& sighting);

/// A weight between two words: the mean over the pieces of `from` of the sum over those of `to`.
struct Link {
  HeadId head;
  std::size_t from = 0;
  std::size_t to = 0;
  double weight = 0.0;
};

/// The words of a sighting and the links of every head between them.
/// Short texts (up to kExact tokens): every link; longer ones: those among the keys that top_k
/// kept, with exact weights.
class Links {
 public:
  static constexpr std::int64_t kExact = 128;
  /// `lang`: of the names.
  explicit Links(const Sighting& sighting, Lang lang = Lang::kEn);

  [[nodiscard]] const std::vector<Sighting::Word>& words() const { return words_; }
  /// What a word is called on the screen: itself, or of an input that is no text its short label.
  [[nodiscard]] const std::string& name(std::size_t word) const { return names_.at(word); }
  /// Whether the words are those of a text.
  [[nodiscard]] bool of_text() const { return of_text_; }
  /// All links of at least .02 from words of the text, strongest first; none from a row that sees
  /// nothing but itself.
  [[nodiscard]] const std::vector<Link>& of(HeadId head) const;
  /// The strongest link of each word, strongest first, at most n. Special tokens and the word
  /// itself are left out, unless they take most of the head's weight.
  [[nodiscard]] std::vector<Link> strongest(HeadId head, std::size_t n) const;
  /// The same among words of the text alone, without the word itself.
  [[nodiscard]] std::vector<Link> between_words(HeadId head, std::size_t n) const;
  /// The strongest links of the word that token `row` is of, at most n, whatever explains them, with
  /// exact weights: all that print as more than ".00". `sighting`: what this was made of.
  /// None where a layer has other rows than the words. Cost  O(T D).
  [[nodiscard]] std::vector<Link> of_row(const Sighting& sighting,
                                         HeadId head,
                                         std::int64_t row,
                                         std::size_t n) const;
  /// The strongest links of all heads that neither position nor special tokens explain: at least
  /// two words apart and not the same word again. One a pair of words, two a head. Of one layer
  /// when it is named.
  [[nodiscard]] std::vector<Link> surprising(std::size_t n, std::optional<int> layer = {}) const;

 private:
  std::vector<Sighting::Word> words_;
  std::vector<std::string> names_;
  bool of_text_ = true;
  std::vector<std::vector<std::vector<Link>>> links_;  ///< [layer][head]
};

/// Exact weight between two words.
double word_weight(const FocusRecord& record,
                   int head,
                   const Sighting::Word& from,
                   const Sighting::Word& to);

/// The word without difference of case, for "the same word".
std::string folded(std::string_view word);

}  // namespace headscope::cli
