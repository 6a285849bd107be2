// Products of int8 rows of x with blocks of quantised weights. Included by linear_hwy.cpp for AVX2 and
// wider; LinearBodies says what all of them compute, to the bit.
#if defined(HEADSCOPE_LINEAR_INT8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_LINEAR_INT8_INL_H_
#undef HEADSCOPE_LINEAR_INT8_INL_H_
#else
#define HEADSCOPE_LINEAR_INT8_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/linear_blocks-inl.h"
#include "kernels/linear_bodies.h"
#include "kernels/math-inl.h"

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

using DInt = hn::RebindToSigned<D>;
using VInt = hn::Vec<DInt>;
using Int256 = hn::Vec<hn::FixedTag<std::int32_t, 8>>;

HWY_INLINE __m256i sign_bytes(__m256i x, __m256i w) { return _mm256_sign_epi8(x, w); }
HWY_INLINE __m256i abs_bytes(__m256i x) { return _mm256_abs_epi8(x); }
HWY_INLINE __m256i dot_pairs(__m256i u, __m256i s) { return _mm256_maddubs_epi16(u, s); }
HWY_INLINE __m256i add_pairs(__m256i x) { return _mm256_madd_epi16(x, _mm256_set1_epi16(1)); }
HWY_INLINE __m256i add16(__m256i a, __m256i b) { return _mm256_add_epi16(a, b); }
HWY_INLINE __m256i add32(__m256i a, __m256i b) { return _mm256_add_epi32(a, b); }
#if HWY_TARGET == HWY_AVX3
HWY_INLINE __m512i sign_bytes(__m512i x, __m512i w) {
  return _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
}
HWY_INLINE __m512i abs_bytes(__m512i x) { return _mm512_abs_epi8(x); }
HWY_INLINE __m512i dot_pairs(__m512i u, __m512i s) { return _mm512_maddubs_epi16(u, s); }
HWY_INLINE __m512i add_pairs(__m512i x) { return _mm512_madd_epi16(x, _mm512_set1_epi16(1)); }
HWY_INLINE __m512i add16(__m512i a, __m512i b) { return _mm512_add_epi16(a, b); }
HWY_INLINE __m512i add32(__m512i a, __m512i b) { return _mm512_add_epi32(a, b); }
#endif

// ---- four products a lane ----------------------------------------------------------------------
// A form adds to the lanes of `sum` the products of four numbers of w and x. `add_small` takes w in
// 0..15 and is called at most 8 times on a sum before `total`; `add_signed` takes any w. x is in
// -127..127, so no form saturates.

/// vpmaddubsw: pairs in 16 bits. Eight products of 15 * 127 fit there, two of 128 * 127 do.
struct PairForm {
  static constexpr bool kCorrects = false;
  // GCC turns a chain of sums into a tree, which needs more registers than there are.
  template <class T>
  static HWY_INLINE void keep_order(T& sum) {
    asm("" : "+v"(sum));
  }
  template <class T>
  static HWY_INLINE T add_small(T sum, T w, T x) {
    sum = add16(sum, dot_pairs(w, x));
    keep_order(sum);
    return sum;
  }
  template <class T>
  static HWY_INLINE T add_signed(T sum, T w, T x) {
    sum = add32(sum, add_pairs(dot_pairs(abs_bytes(w), sign_bytes(x, w))));
    keep_order(sum);
    return sum;
  }
  template <class T>
  static HWY_INLINE T total_small(T sum) {
    return add_pairs(sum);
  }
};

/// vpdpbusd wants w without a sign: add_signed multiplies w + 128, and whoever calls it takes
/// 128 * (sum of x) off.
template <class Native>
struct QuadForm {
  static constexpr bool kCorrects = true;
  template <class T>
  static HWY_INLINE T add_small(T sum, T w, T x) {
    return Native::dot(sum, w, x);
  }
  static HWY_INLINE __m256i flip(__m256i w) { return _mm256_xor_si256(w, _mm256_set1_epi8(-128)); }
#if HWY_TARGET == HWY_AVX3
  static HWY_INLINE __m512i flip(__m512i w) { return _mm512_xor_si512(w, _mm512_set1_epi8(-128)); }
#endif
  template <class T>
  static HWY_INLINE T add_signed(T sum, T w, T x) {
    return Native::dot(sum, flip(w), x);
  }
  template <class T>
  static HWY_INLINE T total_small(T sum) {
    return sum;
  }
};

/// The instruction. asm, so that no function needs a wider target than its callers.
struct NativeQuad {
#if HWY_TARGET == HWY_AVX3
  template <class T>
  static HWY_INLINE T dot(T sum, T w, T x) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
    return sum;
  }
#else
  static HWY_INLINE __m256i dot(__m256i sum, __m256i w, __m256i x) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(w), "x"(x));
    return sum;
  }
#endif
};

/// What the instruction computes, for machines without it.
struct ModelQuad {
  static HWY_INLINE __m256i dot(__m256i sum, __m256i w, __m256i x) {
    const __m256i w_even = _mm256_and_si256(w, _mm256_set1_epi16(0xFF));
    const __m256i x_even = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8);
    const __m256i even = _mm256_madd_epi16(w_even, x_even);
    const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(w, 8), _mm256_srai_epi16(x, 8));
    return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
  }
};

// ---- few rows of x -----------------------------------------------------------------------------

/// Lane i of `low` and `high` becomes the sum of the lower and of the upper four lanes of dot(i), for
/// i < 8. Few dots wait for each other, so that registers suffice.
template <class F>
HWY_INLINE void sum_eight(const F& dot, __m256i& low, __m256i& high) {
  const auto two = [&](int i) HWY_ATTR {
    const __m256i a = dot(i);
    const __m256i b = dot(i + 1);
    return add32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
  };
  const auto four = [&](int i) HWY_ATTR {
    const __m256i a = two(i);
    const __m256i b = two(i + 2);
    return add32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
  };
  const __m256i first = four(0);
  const __m256i second = four(4);
  low = _mm256_permute2x128_si256(first, second, 0x20);
  high = _mm256_permute2x128_si256(first, second, 0x31);
}

/// The totals of one block of eight rows, `load`ed one by one, with one row of x.
template <class Form, class B, class Load>
HWY_INLINE void totals_of(const Load& load, __m256i x, __m256i& low, __m256i& high) {
  const __m256i zero = _mm256_setzero_si256();
  __m256i start = zero;
  if constexpr (B::kSigned && Form::kCorrects)
    start = _mm256_sub_epi32(zero, Form::add_small(zero, _mm256_set1_epi8(-128), x));
  sum_eight(
      [&](int r) HWY_ATTR {
        if constexpr (B::kSigned) return Form::add_signed(start, load(r), x);
        return Form::total_small(Form::add_small(zero, load(r), x));
      },
      low,
      high);
}

template <class B>
HWY_INLINE __m256 add_block(
    __m256 y, __m256i low, __m256i high, const Factors& f, std::int64_t b, float scale, float sum) {
  const __m256 factor = _mm256_set1_ps(scale);
  if constexpr (B::kHalves) {
    y = _mm256_fmadd_ps(
        _mm256_mul_ps(_mm256_cvtepi32_ps(low), factor), _mm256_load_ps(f.scale[b][0]), y);
    y = _mm256_fmadd_ps(
        _mm256_mul_ps(_mm256_cvtepi32_ps(high), factor), _mm256_load_ps(f.scale[b][1]), y);
  } else {
    y = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(add32(low, high)), factor),
                        _mm256_load_ps(f.scale[b][0]),
                        y);
  }
  if constexpr (!B::kSigned)
    y = _mm256_fmadd_ps(_mm256_set1_ps(sum), _mm256_load_ps(f.least[b]), y);
  return y;
}

/// Asks for the next eight rows while these are multiplied: they follow in memory, but eight streams
/// of short rows are too many for a machine to foresee.
class Ahead {
 public:
  Ahead(const Int8Task& t, std::int64_t n)
      : at_(t.weight + static_cast<std::size_t>(n + 8) * t.row_bytes),
        step_(8 * t.row_bytes * static_cast<std::size_t>(kInt8Block) /
              static_cast<std::size_t>(t.K)) {}
  /// The share of one block.
  HWY_INLINE void ask() {
    for (std::size_t i = 0; i < step_; i += 64)
      _mm_prefetch(reinterpret_cast<const char*>(at_ + i), _MM_HINT_T0);
    at_ += step_;
  }

 private:
  const std::byte* at_;
  std::size_t step_;
};

/// y of MR rows of x for eight rows of w, of which `count` are real.
template <class Form, class B, int MR>
HWY_INLINE void eight_times(const Int8Task& t, std::int64_t n, std::int64_t m0) {
  const std::int64_t count = HWY_MIN(t.N - n, std::int64_t{8});
  const EightRows rows =
      eight_rows(t.weight + static_cast<std::size_t>(n) * t.row_bytes, t.row_bytes, count);
  const std::int64_t blocks = t.K / kInt8Block;
  __m256 y[MR];
  for (int m = 0; m < MR; ++m) y[m] = _mm256_setzero_ps();
  Factors factors;
  Ahead ahead(t, n);
  for (std::int64_t b0 = 0; b0 < blocks; b0 += B::kChunk) {
    const std::int64_t here = HWY_MIN(blocks - b0, B::kChunk);
    B::factors(rows, b0, here, factors);
    for (std::int64_t b = 0; b < here; ++b) {
      ahead.ask();
      const auto from_file = [&](int r) HWY_ATTR { return B::load(rows.at[r], b0 + b); };
      __m256i w[8];
      if constexpr (MR > 1) {
        for (int r = 0; r < 8; ++r) w[r] = from_file(r);
      }
      const auto kept = [&](int r) HWY_ATTR { return w[r]; };
      for (int m = 0; m < MR; ++m) {
        const std::int64_t row = m0 + m;
        const auto* q = reinterpret_cast<const std::uint8_t*>(t.x.q + row * t.K);
        const __m256i x = load_bytes(q + (b0 + b) * kInt8Block);
        __m256i low;
        __m256i high;
        if constexpr (MR > 1)
          totals_of<Form, B>(kept, x, low, high);
        else
          totals_of<Form, B>(from_file, x, low, high);
        const std::int64_t at = row * blocks + b0 + b;
        y[m] = add_block<B>(y[m], low, high, factors, b, t.x.scale[at], t.x.sum[at]);
      }
    }
  }
  for (int m = 0; m < MR; ++m) {
    alignas(32) float out[8];
    _mm256_store_ps(out, y[m]);
    float* to = t.y + (m0 + m) * t.y_stride + n;
    for (std::int64_t r = 0; r < count; ++r)
      to[r] = t.bias != nullptr ? out[r] + t.bias[n + r] : out[r];
  }
}

template <class Form, class B>
void rows_of(const Int8Task& t) {
  for (std::int64_t n = 0; n < t.N; n += 8) {
    std::int64_t m = 0;
    for (; m + 3 <= t.M; m += 3) eight_times<Form, B, 3>(t, n, m);
    if (t.M - m == 2) eight_times<Form, B, 2>(t, n, m);
    if (t.M - m == 1) eight_times<Form, B, 1>(t, n, m);
  }
}

// ---- many rows of x ----------------------------------------------------------------------------
// A panel of kPanelRows rows of w: q[b][group of four numbers][row][4], scale[b][half][row] and
// least[b][row]. Lanes are rows of w, so nothing is summed across lanes.

inline constexpr std::int64_t kPanelVectors = 2;
inline constexpr std::int64_t kPanelRows = kPanelVectors * static_cast<std::int64_t>(kLanes);

struct Panel {
  std::int8_t* q;
  float* scale;
  float* least;
};

constexpr std::int64_t panel_q_bytes(std::int64_t blocks) { return blocks * 32 * kPanelRows; }

Panel panel_at(std::byte* scratch, std::int64_t blocks) {
  Panel p;
  p.q = reinterpret_cast<std::int8_t*>(scratch);
  p.scale = reinterpret_cast<float*>(scratch + panel_q_bytes(blocks));
  p.least = p.scale + blocks * 2 * kPanelRows;
  return p;
}

std::size_t panel_bytes(DType, std::int64_t K) {
  const std::int64_t blocks = K / kInt8Block;
  return static_cast<std::size_t>(panel_q_bytes(blocks) + blocks * 3 * kPanelRows * 4);
}

template <class B>
void fill_panel(const Int8Task& t, std::int64_t n, const Panel& panel) {
  const std::int64_t blocks = t.K / kInt8Block;
  Factors factors;
  for (std::int64_t r = 0; r < kPanelRows; r += 8) {
    const std::int64_t first = HWY_MIN(n + r, t.N - 1);
    const EightRows rows = eight_rows(
        t.weight + static_cast<std::size_t>(first) * t.row_bytes, t.row_bytes, t.N - first);
    for (std::int64_t b0 = 0; b0 < blocks; b0 += B::kChunk) {
      const std::int64_t here = HWY_MIN(blocks - b0, B::kChunk);
      B::factors(rows, b0, here, factors);
      for (std::int64_t b = 0; b < here; ++b) {
        __m256i w[8];
        for (int i = 0; i < 8; ++i) w[i] = B::load(rows.at[i], b0 + b);
        turn_eight(w);
        std::int8_t* to = panel.q + ((b0 + b) * 8 * kPanelRows + r) * 4;
        for (int g = 0; g < 8; ++g)
          _mm256_store_si256(reinterpret_cast<__m256i*>(to + g * kPanelRows * 4), w[g]);
        float* scale = panel.scale + (b0 + b) * 2 * kPanelRows + r;
        _mm256_store_ps(scale, _mm256_load_ps(factors.scale[b][0]));
        if constexpr (B::kHalves)
          _mm256_store_ps(scale + kPanelRows, _mm256_load_ps(factors.scale[b][1]));
        if constexpr (!B::kSigned)
          _mm256_store_ps(panel.least + (b0 + b) * kPanelRows + r,
                          _mm256_load_ps(factors.least[b]));
      }
    }
  }
}

HWY_INLINE VInt four_bytes(const std::int8_t* at) {
  std::int32_t four = 0;
  std::memcpy(&four, at, sizeof(four));
  return hn::Set(DInt(), four);
}

/// Adds four numbers of two vectors of rows with those of one row of x.
template <class Form, class B>
HWY_INLINE void add_four(VInt& sum0, VInt& sum1, VInt w0, VInt w1, const std::int8_t* x) {
  const VInt four = four_bytes(x);
  if constexpr (B::kSigned) {
    sum0.raw = Form::add_signed(sum0.raw, w0.raw, four.raw);
    sum1.raw = Form::add_signed(sum1.raw, w1.raw, four.raw);
  } else {
    sum0.raw = Form::add_small(sum0.raw, w0.raw, four.raw);
    sum1.raw = Form::add_small(sum1.raw, w1.raw, four.raw);
  }
}

/// What sums start from: the correction of forms that multiply w + 128.
template <class Form, class B>
HWY_INLINE VInt start_of(const std::int32_t* halves, int half) {
  if constexpr (B::kSigned && Form::kCorrects) {
    const std::int32_t all = B::kHalves ? halves[half] : halves[0] + halves[1];
    return hn::Set(DInt(), -128 * all);
  }
  return hn::Zero(DInt());
}

/// y += float(sum) * factor * scale, for one row of x.
template <class Form, class B>
HWY_INLINE void add_sum(VInt sum, V factor, const float* scale, float* y) {
  const D d;
  if constexpr (!B::kSigned) sum.raw = Form::total_small(sum.raw);
  const V part = hn::Mul(hn::ConvertTo(d, sum), factor);
  hn::Store(hn::MulAdd(part, hn::Load(d, scale), hn::Load(d, y)), d, y);
}

/// One half of a block (all of it without kHalves) into y. Sums have names: the compiler keeps arrays of
/// them in memory.
template <class Form, class B, int MR>
HWY_INLINE void add_part(
    const Int8Task& t, const Panel& panel, std::int64_t m0, std::int64_t b, int half, float* y) {
  static_assert(MR <= 4);
  const DInt d;
  const std::int64_t blocks = t.K / kInt8Block;
  const auto start = [&](std::int64_t m) HWY_ATTR {
    return start_of<Form, B>(t.x.halves + ((m0 + HWY_MIN(m, MR - 1)) * blocks + b) * 2, half);
  };
  VInt a0 = start(0), a1 = start(1), a2 = start(2), a3 = start(3);
  VInt b0 = a0, b1 = a1, b2 = a2, b3 = a3;
  const int first = half * 4;
  const int last = B::kHalves ? first + 4 : 8;
  const std::int8_t* x = t.x.q + m0 * t.K + b * kInt8Block;
  const auto* w = reinterpret_cast<const std::int32_t*>(panel.q + b * 32 * kPanelRows);
  HWY_UNROLL(8)
  for (int g = first; g < last; ++g) {
    const VInt w0 = hn::Load(d, w + g * kPanelRows);
    const VInt w1 = hn::Load(d, w + g * kPanelRows + kLanes);
    add_four<Form, B>(a0, b0, w0, w1, x + g * 4);
    if constexpr (MR > 1) add_four<Form, B>(a1, b1, w0, w1, x + t.K + g * 4);
    if constexpr (MR > 2) add_four<Form, B>(a2, b2, w0, w1, x + 2 * t.K + g * 4);
    if constexpr (MR > 3) add_four<Form, B>(a3, b3, w0, w1, x + 3 * t.K + g * 4);
  }
  const float* scale = panel.scale + (b * 2 + half) * kPanelRows;
  const auto finish = [&](std::int64_t m, VInt a, VInt c) HWY_ATTR {
    const V factor = hn::Set(D(), t.x.scale[(m0 + m) * blocks + b]);
    add_sum<Form, B>(a, factor, scale, y + m * kPanelRows);
    add_sum<Form, B>(c, factor, scale + kLanes, y + m * kPanelRows + kLanes);
  };
  finish(0, a0, b0);
  if constexpr (MR > 1) finish(1, a1, b1);
  if constexpr (MR > 2) finish(2, a2, b2);
  if constexpr (MR > 3) finish(3, a3, b3);
}

/// y of MR rows of x with a panel. y waits in memory between blocks, so that all registers are there
/// for the whole-number sums; the compiler must be told.
template <class Form, class B, int MR>
void panel_times(const Int8Task& t, std::int64_t n, std::int64_t m0, const Panel& panel) {
  const D d;
  const std::int64_t blocks = t.K / kInt8Block;
  HWY_ALIGN float y[MR * kPanelRows] = {};
  for (std::int64_t b = 0; b < blocks; ++b) {
    asm volatile("" : : "r"(y) : "memory");
    add_part<Form, B, MR>(t, panel, m0, b, 0, y);
    if constexpr (B::kHalves) add_part<Form, B, MR>(t, panel, m0, b, 1, y);
    if constexpr (!B::kSigned) {
      const V least0 = hn::Load(d, panel.least + b * kPanelRows);
      const V least1 = hn::Load(d, panel.least + b * kPanelRows + kLanes);
      HWY_UNROLL(4)
      for (int m = 0; m < MR; ++m) {
        float* to = y + m * kPanelRows;
        const V sum = hn::Set(d, t.x.sum[(m0 + m) * blocks + b]);
        hn::Store(hn::MulAdd(sum, least0, hn::Load(d, to)), d, to);
        hn::Store(hn::MulAdd(sum, least1, hn::Load(d, to + kLanes)), d, to + kLanes);
      }
    }
  }
  const std::int64_t count = HWY_MIN(t.N - n, kPanelRows);
  for (int m = 0; m < MR; ++m) {
    float* to = t.y + (m0 + m) * t.y_stride + n;
    const float* from = y + m * kPanelRows;
    for (std::int64_t r = 0; r < count; ++r)
      to[r] = t.bias != nullptr ? from[r] + t.bias[n + r] : from[r];
  }
}

template <class Form, class B>
void panels_of(const Int8Task& t) {
  const Panel panel = panel_at(t.scratch, t.K / kInt8Block);
  for (std::int64_t n = 0; n < t.N; n += kPanelRows) {
    fill_panel<B>(t, n, panel);
    std::int64_t m = 0;
    for (; m + 4 <= t.M; m += 4) panel_times<Form, B, 4>(t, n, m, panel);
    if (t.M - m == 3) panel_times<Form, B, 3>(t, n, m, panel);
    if (t.M - m == 2) panel_times<Form, B, 2>(t, n, m, panel);
    if (t.M - m == 1) panel_times<Form, B, 1>(t, n, m, panel);
  }
}

// ---- by dtype ----------------------------------------------------------------------------------

template <class Form>
void int8_rows(const Int8Task& t) noexcept {
  switch (t.dtype) {
    case DType::kQ4_0:
      return rows_of<Form, Blocks<DType::kQ4_0>>(t);
    case DType::kQ4_1:
      return rows_of<Form, Blocks<DType::kQ4_1>>(t);
    case DType::kQ4_K:
      return rows_of<Form, Blocks<DType::kQ4_K>>(t);
    case DType::kQ6_K:
      return rows_of<Form, Blocks<DType::kQ6_K>>(t);
    default:
      return rows_of<Form, Blocks<DType::kQ8_0>>(t);
  }
}

template <class Form>
void int8_panels(const Int8Task& t) noexcept {
  switch (t.dtype) {
    case DType::kQ4_0:
      return panels_of<Form, Blocks<DType::kQ4_0>>(t);
    case DType::kQ4_1:
      return panels_of<Form, Blocks<DType::kQ4_1>>(t);
    case DType::kQ4_K:
      return panels_of<Form, Blocks<DType::kQ4_K>>(t);
    case DType::kQ6_K:
      return panels_of<Form, Blocks<DType::kQ6_K>>(t);
    default:
      return panels_of<Form, Blocks<DType::kQ8_0>>(t);
  }
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#endif
