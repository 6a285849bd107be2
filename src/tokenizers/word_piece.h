#pragma once

#include "tokenizers/model.h"

namespace headscope::tokenizers {

/// WordPiece: the longest token that begins the word, then the longest that continues it ("##ing"),
/// and so on; a word that cannot be told so to its end, or has too many characters, is unknown.
/// Cost: linear in the word (times the longest token at worst).
/// Errors: kFormat (also an unknown token that the vocabulary lacks).
/// Source: Wu et al. 2016; Devlin et al. 2018.
std::unique_ptr<const Model> make_word_piece(const ModelParts& parts, std::string_view where);

}  // namespace headscope::tokenizers
