#pragma once

#include <memory>
#include <string_view>

#include "formats/json.h"
#include "tokenizers/normalizer.h"

namespace headscope::tokenizers {

/// The normaliser that SentencePiece compiles into a table (nmt_nfkc and its like): a double array
/// of what is replaced, and the replacements. As in Hugging Face tokenizers, a grapheme cluster of
/// less than six bytes becomes what its shortest known beginning stands for.
/// Errors: kFormat.
std::unique_ptr<const Normalizer> make_precompiled(const json::Value& part, std::string_view where);

}  // namespace headscope::tokenizers
