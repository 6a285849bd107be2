// The two products of `focus` for bf16 on AVX-512-BF16: a lane holds a pair of bf16, and one
// instruction adds the products of two pairs to an f32. Included by focus_hwy.cpp.
// Lanes are queries, as in focus_tile-inl.h: Q lies as pairs along D and meets broadcast pairs of K;
// P is rounded to pairs along the keys and meets broadcast pairs of V.
#if defined(HEADSCOPE_FOCUS_PAIRS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FOCUS_PAIRS_INL_H_
#undef HEADSCOPE_FOCUS_PAIRS_INL_H_
#else
#define HEADSCOPE_FOCUS_PAIRS_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "headscope/tensor.h"
#include "hwy/highway.h"
#include "kernels/math-inl.h"

#if HWY_TARGET != HWY_SCALAR  // packing turns vectors of four
HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DPairs = hn::Rebind<std::uint32_t, D>;  // a pair of bf16 a lane, the first in the lower half
using VPairs = hn::Vec<DPairs>;
using DFour = hn::CappedTag<std::uint32_t, 4>;
using VFour = hn::Vec<DFour>;

inline constexpr std::int64_t kPackedKeys = 64;  // keys of a block of packed K and V

constexpr std::int64_t blocks_of(std::int64_t n, std::int64_t block) {
  return (n + block - 1) / block;
}

// ---- packing -----------------------------------------------------------------------------------

/// Four pairs from 8 numbers; those past `count` are zero (count may be <= 0).
HWY_INLINE VFour load_pairs(const bf16* from, std::int64_t count) {
  const hn::Repartition<std::uint16_t, DFour> d16;
  if (count >= 8) return hn::BitCast(DFour(), hn::LoadU(d16, &from->bits));
  alignas(16) std::uint16_t some[8] = {};
  for (std::int64_t i = 0; i < count; ++i) some[i] = from[i].bits;
  return hn::BitCast(DFour(), hn::Load(d16, some));
}

/// Rows become columns.
HWY_INLINE void turn(VFour (&x)[4]) {
  const DFour d;
  const hn::Repartition<std::uint64_t, DFour> d64;
  const auto ab_low = hn::BitCast(d64, hn::InterleaveLower(d, x[0], x[1]));
  const auto ab_high = hn::BitCast(d64, hn::InterleaveUpper(d, x[0], x[1]));
  const auto cd_low = hn::BitCast(d64, hn::InterleaveLower(d, x[2], x[3]));
  const auto cd_high = hn::BitCast(d64, hn::InterleaveUpper(d, x[2], x[3]));
  x[0] = hn::BitCast(d, hn::InterleaveLower(d64, ab_low, cd_low));
  x[1] = hn::BitCast(d, hn::InterleaveUpper(d64, ab_low, cd_low));
  x[2] = hn::BitCast(d, hn::InterleaveLower(d64, ab_high, cd_high));
  x[3] = hn::BitCast(d, hn::InterleaveUpper(d64, ab_high, cd_high));
}

/// Four rows of bf16; a missing one is nullptr and counts as zeros.
struct FourRows {
  const bf16* at[4];
};

/// Rows begin, begin + 1, ... of x; those from `end` on are missing.
HWY_INLINE FourRows four_rows(const bf16* x,
                              std::int64_t stride,
                              std::int64_t begin,
                              std::int64_t end) {
  FourRows rows;
  for (std::int64_t i = 0; i < 4; ++i)
    rows.at[i] = begin + i < end ? x + (begin + i) * stride : nullptr;
  return rows;
}

/// Rows begin, begin + 1, ... of a list of `count` rows.
HWY_INLINE FourRows four_rows(const bf16* const* list, std::int64_t begin, std::int64_t count) {
  FourRows rows;
  for (std::int64_t i = 0; i < 4; ++i) rows.at[i] = begin + i < count ? list[begin + i] : nullptr;
  return rows;
}

/// to[p * stride + i] = the pair of numbers 2p and 2p + 1 of row i, for p < pairs; numbers outside
/// [begin, width) of a row are zero, number 0 of the pairs is `begin`.
inline void turn_pairs(const FourRows& rows,
                       std::int64_t begin,
                       std::int64_t width,
                       std::int64_t pairs,
                       std::size_t stride,
                       std::uint32_t* to) {
  const DFour d;
  for (std::int64_t p = 0; p < pairs; p += 4) {
    const std::int64_t at = begin + 2 * p;
    VFour x[4];
    for (int i = 0; i < 4; ++i)
      x[i] = rows.at[i] == nullptr || at >= width ? hn::Zero(d)
                                                  : load_pairs(rows.at[i] + at, width - at);
    turn(x);
    for (std::int64_t i = 0; i < 4 && p + i < pairs; ++i)
      hn::StoreU(x[i], d, to + static_cast<std::size_t>(p + i) * stride);
  }
}

/// x rounded to bf16, to nearest, ties to even, in the upper half of each lane; NaN stays NaN. The
/// lower half is not cleared.
HWY_INLINE VPairs round_to_bf16(V x) {
  const DPairs d;
  const VPairs bits = hn::BitCast(d, x);
  const VPairs odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1));
  const VPairs rounded = hn::Add(bits, hn::Add(odd, hn::Set(d, 0x7FFF)));
  const VPairs quiet = hn::Or(bits, hn::Set(d, 0x00400000));
  return hn::IfThenElse(hn::RebindMask(d, hn::IsNaN(x)), quiet, rounded);
}

// ---- the instruction ---------------------------------------------------------------------------

/// vdpbf16ps in plain Highway, for machines without it. It differs in rounding: here a denormal
/// counts, vdpbf16ps takes and leaves zero for it, and where a target has no FMA nothing changes but
/// products below 2^-126, as the product of two bf16 is exact in f32. Both add the upper halves first
/// and round after each of the two additions.
struct ModelPairDot {
  static HWY_INLINE V dot(V sum, VPairs a, VPairs b) {
    const D d;
    const DPairs dp;
    const VPairs upper = hn::Set(dp, 0xFFFF0000U);
    const V a_upper = hn::BitCast(d, hn::And(a, upper));
    const V b_upper = hn::BitCast(d, hn::And(b, upper));
    const V a_lower = hn::BitCast(d, hn::ShiftLeft<16>(a));
    const V b_lower = hn::BitCast(d, hn::ShiftLeft<16>(b));
    return hn::MulAdd(a_lower, b_lower, hn::MulAdd(a_upper, b_upper, sum));
  }
  /// The pair (lower, upper), each rounded to nearest even.
  static HWY_INLINE VPairs pair(V lower, V upper) {
    const VPairs mask = hn::Set(DPairs(), 0xFFFF0000U);
    return hn::Or(hn::ShiftRight<16>(round_to_bf16(lower)), hn::And(round_to_bf16(upper), mask));
  }
};

#if HWY_TARGET == HWY_AVX3
/// vdpbf16ps and vcvtne2ps2bf16 themselves; run only where has_avx512_bf16(). They are written as
/// asm, so that no function needs a wider target than its callers: all of it inlines, and the
/// compiler cannot use AVX-512-BF16 anywhere else.
struct NativePairDot {
  static HWY_INLINE V dot(V sum, VPairs a, VPairs b) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
    return sum;
  }
  /// Denormals become zero.
  static HWY_INLINE VPairs pair(V lower, V upper) {
    __m512i halves;
    asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(halves) : "v"(lower.raw), "v"(upper.raw));
    // Now 16 lower numbers and then 16 upper ones; number 2i of the pairs is i, number 2i + 1 is
    // 16 + i.
    const DPairs d;
    const VPairs places = hn::Add(hn::Iota(d, 0), hn::ShiftLeft<16>(hn::Iota(d, 16)));
    return VPairs{_mm512_permutexvar_epi16(places.raw, halves)};
  }
};
#endif

// ---- the products ------------------------------------------------------------------------------

/// The two products of `focus` on bf16, by a Dot (ModelPairDot or NativePairDot). Pack with the
/// static functions, once per head.
/// Packed Q [pairs of D][kRows], packed K [block][group of keys][pairs of D][kGroup], packed V
/// [block][group of columns][32 pairs of keys][kGroup], all in pairs.
template <class Dot>
class PairProducts {
 public:
  struct Session {};
  static constexpr std::size_t kVecs = 3;  // vectors of rows in a block
  static constexpr std::int64_t kWaiting = 0;
  static constexpr std::size_t kRows = kVecs * kLanes;

  static std::size_t query_bytes(std::int64_t width) {
    return round_up(static_cast<std::size_t>(pairs_of(width)) * kRows * sizeof(std::uint32_t));
  }
  static std::size_t mix_bytes() { return round_up(kPairs * kRows * sizeof(std::uint32_t)); }
  static std::size_t key_bytes(std::int64_t keys, std::int64_t width) {
    return bytes(blocks_of(keys, kPackedKeys) * key_block(width));
  }
  static std::size_t value_bytes(std::int64_t keys, std::int64_t value_width) {
    return bytes(blocks_of(keys, kPackedKeys) * value_block(value_width));
  }

  /// Rows `count` .. kRows are zero.
  static void load_queries(const bf16* const* rows,
                           std::int64_t count,
                           std::int64_t width,
                           std::byte* to) {
    for (std::size_t i = 0; i < kRows; i += 4) {
      turn_pairs(four_rows(rows, static_cast<std::int64_t>(i), count),
                 0,
                 width,
                 pairs_of(width),
                 kRows,
                 as_pairs(to) + i);
    }
  }

  /// Packs the blocks of 64 keys that [begin, end) touches, begin a multiple of 64; keys past the
  /// last of all `keys` are zero. `to` is the start of the whole packed K.
  static void pack_keys(const bf16* k,
                        std::int64_t stride,
                        std::int64_t begin,
                        std::int64_t end,
                        std::int64_t keys,
                        std::int64_t width,
                        std::byte* to) {
    const std::int64_t pairs = pairs_of(width);
    for (std::int64_t j = begin; j < blocks_of(end, kPackedKeys) * kPackedKeys; j += 4) {
      std::uint32_t* group = as_pairs(to) + j / kGroup * pairs * kGroup;
      turn_pairs(four_rows(k, stride, j, keys), 0, width, pairs, kGroupSize, group + j % kGroup);
    }
  }

  /// The same for V.
  static void pack_values(const bf16* v,
                          std::int64_t stride,
                          std::int64_t begin,
                          std::int64_t end,
                          std::int64_t keys,
                          std::int64_t value_width,
                          std::byte* to) {
    for (std::int64_t j = begin; j < blocks_of(end, kPackedKeys) * kPackedKeys; j += 2) {
      std::uint32_t* block = as_pairs(to) + j / kPackedKeys * value_block(value_width);
      pack_value_pair(j < keys ? v + j * stride : nullptr,
                      j + 1 < keys ? v + (j + 1) * stride : nullptr,
                      value_width,
                      block + j % kPackedKeys / 2 * kGroup);
    }
  }

  /// s[m][row] = q[row] . k[j0 + m] for m < n; j0 a multiple of 64, n <= 64. Some rows of s from n
  /// on, up to 64, are written too.
  void score(const std::byte* q,
             const std::byte* packed_k,
             std::int64_t j0,
             std::int64_t n,
             std::int64_t width,
             float* s) const {
    const std::int64_t pairs = pairs_of(width);
    const std::uint32_t* k = as_pairs(packed_k) + j0 * pairs;
    for (std::int64_t m = 0; m < n; m += kGroup)
      score_group(as_pairs(q), k + m * pairs, pairs, s + m * kRowsOf);
  }

  /// o[c][row] += sum over m < n of bf16(p[m][row]) * v[j0 + m][c]. scratch: mix_bytes(), 64-byte
  /// aligned.
  void mix(const float* p,
           std::int64_t n,
           const std::byte* packed_v,
           std::int64_t j0,
           std::int64_t value_width,
           float* o,
           std::byte* scratch) const {
    pack_weights(p, n, as_pairs(scratch));
    const std::uint32_t* v = as_pairs(packed_v) + j0 / kPackedKeys * value_block(value_width);
    for (std::int64_t c = 0; c < value_width; c += kGroup) {
      const std::int64_t left = value_width - c;
      mix_group(as_pairs(scratch),
                v + c * kPairs,
                blocks_of(n, 2),
                left < kGroup ? left : kGroup,
                o + c * kRowsOf);
    }
  }

 private:
  // Keys or columns that meet kVecs vectors of rows at a time: 16 registers hold 3 x 4
  // accumulators, 32 registers 3 x 8.
  static constexpr std::size_t kGroupSize = kRegisters >= 32 ? 8 : 4;
  static constexpr auto kGroup = static_cast<std::int64_t>(kGroupSize);
  static constexpr auto kRowsOf = static_cast<std::int64_t>(kRows);
  static constexpr std::int64_t kPairs = kPackedKeys / 2;  // of keys, in a block

  static constexpr std::size_t round_up(std::size_t n) { return (n + 63) / 64 * 64; }
  static constexpr std::int64_t pairs_of(std::int64_t width) { return (width + 1) / 2; }
  static constexpr std::int64_t key_block(std::int64_t width) {
    return kPackedKeys * pairs_of(width);
  }
  static constexpr std::int64_t value_block(std::int64_t value_width) {
    return blocks_of(value_width, kGroup) * kGroup * kPairs;
  }
  static constexpr std::size_t bytes(std::int64_t pairs) {
    return static_cast<std::size_t>(pairs) * sizeof(std::uint32_t);
  }
  static std::uint32_t* as_pairs(std::byte* x) { return reinterpret_cast<std::uint32_t*>(x); }
  static const std::uint32_t* as_pairs(const std::byte* x) {
    return reinterpret_cast<const std::uint32_t*>(x);
  }

  // Two rows of V, either may be missing, as pairs, kGroup columns together.
  static void pack_value_pair(const bf16* first,
                              const bf16* second,
                              std::int64_t value_width,
                              std::uint32_t* to) {
    const DFour d;
    const hn::Repartition<std::uint16_t, DFour> d16;
    const std::int64_t columns = blocks_of(value_width, kGroup) * kGroup;
    for (std::int64_t c = 0; c < columns; c += 8) {
      const std::int64_t left = value_width - c;
      const auto a = hn::BitCast(d16, first == nullptr ? hn::Zero(d) : load_pairs(first + c, left));
      const auto b =
          hn::BitCast(d16, second == nullptr ? hn::Zero(d) : load_pairs(second + c, left));
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d16, a, b)), d, to + c * kPairs);
      if (c + 4 >= columns) break;
      std::uint32_t* next = kGroup == 8 ? to + c * kPairs + 4 : to + (c + 4) * kPairs;
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d16, a, b)), d, next);
    }
  }

  // to [ceil(n/2)][kRows]
  static HWY_INLINE void pack_weights(const float* p, std::int64_t n, std::uint32_t* to) {
    const D d;
    for (std::int64_t m = 0; m < n; m += 2) {
      for (std::size_t lane = 0; lane < kRows; lane += kLanes) {
        const float* at = p + static_cast<std::size_t>(m) * kRows + lane;
        const V second = m + 1 < n ? hn::Load(d, at + kRows) : hn::Zero(d);
        hn::Store(Dot::pair(hn::Load(d, at), second),
                  DPairs(),
                  to + static_cast<std::size_t>(m / 2) * kRows + lane);
      }
    }
  }

  // sum[n][m] += the products of `pairs` rows of vectors a with kGroup broadcast pairs b.
  static HWY_INLINE void add_products(const std::uint32_t* HWY_RESTRICT a,
                                      const std::uint32_t* HWY_RESTRICT b,
                                      std::int64_t pairs,
                                      V (&sum)[kGroupSize][kVecs]) {
    const DPairs d;
    for (std::int64_t i = 0; i < pairs; ++i) {
      VPairs x[kVecs];
      HWY_UNROLL(3)
      for (std::size_t m = 0; m < kVecs; ++m) x[m] = hn::Load(d, a + m * kLanes);
      HWY_UNROLL(8)
      for (std::size_t n = 0; n < kGroupSize; ++n) {
        const VPairs y = hn::Set(d, b[n]);
        HWY_UNROLL(3)
        for (std::size_t m = 0; m < kVecs; ++m) sum[n][m] = Dot::dot(sum[n][m], x[m], y);
      }
      a += kRows;
      b += kGroupSize;
    }
  }

  static HWY_INLINE void score_group(const std::uint32_t* HWY_RESTRICT q,
                                     const std::uint32_t* HWY_RESTRICT k,
                                     std::int64_t pairs,
                                     float* HWY_RESTRICT s) {
    const D d;
    V sum[kGroupSize][kVecs];
    HWY_UNROLL(8)
    for (std::size_t n = 0; n < kGroupSize; ++n) {
      HWY_UNROLL(3)
      for (std::size_t m = 0; m < kVecs; ++m) sum[n][m] = hn::Zero(d);
    }
    add_products(q, k, pairs, sum);
    HWY_UNROLL(8)
    for (std::size_t n = 0; n < kGroupSize; ++n) {
      HWY_UNROLL(3)
      for (std::size_t m = 0; m < kVecs; ++m) hn::Store(sum[n][m], d, s + n * kRows + m * kLanes);
    }
  }

  // Of kGroup columns only the first `columns` are there in o.
  static HWY_INLINE void mix_group(const std::uint32_t* HWY_RESTRICT p,
                                   const std::uint32_t* HWY_RESTRICT v,
                                   std::int64_t pairs,
                                   std::int64_t columns,
                                   float* HWY_RESTRICT o) {
    const D d;
    V sum[kGroupSize][kVecs];
    HWY_UNROLL(8)
    for (std::size_t n = 0; n < kGroupSize; ++n) {
      const bool there = static_cast<std::int64_t>(n) < columns;
      HWY_UNROLL(3)
      for (std::size_t m = 0; m < kVecs; ++m)
        sum[n][m] = there ? hn::Load(d, o + n * kRows + m * kLanes) : hn::Zero(d);
    }
    add_products(p, v, pairs, sum);
    HWY_UNROLL(8)
    for (std::size_t n = 0; n < kGroupSize; ++n) {
      if (static_cast<std::int64_t>(n) >= columns) break;
      HWY_UNROLL(3)
      for (std::size_t m = 0; m < kVecs; ++m) hn::Store(sum[n][m], d, o + n * kRows + m * kLanes);
    }
  }
};

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // HWY_TARGET != HWY_SCALAR

#endif
