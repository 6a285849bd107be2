#pragma once

#include "tokenizers/model.h"

namespace headscope::tokenizers {

/// Unigram: of all ways to write a word with tokens, the one whose scores sum to the most. A
/// character without a token costs 10 more than the worst token; neighbours of that kind are one
/// unknown token, or the bytes of their text (byte_fallback).
/// Cost: O(n m) for a word of n characters and tokens of at most m.
/// Errors: kFormat; of tokenize: kInput when text is unknown and there is no token for that.
/// Source: Kudo 2018.
std::unique_ptr<const Model> make_unigram(const ModelParts& parts, std::string_view where);

}  // namespace headscope::tokenizers
