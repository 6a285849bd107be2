#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "formats/json.h"

/// Tokenizers between tokenizer.json and the keys tokenizer.ggml.* of GGUF.
namespace headscope::models {

/// Adds tokenizer.ggml.* and tokenizer.chat_template to `metadata` from tokenizer.json,
/// tokenizer_config.json and chat_template.jinja in a folder, ids of special tokens from
/// config.json; without a tokenizer.json, says that there is none. The vocabulary is filled up to
/// `vocabulary` tokens, as the rows of the embeddings. Errors: kFormat, kUnsupported (a kind of
/// tokenizer that GGUF has not, or rules that it has no key for: probed by texts whose tokens must
/// stay the same; of WordPiece, whose rules are BERT's in GGUF, what differs is returned instead).
std::string put_gguf_tokenizer(const std::filesystem::path& folder,
                               const json::Value& config,
                               std::int64_t vocabulary,
                               json::Value& metadata);

}  // namespace headscope::models
