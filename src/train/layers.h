#pragma once

#include <deque>
#include <optional>

#include "train/maker.h"

namespace headscope::train {

/// The layers of a blueprint under training.
class Layers {
 public:
  /// Errors: kUnsupported, naming a fact that training has no part for.
  Layers(Maker& maker, const models::Blueprint& b);
  /// Shapes  x [N,C] -> [N,C].
  /// looks  of each layer; empty: none.
  Var run(Tape& tape,
          Var x,
          const Sequences& sequences,
          std::span<const std::vector<Look>> looks = {}) const;
  [[nodiscard]] std::size_t count() const { return layers_.size(); }
  [[nodiscard]] const AttendPart& attend(std::size_t layer) const { return layers_[layer].attend; }

 private:
  struct Around {
    std::optional<NormPart> before, after, over;
  };
  struct Layer {
    Around attention_norms, mlp_norms;
    std::vector<Map> qkv;
    Map output;
    AttendPart attend;
    Tensor slopes;
    std::vector<Map> up;
    Map down;
    bool gated = false;
    kernels::Activation activation = kernels::Activation::kGelu;
  };
  template <typename F>
  static Var half(Tape& tape, Var x, const Around& around, F&& inside);
  static Around norms(Maker& maker,
                      const models::Blueprint& b,
                      const std::string& prefix,
                      const models::Norms& names);
  void read_attention(Maker& maker,
                      const models::Blueprint& b,
                      const models::LayerFacts& f,
                      Layer& to);
  void read_mlp(Maker& maker, const models::Blueprint& b, const models::LayerFacts& f, Layer& to);

  std::deque<Layer> layers_;  // the tape points into it
};

}  // namespace headscope::train
