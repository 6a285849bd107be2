#pragma once

#include <cstdint>
#include <span>

#include "headscope/attention.h"

namespace headscope {

/// That every edit names a head and rows that are there and brings what it needs, for findings [B,H,T,width].
/// Errors: kRange, kShape.
void check_edits(std::span<const Edit> edits,
                 std::int64_t heads,
                 std::int64_t B,
                 std::int64_t T,
                 std::int64_t width);

}  // namespace headscope
