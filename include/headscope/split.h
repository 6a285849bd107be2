#pragma once

#include <cstdint>
#include <vector>

#include "headscope/tensor.h"

/// What step 2, split, may do to queries and keys besides slicing them: facts of a layer, neutral
/// by default.
namespace headscope {

/// Rotary positions: pairs of numbers of a head turn by angles that grow with the position, so that
/// q_i . k_j depends on i - j. Pair m of position p turns by p * frequencies[m].
/// Source  Su 2021 (RoFormer) s3.2; the two orders of pairs as in GPT-J and GPT-NeoX.
struct Rotary {
  enum class Style : std::uint8_t {
    kNone,
    kNeox,  ///< pairs (m, m + width/2): Llama, Qwen, Gemma, Phi, GPT-NeoX
    kGptj,  ///< pairs (2m, 2m + 1): GPT-J, Cohere, GLM
  };
  Style style = Style::kNone;
  std::vector<double> frequencies;  ///< [width/2] radians a position: plain, or scaled by a family
  double factor = 1.0;              ///< cos and sin are multiplied by it (YaRN, LongRoPE)

  /// How many numbers of a head turn, counted from its first; the others stay.
  [[nodiscard]] std::int64_t width() const {
    return 2 * static_cast<std::int64_t>(frequencies.size());
  }
  /// frequencies[m] = base^(-2m / width). Errors: kRange (odd, too small or too large a width; a base that
  /// is not a finite number above 0).
  static Rotary plain(Style style, std::int64_t width, double base = 10000.0);
};

/// QK-norm: queries and keys are normed before they turn. Values stay.
/// Numbers of weights and biases: as many as are normed together (the same for every head), or one
/// for each number of all heads (H*D for q, G*D for k); no data: factor 1, nothing added.
///   kHead, D weights      Qwen3, Gemma 3, StableLM       kHead, H*D weights   Cohere, Chameleon
///   kAllHeads             OLMo 2
/// Source  Henry 2020; Dehghani 2023 s2.
struct HeadNorm {
  enum class Kind : std::uint8_t {
    kNone,
    kRms,    ///< x / sqrt(mean(x^2) + eps) * weight
    kLayer,  ///< (x - mean(x)) / sqrt(var(x) + eps) * weight + bias
  };
  enum class Over : std::uint8_t {
    kHead,      ///< every head by itself
    kAllHeads,  ///< all queries of a token together, all keys of a token together
  };
  Kind kind = Kind::kNone;
  Over over = Over::kHead;
  float eps = 1e-6F;
  View<const float, 1> q_weight;
  View<const float, 1> q_bias;  ///< kLayer only
  View<const float, 1> k_weight;
  View<const float, 1> k_bias;  ///< kLayer only
};

/// Which way `rotate` turns. Back is the transpose, the way of gradients: it undoes a turn where
/// rotary.factor is 1.
enum class Turn : std::uint8_t { kForth, kBack };

/// Turns heads in place.
/// Shapes  heads [B,N,T,D] for any N, last axis contiguous; positions [B,T] or [1,T].
/// Cost    6*B*N*T*width/2 flop and one pass over the numbers; one row of cos and sin a thread.
/// Numerics angles in double: cos and sin are right to f32 rounding for |position| < 2^27; a result
///          is off by at most 2^-22 of its pair's length.
/// Errors  kShape (width above D, positions of another shape), kRange (numbers that are not finite)
///         before any write.
void rotate(const Rotary& rotary,
            View<float, 4> heads,
            View<const std::int64_t, 2> positions,
            Turn turn = Turn::kForth);

}  // namespace headscope
