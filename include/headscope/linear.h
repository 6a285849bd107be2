#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "headscope/tensor.h"

namespace headscope {

namespace kernels {
struct LinearBody;
}

/// y = x W^T + b. The weight is packed once into the layout that this machine multiplies fastest
/// (oneDNN), or stays where a mapped file holds it and is read there (`stored`).
/// Work is cut by shapes alone, so that results do not depend on the number of threads.
class Linear {
 public:
  /// How the weight lies in the file.
  enum class Layout {
    kOutIn,  ///< [N,K], as torch.nn.Linear
    kInOut,  ///< [K,N], as GPT-2's Conv1D
  };

  /// How a stored weight meets x.
  enum class Compute {
    kExact,  ///< both in f32: blocks are widened as they are read
    kFast,  ///< blocks of q4_0, q4_1, q8_0, q4_k and q6_k by int8 products with x rounded to int8; others exact
  };

  /// A packed copy in f32.
  /// Shapes  weight [N,K] (or [K,N]), bias [N] or no data. Any float dtype, widened to f32.
  /// Errors  kShape, kDType.
  explicit Linear(const AnyView& weight, const AnyView& bias = {}, Layout layout = Layout::kOutIn);

  /// Reads the weight where it lies, each number once a call for few rows of x: `weight.data` must
  /// outlive this object and needs no alignment. The bias is copied. Making one costs nothing.
  /// Shapes   weight [N,K] of f32, f16, bf16 or any block dtype; bias [N] or no data.
  /// Cost     memory: a few rows of the weight a thread, and x once more (int8) in kFast.
  /// Numerics kFast rounds each 32 numbers of a row of x to steps of their largest / 127: an error of at
  ///          most half a step times the sum of |w| there. Either way a row of y depends on its row of x
  ///          alone, to the bit: neither the number of rows nor that of threads changes it. kFast gives the
  ///          same bits on every instruction set with FMA; kExact's sums follow the width of vectors.
  /// Errors   kShape, kDType.
  static Linear stored(const AnyView& weight,
                       const AnyView& bias = {},
                       Compute compute = Compute::kExact);

  Linear(Linear&&) noexcept;
  Linear& operator=(Linear&&) noexcept;
  ~Linear();

  [[nodiscard]] std::int64_t in() const;   ///< K
  [[nodiscard]] std::int64_t out() const;  ///< N

  /// Shapes  x [M,K], y [M,N]; last axis contiguous. Cost 2*M*K*N flop. Errors: kShape.
  void operator()(View<const float, 2> x, View<float, 2> y) const;

  /// Several products with the same x in one parallel region; x is rounded once for all of them. Each
  /// y[i] is what linears[i] gives alone, to the bit; they may be columns of one matrix but not overlap.
  /// Shapes  x [M,K], y[i] [M,N_i]. Errors: kShape, before any write.
  static void multiply(std::span<const Linear* const> linears,
                       View<const float, 2> x,
                       std::span<const View<float, 2>> y);

  /// The same product in double, for tests: what the fast paths are compared with.
  static void reference(const AnyView& weight,
                        const AnyView& bias,
                        Layout layout,
                        View<const float, 2> x,
                        View<float, 2> y);

 private:
  Linear();
  std::unique_ptr<kernels::LinearBody> body_;
};

}  // namespace headscope
