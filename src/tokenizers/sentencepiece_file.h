#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace headscope::tokenizers {

/// A trained SentencePiece model (.spm, .model): its pieces and how texts are prepared for them.
/// Source  github.com/google/sentencepiece, src/sentencepiece_model.proto (field numbers).
struct SentencePieceFile {
  enum class Type {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6
  };
  struct Piece {
    std::string text;
    float score = 0.0F;
    Type type = Type::kNormal;
  };
  enum class Algorithm { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };

  std::vector<Piece> pieces;
  Algorithm algorithm = Algorithm::kUnigram;
  bool byte_fallback = false;
  bool mark_behind = false;  ///< words end in a mark instead of beginning with one
  std::string table;         ///< the normaliser's, in bytes; "" : none
  bool add_prefix = true, remove_spaces = true, escape_spaces = true;
};

/// Cost: linear in the bytes. Errors: kFormat, saying what was expected and at which byte. `name` is what errors call it.
SentencePieceFile read_sentencepiece(std::string_view bytes, std::string_view name);

}  // namespace headscope::tokenizers
