#pragma once

#include <filesystem>

#include "headscope/tensor.h"

namespace headscope {

/// Whole numbers from 0 to 255 of an IDX file (the format of MNIST), which may be packed by gzip.
/// Shapes  as the file says, at most 4 axes and `limit` numbers.
/// Errors  kNotFound, kIo; kFormat for a damaged or cut file, numbers of another kind or more bytes than its shape
///         wants; kResources beyond the limit.
/// Source  LeCun, Cortes & Burges 1998, "The MNIST database".
Tensor read_idx(const std::filesystem::path& path, std::int64_t limit = std::int64_t{1} << 30);

}  // namespace headscope
