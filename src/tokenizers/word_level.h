#pragma once

#include "tokenizers/model.h"

namespace headscope::tokenizers {

/// A word is a token of the vocabulary, or unknown.
/// Errors: kFormat; of tokenize: kInput when a word is unknown and there is no token for that.
std::unique_ptr<const Model> make_word_level(const ModelParts& parts, std::string_view where);

}  // namespace headscope::tokenizers
