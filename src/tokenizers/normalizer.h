#pragma once

#include <memory>
#include <string_view>

#include "formats/json.h"
#include "tokenizers/aligned_text.h"

namespace headscope::tokenizers {

/// The part that rewrites a text before it is split.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(AlignedText& text) const = 0;
};

/// The "normalizer" of a tokenizer.json: BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD,
/// Nmt, Precompiled, Prepend, Replace, Sequence, Strip, StripAccents. Errors: kFormat, kUnsupported.
std::unique_ptr<const Normalizer> make_normalizer(const json::Value& part, std::string_view where);

}  // namespace headscope::tokenizers
