#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace headscope::train {

/// What differs among the tokenizers made here.
struct TokenizerParts {
  nlohmann::ordered_json normalizer, pre_tokenizer, model, decoder;
};

/// A tokenizer.json of these parts with the special tokens of vocabulary.h, which puts [CLS] in front of a text and
/// [SEP] behind it.
std::string tokenizer_json(TokenizerParts parts);

}  // namespace headscope::train
