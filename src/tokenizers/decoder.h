#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "formats/json.h"

namespace headscope::tokenizers {

/// A stage on the way from tokens to text. Tokens come in pieces: what is known of a token goes on
/// at once, and text that later tokens may still change stays behind. A text decoded in one go and
/// one decoded token by token pass through the same stages, so they cannot differ.
class DecodeStage {
 public:
  virtual ~DecodeStage() = default;
  /// More of the current token, whole characters.
  virtual void piece(std::string_view text) = 0;
  virtual void end_token() = 0;
  virtual void end_text() = 0;
};

/// The part that joins tokens to a text again.
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// A stage at the begin of a text, which hands on to `next`.
  [[nodiscard]] virtual std::unique_ptr<DecodeStage> start(DecodeStage& next) const = 0;
};

/// The "decoder" of a tokenizer.json: BPEDecoder, ByteFallback, ByteLevel, CTC, Fuse, Metaspace,
/// Replace, Sequence, Strip, WordPiece; spaces between tokens for null.
/// Errors: kFormat, kUnsupported.
std::unique_ptr<const Decoder> make_decoder(const json::Value* part, std::string_view where);

}  // namespace headscope::tokenizers
