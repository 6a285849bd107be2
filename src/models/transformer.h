#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "headscope/model.h"
#include "models/blueprint.h"
#include "models/weights.h"

namespace headscope::models {

/// The one transformer: embeddings, layers of attention and MLP with residuals and norms, heads on
/// top. Which variant of each is a fact of the blueprint.
class Transformer {
 public:
  /// Packs the weights; word embeddings stay in the mapped file.
  /// Errors: kNotFound, kShape, kDType, each naming the tensor.
  Transformer(Blueprint blueprint, Safetensors file, const std::string& architecture);

  Transformer(const Transformer&) = delete;
  Transformer& operator=(const Transformer&) = delete;

  [[nodiscard]] const Blueprint& blueprint() const { return blueprint_; }
  [[nodiscard]] const AttentionWeights& attention(std::size_t layer) const {
    return layers_.at(layer).attention;
  }
  [[nodiscard]] std::int64_t parameters() const { return parameters_; }
  [[nodiscard]] Tensor output_weight(std::size_t layer) const;
  [[nodiscard]] Tensor output_bias(std::size_t layer) const;

  /// Errors: kRange, kInput, kShape before anything is computed.
  [[nodiscard]] Run run(const Tokens& tokens, const RunOptions& options) const;

 private:
  struct Layer {
    AttentionWeights attention;
    Norm attention_norm;
    std::shared_ptr<const Linear> up, down;
    Norm mlp_norm;
  };
  struct Head {
    HeadBlueprint names;
    std::optional<Linear> dense;
    std::optional<Norm> norm;
    std::optional<Linear> out;
  };

  Layer read_layer(const Weights& weights, std::int64_t layer);
  void read_top(const Weights& weights, const std::string& architecture);
  void check(const Tokens& tokens, const RunOptions& options) const;
  [[nodiscard]] Tensor embed(const Tokens& tokens) const;
  void run_layer(std::size_t layer, Tensor& x, const AttentionCall& call) const;
  void run_top(Run& run) const;
  [[nodiscard]] std::int64_t position_of(const Tokens& tokens,
                                         std::int64_t b,
                                         std::int64_t i) const;

  Blueprint blueprint_;
  Safetensors file_;
  Weights weights_;
  AnyView words_, positions_, types_;
  Norm embedding_norm_;
  std::vector<Layer> layers_;
  std::optional<Linear> pooler_;
  std::optional<Head> head_;
  std::int64_t parameters_ = 0;
};

}  // namespace headscope::models
