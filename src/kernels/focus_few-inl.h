// The two products of `focus` for few rows (decoding): lanes run along the width of a head, keys and
// values are read once where they lie, for all rows that share them. Included by focus_hwy.cpp.
#if defined(HEADSCOPE_FOCUS_FEW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FOCUS_FEW_INL_H_
#undef HEADSCOPE_FOCUS_FEW_INL_H_
#else
#define HEADSCOPE_FOCUS_FEW_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/focus_task.h"
#include "kernels/focus_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

HWY_INLINE V load_wide(const float* p) { return hn::LoadU(D(), p); }
HWY_INLINE V load_wide(const bf16* p) {
  const D d;
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<std::uint16_t, D> du16;
  const auto bits = hn::LoadU(du16, reinterpret_cast<const std::uint16_t*>(p));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
}

/// Products of at most one vector of rows: q [rows][width], s [64][kRows], o [rows][value_width].
template <typename T>
struct FewProducts {
  static constexpr bool kF32 = sizeof(T) == 4;
  static constexpr bool kBf16 = sizeof(T) == 2;
  static constexpr std::size_t kVecs = 1;
  static constexpr std::size_t kRows = kLanes;
  static constexpr auto kRowsI = static_cast<std::int64_t>(kRows);
  static constexpr auto kLanesI = static_cast<std::int64_t>(kLanes);

  static std::size_t query_floats(const FocusTask& t) {
    return static_cast<std::size_t>(t.width) * kRows;
  }
  static std::size_t sum_floats(const FocusTask& t) {
    return static_cast<std::size_t>(t.value_width) * kRows;
  }
  static std::size_t mix_floats(const FocusTask& /*t*/) { return 0; }

  template <typename U>
  static void load_queries(const FocusTask& t, const U* const* rows, std::int64_t count, float* q) {
    for (std::int64_t r = 0; r < count; ++r) {
      for (std::int64_t c = 0; c < t.width; ++c) q[r * t.width + c] = load1(rows[r] + c);
    }
  }

  static void score(const FocusTask& t,
                    const float* q,
                    std::int64_t count,
                    std::int64_t j0,
                    std::int64_t n,
                    float* s) {
    const D d;
    for (std::int64_t m = 0; m < n; ++m) hn::Store(hn::Zero(d), d, s + m * kRowsI);
    const T* k = static_cast<const T*>(t.k) + j0 * t.k_stride;
    std::int64_t r = 0;
    for (; r + 4 <= count; r += 4) score_rows<4>(t, q + r * t.width, k, n, s + r);
    for (; r + 2 <= count; r += 2) score_rows<2>(t, q + r * t.width, k, n, s + r);
    if (r < count) score_rows<1>(t, q + r * t.width, k, n, s + r);
  }

  static void mix(const FocusTask& t,
                  const float* p,
                  std::int64_t count,
                  std::int64_t j0,
                  std::int64_t n,
                  float* o,
                  float* /*scratch*/) {
    const T* v = static_cast<const T*>(t.v) + j0 * t.v_stride;
    std::int64_t r = 0;
    for (; r + 4 <= count; r += 4) mix_rows<4>(t, p + r, v, n, o + r * t.value_width);
    for (; r + 2 <= count; r += 2) mix_rows<2>(t, p + r, v, n, o + r * t.value_width);
    if (r < count) mix_rows<1>(t, p + r, v, n, o + r * t.value_width);
  }

  static void rescale(const FocusTask& t, const float* factor, float* o) {
    for (std::int64_t r = 0; r < kRowsI; ++r) {
      for (std::int64_t c = 0; c < t.value_width; ++c) o[r * t.value_width + c] *= factor[r];
    }
  }

  template <typename U>
  static void store(
      const FocusTask& t, const float* o, const float* factor, std::int64_t count, U* const* rows) {
    for (std::int64_t r = 0; r < count; ++r) {
      for (std::int64_t c = 0; c < t.value_width; ++c)
        store1(o[r * t.value_width + c] * factor[r], rows[r] + c);
    }
  }

 private:
  // Two keys at a time for kR rows: 2 * kR chains of FMAs hide their latency.
  template <std::size_t kR>
  static HWY_INLINE void score_rows(
      const FocusTask& t, const float* q, const T* k, std::int64_t n, float* s) {
    const D d;
    for (std::int64_t m = 0; m < n; m += 2) {
      const T* first = k + m * t.k_stride;
      const T* second = m + 1 < n ? first + t.k_stride : first;
      V sum[2][kR];
      for (std::size_t r = 0; r < kR; ++r) sum[0][r] = sum[1][r] = hn::Zero(d);
      std::int64_t c = 0;
      for (; c + kLanesI <= t.width; c += kLanesI) {
        const V a = load_wide(first + c);
        const V b = load_wide(second + c);
        for (std::size_t r = 0; r < kR; ++r) {
          const V x = hn::LoadU(d, q + static_cast<std::int64_t>(r) * t.width + c);
          sum[0][r] = hn::MulAdd(x, a, sum[0][r]);
          sum[1][r] = hn::MulAdd(x, b, sum[1][r]);
        }
      }
      for (std::size_t r = 0; r < kR; ++r) {
        float a = hn::GetLane(hn::SumOfLanes(d, sum[0][r]));
        float b = hn::GetLane(hn::SumOfLanes(d, sum[1][r]));
        for (std::int64_t e = c; e < t.width; ++e) {
          const float x = q[static_cast<std::int64_t>(r) * t.width + e];
          a += x * load1(first + e);
          b += x * load1(second + e);
        }
        s[m * kRowsI + static_cast<std::int64_t>(r)] = a;
        if (m + 1 < n) s[(m + 1) * kRowsI + static_cast<std::int64_t>(r)] = b;
      }
    }
  }

  template <std::size_t kR>
  static HWY_INLINE void mix_rows(
      const FocusTask& t, const float* p, const T* v, std::int64_t n, float* o) {
    std::int64_t c = 0;
    for (; c + 2 * kLanesI <= t.value_width; c += 2 * kLanesI)
      mix_columns<kR, 2>(t, p, v + c, n, o + c);
    for (; c + kLanesI <= t.value_width; c += kLanesI) mix_columns<kR, 1>(t, p, v + c, n, o + c);
    for (; c < t.value_width; ++c) {
      for (std::size_t r = 0; r < kR; ++r) {
        float sum = o[static_cast<std::int64_t>(r) * t.value_width + c];
        for (std::int64_t m = 0; m < n; ++m)
          sum += p[m * kRowsI + static_cast<std::int64_t>(r)] * load1(v + m * t.v_stride + c);
        o[static_cast<std::int64_t>(r) * t.value_width + c] = sum;
      }
    }
  }

  template <std::size_t kR, std::size_t kC>
  static HWY_INLINE void mix_columns(
      const FocusTask& t, const float* p, const T* v, std::int64_t n, float* o) {
    const D d;
    V sum[kR][kC];
    for (std::size_t r = 0; r < kR; ++r) {
      for (std::size_t c = 0; c < kC; ++c)
        sum[r][c] = hn::LoadU(d, o + static_cast<std::int64_t>(r) * t.value_width + c * kLanes);
    }
    for (std::int64_t m = 0; m < n; ++m) {
      V x[kC];
      for (std::size_t c = 0; c < kC; ++c) x[c] = load_wide(v + m * t.v_stride + c * kLanes);
      for (std::size_t r = 0; r < kR; ++r) {
        const V w = hn::Set(d, p[m * kRowsI + static_cast<std::int64_t>(r)]);
        for (std::size_t c = 0; c < kC; ++c) sum[r][c] = hn::MulAdd(w, x[c], sum[r][c]);
      }
    }
    for (std::size_t r = 0; r < kR; ++r) {
      for (std::size_t c = 0; c < kC; ++c)
        hn::StoreU(sum[r][c], d, o + static_cast<std::int64_t>(r) * t.value_width + c * kLanes);
    }
  }
};

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
