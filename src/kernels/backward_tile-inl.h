// The products of `focus_backward`, compiled once per instruction set (included by backward_hwy.cpp).
// Idea: all five are outer products of a broadcast number and a pair of vectors, so that nothing is
// ever reduced across lanes. Lanes are keys, and for dq they are the numbers of a head.
#if defined(HEADSCOPE_BACKWARD_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_BACKWARD_TILE_INL_H_
#undef HEADSCOPE_BACKWARD_TILE_INL_H_
#else
#define HEADSCOPE_BACKWARD_TILE_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {
namespace backward {

inline constexpr std::size_t kPair = 2 * kLanes;
// Lines of a tile: 2 x 6 accumulators, two vectors and a broadcast fill 16 registers, 2 x 12 fill 32.
inline constexpr std::int64_t kLines = kRegisters >= 32 ? 12 : 6;

/// c[m][n] (+)= sum over k < depth of a[m][k] * b[k][n], for m < lines and n < columns (whole pairs).
struct Product {
  const float* a =
      nullptr;  // kAcross: a[m][k] at a + k * a_stride + m, else at a + m * a_stride + k
  std::int64_t a_stride = 0;
  const float* b = nullptr;
  std::int64_t b_stride = 0;
  float* c = nullptr;
  std::int64_t c_stride = 0;
  std::int64_t depth = 0, lines = 0, columns = 0;
};

template <bool kAcross, bool kAdd, std::int64_t kN>
HWY_INLINE void product_tile(const Product& p, std::int64_t line, std::int64_t column) {
  const D d;
  V acc[kN][2];
  float* HWY_RESTRICT c = p.c + line * p.c_stride + column;
  const float* HWY_RESTRICT a = p.a + (kAcross ? line : line * p.a_stride);
  const float* HWY_RESTRICT b = p.b + column;
  const std::int64_t a_stride = p.a_stride;
  const std::int64_t b_stride = p.b_stride;
  HWY_UNROLL(12)
  for (std::int64_t m = 0; m < kN; ++m) {
    acc[m][0] = kAdd ? hn::Load(d, c + m * p.c_stride) : hn::Zero(d);
    acc[m][1] = kAdd ? hn::Load(d, c + m * p.c_stride + kLanes) : hn::Zero(d);
  }
  // Unrolled, because the end of a short loop is often predicted late.
  const auto step = [&]() HWY_ATTR __attribute__((always_inline)) {
    const V low = hn::Load(d, b);
    const V high = hn::Load(d, b + kLanes);
    b += b_stride;
    HWY_UNROLL(12)
    for (std::int64_t m = 0; m < kN; ++m) {
      const V x = hn::Set(d, kAcross ? a[m] : a[m * a_stride]);
      acc[m][0] = hn::MulAdd(x, low, acc[m][0]);
      acc[m][1] = hn::MulAdd(x, high, acc[m][1]);
    }
    a += kAcross ? a_stride : 1;
  };
  std::int64_t k = 0;
  for (; k + 4 <= p.depth; k += 4) {
    step();
    step();
    step();
    step();
  }
  for (; k < p.depth; ++k) step();
  HWY_UNROLL(12)
  for (std::int64_t m = 0; m < kN; ++m) {
    hn::Store(acc[m][0], d, c + m * p.c_stride);
    hn::Store(acc[m][1], d, c + m * p.c_stride + kLanes);
  }
}

template <bool kAcross, bool kAdd>
HWY_INLINE void product(const Product& p) {
  for (std::int64_t column = 0; column < p.columns; column += static_cast<std::int64_t>(kPair)) {
    std::int64_t line = 0;
    for (; line + kLines <= p.lines; line += kLines)
      product_tile<kAcross, kAdd, kLines>(p, line, column);
    for (; line + 4 <= p.lines; line += 4) product_tile<kAcross, kAdd, 4>(p, line, column);
    for (; line < p.lines; ++line) product_tile<kAcross, kAdd, 1>(p, line, column);
  }
}

}  // namespace backward
}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
