#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"

namespace headscope::tokenizers {

/// The part that joins tokens to a text again.
class Decoder {
 public:
  virtual ~Decoder() = default;
  [[nodiscard]] virtual std::string decode(const std::vector<std::string_view>& tokens) const = 0;
};

/// The "decoder" of a tokenizer.json: WordPiece. Errors: kFormat, kUnsupported.
std::unique_ptr<const Decoder> make_decoder(const json::Value& part, std::string_view where);

}  // namespace headscope::tokenizers
