// Blocks of quantised weights in 256-bit vectors: 32 numbers of a row at a time, and the factors of
// eight rows side by side. Included by linear_hwy.cpp for AVX2 and wider.
#if defined(HEADSCOPE_LINEAR_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_LINEAR_BLOCKS_INL_H_
#undef HEADSCOPE_LINEAR_BLOCKS_INL_H_
#else
#define HEADSCOPE_LINEAR_BLOCKS_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "headscope/tensor.h"
#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

/// Blocks of 32 whose factors are made together at most: the 256 numbers of a K-block.
inline constexpr std::int64_t kFactorBlocks = 8;

/// Eight rows of w; past the last one it stands in for those that are missing.
struct EightRows {
  const std::uint8_t* at[8];
};

HWY_INLINE EightRows eight_rows(const std::byte* first, std::size_t row_bytes, std::int64_t count) {
  const auto* at = reinterpret_cast<const std::uint8_t*>(first);
  const auto row = [&](std::int64_t r) {
    return at + static_cast<std::size_t>(HWY_MIN(r, count - 1)) * row_bytes;
  };
  return {{at, row(1), row(2), row(3), row(4), row(5), row(6), row(7)}};
}

/// What is multiplied with up to 8 blocks of 8 rows: scale[b][half][r] and least[b][r].
struct Factors {
  alignas(32) float scale[kFactorBlocks][2][8];
  alignas(32) float least[kFactorBlocks][8];
};

HWY_INLINE __m256i load_bytes(const std::uint8_t* at) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
}

/// 8x8 numbers of 32 bits: rows become columns.
HWY_INLINE void turn_eight(__m256i (&x)[8]) {
  __m256i y[8];
  for (int i = 0; i < 8; i += 2) {
    y[i] = _mm256_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm256_unpackhi_epi32(x[i], x[i + 1]);
  }
  __m256i z[8];
  for (int i = 0; i < 8; i += 4) {
    z[i] = _mm256_unpacklo_epi64(y[i], y[i + 2]);
    z[i + 1] = _mm256_unpackhi_epi64(y[i], y[i + 2]);
    z[i + 2] = _mm256_unpacklo_epi64(y[i + 1], y[i + 3]);
    z[i + 3] = _mm256_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm256_permute2x128_si256(z[i], z[i + 4], 0x20);
    x[i + 4] = _mm256_permute2x128_si256(z[i], z[i + 4], 0x31);
  }
}

/// 16 bytes as 32 nibbles: the low ones first.
HWY_INLINE __m256i nibbles(const std::uint8_t* at) {
  const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  const __m256i wide =
      _mm256_inserti128_si256(_mm256_castsi128_si256(both), _mm_srli_epi16(both, 4), 1);
  return _mm256_and_si256(wide, _mm256_set1_epi8(0xF));
}

HWY_INLINE float half_at(const std::uint8_t* at) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof(bits));
  return _cvtsh_ss(bits);
}

HWY_INLINE int int_at(const std::uint8_t* at) {
  std::int32_t bits = 0;
  std::memcpy(&bits, at, sizeof(bits));
  return bits;
}

/// 32 bits of each row, `offset` bytes from its start. Vectors are put together in registers: a vector
/// read from where its parts were just written would wait for them.
HWY_INLINE __m256i eight_ints(const EightRows& rows, std::int64_t offset) {
  const auto four = [&](int r) HWY_ATTR {
    const __m128i a = _mm_insert_epi32(
        _mm_cvtsi32_si128(int_at(rows.at[r] + offset)), int_at(rows.at[r + 1] + offset), 1);
    const __m128i b = _mm_insert_epi32(
        _mm_cvtsi32_si128(int_at(rows.at[r + 2] + offset)), int_at(rows.at[r + 3] + offset), 1);
    return _mm_unpacklo_epi64(a, b);
  };
  return _mm256_inserti128_si256(_mm256_castsi128_si256(four(0)), four(4), 1);
}

/// The lower and the upper f16 of eight pairs.
HWY_INLINE void two_halves(__m256i pairs, __m256& lower, __m256& upper) {
  const __m256i mixed = _mm256_packus_epi32(_mm256_and_si256(pairs, _mm256_set1_epi32(0xFFFF)),
                                            _mm256_srli_epi32(pairs, 16));
  const __m256i apart = _mm256_permute4x64_epi64(mixed, 0xD8);
  lower = _mm256_cvtph_ps(_mm256_castsi256_si128(apart));
  upper = _mm256_cvtph_ps(_mm256_extracti128_si256(apart, 1));
}

/// The f16 at the start of each block of 32.
HWY_INLINE __m256 half_of_eight(const EightRows& rows, std::int64_t offset) {
  __m256 lower;
  __m256 upper;
  two_halves(eight_ints(rows, offset), lower, upper);
  return lower;
}

/// How a dtype stores 32 numbers. kSigned: `load` gives -128..127, else 0..15 and there is a `least`.
/// kHalves: numbers 16 to 31 have a scale of their own. kChunk: blocks whose factors `factors` makes.
template <DType>
struct Blocks;

template <>
struct Blocks<DType::kQ4_0> {
  static constexpr bool kSigned = false;
  static constexpr std::int64_t kChunk = 1;
  static constexpr bool kHalves = false;
  static HWY_INLINE __m256i load(const std::uint8_t* row, std::int64_t b) {
    return nibbles(row + b * 18 + 2);
  }
  static HWY_INLINE void factors(const EightRows& rows,
                                 std::int64_t first,
                                 std::int64_t,
                                 Factors& to) {
    const __m256 scale = half_of_eight(rows, first * 18);
    _mm256_store_ps(to.scale[0][0], scale);
    _mm256_store_ps(to.least[0], _mm256_mul_ps(_mm256_set1_ps(-8.0F), scale));
  }
};

template <>
struct Blocks<DType::kQ4_1> {
  static constexpr bool kSigned = false;
  static constexpr std::int64_t kChunk = 1;
  static constexpr bool kHalves = false;
  static HWY_INLINE __m256i load(const std::uint8_t* row, std::int64_t b) {
    return nibbles(row + b * 20 + 4);
  }
  static HWY_INLINE void factors(const EightRows& rows,
                                 std::int64_t first,
                                 std::int64_t,
                                 Factors& to) {
    __m256 scale;
    __m256 least;
    two_halves(eight_ints(rows, first * 20), scale, least);
    _mm256_store_ps(to.scale[0][0], scale);
    _mm256_store_ps(to.least[0], least);
  }
};

template <>
struct Blocks<DType::kQ8_0> {
  static constexpr bool kSigned = true;
  static constexpr std::int64_t kChunk = 1;
  static constexpr bool kHalves = false;
  static HWY_INLINE __m256i load(const std::uint8_t* row, std::int64_t b) {
    return load_bytes(row + b * 34 + 2);
  }
  static HWY_INLINE void factors(const EightRows& rows,
                                 std::int64_t first,
                                 std::int64_t,
                                 Factors& to) {
    _mm256_store_ps(to.scale[0][0], half_of_eight(rows, first * 34));
  }
};

HWY_INLINE __m256 floats_of_bytes(std::uint64_t eight, bool with_sign) {
  const __m128i bytes = _mm_cvtsi64_si128(static_cast<long long>(eight));
  return _mm256_cvtepi32_ps(with_sign ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes));
}

template <>
struct Blocks<DType::kQ4_K> {
  static constexpr bool kSigned = false;
  static constexpr std::int64_t kChunk = 8;
  static constexpr bool kHalves = false;
  static HWY_INLINE __m256i load(const std::uint8_t* row, std::int64_t b) {
    const __m256i both = load_bytes(row + b / 8 * 144 + 16 + b % 8 / 2 * 32);
    const __m256i mine = (b & 1) == 0 ? both : _mm256_srli_epi16(both, 4);
    return _mm256_and_si256(mine, _mm256_set1_epi8(0xF));
  }
  static HWY_INLINE void factors(const EightRows& rows,
                                 std::int64_t first,
                                 std::int64_t count,
                                 Factors& to) {
    __m256i scale[8];
    __m256i least[8];
    for (int r = 0; r < 8; ++r) {
      const std::uint8_t* at = rows.at[r] + first / 8 * 144;
      std::uint32_t part[3];  // 12 bytes hold eight scales and eight leasts of 6 bits
      std::memcpy(part, at + 4, sizeof(part));
      const std::uint32_t high = part[2];
      const std::uint64_t scales =
          (part[0] & 0x3F3F3F3FU) |
          std::uint64_t{(high & 0x0F0F0F0FU) | (part[0] >> 6 & 0x03030303U) << 4} << 32;
      const std::uint64_t leasts =
          (part[1] & 0x3F3F3F3FU) |
          std::uint64_t{(high >> 4 & 0x0F0F0F0FU) | (part[1] >> 6 & 0x03030303U) << 4} << 32;
      scale[r] = _mm256_castps_si256(
          _mm256_mul_ps(_mm256_set1_ps(half_at(at)), floats_of_bytes(scales, false)));
      least[r] = _mm256_castps_si256(
          _mm256_mul_ps(_mm256_set1_ps(-half_at(at + 2)), floats_of_bytes(leasts, false)));
    }
    turn_eight(scale);
    turn_eight(least);
    for (std::int64_t b = 0; b < count; ++b) {
      _mm256_store_ps(to.scale[b][0], _mm256_castsi256_ps(scale[b]));
      _mm256_store_ps(to.least[b], _mm256_castsi256_ps(least[b]));
    }
  }
};

template <>
struct Blocks<DType::kQ6_K> {
  static constexpr bool kSigned = true;
  static constexpr std::int64_t kChunk = 8;
  static constexpr bool kHalves = true;
  static HWY_INLINE __m256i load(const std::uint8_t* row, std::int64_t b) {
    const std::uint8_t* at = row + b / 8 * 210;
    const auto part = static_cast<int>(b % 8);
    const __m256i low = load_bytes(at + part / 4 * 64 + (part & 1) * 32);
    const __m256i high = load_bytes(at + 128 + part / 4 * 32);
    const __m128i low_shift = _mm_cvtsi32_si128(part % 4 / 2 * 4);
    const __m128i high_shift = _mm_cvtsi32_si128(part % 4 * 2);
    const __m256i four = _mm256_and_si256(_mm256_srl_epi16(low, low_shift), _mm256_set1_epi8(0xF));
    const __m256i two = _mm256_and_si256(_mm256_srl_epi16(high, high_shift), _mm256_set1_epi8(3));
    return _mm256_sub_epi8(_mm256_or_si256(four, _mm256_slli_epi16(two, 4)), _mm256_set1_epi8(32));
  }
  static HWY_INLINE void factors(const EightRows& rows,
                                 std::int64_t first,
                                 std::int64_t count,
                                 Factors& to) {
    __m256i scale[2][8];
    for (int r = 0; r < 8; ++r) {
      const std::uint8_t* at = rows.at[r] + first / 8 * 210;
      const __m256 d = _mm256_set1_ps(half_at(at + 208));
      for (int i = 0; i < 2; ++i) {
        std::uint64_t eight = 0;
        std::memcpy(&eight, at + 192 + 8 * i, sizeof(eight));
        scale[i][r] = _mm256_castps_si256(_mm256_mul_ps(d, floats_of_bytes(eight, true)));
      }
    }
    turn_eight(scale[0]);
    turn_eight(scale[1]);
    for (std::int64_t b = 0; b < count; ++b) {
      for (int half = 0; half < 2; ++half)
        _mm256_store_ps(to.scale[b][half], _mm256_castsi256_ps(scale[b / 4][b % 4 * 2 + half]));
    }
  }
};

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#endif
