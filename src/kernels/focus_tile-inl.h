// The two products of `focus` in f32, compiled once per instruction set (included by focus_hwy.cpp).
// Idea: lanes are queries. A block of kVecs vectors of rows meets one key at a time, so maxima,
// sums, entropies and distances are vertical operations and nothing is ever reduced across lanes.
#if defined(HEADSCOPE_FOCUS_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FOCUS_TILE_INL_H_
#undef HEADSCOPE_FOCUS_TILE_INL_H_
#else
#define HEADSCOPE_FOCUS_TILE_INL_H_
#endif

#include "headscope/tensor.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/focus_task.h"
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

inline constexpr std::int64_t kBlock = 64;  // keys between two looks at the running maximum

#if HWY_TARGET != HWY_SCALAR
// Four numbers of a row, whatever it is made of.
using D4 = hn::CappedTag<float, 4>;
HWY_INLINE hn::Vec<D4> load4(const float* p) { return hn::LoadU(D4(), p); }
HWY_INLINE hn::Vec<D4> load4(const bf16* p) {
  const hn::RebindToUnsigned<D4> du;
  const hn::Rebind<std::uint16_t, D4> du16;
  const auto bits = hn::LoadU(du16, reinterpret_cast<const std::uint16_t*>(p));
  return hn::BitCast(D4(), hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
}
#endif
HWY_INLINE float load1(const float* p) { return *p; }
HWY_INLINE float load1(const bf16* p) {
  const std::uint32_t bits = std::uint32_t{p->bits} << 16;
  float x;
  __builtin_memcpy(&x, &bits, sizeof(x));
  return x;
}
HWY_INLINE void store1(float x, float* p) { *p = x; }
// To nearest, ties to even; NaN stays NaN.
HWY_INLINE void store1(float x, bf16* p) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  const bool nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
  const std::uint32_t rounded = nan ? bits | 0x400000U : bits + 0x7FFFU + ((bits >> 16) & 1U);
  p->bits = static_cast<std::uint16_t>(rounded >> 16);
}

#if HWY_TARGET == HWY_SCALAR  // vectors of one lane: nothing to turn
template <std::size_t kRows, typename T>
HWY_INLINE void turn_in(const T* const* rows, std::int64_t width, float* to) {
  for (std::int64_t c = 0; c < width; ++c) {
    for (std::size_t lane = 0; lane < kRows; ++lane)
      to[static_cast<std::size_t>(c) * kRows + lane] = load1(rows[lane] + c);
  }
}
template <std::size_t kRows, typename T>
HWY_INLINE void turn_out(const float* from,
                         const float* factor,
                         std::int64_t count,
                         std::int64_t width,
                         T* const* rows) {
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t c = 0; c < width; ++c)
      store1(from[c * static_cast<std::int64_t>(kRows) + i] * factor[i], rows[i] + c);
  }
}
template <typename T>
HWY_INLINE void widen_row(const T* from, std::int64_t width, float* to) {
  for (std::int64_t c = 0; c < width; ++c) to[c] = load1(from + c);
}
#else
// Turns four rows of four: t[c] gets element c of every row.
HWY_INLINE void turn4(hn::Vec<D4> (&r)[4]) {
  const D4 d;
  const hn::Repartition<double, D4> d2;
  const auto low01 = hn::InterleaveLower(d, r[0], r[1]);
  const auto high01 = hn::InterleaveUpper(d, r[0], r[1]);
  const auto low23 = hn::InterleaveLower(d, r[2], r[3]);
  const auto high23 = hn::InterleaveUpper(d, r[2], r[3]);
  const auto pairs = [&](auto a, auto b, bool upper) {
    const auto x = hn::BitCast(d2, a);
    const auto y = hn::BitCast(d2, b);
    return hn::BitCast(d, upper ? hn::InterleaveUpper(d2, x, y) : hn::InterleaveLower(d2, x, y));
  };
  r[0] = pairs(low01, low23, false);
  r[1] = pairs(low01, low23, true);
  r[2] = pairs(high01, high23, false);
  r[3] = pairs(high01, high23, true);
}

/// to[d][lane] = rows[lane][d] for all kRows lanes; a pointer for each.
template <std::size_t kRows, typename T>
HWY_INLINE void turn_in(const T* const* rows, std::int64_t width, float* to) {
  for (std::size_t lane = 0; lane < kRows; lane += 4) {
    std::int64_t c = 0;
    for (; c + 4 <= width; c += 4) {
      hn::Vec<D4> r[4];
      for (std::size_t i = 0; i < 4; ++i) r[i] = load4(rows[lane + i] + c);
      turn4(r);
      for (std::size_t i = 0; i < 4; ++i)
        hn::Store(r[i], D4(), to + (static_cast<std::size_t>(c) + i) * kRows + lane);
    }
    for (; c < width; ++c) {
      for (std::size_t i = 0; i < 4; ++i)
        to[static_cast<std::size_t>(c) * kRows + lane + i] = load1(rows[lane + i] + c);
    }
  }
}

/// rows[lane][c] = from[c][lane] * factor[lane] for the first `count` lanes.
template <std::size_t kRows, typename T>
HWY_INLINE void turn_out(const float* from,
                         const float* factor,
                         std::int64_t count,
                         std::int64_t width,
                         T* const* rows) {
  for (std::int64_t lane = 0; lane < count; lane += 4) {
    const std::int64_t here = count - lane < 4 ? count - lane : 4;
    const auto scale = hn::Load(D4(), factor + lane);
    std::int64_t c = 0;
    for (; c + 4 <= width; c += 4) {
      hn::Vec<D4> r[4];
      for (std::size_t i = 0; i < 4; ++i) {
        const float* at = from + (static_cast<std::size_t>(c) + i) * kRows;
        r[i] = hn::Mul(hn::Load(D4(), at + lane), scale);
      }
      turn4(r);
      for (std::int64_t i = 0; i < here; ++i) {
        T* to = rows[lane + i] + c;
        if constexpr (sizeof(T) == sizeof(float)) {
          hn::StoreU(r[i], D4(), to);
        } else {
          alignas(16) float x[4];
          hn::Store(r[i], D4(), x);
          for (std::size_t m = 0; m < 4; ++m) store1(x[m], to + m);
        }
      }
    }
    for (; c < width; ++c) {
      for (std::int64_t i = lane; i < lane + here; ++i)
        store1(from[c * static_cast<std::int64_t>(kRows) + i] * factor[i], rows[i] + c);
    }
  }
}

template <typename T>
HWY_INLINE void widen_row(const T* from, std::int64_t width, float* to) {
  std::int64_t c = 0;
  for (; c + 4 <= width; c += 4) hn::StoreU(load4(from + c), D4(), to + c);
  for (; c < width; ++c) to[c] = load1(from + c);
}
#endif

/// acc[n][row] (+)= sum_t left[t][row] * right(n, t), for kN columns of `right` and kV vectors of rows: the
/// shape of both products. left [length][kRows], right(n, t) at right + n * across + t * along.
template <std::size_t kN, std::size_t kV, std::size_t kRows, bool kAdd>
HWY_INLINE void product_tile(const float* HWY_RESTRICT left,
                             std::int64_t length,
                             const float* HWY_RESTRICT right,
                             std::int64_t across,
                             std::int64_t along,
                             float* HWY_RESTRICT acc) {
  const D d;
  V sum[kN][kV];
  HWY_UNROLL(8)
  for (std::size_t n = 0; n < kN; ++n) {
    HWY_UNROLL(3)
    for (std::size_t m = 0; m < kV; ++m)
      sum[n][m] = kAdd ? hn::Load(d, acc + n * kRows + m * kLanes) : hn::Zero(d);
  }
  const auto step = [&](std::int64_t t) HWY_ATTR {
    V x[kV];
    HWY_UNROLL(3)
    for (std::size_t m = 0; m < kV; ++m)
      x[m] = hn::Load(d, left + static_cast<std::size_t>(t) * kRows + m * kLanes);
    HWY_UNROLL(8)
    for (std::size_t n = 0; n < kN; ++n) {
      const V y = hn::Set(d, right[static_cast<std::int64_t>(n) * across + t * along]);
      HWY_UNROLL(3)
      for (std::size_t m = 0; m < kV; ++m) sum[n][m] = hn::MulAdd(x[m], y, sum[n][m]);
    }
  };
  std::int64_t t = 0;
  for (; t + 4 <= length; t += 4) {
    step(t);
    step(t + 1);
    step(t + 2);
    step(t + 3);
  }
  for (; t < length; ++t) step(t);
  HWY_UNROLL(8)
  for (std::size_t n = 0; n < kN; ++n) {
    HWY_UNROLL(3)
    for (std::size_t m = 0; m < kV; ++m) hn::Store(sum[n][m], d, acc + n * kRows + m * kLanes);
  }
}

/// Rows that the next product reads, brought nearer while this one computes.
struct Ahead {
  const float* rows = nullptr;
  std::int64_t stride = 0, width = 0;

  HWY_INLINE void fetch(std::int64_t begin, std::int64_t count) const {
    if (rows == nullptr) return;
    constexpr std::int64_t kLine = 16;
    for (std::int64_t n = begin; n < begin + count; ++n) {
      for (std::int64_t c = 0; c < width; c += kLine) hwy::Prefetch(rows + n * stride + c);
    }
  }
};

/// The same for `columns` columns. kAtOnce columns fill the registers beside kV vectors and a broadcast.
template <std::size_t kV, std::size_t kRows, bool kAdd>
HWY_INLINE void product(const float* left,
                        std::int64_t length,
                        const float* right,
                        std::int64_t across,
                        std::int64_t along,
                        std::int64_t columns,
                        float* acc,
                        const Ahead& ahead = {}) {
  constexpr std::size_t kAtOnce = kRegisters >= 32 ? 8 : (kV == 1 ? 8 : (kV == 2 ? 6 : 4));
  constexpr auto kStep = static_cast<std::int64_t>(kAtOnce);
  constexpr auto kStride = static_cast<std::int64_t>(kRows);
  std::int64_t n = 0;
  for (; n + kStep <= columns; n += kStep) {
    ahead.fetch(n, kStep);
    product_tile<kAtOnce, kV, kRows, kAdd>(
        left, length, right + n * across, across, along, acc + n * kStride);
  }
  if (kStep > 4 && n + 4 <= columns) {
    product_tile<4, kV, kRows, kAdd>(
        left, length, right + n * across, across, along, acc + n * kStride);
    n += 4;
  }
  for (; n < columns; ++n) {
    product_tile<1, kV, kRows, kAdd>(
        left, length, right + n * across, across, along, acc + n * kStride);
  }
}

/// Products of f32 rows as they lie: q [width][kRows], s [64][kRows], o [value_width][kRows].
struct RowProducts {
  struct Session {};  // nothing has to be set up
  static constexpr bool kF32 = true;
  static constexpr bool kBf16 =
      true;  // rows and results may be bf16, keys and values are packed f32
  static constexpr std::size_t kVecs = 3;
  static constexpr std::size_t kRows = kVecs * kLanes;
  static constexpr std::int64_t kKeyBytes = 4;  // of a number of K or V as the products read it
  static constexpr std::int64_t kWaiting = 0;   // blocks whose weights may wait to be mixed

  static std::size_t query_floats(const FocusTask& t) {
    return static_cast<std::size_t>(t.width) * kRows;
  }
  static std::size_t sum_floats(const FocusTask& t) {
    return static_cast<std::size_t>(t.value_width) * kRows;
  }
  static std::size_t mix_floats(const FocusTask& /*t*/) { return 0; }

  template <typename T>
  static void load_queries(const FocusTask& t, const T* const* rows, std::int64_t, float* q) {
    turn_in<kRows>(rows, t.width, q);
  }

  /// s[m][row] = q_row . k_(j0 + m), unscaled.
  static void score(const FocusTask& t,
                    const float* q,
                    std::int64_t count,
                    std::int64_t j0,
                    std::int64_t n,
                    float* s) {
    const float* k = static_cast<const float*>(t.k) + j0 * t.k_stride;
    const Ahead values{static_cast<const float*>(t.v) + j0 * t.v_stride, t.v_stride, t.value_width};
    if (count > 2 * kLanesI)
      product<3, kRows, false>(q, t.width, k, t.k_stride, 1, n, s, values);
    else if (count > kLanesI)
      product<2, kRows, false>(q, t.width, k, t.k_stride, 1, n, s);
    else
      product<1, kRows, false>(q, t.width, k, t.k_stride, 1, n, s);
  }

  /// o[c][row] += sum_m p[m][row] * v_(j0 + m)[c].
  static void mix(const FocusTask& t,
                  const float* p,
                  std::int64_t count,
                  std::int64_t j0,
                  std::int64_t n,
                  float* o,
                  float* /*scratch*/) {
    const float* v = static_cast<const float*>(t.v) + j0 * t.v_stride;
    if (count > 2 * kLanesI)
      product<3, kRows, true>(p, n, v, 1, t.v_stride, t.value_width, o);
    else if (count > kLanesI)
      product<2, kRows, true>(p, n, v, 1, t.v_stride, t.value_width, o);
    else
      product<1, kRows, true>(p, n, v, 1, t.v_stride, t.value_width, o);
  }

  /// The sums of all rows times factor[row].
  static void rescale(const FocusTask& t, const float* factor, float* o) {
    const D d;
    for (std::size_t lane = 0; lane < kRows; lane += kLanes) {
      const V f = hn::Load(d, factor + lane);
      for (std::int64_t c = 0; c < t.value_width; ++c) {
        float* at = o + static_cast<std::size_t>(c) * kRows + lane;
        hn::Store(hn::Mul(hn::Load(d, at), f), d, at);
      }
    }
  }

  template <typename T>
  static void store(
      const FocusTask& t, const float* o, const float* factor, std::int64_t count, T* const* rows) {
    turn_out<kRows>(o, factor, count, t.value_width, rows);
  }

 private:
  static constexpr auto kLanesI = static_cast<std::int64_t>(kLanes);
};

/// Rows of keys or values as contiguous f32: what RowProducts reads.
inline std::size_t packed_row_bytes(std::int64_t keys, std::int64_t width, bool /*values*/) {
  return static_cast<std::size_t>(keys * width) * sizeof(float);
}
template <typename T>
void pack_rows_of(const T* from,
                  std::int64_t stride,
                  std::int64_t begin,
                  std::int64_t end,
                  std::int64_t width,
                  float* to) {
  for (std::int64_t j = begin; j < end; ++j) widen_row(from + j * stride, width, to + j * width);
}
inline void pack_rows(
    const FocusTask& t, bool values, std::int64_t begin, std::int64_t end, std::byte* to) noexcept {
  const void* from = values ? t.v : t.k;
  const std::int64_t stride = values ? t.v_stride : t.k_stride;
  const std::int64_t width = values ? t.value_width : t.width;
  auto* floats = reinterpret_cast<float*>(to);
  if (t.number == Number::kF32)
    pack_rows_of(static_cast<const float*>(from), stride, begin, end, width, floats);
  else
    pack_rows_of(static_cast<const bf16*>(from), stride, begin, end, width, floats);
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
