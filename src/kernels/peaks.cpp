#include "kernels/peaks.h"

#include "kernels/amx.h"
#include "kernels/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace headscope::kernels {

#if defined(__x86_64__)
namespace {

// Pairs of ones and sums that stay small: no number overflows in any number of rounds.
__attribute__((target("avx512f,avx512bf16"))) double dot_bf16(std::int64_t rounds) noexcept {
  constexpr int kChains = 24;
  __m512 sum[kChains];
  for (__m512& s : sum) s = _mm512_setzero_ps();
  // Opaque to the compiler, so that products are not folded.
  __m512i one = _mm512_set1_epi32(0x3F803F80);
  __m512i small = _mm512_set1_epi32(0x20002000);
  __asm__ volatile("" : "+v"(one), "+v"(small));
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 24
    for (int n = 0; n < kChains; ++n) {
      sum[n] = _mm512_dpbf16_ps(sum[n], (__m512bh)one, (__m512bh)small);
    }
  }
  __m512 total = sum[0];
  for (int n = 1; n < kChains; ++n) total = _mm512_add_ps(total, sum[n]);
  volatile float keep = _mm512_cvtss_f32(total);
  (void)keep;
  return 2.0 * 32.0 * kChains * static_cast<double>(rounds);
}

struct alignas(64) TileShape {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t bytes_a_row[16] = {};
  std::uint8_t rows[16] = {};
};
static_assert(sizeof(TileShape) == 64);

// Four accumulators over two tiles on either side: the shape that every large product takes.
__attribute__((target("amx-tile,amx-bf16"))) double amx_bf16(std::int64_t rounds) noexcept {
  TileShape shape;
  for (int n = 0; n < 8; ++n) {
    shape.bytes_a_row[n] = 64;
    shape.rows[n] = 16;
  }
  // The intrinsic of g++ 12 reads but the first eight bytes in the compiler's eyes: the rest was never written.
  asm volatile("ldtilecfg %0" : : "m"(shape));
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (std::int64_t r = 0; r < rounds; ++r) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return 4.0 * 2.0 * 16.0 * 16.0 * 32.0 * static_cast<double>(rounds);
}

}  // namespace
#endif

std::vector<Peak> peaks() {
  const Table& chosen = table();
  std::vector<Peak> all{{"fma_f32", chosen.name, "flop", chosen.fma_peak}};
#if defined(__x86_64__)
  if (has_avx512_bf16()) all.push_back({"dot_bf16", "avx512bf16", "flop", dot_bf16});
  if (has_amx_bf16()) all.push_back({"amx_bf16", "amx", "flop", amx_bf16});
#endif
  all.push_back({"exp_f32", best_vectors(), "exp", exp_peak});
  return all;
}

}  // namespace headscope::kernels
