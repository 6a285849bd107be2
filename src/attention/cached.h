#pragma once

#include "headscope/attention.h"

namespace headscope {

/// How many rows of sequence b count; they are its first ones. Errors: kUsage when they are not.
std::int64_t leading_rows(View<const std::uint8_t, 2> rows, std::int64_t b, std::int64_t T);

/// Keys and values of the rows that count join layer `layer` of each sequence's cache. Nothing without caches.
void append(const Slices& slices,
            View<const std::uint8_t, 2> rows,
            std::span<KvCache* const> caches,
            std::size_t layer);

}  // namespace headscope
