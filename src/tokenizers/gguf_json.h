#pragma once

#include <string_view>

#include "formats/json.h"

namespace headscope::tokenizers {

/// The tokenizer.json that does what a GGUF file's tokenizer does, complete enough for the published
/// reader. Errors: as Tokenizer::from_gguf.
json::Value gguf_json(const json::Value& metadata, std::string_view name);

}  // namespace headscope::tokenizers
