#pragma once

#include "kernels/isa.h"
#include "models/weights.h"

/// What happens between matrix products, row by row, on all threads. Rows may be strided.
namespace headscope::models {

/// y = norm of x; y may be x. Shapes [M,C].
void normalise(const Norm& norm, View<const float, 2> x, View<float, 2> y);
void normalise(const Norm& norm, View<float, 2> x);
/// y += factor * x. Shapes [M,C].
void add(View<const float, 2> x, View<float, 2> y, float factor = 1.0F);
/// Activation in place. Shapes [M,N].
void activate(kernels::Activation kind, View<float, 2> x);
/// x *= y. Shapes [M,N].
void multiply(View<const float, 2> y, View<float, 2> x);
/// Every row divided by its length. Shapes [M,C] -> [M,C].
Tensor unit_rows(const Tensor& x);
/// Whole tensors as rows [M,C] of their last axis.
View<const float, 2> rows_of(const Tensor& x);
View<float, 2> rows_of(Tensor& x);

}  // namespace headscope::models
