#pragma once

#include "models/weights.h"

namespace headscope::models {

/// Matrices in other dtypes than f32 become f32, so that they are packed: 8 bytes a number, for work that multiplies
/// many rows by them. For LoadOptions::change.
void widen(Tensors& tensors);

}  // namespace headscope::models
