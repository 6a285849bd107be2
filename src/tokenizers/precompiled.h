#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"
#include "tokenizers/normalizer.h"

namespace headscope::tokenizers {

/// The normaliser that SentencePiece compiles into a table (nmt_nfkc and its like): a double array
/// of what is replaced, and the replacements. As in Hugging Face tokenizers, a grapheme cluster of
/// less than six bytes becomes what its shortest known beginning stands for.
/// Errors: kFormat.
std::unique_ptr<const Normalizer> make_precompiled(const json::Value& part, std::string_view where);

/// What libsentencepiece itself does to a text before it looks for pieces.
struct SentencePieceNormalizer {
  std::string table;              ///< as above, in bytes; "" : characters stay
  bool add_prefix = true;         ///< the mark of a space in front
  bool remove_spaces = true;      ///< at both ends, and all but one in between
  std::vector<std::string> kept;  ///< texts that the table leaves alone
};
/// At each place the longest beginning that the table has is replaced; spaces become marks (U+2581).
/// Source  github.com/google/sentencepiece, src/normalizer.cc. Errors: kFormat.
std::unique_ptr<const Normalizer> make_sentencepiece(SentencePieceNormalizer rules,
                                                     std::string_view where);

/// The table as a tokenizer.json has it, and the other way. Errors: kFormat.
std::string to_base64(std::span<const std::uint8_t> bytes);
std::string from_base64(std::string_view text, std::string_view where);

}  // namespace headscope::tokenizers
