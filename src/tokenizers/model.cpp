#include "tokenizers/model.h"

#include <array>
#include <string>

#include "tokenizers/bpe.h"
#include "tokenizers/kinds.h"
#include "tokenizers/unigram.h"
#include "tokenizers/word_level.h"
#include "tokenizers/word_piece.h"

namespace headscope::tokenizers {
namespace {

/// Files from before 2021 do not say what they are.
std::string type_of(const ModelParts& parts, std::string_view where) {
  if (json::find(parts.options, "type", where) != nullptr) {
    return json::require<std::string>(parts.options, "type", where);
  }
  if (parts.merges) return "BPE";
  if (json::find(parts.options, "max_input_chars_per_word", where) != nullptr) return "WordPiece";
  if (json::find(parts.options, "unk_id", where) != nullptr) return "Unigram";
  return json::require<std::string>(parts.options, "type", where);
}

}  // namespace

const std::vector<TokenEntry>& require_vocab(const ModelParts& parts,
                                             bool scored,
                                             std::string_view where) {
  if (parts.vocab && parts.scored == scored) return *parts.vocab;
  throw Error(ErrorCode::kFormat,
              fmt::format("[{}] expected model.vocab to be {}, found {}",
                          where,
                          scored ? "an array of tokens and scores" : "an object of tokens and ids",
                          !parts.vocab   ? "nothing under that key"
                          : parts.scored ? "an array"
                                         : "an object"));
}

std::unique_ptr<const Model> make_model(const ModelParts& parts, std::string_view where) {
  using Make = std::unique_ptr<const Model> (*)(const ModelParts&, std::string_view);
  static constexpr std::array<Kind<Make>, 4> kinds{{{"BPE", &make_bpe},
                                                    {"Unigram", &make_unigram},
                                                    {"WordLevel", &make_word_level},
                                                    {"WordPiece", &make_word_piece}}};
  return find_kind(kinds, type_of(parts, where), "model", where).make(parts, where);
}

}  // namespace headscope::tokenizers
