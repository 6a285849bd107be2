#pragma once

#include <cstdint>
#include <span>

#include "headscope/attention.h"

namespace headscope {

/// That every edit of findings names a head and rows that are there and brings what it needs, for findings
/// [B,H,T,width]. Errors: kRange, kShape.
void check_edits(std::span<const Edit> edits,
                 std::int64_t heads,
                 std::int64_t B,
                 std::int64_t T,
                 std::int64_t width);

/// Makes the edits of one part over [B,H,T,width] after checking them. Errors: as check_edits.
void apply_edits(std::span<const Edit> edits,
                 Edit::Part part,
                 const View<float, 4>& heads,
                 View<const std::uint8_t, 2> rows);

}  // namespace headscope
