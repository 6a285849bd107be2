#pragma once

#include "models/weights.h"

namespace headscope::models {

/// Refuses weights that are no numbers: NaN or infinity in f32, f16, bf16 and f64, or in the factors
/// of blocks. Masks and other buffers of old files, which nobody reads, are passed over.
/// Cost one pass over the bytes of single numbers, over the factors alone of blocks; all threads.
/// Errors: kFormat, naming the first such tensor and element.
void check_finite(const Tensors& tensors);

}  // namespace headscope::models
