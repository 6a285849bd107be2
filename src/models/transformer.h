#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "headscope/model.h"
#include "models/blueprint.h"
#include "models/layer.h"
#include "models/weights.h"

namespace headscope::models {

/// The one transformer: embeddings, layers of attention and MLP with residuals and norms, heads on
/// top. Which variant of each is a fact of the blueprint.
class Transformer {
 public:
  /// Packs the weights; word embeddings stay in the mapped file.
  /// Errors: kNotFound, kShape, kDType, each naming the tensor.
  Transformer(Blueprint blueprint, Tensors tensors, const std::string& architecture);

  Transformer(const Transformer&) = delete;
  Transformer& operator=(const Transformer&) = delete;

  [[nodiscard]] const Blueprint& blueprint() const { return blueprint_; }
  [[nodiscard]] const AttentionWeights& attention(std::size_t layer) const {
    return layers_.at(layer)->attention;
  }
  [[nodiscard]] std::int64_t parameters() const { return parameters_; }
  [[nodiscard]] Tensor output_weight(std::size_t layer) const;
  [[nodiscard]] Tensor output_bias(std::size_t layer) const;
  [[nodiscard]] KvCache cache(DType dtype, std::int64_t positions) const;

  /// Errors: kRange, kInput, kShape before anything is computed.
  [[nodiscard]] Run run(const Tokens& tokens, const RunOptions& options) const;

 private:
  struct Head {
    HeadBlueprint names;
    std::optional<Linear> dense;
    std::optional<Norm> norm;
    std::optional<Linear> out;
  };
  class Pass;  // one run: transformer.cpp

  void read_top(const std::string& architecture);
  void check(const Tokens& tokens, const RunOptions& options) const;
  void check_caches(const Tokens& tokens, const RunOptions& options) const;
  [[nodiscard]] Tensor embed(const Tokens& tokens, View<const std::int64_t, 2> positions) const;
  void finish(Run& run) const;
  void run_top(Run& run, const Tokens& tokens, const RunOptions& options) const;
  [[nodiscard]] Tensor positions_of(const Tokens& tokens, const RunOptions& options) const;

  Blueprint blueprint_;
  Weights weights_;
  AnyView words_, positions_, types_;
  Norm embedding_norm_, final_norm_;
  std::optional<Linear> embedding_projection_, final_projection_;
  std::vector<std::shared_ptr<const Layer>> layers_;
  std::optional<Linear> pooler_;
  std::optional<Head> head_;
  std::int64_t parameters_ = 0;
};

}  // namespace headscope::models
