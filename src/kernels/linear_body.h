#pragma once

#include <cstdint>
#include <memory>

#include "headscope/linear.h"
#include "headscope/tensor.h"
#include "kernels/linear_bodies.h"

namespace headscope::kernels {

/// What the tasks of one product share.
struct LinearInput {
  View<const float, 2> x;                ///< [M,K]
  Int8Rows rounded;                      ///< x in int8 when any of the bodies wants it
  const LinearBodies* bodies = nullptr;  ///< of the table in use
};

/// How a Linear keeps its weight and multiplies with it, cut into tasks by shapes alone.
struct LinearBody {
  std::int64_t K = 0;
  std::int64_t N = 0;
  Tensor bias;  ///< [N] f32 or empty

  LinearBody() = default;
  LinearBody(const LinearBody&) = delete;
  LinearBody& operator=(const LinearBody&) = delete;
  virtual ~LinearBody() = default;

  /// Whether it multiplies LinearInput::rounded.
  [[nodiscard]] virtual bool rounds() const { return false; }
  /// Tasks that make y [M,N]; they may run at once.
  [[nodiscard]] virtual std::int64_t tasks(std::int64_t M) const = 0;
  virtual void run(std::int64_t task, const LinearInput& in, const View<float, 2>& y) = 0;
};

/// weight [N,K] f32, copied into oneDNN's layout.
std::unique_ptr<LinearBody> packed_linear(const Tensor& weight, Tensor bias);
/// weight [N,K] of any float or block dtype, read where it lies. Errors: kDType, kShape.
std::unique_ptr<LinearBody> stored_linear(const AnyView& weight,
                                          Tensor bias,
                                          Linear::Compute compute);

}  // namespace headscope::kernels
