#pragma once

#include <memory>
#include <optional>
#include <string>

#include "models/transformer.h"
#include "models/vision.h"

namespace headscope::models {

/// Facts of a tower that reads text.
struct TextBlueprint {
  /// Which row stands for a text.
  enum class Pool : std::uint8_t {
    kLargestId,  ///< of the largest id: published CLIP files whose eos_token_id says 2
    kFirstEos,   ///< the first `eos`, or the first row where there is none
    kLast,       ///< SigLIP
  };
  Blueprint body;
  Pool pool = Pool::kFirstEos;
  std::int64_t eos = 0;
  std::string head;  ///< linear map of that row to pooler_output; "" : none
  std::string
      projection;  ///< of pooler_output, without bias, to text_embeds; used where the file has it
  std::int64_t head_width = 0, projection_width = 0;
};

/// A transformer of tokens whose text is one row in the end.
class TextTower : public Network {
 public:
  TextTower(TextBlueprint facts, Tensors tensors);

  [[nodiscard]] const Blueprint& blueprint() const override { return transformer_.blueprint(); }
  [[nodiscard]] std::size_t layers() const override { return transformer_.layers(); }
  [[nodiscard]] const AttentionFacts& facts(std::size_t n) const override {
    return transformer_.facts(n);
  }
  [[nodiscard]] const AttentionWeights& attention(std::size_t n) const override {
    return transformer_.attention(n);
  }
  [[nodiscard]] Tensor output_weight(std::size_t n) const override {
    return transformer_.output_weight(n);
  }
  [[nodiscard]] Tensor output_bias(std::size_t n) const override {
    return transformer_.output_bias(n);
  }
  [[nodiscard]] std::int64_t parameters() const override { return transformer_.parameters(); }
  [[nodiscard]] bool generates() const override { return false; }
  [[nodiscard]] KvCache cache(DType dtype, std::int64_t positions) const override {
    return transformer_.cache(dtype, positions);
  }
  /// Besides Transformer's: pooler_output, and text_embeds among `more`.
  [[nodiscard]] Run run(const Tokens& tokens, const RunOptions& options) const override;

 private:
  TextBlueprint facts_;
  Transformer transformer_;
  std::optional<Linear> head_, projection_;
};

/// How two towers meet.
struct TowersBlueprint {
  TextBlueprint text;
  VisionBlueprint vision;
  bool projected_poolers =
      false;            ///< pooler_output of a tower is what its projection made of it (CLIP)
  bool biased = false;  ///< scores get logit_bias (SigLIP)
};

/// A tower that reads text and one that reads pictures: texts and pictures that belong together lie close.
/// Attentions: the text's, then the picture's. Either input may be left out, then so are its outputs.
/// Source  Radford 2021 (CLIP); Zhai 2023 (SigLIP).
class Towers : public Network {
 public:
  Towers(TowersBlueprint facts, Tensors tensors);

  [[nodiscard]] const Blueprint& blueprint() const override { return body_; }
  [[nodiscard]] std::size_t layers() const override { return text_.layers() + vision_.layers(); }
  [[nodiscard]] const AttentionFacts& facts(std::size_t layer) const override;
  [[nodiscard]] const AttentionWeights& attention(std::size_t layer) const override;
  [[nodiscard]] Tensor output_weight(std::size_t layer) const override;
  [[nodiscard]] Tensor output_bias(std::size_t layer) const override;
  [[nodiscard]] std::int64_t parameters() const override { return text_.parameters(); }
  [[nodiscard]] bool generates() const override { return false; }
  [[nodiscard]] KvCache cache(DType dtype, std::int64_t positions) const override;
  [[nodiscard]] std::string attention_name(std::size_t layer) const override;
  [[nodiscard]] std::string layer_name(std::size_t layer) const override;
  [[nodiscard]] std::vector<Label> labels(const Tokens& tokens,
                                          std::size_t layer,
                                          std::int64_t b) const override;
  [[nodiscard]] const PatchFacts* pictures() const override { return vision_.pictures(); }
  /// All outputs are among `more`, as Transformers name them: "text.hidden_states.0", "image_embeds",
  /// "logits_per_image", ...
  [[nodiscard]] Run run(const Tokens& tokens, const RunOptions& options) const override;

 private:
  TowersBlueprint facts_;
  Blueprint body_;
  TextTower text_;
  Vision vision_;
  float scale_ = 1.0F, bias_ = 0.0F;
};

/// Nothing when config["model_type"] is none of these families. Errors: kFormat, kUnsupported.
std::optional<TowersBlueprint> read_towers(const json::Value& config,
                                           const std::string& architecture);
std::optional<TextBlueprint> read_text_tower(const json::Value& config,
                                             const std::string& architecture);
std::vector<std::string> tower_families();
/// Whether models of a family, towers alone among them, have an output that stands for a whole input: text_embeds,
/// image_embeds or pooler_output.
bool pools_itself(std::string_view family);

}  // namespace headscope::models
