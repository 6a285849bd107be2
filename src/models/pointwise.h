#pragma once

#include "kernels/isa.h"
#include "models/weights.h"

/// What happens between matrix products, row by row, on all threads.
namespace headscope::models {

/// Layer norm in place. Shapes [M,C].
void normalise(const Norm& norm, float eps, View<float, 2> x);
/// y += x. Shapes [M,C].
void add(View<const float, 2> x, View<float, 2> y);
/// Activation in place. Shapes [M,N].
void activate(kernels::Activation kind, View<float, 2> x);

}  // namespace headscope::models
