#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/json.h"
#include "tokenizers/vocabulary.h"

namespace headscope::tokenizers {

/// A token inside a word: its id and which code points of the word it stands for.
struct Piece {
  std::int32_t id = 0;
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

/// What a model is made of, whatever file it comes from. Texts are borrowed from that file while
/// the model is made.
struct ModelParts {
  /// Two tokens that become one: those with the lowest rank first.
  struct Merge {
    std::string_view left, right;
    std::uint32_t rank = 0;
  };
  json::Value options;  ///< the "model" of a tokenizer.json, less its vocab and merges
  std::optional<std::vector<TokenEntry>> vocab;
  bool scored = false;  ///< vocab is a list of tokens and scores; their ids are their places
  std::optional<double> least;  ///< score that unknown text comes far behind; default: of the vocab
  bool single =
      false;  ///< scores are added up in f32, as libsentencepiece does: of ties the last bit decides
  std::optional<std::vector<Merge>> merges;
};

/// The part that turns a word (what the pre-tokenizer left whole) into tokens.
class Model {
 public:
  virtual ~Model() = default;
  /// Appends the pieces of a word that is not empty, in order. Errors: kInput when the word holds
  /// what the model has no token for, not even an unknown one, and must not drop.
  virtual void tokenize(std::u32string_view word, std::vector<Piece>& out) const = 0;
  /// How much of a long word can be told apart: its first so many code points, and the others,
  /// give the same tokens each for themselves. Long words become short ones that way.
  [[nodiscard]] virtual std::size_t cut(std::u32string_view word) const { return word.size(); }
  /// Whether it is given whole texts, in which a token that begins with U+2581 begins a word.
  [[nodiscard]] virtual bool marks_words() const { return false; }
  [[nodiscard]] virtual const Vocabulary& vocabulary() const = 0;
  /// -1 when there is none.
  [[nodiscard]] virtual std::int32_t unknown_id() const = 0;
};

/// The vocabulary that a model must have, with scores or with ids. Errors: kFormat.
const std::vector<TokenEntry>& require_vocab(const ModelParts& parts,
                                             bool scored,
                                             std::string_view where);

/// The "model" of a tokenizer.json: BPE, Unigram, WordLevel, WordPiece. A file without "type" is
/// taken for what its other keys say. Errors: kFormat, kUnsupported.
std::unique_ptr<const Model> make_model(const ModelParts& parts, std::string_view where);

}  // namespace headscope::tokenizers
