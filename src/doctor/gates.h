#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "doctor/baseline.h"
#include "doctor/kept.h"
#include "headscope/train.h"

namespace headscope::models {
struct Blueprint;
}

/// Learned gates: which heads a model holds on to when every open head has a price.
namespace headscope::doctor {

/// A model whose heads have gates: z becomes g z, or g z + (1 - g) mean. Nothing else of it changes.
class GatedModel {
 public:
  /// `means`: [Dv] of every head, which silence is made of; none: it is 0. Reads the weights once more, for the tape.
  /// Cost  8 bytes a parameter, the weights of `output` twice more.
  /// Errors: those of Gradients; kUnsupported (means where a family has no bias of `output`; layers that share theirs).
  explicit GatedModel(const Model& model, std::span<const Tensor> means = {});

  /// Heads, in the order of heads_of.
  [[nodiscard]] std::size_t heads() const { return heads_.size(); }
  /// Mean loss of a text in nats with these gates, and what it rises by as each gate opens.
  /// Shapes  gates, slopes [heads()]; no slopes: the loss alone. Cost  6 flop a token and parameter, 2 without slopes.
  /// Errors: kShape; kInput (a single token).
  double loss(const Tokens& text, std::span<const double> gates, std::span<double> slopes = {});

 private:
  struct Head {
    HeadId id;
    std::size_t layer = 0;
    std::vector<double> mean;  // [C] what its mean adds to the stream; empty: nothing
  };
  struct Output {
    train::Parameter *weight = nullptr, *bias = nullptr;
    Tensor whole, shift;  // as the file has them
  };
  [[nodiscard]] std::vector<double> of_mean(const Head& head, const Tensor& mean) const;
  void set(std::span<const double> gates);
  [[nodiscard]] double slope(const Head& head) const;

  train::Trainee trainee_;
  const models::Blueprint* blueprint_;
  std::vector<Output> outputs_;
  std::vector<Head> heads_;
};

struct GateOptions {
  std::int64_t steps = 200;  ///< of one text each, in turns
  double rate = 0.1;         ///< of Adam, on ln alpha
  std::uint64_t seed = 1;
  Told told{};
  /// Where the state of every tenth step and of the last is kept, if anywhere: learning goes on from the furthest one,
  /// and ends at the same bits as if it had never stopped. Of the same model, texts and options alone.
  Kept* kept = nullptr;
};

/// How long each head stays open, 0..1, in the order of heads_of, while the price of an open head rises: the mean over all
/// steps of P(g > 0). Gates are hard concrete, 0 and 1 have weights of their own:
///   g = clamp(1.2 s - .1, 0, 1),  s = sigmoid((ln u - ln(1 - u) + ln alpha) 3/2),  u uniform.
/// ln alpha alone learns, so that loss + price * sum P(g > 0) falls; the price rises from a thousandth of the loss, shared
/// out among the heads, to ten times that, so that one run puts all heads into an order.
/// Cost  a step of training a step. Errors: kInput (no text of two tokens), those of GatedModel and Kept.
/// Source  Voita 2019 s4; Louizos, Welling & Kingma 2018 (the distribution).
std::vector<double> learn_gates(GatedModel& model,
                                std::span<const Tokens> texts,
                                const GateOptions& options = {});

}  // namespace headscope::doctor
