#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/isa.h"

namespace headscope::kernels {

/// Backward pass of a norm over one row: adds to dweight and dbias what the row gives them.
///   z = (x - mean) / sqrt(var + eps) or x / sqrt(mean(x^2) + eps);   g = dy * weight
///   dx = (g - mean(g) - z mean(g z)) / sqrt(...), without mean(g) where x was not centred
struct NormBackTask {
  const float* x;
  const float* weight;  ///< nullptr: 1
  const float* dy;
  float eps;
  std::int64_t n;
  bool centred;    ///< layer norm, else RMS norm
  float* dx;       ///< may be dy
  bool add;        ///< to what dx holds; then it is not dy
  float* dweight;  ///< nullptr: not wanted
  float* dbias;    ///< likewise
};

/// One row of a softmax over classes with its label.
struct CrossEntropyTask {
  float* logits;  ///< become the gradient by themselves, times scale, unless scale is 0
  std::int64_t n;
  std::int64_t label;
  float smoothing;  ///< share of the label that is spread over all classes
  float scale;
};
struct CrossEntropyRow {
  double nats = 0.0;
  std::int64_t likeliest = 0;  ///< the lower one wins a tie
};

/// What is dropped of a row: number i where the bits that key and i give fall below `threshold` of 2^24.
struct DropTask {
  const float* x;
  std::int64_t n;
  std::uint64_t key;
  std::uint32_t threshold;
  float scale;  ///< of what stays
  float* y;     ///< may be x
};

/// 24 bits that depend on a key and a number alone, the same on every machine.
inline std::uint32_t drop_bits(std::uint64_t key, std::uint32_t i) {
  std::uint32_t h = (i * 0x9E3779B9U) ^ static_cast<std::uint32_t>(key);
  h = (h ^ (h >> 16)) * 0x85EBCA6BU;
  h ^= static_cast<std::uint32_t>(key >> 32);
  h = (h ^ (h >> 13)) * 0xC2B2AE35U;
  return (h ^ (h >> 16)) >> 8;
}

/// Some numbers of one parameter. Gradients become 0.
struct AdamWTask {
  float* value;
  float* gradient;
  float* first;
  float* second;
  std::int64_t n;
  float gradient_scale;  ///< what clipping leaves
  float beta1, beta2;
  float rate;  ///< over 1 - beta1^t
  float root;  ///< 1 / sqrt(1 - beta2^t)
  float eps;
  float keep;  ///< 1 - rate * decay
};

/// What training does to rows besides products and attention, for one instruction set. Serial and noexcept like the
/// bodies of Table.
struct GradientBodies {
  /// dx = dy * activation'(x); dx may be dy.
  void (*activate_back)(
      Activation kind, const float* x, const float* dy, std::int64_t n, float* dx) noexcept;
  /// Of y = activation(gate) * up.
  void (*gate_back)(Activation kind,
                    const float* gate,
                    const float* up,
                    const float* dy,
                    std::int64_t n,
                    float* dgate,
                    float* dup) noexcept;
  void (*norm_back)(const NormBackTask& task) noexcept;
  CrossEntropyRow (*cross_entropy)(const CrossEntropyTask& task) noexcept;
  void (*drop)(const DropTask& task) noexcept;
  /// y += x.
  void (*add)(const float* x, std::int64_t n, float* y) noexcept;
  void (*adamw)(const AdamWTask& task) noexcept;
  double (*sum_of_squares)(const float* x, std::int64_t n) noexcept;
};

/// The bodies that go with the table of that name: "scalar" is the reference in double precision; a
/// table without bodies of its own here gets the best that this machine runs.
GradientBodies gradient_bodies(std::string_view table);

}  // namespace headscope::kernels
