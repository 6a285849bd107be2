#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "headscope/tensor.h"

namespace headscope::kernels {

/// One form of the two products of `focus`, behind pointers, for tests: every form against the same
/// laws. The functions are those of PairProducts and TileProducts.
struct Products {
  std::string name;  ///< "pairs model avx2", "tiles native avx512", ...
  std::int64_t rows;
  std::size_t (*query_bytes)(std::int64_t width);
  std::size_t (*mix_bytes)();
  std::size_t (*key_bytes)(std::int64_t keys, std::int64_t width);
  std::size_t (*value_bytes)(std::int64_t keys, std::int64_t value_width);
  void (*load_queries)(const bf16* const*, std::int64_t, std::int64_t, std::byte*);
  void (*pack_keys)(const bf16*,
                    std::int64_t stride,
                    std::int64_t begin,
                    std::int64_t end,
                    std::int64_t keys,
                    std::int64_t width,
                    std::byte*);
  void (*pack_values)(const bf16*,
                      std::int64_t stride,
                      std::int64_t begin,
                      std::int64_t end,
                      std::int64_t keys,
                      std::int64_t value_width,
                      std::byte*);
  void (*score)(const std::byte* q,
                const std::byte* k,
                std::int64_t j0,
                std::int64_t n,
                std::int64_t width,
                float* s);
  void (*mix)(const float* p,
              std::int64_t n,
              const std::byte* v,
              std::int64_t j0,
              std::int64_t value_width,
              float* o,
              std::byte* scratch);
};

/// The forms that this machine can run: models for each of its instruction sets, and the native ones
/// where it has their instructions.
std::vector<Products> products();

}  // namespace headscope::kernels
