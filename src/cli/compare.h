#pragma once

#include <optional>
#include <string>

#include "headscope/tensor.h"

/// How far the engine's tensors are from reference outputs.
namespace headscope::cli {

/// One tensor of the reference and how the engine's stands to it.
struct Compared {
  std::string tensor;
  Shape shape;
  double error = 0.0;      ///< largest absolute difference; NaN when there is a NaN
  double relative = 0.0;   ///< that, divided by the largest reference value
  double tolerance = 0.0;  ///< absolute
  bool ok = false;
  std::string problem;  ///< what is wrong besides the size of the error, "" when nothing is
};

/// What is allowed.
struct Allowance {
  std::optional<double> noise;      ///< f32_noise of the reference: the rounding it carries itself
  std::optional<double> tolerance;  ///< --tolerance: for every tensor
};

/// Tolerance for a tensor: 1e-5 for attention; max(1e-5, 20 noise) for the others, or, where the
/// reference does not say its noise, 1e-5 or 2e-5 of the largest value.
double tolerance_for(const std::string& tensor, double largest, const Allowance& allowance);

/// Compares. Rows of padded tokens (mask [B,T] u8 with 0; empty: none) are left out: of [B,T,...]
/// the tokens, of attention [B,H,T,Tk] the asking tokens; `keys` is the mask of the tokens that are asked
/// where those are others. Where the reference's attention is exactly
/// 0 ours must be, too (below the smallest normal f32 for a key that is not padded: it may have
/// underflowed there). A NaN anywhere counts as off. `ours` is empty() when the engine has no such
/// tensor.
Compared compare(const std::string& tensor,
                 const AnyView& reference,
                 const Tensor& ours,
                 const Tensor& mask,
                 const Allowance& allowance,
                 const Tensor* keys = nullptr);

/// Is it the name of attention weights, "attentions.N", "cross_attentions.N", ...?
bool is_attention(const std::string& tensor);

}  // namespace headscope::cli
