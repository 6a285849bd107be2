#pragma once

#include "formats/files.h"
#include "headscope/safetensors.h"

namespace headscope {

/// Appends a tensor's bytes to a file, at most 1 MiB of them (or one row) in memory.
void stream(files::AtomicFile& file, const TensorSource& tensor);

}  // namespace headscope
