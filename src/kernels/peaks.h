#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace headscope::kernels {

/// Work of one thread that touches registers only: what shares of a machine's speed are of.
struct Peak {
  std::string_view name;                         ///< "fma_f32", "dot_bf16", "amx_bf16", "exp_f32"
  std::string_view isa;                          ///< the instructions that it is made of
  std::string_view unit;                         ///< what the work is counted in: "flop" or "exp"
  double (*body)(std::int64_t rounds) noexcept;  ///< returns the work done
};

/// The peaks that this machine has. "fma_f32" comes first and belongs to the table in use; the others
/// take the best instructions here. Errors: as table().
std::vector<Peak> peaks();

/// Sum of n floats at 64-byte aligned `from`, read as fast as one thread can: several streams at
/// once, a cache line each, asked for ahead of their use.
float read_floats(const float* from, std::size_t n) noexcept;

/// e^x + sum on this machine's best vectors: the body of "exp_f32".
double exp_peak(std::int64_t rounds) noexcept;
/// Name of those vectors: "AVX2", "AVX3", "NEON", ...
std::string_view best_vectors();

}  // namespace headscope::kernels
