#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "headscope/tokenizer.h"
#include "tokenizers/added_tokens.h"
#include "tokenizers/decoder.h"
#include "tokenizers/model.h"
#include "tokenizers/normalizer.h"
#include "tokenizers/post_processor.h"
#include "tokenizers/pre_tokenizer.h"
#include "tokenizers/word_cache.h"

namespace headscope {

/// The parts of a tokenizer.json, in the order a text meets them. Those that are null do nothing.
struct Tokenizer::Parts {
  std::unique_ptr<const tokenizers::Normalizer> normalizer;
  std::unique_ptr<const tokenizers::PreTokenizer> pre_tokenizer;
  std::unique_ptr<const tokenizers::Model> model;
  std::unique_ptr<const tokenizers::PostProcessor> post_processor;
  std::unique_ptr<const tokenizers::Decoder> decoder;
  tokenizers::AddedTokens added;
  mutable tokenizers::CachePool caches;

  /// Makes all parts but the model, which must be there, from a tokenizer.json.
  void make(const json::Value& root, std::string_view name);
  /// Errors: kRange.
  [[nodiscard]] std::string_view known_token(std::int32_t id) const;
  /// What a decoder gets of a token; nothing for a special one that is to be left out.
  [[nodiscard]] std::optional<std::string_view> decoded_form(std::int32_t id,
                                                             bool skip_special) const;
  [[nodiscard]] Encoding encode(std::string_view text, std::int32_t type_id) const;
};

}  // namespace headscope
