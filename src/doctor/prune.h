#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "doctor/baseline.h"
#include "doctor/kept.h"

/// How many heads a model needs, and the model without the others.
namespace headscope::doctor {

/// What stands in the place of a head that is gone.
enum class Instead : std::uint8_t {
  kZero,
  kMean,  ///< its mean over the texts, which joins the bias of `output`
};

/// By what heads are ranked.
enum class Order : std::uint8_t {
  kHarm,      ///< the harm when each alone is gone, exactly
  kGradient,  ///< its size as one backward pass of each text foretells it (Michel 2019)
  kGates,  ///< how long its learned gate stays open while that gets dearer (Voita 2019): see learn_gates
};

/// Heads in the order in which they go, and what happens when more and more of them go together.
struct Curve {
  struct Point {
    std::size_t kept = 0;
    double harm = 0.0;  ///< rise of the loss in nats; of models that embed 1 - cosine
  };
  double base = 0.0;          ///< loss of the whole model; 0 where embeddings are compared
  std::vector<HeadId> order;  ///< those that are missed least first
  std::vector<double> worth;  ///< what the order goes by, in that order
  std::vector<Tensor> means;  ///< [Dv] of each, in that order
  std::vector<Point> points;  ///< from all heads down to none
};

struct CurveOptions {
  Order order = Order::kHarm;
  std::size_t points = 12;
  std::int64_t gate_steps = 200;  ///< of Order::kGates
  Told told{};
  /// Where what the order goes by is kept as it is found, if anywhere: of each text, of gates as GateOptions says it. What
  /// lies there is not computed again. Of the same model, texts, `instead` and options alone.
  Kept* kept = nullptr;
};

/// Cost  of ranking: a sweep of each text; a backward pass of each; gate_steps of them. A run of each text a point.
/// Errors: those of Gradients and GatedModel for orders that have gradients; those of Kept.
Curve prune_curve(const Model& model,
                  std::span<const Tokens> texts,
                  Instead instead,
                  const CurveOptions& options = {});

/// Harm when the first `gone` heads of the curve's order are gone together.
double harm_without(const Model& model,
                    std::span<const Tokens> texts,
                    const Curve& curve,
                    std::size_t gone,
                    Instead instead);
/// The most heads that may go while the harm stays within `budget`, by bisection between the points of the curve.
std::size_t gone_within(const Model& model,
                        std::span<const Tokens> texts,
                        const Curve& curve,
                        double budget,
                        Instead instead);

/// What becomes of the heads that go.
enum class Shapes : std::uint8_t {
  kStay,    ///< zeros: every program that reads the family reads the model
  kShrink,  ///< they leave the file, each layer as many as it loses, but one that stays
};

/// That write_pruned can write this model. Reads names alone.
/// Errors: kUnsupported (layers that share their weights: a head cannot leave one of them; kMean where the file has no
/// bias of `output`; layouts without a name for it; kShrink where heads share something).
void check_prunable(const Model& model, Instead instead, Shapes shapes = Shapes::kStay);

struct Written {
  std::size_t left = 0;                ///< heads that left the file
  std::int64_t before = 0, after = 0;  ///< numbers in the file
};

/// The model of `name` as a folder in Hugging Face layout in which the first `gone` heads add nothing but their mean:
/// their columns of `output` are 0, or they leave the file (config.json then has `pruned_heads`, and roles.json goes). Heads
/// behind those that left move up. A GGUF file becomes a folder of f32. Written whole or not at all.
/// Errors: those of check_prunable, kIo, those of Model::load.
Written write_pruned(const Model& model,
                     const Curve& curve,
                     std::size_t gone,
                     Instead instead,
                     const std::filesystem::path& folder,
                     Shapes shapes = Shapes::kStay);

}  // namespace headscope::doctor
