// Step 3, backward, with products of bf16: pairs (AVX-512-BF16) and tiles (AMX), and the models of both. As in
// FlashAttention, weights and their gradients are rounded to bf16 before they are summed over rows and keys;
// scores, sums and results are f32. Included by backward_hwy.cpp.
#if defined(HEADSCOPE_BACKWARD_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_BACKWARD_BF16_INL_H_
#undef HEADSCOPE_BACKWARD_BF16_INL_H_
#else
#define HEADSCOPE_BACKWARD_BF16_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/backward_weigh-inl.h"
#include "kernels/focus_pairs-inl.h"
#include "kernels/focus_tiles-inl.h"
#include "kernels/math-inl.h"

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {
namespace backward {

/// c[m][n] (+)= sum over p < pairs of the two products of a[m][p] and b[p][n]. Strides in pairs or floats; pairs are
/// a multiple of 16, lines and columns of 32, and all rows of b and c start at whole vectors.
struct PairProduct {
  const std::uint32_t* a = nullptr;
  std::int64_t a_stride = 0;
  const std::uint32_t* b = nullptr;
  std::int64_t b_stride = 0;
  float* c = nullptr;
  std::int64_t c_stride = 0;
  std::int64_t pairs = 0, lines = 0, columns = 0;
};

/// By a Dot (NativePairDot or ModelPairDot): broadcast pairs of a meet two vectors of b.
template <class Dot>
class PairForm {
 public:
  template <bool kAdd>
  HWY_INLINE void product(const PairProduct& p) const {
    constexpr std::int64_t kLines = kRegisters >= 32 ? 12 : 4;
    for (std::int64_t n = 0; n < p.columns; n += 2 * static_cast<std::int64_t>(kLanes)) {
      std::int64_t m = 0;
      for (; m + kLines <= p.lines; m += kLines) lines<kAdd, kLines>(p, m, n);
      for (; m < p.lines; m += 4) lines<kAdd, 4>(p, m, n);
    }
  }
  static HWY_INLINE VPairs pair(V lower, V upper) { return Dot::pair(lower, upper); }

 private:
  template <bool kAdd, std::int64_t kN>
  static HWY_INLINE void lines(const PairProduct& p, std::int64_t line, std::int64_t column) {
    const D d;
    const DPairs dp;
    V sum[kN][2];
    float* HWY_RESTRICT c = p.c + line * p.c_stride + column;
    const std::uint32_t* HWY_RESTRICT a = p.a + line * p.a_stride;
    const std::uint32_t* HWY_RESTRICT b = p.b + column;
    HWY_UNROLL(12)
    for (std::int64_t m = 0; m < kN; ++m) {
      sum[m][0] = kAdd ? hn::Load(d, c + m * p.c_stride) : hn::Zero(d);
      sum[m][1] = kAdd ? hn::Load(d, c + m * p.c_stride + kLanes) : hn::Zero(d);
    }
    for (std::int64_t i = 0; i < p.pairs; ++i) {
      const VPairs low = hn::Load(dp, b);
      const VPairs high = hn::Load(dp, b + kLanes);
      HWY_UNROLL(12)
      for (std::int64_t m = 0; m < kN; ++m) {
        const VPairs x = hn::Set(dp, a[m * p.a_stride + i]);
        sum[m][0] = Dot::dot(sum[m][0], x, low);
        sum[m][1] = Dot::dot(sum[m][1], x, high);
      }
      b += p.b_stride;
    }
    HWY_UNROLL(12)
    for (std::int64_t m = 0; m < kN; ++m) {
      hn::Store(sum[m][0], d, c + m * p.c_stride);
      hn::Store(sum[m][1], d, c + m * p.c_stride + kLanes);
    }
  }
};

/// By Tiles (AmxTiles or ModelTiles), in one session as long as it lives: 2 x 2 tiles of sums.
template <class Tiles>
class TileForm {
 public:
  template <bool kAdd>
  HWY_INLINE void product(const PairProduct& p) {
    const std::int64_t a_step = 4 * p.a_stride;
    const std::int64_t b_step = 4 * p.b_stride;
    const std::int64_t c_step = 4 * p.c_stride;
    for (std::int64_t m = 0; m < p.lines; m += 2 * kTileRows) {
      for (std::int64_t n = 0; n < p.columns; n += 2 * kTileRows) {
        float* c = p.c + m * p.c_stride + n;
        float* below = c + kTileRows * p.c_stride;
        if constexpr (kAdd) {
          tiles_.template load<0>(c, c_step);
          tiles_.template load<1>(c + kTileRows, c_step);
          tiles_.template load<2>(below, c_step);
          tiles_.template load<3>(below + kTileRows, c_step);
        } else {
          tiles_.template zero<0>();
          tiles_.template zero<1>();
          tiles_.template zero<2>();
          tiles_.template zero<3>();
        }
        const std::uint32_t* a = p.a + m * p.a_stride;
        const std::uint32_t* b = p.b + n;
        for (std::int64_t t = 0; t < p.pairs; t += kTileRows) {
          tiles_.template load<4>(a + t, a_step);
          tiles_.template load<6>(b + t * p.b_stride, b_step);
          tiles_.template dot<0, 4, 6>();
          tiles_.template load<7>(b + t * p.b_stride + kTileRows, b_step);
          tiles_.template dot<1, 4, 7>();
          tiles_.template load<5>(a + kTileRows * p.a_stride + t, a_step);
          tiles_.template dot<2, 5, 6>();
          tiles_.template dot<3, 5, 7>();
        }
        tiles_.template store<0>(c, c_step);
        tiles_.template store<1>(c + kTileRows, c_step);
        tiles_.template store<2>(below, c_step);
        tiles_.template store<3>(below + kTileRows, c_step);
      }
    }
  }
  static HWY_INLINE VPairs pair(V lower, V upper) { return Tiles::pair(lower, upper); }

 private:
  typename Tiles::Session session_;
  Tiles tiles_;
};

// The pieces of a task's scratch. W and C are width and value_width in whole tiles, R the rows in whole blocks.
struct Bf16Scratch {
  std::uint32_t* q;     // [R][W/2] pairs along the numbers of a head
  std::uint32_t* dout;  // [R][C/2]
  std::uint32_t* qt;    // [R/kRows][W][kRows/2] pairs along the rows
  std::uint32_t* dot;   // [R/kRows][C][kRows/2]
  std::uint32_t* kt;    // [W/2][kKeys]
  std::uint32_t* vt;    // [C/2][kKeys]
  std::uint32_t* k;     // [kKeys/2][W] pairs along the keys
  std::uint32_t* wp;    // [kRows/2][kKeys] weights, pairs along the rows
  std::uint32_t* dsp;   // [kRows/2][kKeys] their gradients
  std::uint32_t* dsn;   // [kRows][kKeys/2] the same, pairs along the keys
  float* dkt;           // [W][kKeys]
  float* dvt;           // [C][kKeys]
  float* dq;            // [kRows][W], for rows that fill no block
  float* w;             // [kRows][kKeys]
  float* ds;            // [kRows][kKeys]
  float* keep;          // [kKeys]
  float* sums;          // [kKeys]
  std::int64_t W = 0, C = 0;
};

inline std::int64_t whole_tiles(std::int64_t n) { return blocks_of(n, kTileDepth) * kTileDepth; }

// Cuts `floats` into pieces; returns how many that takes.
std::size_t cut_bf16(const BackwardTask& t, float* floats, Bf16Scratch& s) {
  s.W = whole_tiles(t.width);
  s.C = whole_tiles(t.value_width);
  const std::int64_t R = blocks_of(t.rows, kRows) * kRows;
  std::int64_t at = 0;
  const auto some = [&](std::int64_t n) {
    float* piece = floats == nullptr ? nullptr : floats + at;
    at += n;
    return piece;
  };
  const auto pairs = [&](std::int64_t n) { return reinterpret_cast<std::uint32_t*>(some(n)); };
  s.q = pairs(R * s.W / 2);
  s.dout = pairs(R * s.C / 2);
  s.qt = pairs(R * s.W / 2);
  s.dot = pairs(R * s.C / 2);
  s.kt = pairs(s.W / 2 * kKeys);
  s.vt = pairs(s.C / 2 * kKeys);
  s.k = pairs(kKeys / 2 * s.W);
  s.wp = pairs(kRows / 2 * kKeys);
  s.dsp = pairs(kRows / 2 * kKeys);
  s.dsn = pairs(kRows * kKeys / 2);
  s.dkt = some(s.W * kKeys);
  s.dvt = some(s.C * kKeys);
  s.dq = some(kRows * s.W);
  s.w = some(kRows * kKeys);
  s.ds = some(kRows * kKeys);
  s.keep = some(kKeys);
  s.sums = some(kKeys);
  return static_cast<std::size_t>(at);
}

std::size_t bf16_scratch_floats(const BackwardTask& t) {
  Bf16Scratch s{};
  return cut_bf16(t, nullptr, s);
}

// The numbers of a task are bf16 that were widened: the lower half of each is zero.
inline std::uint32_t upper_half(float x) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  return bits >> 16;
}
inline std::uint32_t widened_pair(float lower, float upper) {
  return upper_half(lower) | upper_half(upper) << 16;
}

// Rows [0, rows) of x as pairs along their numbers and along the rows, zero beyond.
void pack_both(const float* x,
               std::int64_t stride,
               std::int64_t rows,
               std::int64_t width,
               std::int64_t W,
               std::uint32_t* to,
               std::uint32_t* turned) {
  const auto at = [&](std::int64_t i, std::int64_t d) {
    return i < rows && d < width ? x[i * stride + d] : 0.0F;
  };
  for (std::int64_t block = 0; block < rows; block += kRows) {
    for (std::int64_t r = 0; r < kRows; ++r) {
      std::uint32_t* line = to + (block + r) * W / 2;
      for (std::int64_t d = 0; d < W; d += 2)
        line[d / 2] = widened_pair(at(block + r, d), at(block + r, d + 1));
    }
    std::uint32_t* across = turned + block * W / 2;
    for (std::int64_t d = 0; d < W; ++d) {
      for (std::int64_t r = 0; r < kRows; r += 2)
        across[(d * kRows + r) / 2] = widened_pair(at(block + r, d), at(block + r + 1, d));
    }
  }
}

// to[p][m] = numbers 2p and 2p + 1 of key m, zero for keys and numbers that are not there.
void turn_to_pairs(const float* from,
                   std::int64_t stride,
                   std::int64_t n,
                   std::int64_t width,
                   std::int64_t W,
                   std::uint32_t* to) {
  for (std::int64_t p = 0; p < W / 2; ++p) {
    for (std::int64_t m = 0; m < kKeys; ++m) {
      const float* x = from + m * stride + 2 * p;
      const float lower = m < n && 2 * p < width ? x[0] : 0.0F;
      const float upper = m < n && 2 * p + 1 < width ? x[1] : 0.0F;
      to[p * kKeys + m] = widened_pair(lower, upper);
    }
  }
}

bool pack_keys(const BackwardTask& t, std::int64_t j0, std::int64_t n, const Bf16Scratch& s) {
  if (!keep_keys(t, j0, n, s.keep)) return false;
  const float* k = t.k + j0 * t.k_stride;
  turn_to_pairs(k, t.k_stride, n, t.width, s.W, s.kt);
  turn_to_pairs(t.v + j0 * t.v_stride, t.v_stride, n, t.value_width, s.C, s.vt);
  for (std::int64_t m = 0; m < kKeys; m += 2) {
    for (std::int64_t d = 0; d < s.W; ++d) {
      const float lower = m < n && d < t.width ? k[m * t.k_stride + d] : 0.0F;
      const float upper = m + 1 < n && d < t.width ? k[(m + 1) * t.k_stride + d] : 0.0F;
      s.k[m / 2 * s.W + d] = widened_pair(lower, upper);
    }
  }
  return true;
}

// Rows of x, rounded: pairs along the rows, zero from `rows` to `whole`.
template <class Form>
HWY_INLINE void pair_rows(const float* x,
                          std::int64_t rows,
                          std::int64_t whole,
                          std::uint32_t* to) {
  const D d;
  for (std::int64_t r = 0; r < whole; r += 2) {
    for (std::int64_t n = 0; n < kKeys; n += static_cast<std::int64_t>(kLanes)) {
      const V lower = r < rows ? hn::Load(d, x + r * kKeys + n) : hn::Zero(d);
      const V upper = r + 1 < rows ? hn::Load(d, x + (r + 1) * kKeys + n) : hn::Zero(d);
      hn::Store(Form::pair(lower, upper), DPairs(), to + r / 2 * kKeys + n);
    }
  }
}

// Pairs along the rows become pairs along the keys.
HWY_INLINE void pair_keys(const std::uint32_t* from, std::int64_t rows, std::uint32_t* to) {
  const hn::Rebind<std::int32_t, D> d32;
  const hn::Rebind<std::uint16_t, D> d16;
  for (std::int64_t r = 0; r < rows; r += 2) {
    auto* lower = reinterpret_cast<std::uint16_t*>(to + r * kKeys / 2);
    std::uint16_t* upper = lower + kKeys;
    for (std::int64_t n = 0; n < kKeys; n += static_cast<std::int64_t>(kLanes)) {
      const VPairs x = hn::Load(DPairs(), from + r / 2 * kKeys + n);
      const VPairs low = hn::And(x, hn::Set(DPairs(), 0xFFFFU));
      hn::Store(hn::DemoteTo(d16, hn::BitCast(d32, low)), d16, lower + n);
      hn::Store(hn::DemoteTo(d16, hn::BitCast(d32, hn::ShiftRight<16>(x))), d16, upper + n);
    }
  }
}

// The five products of one tile.
template <class Form>
HWY_INLINE void bf16_tile(const BackwardTask& t,
                          const Tile& tile,
                          const Bf16Scratch& s,
                          Form& form) {
  const std::int64_t lines = whole_tiles(tile.rows);
  const std::int64_t W = s.W;
  const std::int64_t C = s.C;
  constexpr std::int64_t kPairs = kKeys / 2;
  // w = q k^T, dw = dout v^T
  form.template product<false>(
      {s.q + tile.row * W / 2, W / 2, s.kt, kKeys, s.w, kKeys, W / 2, lines, kKeys});
  form.template product<false>(
      {s.dout + tile.row * C / 2, C / 2, s.vt, kKeys, s.ds, kKeys, C / 2, lines, kKeys});
  if (plain(t, tile)) {
    weigh_plain(t, tile);
  } else {
    weigh_bent(t, tile);
  }
  pair_rows<Form>(s.w, tile.rows, lines, s.wp);
  pair_rows<Form>(s.ds, tile.rows, lines, s.dsp);
  pair_keys(s.dsp, lines, s.dsn);
  // dv^T += dout^T w, dk^T += q^T ds, dq += ds k
  form.template product<true>(
      {s.dot + tile.row * C / 2, kRows / 2, s.wp, kKeys, s.dvt, kKeys, lines / 2, C, kKeys});
  form.template product<true>(
      {s.qt + tile.row * W / 2, kRows / 2, s.dsp, kKeys, s.dkt, kKeys, lines / 2, W, kKeys});
  const std::int64_t stride = padded(t.width);
  float* dq = t.dq + tile.row * stride;
  if (lines == tile.rows) {
    form.template product<true>({s.dsn, kPairs, s.k, W, dq, stride, kPairs, lines, W});
    return;
  }
  form.template product<false>({s.dsn, kPairs, s.k, W, s.dq, W, kPairs, lines, W});
  for (std::int64_t r = 0; r < tile.rows; ++r) {
    for (std::int64_t d = 0; d < W; ++d) dq[r * stride + d] += s.dq[r * W + d];
  }
}

template <class Form>
void backward_in_bf16(const BackwardTask& t) noexcept {
  Bf16Scratch s{};
  cut_bf16(t, t.scratch, s);
  fill(t.dq, t.rows * padded(t.width), 0.0F);
  if (t.key_begin == t.key_end) return;
  pack_both(t.q, t.q_stride, t.rows, t.width, s.W, s.q, s.qt);
  pack_both(t.dout, t.dout_stride, t.rows, t.value_width, s.C, s.dout, s.dot);
  Form form;
  for (std::int64_t j = t.key_begin; j < t.key_end; j += kKeys) {
    const std::int64_t n = least(kKeys, t.key_end - j);
    fill(s.dkt, s.W * kKeys, 0.0F);
    fill(s.dvt, s.C * kKeys, 0.0F);
    const Span rows = rows_of_keys(t, j, j + n);
    if (rows.begin < rows.end && pack_keys(t, j, n, s)) {
      // Blocks of rows lie where they were packed.
      for (std::int64_t i = rows.begin / kRows * kRows; i < rows.end; i += kRows) {
        const Tile tile{i, least(kRows, t.rows - i), j, n, s.w, s.ds, s.keep, s.sums};
        if (may_meet(t, tile)) bf16_tile(t, tile, s, form);
      }
    }
    turn_back(s.dkt, t.scale, t.width, n, t.add, t.dk + j * t.dk_stride, t.dk_stride);
    turn_back(s.dvt, 1.0F, t.value_width, n, t.add, t.dv + j * t.dv_stride, t.dv_stride);
  }
}

}  // namespace backward
}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3

#endif
