// The inner loops of `focus`, compiled once per instruction set (included by focus_hwy.cpp).
// Idea: lanes are queries. A block of kVecs vectors of rows meets one key at a time, so maxima,
// sums, entropies and distances are vertical operations and nothing is ever reduced across lanes.
#if defined(HEADSCOPE_FOCUS_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FOCUS_TILE_INL_H_
#undef HEADSCOPE_FOCUS_TILE_INL_H_
#else
#define HEADSCOPE_FOCUS_TILE_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

inline constexpr std::size_t kVecs = 3;  // vectors of rows in a block
inline constexpr std::size_t kRows = kVecs * kLanes;
// Accumulators that fit in registers beside kVecs queries and a broadcast: 16 registers hold 3 x 4,
// 32 registers hold 3 x 8.
inline constexpr std::size_t kKeysAtOnce = kRegisters >= 32 ? 8 : 4;
inline constexpr std::int64_t kBlock = 64;  // keys between two looks at the running maximum

/// s[n][row] = q[row] . k[n] for n < kKeys. qt [width][kRows] (scaled), s [kKeys][kRows].
template <std::size_t kKeys>
HWY_INLINE void score_tile(const float* HWY_RESTRICT qt,
                           const float* HWY_RESTRICT k,
                           std::int64_t k_stride,
                           std::int64_t width,
                           float* HWY_RESTRICT s) {
  const D d;
  V acc[kKeys][kVecs];
  HWY_UNROLL(8)
  for (std::size_t n = 0; n < kKeys; ++n) {
    HWY_UNROLL(3)
    for (std::size_t m = 0; m < kVecs; ++m) acc[n][m] = hn::Zero(d);
  }
  for (std::int64_t t = 0; t < width; ++t) {
    V q[kVecs];
    HWY_UNROLL(3)
    for (std::size_t m = 0; m < kVecs; ++m)
      q[m] = hn::Load(d, qt + static_cast<std::size_t>(t) * kRows + m * kLanes);
    HWY_UNROLL(8)
    for (std::size_t n = 0; n < kKeys; ++n) {
      const V key = hn::Set(d, k[static_cast<std::int64_t>(n) * k_stride + t]);
      HWY_UNROLL(3)
      for (std::size_t m = 0; m < kVecs; ++m) acc[n][m] = hn::MulAdd(q[m], key, acc[n][m]);
    }
  }
  HWY_UNROLL(8)
  for (std::size_t n = 0; n < kKeys; ++n) {
    HWY_UNROLL(3)
    for (std::size_t m = 0; m < kVecs; ++m) hn::Store(acc[n][m], d, s + n * kRows + m * kLanes);
  }
}

/// Scores of `n` keys, s [n][kRows].
HWY_INLINE void score_block(const float* qt,
                            const float* k,
                            std::int64_t k_stride,
                            std::int64_t width,
                            std::int64_t n,
                            float* s) {
  constexpr auto kStep = static_cast<std::int64_t>(kKeysAtOnce);
  std::int64_t j = 0;
  for (; j + kStep <= n; j += kStep) {
    score_tile<kKeysAtOnce>(
        qt, k + j * k_stride, k_stride, width, s + j * static_cast<std::int64_t>(kRows));
  }
  for (; j < n; ++j) {
    score_tile<1>(qt, k + j * k_stride, k_stride, width, s + j * static_cast<std::int64_t>(kRows));
  }
}

/// o[c][row] += sum_j p[j][row] * v[j][c] for c < kColumns. p [n][kRows], o [kColumns][kRows].
template <std::size_t kColumns>
HWY_INLINE void mix_tile(const float* HWY_RESTRICT p,
                         std::int64_t n,
                         const float* HWY_RESTRICT v,
                         std::int64_t v_stride,
                         float* HWY_RESTRICT o) {
  const D d;
  V acc[kColumns][kVecs];
  HWY_UNROLL(8)
  for (std::size_t c = 0; c < kColumns; ++c) {
    HWY_UNROLL(3)
    for (std::size_t m = 0; m < kVecs; ++m) acc[c][m] = hn::Load(d, o + c * kRows + m * kLanes);
  }
  for (std::int64_t j = 0; j < n; ++j) {
    V w[kVecs];
    HWY_UNROLL(3)
    for (std::size_t m = 0; m < kVecs; ++m)
      w[m] = hn::Load(d, p + static_cast<std::size_t>(j) * kRows + m * kLanes);
    HWY_UNROLL(8)
    for (std::size_t c = 0; c < kColumns; ++c) {
      const V value = hn::Set(d, v[j * v_stride + static_cast<std::int64_t>(c)]);
      HWY_UNROLL(3)
      for (std::size_t m = 0; m < kVecs; ++m) acc[c][m] = hn::MulAdd(w[m], value, acc[c][m]);
    }
  }
  HWY_UNROLL(8)
  for (std::size_t c = 0; c < kColumns; ++c) {
    HWY_UNROLL(3)
    for (std::size_t m = 0; m < kVecs; ++m) hn::Store(acc[c][m], d, o + c * kRows + m * kLanes);
  }
}

/// o [width][kRows] += p [n][kRows]^T v [n][width].
HWY_INLINE void mix_block(const float* p,
                          std::int64_t n,
                          const float* v,
                          std::int64_t v_stride,
                          std::int64_t width,
                          float* o) {
  constexpr auto kStep = static_cast<std::int64_t>(kKeysAtOnce);
  std::int64_t c = 0;
  for (; c + kStep <= width; c += kStep) {
    mix_tile<kKeysAtOnce>(p, n, v + c, v_stride, o + c * static_cast<std::int64_t>(kRows));
  }
  for (; c < width; ++c)
    mix_tile<1>(p, n, v + c, v_stride, o + c * static_cast<std::int64_t>(kRows));
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
