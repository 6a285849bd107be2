#pragma once

#include "models/weights.h"

namespace headscope::models {

/// Biases of a stack are optional for who reads one tensor; which must be there says its family.
/// Errors: kNotFound, naming the first one that is missing.
void expect_biases(const Weights& weights, const Blueprint& b);

}  // namespace headscope::models
