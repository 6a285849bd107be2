#pragma once

#include "tokenizers/model.h"

namespace headscope::tokenizers {

/// Byte pair encoding: a word is its characters, and pairs of neighbours that the file knows to
/// merge become one, those of the lowest rank (then the leftmost) first, until none is left. A
/// character without a token becomes its bytes (byte_fallback), or the unknown token, or nothing.
/// Cost: O(n log n) for a word of n characters, whatever the merges.
/// Errors: kFormat (a merge of tokens that the vocabulary lacks), kUnsupported (dropout).
/// Source: Sennrich et al. 2016.
std::unique_ptr<const Model> make_bpe(const ModelParts& parts, std::string_view where);

}  // namespace headscope::tokenizers
