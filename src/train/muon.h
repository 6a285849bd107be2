#pragma once

#include <span>

#include "headscope/train.h"

namespace headscope::train {

/// A matrix and the running mean of its gradients.
struct Turned {
  Parameter* parameter;
  Tensor* momentum;
};

/// A step of Muon: the gradient, `scale` times, joins the momentum (.95 of which stays), whose direction, turned so
/// that all singular values are about 1 (.7 to 1.2), is taken off the value. Gradients become 0.
/// Threads the same bits for any number of them.
/// Source  Jordan 2024; Liu 2025 s2.2 for the size of steps.
void muon(std::span<const Turned> matrices, double learning_rate, double decay, double scale);

}  // namespace headscope::train
