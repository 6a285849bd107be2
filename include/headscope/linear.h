#pragma once

#include <memory>

#include "headscope/tensor.h"

namespace headscope {

/// y = x W^T + b with W packed once into the layout that this machine multiplies fastest (oneDNN).
/// Rows are cut into fixed blocks, one single-threaded product each, so that results do not depend
/// on the number of threads.
class Linear {
 public:
  /// How the weight lies in the file.
  enum class Layout {
    kOutIn,  ///< [N,K], as torch.nn.Linear
    kInOut,  ///< [K,N], as GPT-2's Conv1D
  };

  /// Shapes  weight [N,K] (or [K,N]), bias [N] or no data. Any float dtype, widened to f32.
  /// Errors  kShape, kDType.
  explicit Linear(const AnyView& weight, const AnyView& bias = {}, Layout layout = Layout::kOutIn);
  Linear(Linear&&) noexcept;
  Linear& operator=(Linear&&) noexcept;
  ~Linear();

  [[nodiscard]] std::int64_t in() const;   ///< K
  [[nodiscard]] std::int64_t out() const;  ///< N

  /// Shapes  x [M,K], y [M,N]; last axis contiguous. Cost 2*M*K*N flop. Errors: kShape.
  void operator()(View<const float, 2> x, View<float, 2> y) const;

  /// The same product in double, for tests: what the packed path is compared with.
  static void reference(const AnyView& weight,
                        const AnyView& bias,
                        Layout layout,
                        View<const float, 2> x,
                        View<float, 2> y);

 private:
  struct Packed;
  std::unique_ptr<Packed> packed_;
};

}  // namespace headscope
