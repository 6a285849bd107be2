#pragma once

#include <filesystem>

#include "formats/json.h"
#include "headscope/model.h"

/// Where published models say how an answer begins and ends.
namespace headscope::models {

/// From generation_config.json, config.json, tokenizer_config.json and chat_template.jinja of a folder; what
/// is absent stays empty. Errors: kFormat, kIo.
GenerationConfig generation_config_in(const std::filesystem::path& folder,
                                      const json::Value& config);
/// What the tokenizer of the same folder adds: the token that ends a text ends an answer, and rows of the vocabulary
/// that no token has never come. Errors: kFormat when it does not know how texts of the model begin and end.
void join_tokenizer(const Tokenizer& tokenizer, std::int64_t vocabulary, GenerationConfig& to);
/// From the keys tokenizer.* of GGUF metadata: answers end at its eos, eot and eom, and at control tokens that are
/// known to end a turn. Errors: kFormat.
GenerationConfig generation_config_from_gguf(const json::Value& metadata);

}  // namespace headscope::models
