#pragma once

#include "kernels/gradients.h"

namespace headscope::kernels {

/// The reference in double precision.
GradientBodies scalar_gradients();

}  // namespace headscope::kernels
