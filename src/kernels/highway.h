#pragma once

#include <vector>

#include "kernels/isa.h"

namespace headscope::kernels {

/// The tables compiled from Highway that this machine can run, slowest first.
std::vector<const Table*> highway_tables();

}  // namespace headscope::kernels
