// The two products of `focus` for few rows (decoding): lanes run along the width of a head, keys and
// values are read once where they lie, for all rows that share them. Included by focus_hwy.cpp.
#if defined(HEADSCOPE_FOCUS_FEW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FOCUS_FEW_INL_H_
#undef HEADSCOPE_FOCUS_FEW_INL_H_
#else
#define HEADSCOPE_FOCUS_FEW_INL_H_
#endif

#include "hwy/cache_control.h"
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

// Half of 2 * kLanes numbers: of f32 the first or the second, of bf16 the even or the odd ones, which come
// out of their pairs by one shift or mask.
template <std::size_t kHalf>
HWY_INLINE V load_half(const float* p) {
  return hn::LoadU(D(), p + kHalf * kLanes);
}
template <std::size_t kHalf>
HWY_INLINE V load_half(const bf16* p) {
  const D d;
  const hn::RebindToUnsigned<D> du;
  const auto pairs = hn::LoadU(du, reinterpret_cast<const std::uint32_t*>(p));
  if constexpr (kHalf == 0) return hn::BitCast(d, hn::ShiftLeft<16>(pairs));
  return hn::BitCast(d, hn::And(pairs, hn::Set(du, 0xFFFF0000U)));
}

/// Products of at most one vector of rows: q [rows][width], s [64][kRows], o [rows][value_width];
/// the numbers of a row of q and o stand as load_half leaves them.
template <typename T>
struct FewProducts {
  struct Session {};
  static constexpr bool kF32 = sizeof(T) == 4;
  static constexpr bool kBf16 = sizeof(T) == 2;
  static constexpr std::size_t kVecs = 1;
  static constexpr std::size_t kRows = kLanes;
  static constexpr std::int64_t kKeyBytes = sizeof(T);
  static constexpr std::int64_t kWaiting = 0;
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
      for (std::int64_t c = 0; c < t.width; ++c)
        q[r * t.width + place(c, t.width)] = load1(rows[r] + c);
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
    Ahead ahead{static_cast<const T*>(t.v) + j0 * t.v_stride, t.v_stride, t.value_width, n};
    std::int64_t r = 0;
    for (; r + 4 <= count; r += 4) score_rows<4>(t, q + r * t.width, k, n, s + r, ahead);
    for (; r + 2 <= count; r += 2) score_rows<2>(t, q + r * t.width, k, n, s + r, ahead);
    if (r < count) score_rows<1>(t, q + r * t.width, k, n, s + r, ahead);
  }

  static void mix(const FocusTask& t,
                  const float* p,
                  std::int64_t count,
                  std::int64_t j0,
                  std::int64_t n,
                  float* o,
                  float* /*scratch*/) {
    const T* v = static_cast<const T*>(t.v) + j0 * t.v_stride;
    const std::int64_t next = j0 + n;
    const std::int64_t left = (t.key_end < t.keys ? t.key_end : t.keys) - next;
    Ahead ahead{static_cast<const T*>(t.k) + next * t.k_stride,
                t.k_stride,
                t.width,
                left < kBlock ? left : kBlock};
    std::int64_t r = 0;
    for (; r + 4 <= count; r += 4) mix_rows<4>(t, p + r, v, n, o + r * t.value_width, ahead);
    for (; r + 2 <= count; r += 2) mix_rows<2>(t, p + r, v, n, o + r * t.value_width, ahead);
    if (r < count) mix_rows<1>(t, p + r, v, n, o + r * t.value_width, ahead);
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
        store1(o[r * t.value_width + place(c, t.value_width)] * factor[r], rows[r] + c);
    }
  }

 private:
  static constexpr std::int64_t kTwo = 2 * kLanesI;

  // Where number c of a row stands.
  static HWY_INLINE std::int64_t place(std::int64_t c, std::int64_t width) {
    if (kF32 || c >= width / kTwo * kTwo) return c;
    const std::int64_t i = c % kTwo;
    return c - i + i % 2 * kLanesI + i / 2;
  }

  // Rows that the other product reads next, asked for in the order in which they lie while this one
  // computes: the memory is never idle, and no page is crossed twice.
  struct Ahead {
    const T* at;
    std::int64_t stride, width, left;

    HWY_INLINE void fetch(std::int64_t rows) {
      constexpr std::int64_t kLine = 64 / sizeof(T);
      for (; rows > 0 && left > 0; --rows, --left, at += stride) {
        for (std::int64_t c = 0; c < width; c += kLine) hwy::Prefetch(at + c);
      }
    }
  };

  // to[n] = sum of the lanes of x[n], for four of them.
  static HWY_INLINE void sum_four(const V* x, float* to) {
#if HWY_TARGET == HWY_SCALAR
    for (std::size_t n = 0; n < 4; ++n) to[n] = hn::GetLane(x[n]);
#else
    const D d;
    const auto pairs = [d](V a, V b) HWY_ATTR {
      return hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
    };
    const V all = pairs(pairs(x[0], x[2]), pairs(x[1], x[3]));  // in every four lanes
    alignas(64) float parts[kLanes];
    hn::Store(all, d, parts);
    auto sum = hn::Load(D4(), parts);
    for (std::size_t n = 4; n < kLanes; n += 4) sum = hn::Add(sum, hn::Load(D4(), parts + n));
    hn::StoreU(sum, D4(), to);
#endif
  }

  // kKeys keys at a time for kR rows: enough chains of FMAs to hide their latency.
  template <std::size_t kR>
  static HWY_INLINE void score_rows(
      const FocusTask& t, const float* q, const T* k, std::int64_t n, float* s, Ahead& ahead) {
    constexpr std::int64_t kKeys = kR == 4 ? 3 : 4;
    constexpr std::size_t kSums = static_cast<std::size_t>(kKeys) * kR;
    static_assert(kSums % 4 == 0);
    const D d;
    for (std::int64_t m = 0; m < n; m += kKeys) {
      ahead.fetch(kKeys);
      const T* key[kKeys];
      for (std::int64_t i = 0; i < kKeys; ++i)
        key[i] = k + (m + i < n ? m + i : n - 1) * t.k_stride;
      V sum[kSums];
      for (std::size_t i = 0; i < kSums; ++i) sum[i] = hn::Zero(d);
      const auto add = [&](const float* from, const V(&y)[kKeys]) HWY_ATTR {
        for (std::size_t r = 0; r < kR; ++r) {
          const V x = hn::LoadU(d, from + static_cast<std::int64_t>(r) * t.width);
          for (std::size_t i = 0; i < kKeys; ++i)
            sum[i * kR + r] = hn::MulAdd(x, y[i], sum[i * kR + r]);
        }
      };
      V y[kKeys];
      std::int64_t c = 0;
      for (; c + kTwo <= t.width; c += kTwo) {
        for (std::int64_t i = 0; i < kKeys; ++i) y[i] = load_half<0>(key[i] + c);
        add(q + c, y);
        for (std::int64_t i = 0; i < kKeys; ++i) y[i] = load_half<1>(key[i] + c);
        add(q + c + kLanesI, y);
      }
      if (c + kLanesI <= t.width) {
        for (std::int64_t i = 0; i < kKeys; ++i) y[i] = load_wide(key[i] + c);
        add(q + c, y);
        c += kLanesI;
      }
      alignas(16) float sums[kSums];
      for (std::size_t i = 0; i < kSums; i += 4) sum_four(sum + i, sums + i);
      const std::int64_t here = n - m < kKeys ? n - m : kKeys;
      for (std::int64_t i = 0; i < here; ++i) {
        for (std::size_t r = 0; r < kR; ++r) {
          float total = sums[static_cast<std::size_t>(i) * kR + r];
          for (std::int64_t e = c; e < t.width; ++e)
            total += q[static_cast<std::int64_t>(r) * t.width + e] * load1(key[i] + e);
          s[(m + i) * kRowsI + static_cast<std::int64_t>(r)] = total;
        }
      }
    }
  }

  // Some keys at a time, so that their values stay in the first cache from column to column.
  template <std::size_t kR>
  static HWY_INLINE void mix_rows(
      const FocusTask& t, const float* p, const T* v, std::int64_t n, float* o, Ahead& ahead) {
    constexpr std::int64_t kKeys = 16;
    constexpr std::size_t kC = kR == 4 ? 2 : 4;
    constexpr auto kStep = static_cast<std::int64_t>(kC) * kLanesI;
    const std::int64_t steps = (n + kKeys - 1) / kKeys * (t.value_width / kStep + 1);
    const std::int64_t share = ahead.left / steps + 1;
    for (std::int64_t m = 0; m < n; m += kKeys, p += kKeys * kRowsI, v += kKeys * t.v_stride) {
      const std::int64_t here = n - m < kKeys ? n - m : kKeys;
      std::int64_t c = 0;
      for (; c + kStep <= t.value_width; c += kStep) {
        ahead.fetch(share);
        mix_columns<kR, kC>(t, p, v + c, here, o + c);
      }
      if (kStep > kTwo && c + kTwo <= t.value_width) {
        mix_columns<kR, 2>(t, p, v + c, here, o + c);
        c += kTwo;
      }
      if (c + kLanesI <= t.value_width) {
        mix_columns<kR, 1>(t, p, v + c, here, o + c);
        c += kLanesI;
      }
      for (; c < t.value_width; ++c) mix_column<kR>(t, p, v + c, here, o + c);
    }
  }

  template <std::size_t kR>
  static HWY_INLINE void mix_column(
      const FocusTask& t, const float* p, const T* v, std::int64_t n, float* o) {
    for (std::size_t r = 0; r < kR; ++r) {
      float& sum = o[static_cast<std::int64_t>(r) * t.value_width];
      for (std::int64_t m = 0; m < n; ++m)
        sum += p[m * kRowsI + static_cast<std::int64_t>(r)] * load1(v + m * t.v_stride);
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
      const T* at = v + m * t.v_stride;
      if constexpr (kC == 1) {
        x[0] = load_wide(at);
      } else {
        for (std::size_t c = 0; c < kC; c += 2) {
          x[c] = load_half<0>(at + c * kLanes);
          x[c + 1] = load_half<1>(at + c * kLanes);
        }
      }
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
