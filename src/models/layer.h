#pragma once

#include <functional>
#include <optional>

#include "headscope/attention.h"
#include "models/mlp.h"

namespace headscope::models {

/// One attention's weights as its facts ask for them, and the norms around it.
struct AttentionPart {
  AttentionWeights weights;
  FocusOptions
      options;  ///< what holds for every call; the views point to what this or `Weights` owns
  Tensor slopes, sinks, query_norm_bias, query_norm, key_norm, key_norm_bias;
  AnyView relative;  ///< table of a bias by distance, or no data
  Norm before, after, over;
};

/// One layer's weights as its facts ask for them.
struct Layer {
  AttentionPart attention;
  std::optional<AttentionPart> cross;
  Norm mlp_before, mlp_after, mlp_over;
  std::optional<Mlp> mlp;
  std::optional<Experts> experts;
};

/// Errors: kNotFound, kShape, kDType, each naming the tensor.
std::shared_ptr<const Layer> read_layer(Weights& weights,
                                        const Blueprint& b,
                                        const LayerFacts& facts);

/// Bias of rows first, first + 1, ... on keys 0 to Tk by their distance. Shapes  [1,H,Tq,Tk].
Tensor relative_bias(const AnyView& table,
                     const RelativeFacts& facts,
                     std::int64_t first,
                     std::int64_t Tq,
                     std::int64_t Tk);
/// ALiBi with every product rounded to bf16, a bias of keys alone. Shapes  [1,H,1,Tk].
Tensor rounded_alibi(const AttentionFacts& facts, std::int64_t Tk);

}  // namespace headscope::models
