#pragma once

#include <memory>
#include <optional>
#include <string>

#include "models/convolution.h"
#include "models/transformer.h"

namespace headscope::models {

/// Two stacks: one reads the input, the other one writes and looks across at what the first made of it.
/// Attentions are numbered: encoder, decoder among its own tokens, decoder over the encoder.
class EncoderDecoder final : public Network {
 public:
  /// Errors: kNotFound, kShape, kDType, each naming the tensor.
  EncoderDecoder(PairBlueprint blueprint, Tensors tensors, const std::string& architecture);

  [[nodiscard]] const Blueprint& blueprint() const override { return blueprint_.decoder; }
  [[nodiscard]] const Blueprint& reader() const override { return blueprint_.encoder; }
  [[nodiscard]] const PairBlueprint* pair() const override { return &blueprint_; }
  [[nodiscard]] std::size_t layers() const override { return encoder_->layers() + decoder_->layers(); }
  [[nodiscard]] const AttentionFacts& facts(std::size_t layer) const override {
    return stack(layer).facts(number(layer));
  }
  [[nodiscard]] const AttentionWeights& attention(std::size_t layer) const override {
    return stack(layer).attention(number(layer));
  }
  [[nodiscard]] std::int64_t parameters() const override { return weights_->parameters(); }
  [[nodiscard]] Tensor output_weight(std::size_t layer) const override {
    return stack(layer).output_weight(number(layer));
  }
  [[nodiscard]] Tensor output_bias(std::size_t layer) const override {
    return stack(layer).output_bias(number(layer));
  }
  [[nodiscard]] bool generates() const override { return decoder_->generates(); }
  [[nodiscard]] KvCache cache(DType dtype, std::int64_t positions) const override {
    return decoder_->cache(dtype, positions);
  }
  [[nodiscard]] Run run(const Tokens& tokens, const RunOptions& options) const override;

 private:
  struct Front {
    Convolution first, second;
  };

  [[nodiscard]] const Transformer& stack(std::size_t layer) const {
    return layer < encoder_->layers() ? *encoder_ : *decoder_;
  }
  [[nodiscard]] std::size_t number(std::size_t layer) const {
    return layer < encoder_->layers() ? layer : layer - encoder_->layers();
  }
  void check(const Tokens& tokens, const RunOptions& options) const;
  [[nodiscard]] Tokens said(const Tokens& tokens) const;
  [[nodiscard]] Run encode(const Tokens& tokens, const RunOptions& options) const;
  [[nodiscard]] Run decode(const Tokens& said,
                           const Run& encoded,
                           View<const std::uint8_t, 2> mask,
                           const RunOptions& options) const;

  PairBlueprint blueprint_;
  std::shared_ptr<Weights> weights_;
  std::optional<Front> front_;
  std::unique_ptr<const Transformer> encoder_, decoder_;
};

}  // namespace headscope::models
