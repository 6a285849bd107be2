#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/weights.h"

namespace headscope::models {

/// The second half of a layer, token by token: a plain or gated pair of linear maps.
class Mlp {
 public:
  /// Names of the facts behind `prefix`, `width` numbers in between.
  Mlp(Weights& weights,
      const MlpFacts& facts,
      const std::string& prefix,
      std::int64_t C,
      std::int64_t width);
  /// Of matrices at hand: gate and up in one, the gate first.
  Mlp(const MlpFacts& facts, Linear gate_up, Linear down);

  /// Shapes  x, y [M,C]. Cost 2*M*C*width*(2 or 3) flop.
  void operator()(View<const float, 2> x, View<float, 2> y) const;

 private:
  void shape(View<float, 2> gate, View<const float, 2> up) const;

  MlpFacts facts_;
  std::int64_t width_;
  std::vector<Linear> up_;  // gate and up, side by side; or up alone
  std::optional<Linear> down_;
};

/// A mixture of experts in the place of an Mlp: a router sends every token to a few of them.
/// Source  Shazeer 2017; Jiang 2024 (Mixtral); DeepSeek-AI 2024 (groups, correction bias).
class Experts {
 public:
  Experts(Weights& weights, const MlpFacts& facts, const std::string& prefix, std::int64_t C);

  /// Shapes  x, y [M,C]; logits [M,E] are the router's, before softmax or sigmoid.
  void operator()(View<const float, 2> x, View<float, 2> y, Tensor* logits) const;

 private:
  struct Choice {
    std::int64_t expert = 0;
    float weight = 0.0F;
  };
  void choose(std::span<const float> logits, std::span<Choice> chosen) const;
  void read_stacked(Weights& weights,
                    const MlpFacts& facts,
                    const std::string& prefix,
                    std::int64_t C);

  ExpertFacts facts_;
  std::optional<Linear> router_;
  Tensor correction_;
  std::vector<Mlp> experts_;
  std::optional<Mlp> shared_;
  std::optional<Linear> shared_gate_;
};

}  // namespace headscope::models
