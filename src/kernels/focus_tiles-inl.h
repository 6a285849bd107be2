// The two products of `focus` for bf16 on AMX: eight tile registers of 16 rows of 64 bytes, and one
// instruction that multiplies two of them into a third. Included by focus_hwy.cpp.
// Scores are taken as S^T = K Q^T and values as O^T += V^T P^T, so that lanes stay queries: rows of K
// are tiles as they lie, and P^T turns into pairs along the keys with one conversion.
// Loads and stores of tiles, not products, are the limit: 2 x 2 tiles of sums meet 2 + 2 tiles of
// factors, one load a product, which is the least that eight registers allow without keeping a factor,
// and every tile of K or V serves kQueryTiles tiles of queries while it is in the nearest cache.
#if defined(HEADSCOPE_FOCUS_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FOCUS_TILES_INL_H_
#undef HEADSCOPE_FOCUS_TILES_INL_H_
#else
#define HEADSCOPE_FOCUS_TILES_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "headscope/tensor.h"
#include "hwy/highway.h"
#include "kernels/focus_pairs-inl.h"
#include "kernels/math-inl.h"

#if HWY_TARGET != HWY_SCALAR  // packing turns vectors of four
HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

inline constexpr std::int64_t kTileRows = 16;  // rows of a tile, and its columns of f32 or of pairs
inline constexpr std::int64_t kTileDepth = 32;  // numbers of bf16 in a row of a tile
inline constexpr std::int64_t kTilePairs = kTileRows * kTileRows;  // f32, or pairs, of a tile
inline constexpr std::int64_t kTileBytes = 4 * kTilePairs;

// ---- the instructions --------------------------------------------------------------------------

/// The tile registers in plain C++, as the manual defines them: fused multiply-adds, even and odd
/// numbers summed apart from zero, rounded to nearest even; denormals are zero coming in and going out.
/// Source: Intel 64 and IA-32 manual, vol. 2, TDPBF16PS.
class ModelTiles {
 public:
  struct Session {};

  template <int kTile>
  void zero() {
    for (float& x : tile_[kTile]) x = 0.0F;
  }
  /// Rows are `stride` bytes apart.
  template <int kTile>
  void load(const void* from, std::int64_t stride) {
    for (std::int64_t r = 0; r < kTileRows; ++r)
      __builtin_memcpy(
          tile_[kTile] + r * kTileRows, static_cast<const std::byte*>(from) + r * stride, 64);
  }
  template <int kTile>
  void store(void* to, std::int64_t stride) const {
    for (std::int64_t r = 0; r < kTileRows; ++r)
      __builtin_memcpy(static_cast<std::byte*>(to) + r * stride, tile_[kTile] + r * kTileRows, 64);
  }
  /// sum[m][n] += products of the pairs a[m][k] and b[k][n].
  template <int kSum, int kA, int kB>
  void dot() {
    for (std::int64_t m = 0; m < kTileRows; ++m) {
      float lower[kTileRows] = {};
      float upper[kTileRows] = {};
      for (std::int64_t k = 0; k < kTileRows; ++k) {
        const std::uint32_t a = pair(tile_[kA][m * kTileRows + k]);
        for (std::int64_t n = 0; n < kTileRows; ++n) {
          const std::uint32_t b = pair(tile_[kB][k * kTileRows + n]);
          lower[n] = add_product(number(a << 16), number(b << 16), lower[n]);
          upper[n] = add_product(number(a & 0xFFFF0000U), number(b & 0xFFFF0000U), upper[n]);
        }
      }
      for (std::int64_t n = 0; n < kTileRows; ++n) {
        float& sum = tile_[kSum][m * kTileRows + n];
        sum = flushed(flushed(sum) + flushed(lower[n] + upper[n]));
      }
    }
  }
  static HWY_INLINE VPairs pair(V lower, V upper) { return ModelPairDot::pair(lower, upper); }

 private:
  static std::uint32_t pair(float x) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof(bits));
    return bits;
  }
  static float number(std::uint32_t bits) {
    float x;
    __builtin_memcpy(&x, &bits, sizeof(x));
    return flushed(x);
  }
  static float flushed(float x) { return __builtin_fabsf(x) < 0x1p-126F ? 0.0F * x : x; }
  static float add_product(float a, float b, float sum) {
    return flushed(__builtin_fmaf(a, b, sum));
  }

  alignas(64) float tile_[8][kTilePairs] = {};
};

#if HWY_TARGET == HWY_AVX3
/// The tile registers themselves, where has_amx_bf16(): of use as long as a Session lives. asm, as the
/// intrinsics take no tile number from a template.
class AmxTiles {
 public:
  /// Tiles that are configured, once a task, and released on every way out.
  struct Session {
    Session();
    ~Session() { asm volatile("tilerelease" : : : "memory"); }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
  };

  template <int kTile>
  HWY_INLINE void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  HWY_INLINE void load(const void* from, std::int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  HWY_INLINE void store(void* to, std::int64_t stride) const {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kSum, int kA, int kB>
  HWY_INLINE void dot() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
  static HWY_INLINE VPairs pair(V lower, V upper) { return NativePairDot::pair(lower, upper); }
};

inline AmxTiles::Session::Session() {
  // Palette 1, then bytes of a row of each tile from byte 16 on, rows of each from byte 48 on.
  alignas(64) std::uint8_t shape[64] = {};
  shape[0] = 1;
  for (int i = 0; i < 8; ++i) {
    shape[16 + 2 * i] = 64;
    shape[48 + i] = static_cast<std::uint8_t>(kTileRows);
  }
  asm volatile("ldtilecfg %0" : : "m"(shape));
}
#endif

// ---- the products ------------------------------------------------------------------------------

/// The two products of `focus` on bf16, by Tiles (ModelTiles or AmxTiles): score and mix while a Session of a task
/// lives; pack with the static functions, once per head. Packed forms are made of whole tiles, zero outside the
/// numbers there are: Q [tiles of D][kQueryTiles], K [block][4 tiles of keys][tiles of D], V^T [block][tiles of
/// columns][2 tiles of keys], P^T [2 tiles of keys][kQueryTiles].
template <class Tiles>
class TileProducts {
 public:
  using Session = typename Tiles::Session;
  static constexpr std::size_t kRows = 64;
  static constexpr std::size_t kVecs = kRows / kLanes;
  static constexpr std::int64_t kWaiting = 8;  // blocks of 64 keys whose weights may wait: 64 KB

  static std::size_t query_bytes(std::int64_t width) {
    return bytes(blocks_of(width, kTileDepth) * kQueryTiles);
  }
  static std::size_t mix_bytes() {
    return bytes(kWaiting * kWeightTiles) + sizeof(float) * kTileRows * kRows;
  }
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
    for (std::int64_t t = 0; t < blocks_of(width, kTileDepth); ++t) {
      for (std::int64_t i = 0; i < kRowsOf; i += 4) {
        turn_pairs(four_rows(rows, i, count),
                   t * kTileDepth,
                   width,
                   kTileRows,
                   kTileRows,
                   pairs_at(to, t * kQueryTiles + i / kTileRows) + i % kTileRows);
      }
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
    const std::int64_t depth = blocks_of(width, kTileDepth);
    for (std::int64_t j = begin; j < blocks_of(end, kPackedKeys) * kPackedKeys; ++j) {
      const bf16* row = j < keys ? k + j * stride : nullptr;
      for (std::int64_t t = 0; t < depth; ++t) {
        std::uint32_t* line = pairs_at(to, j / kTileRows * depth + t) + j % kTileRows * kTileRows;
        for (std::int64_t i = 0; i < kTileDepth; i += 8) {
          const std::int64_t at = t * kTileDepth + i;
          const VFour four =
              row == nullptr || at >= width ? hn::Zero(DFour()) : load_pairs(row + at, width - at);
          hn::StoreU(four, DFour(), line + i / 2);
        }
      }
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
    for (std::int64_t j = begin; j < blocks_of(end, kPackedKeys) * kPackedKeys; j += 8) {
      std::byte* block = to + bytes(j / kPackedKeys * value_block(value_width));
      const FourRows rows[2] = {four_rows(v, stride, j, keys), four_rows(v, stride, j + 4, keys)};
      for (std::int64_t c = 0; c < blocks_of(value_width, kTileRows) * kTileRows; c += 8) {
        std::uint32_t* tile = pairs_at(block, c / kTileRows * 2 + j % kPackedKeys / kTileDepth);
        pack_square(
            rows, c, value_width - c, tile + c % kTileRows * kTileRows + j % kTileDepth / 2);
      }
    }
  }

  /// s[m][row] = q[row] . k[j0 + m] for m < n; j0 a multiple of 64, n <= 64. Some rows of s from n
  /// on, up to 64, are written too.
  void score(const std::byte* q,
             const std::byte* packed_k,
             std::int64_t j0,
             std::int64_t n,
             std::int64_t width,
             float* s) {
    const std::int64_t depth = blocks_of(width, kTileDepth);
    const std::byte* k = packed_k + bytes(j0 / kPackedKeys * key_block(width));
    const std::int64_t tiles = blocks_of(n, kTileRows);
    std::int64_t t = 0;
    for (; t + 2 <= tiles; t += 2)
      score_tiles<2>(q, k + bytes(t * depth), depth, s + t * kTileRows * kRowsOf);
    if (t < tiles) score_tiles<1>(q, k + bytes(t * depth), depth, s + t * kTileRows * kRowsOf);
  }

  /// o[c][row] += sum over m < n of bf16(p[m][row]) * v[j0 + m][c]. scratch: mix_bytes(), 64-byte
  /// aligned.
  void mix(const float* p,
           std::int64_t n,
           const std::byte* packed_v,
           std::int64_t j0,
           std::int64_t value_width,
           float* o,
           std::byte* scratch) {
    wait(p, 0, n, scratch);
    mix_waiting(n, packed_v, j0, value_width, o, scratch);
  }

  /// The first half of `mix`, for n <= 64 keys behind `before` others, a multiple of 64 and less than
  /// 64 kWaiting.
  static void wait(const float* p, std::int64_t before, std::int64_t n, std::byte* scratch) {
    pack_weights(
        p, n, blocks_of(n, kTileDepth), scratch + bytes(before / kPackedKeys * kWeightTiles));
  }

  /// The second, for all n waiting keys from j0 on: sums are loaded and stored once.
  void mix_waiting(std::int64_t n,
                   const std::byte* packed_v,
                   std::int64_t j0,
                   std::int64_t value_width,
                   float* o,
                   std::byte* scratch) {
    const std::int64_t depth = blocks_of(n, kTileDepth);
    const std::byte* v = packed_v + bytes(j0 / kPackedKeys * value_block(value_width));
    const std::int64_t step = value_block(value_width);
    const std::int64_t whole = value_width / kTileRows;
    std::int64_t t = 0;
    for (; t + 2 <= whole; t += 2)
      mix_tiles<2>(scratch, v + bytes(2 * t), step, depth, o + t * kTileRows * kRowsOf);
    if (t < whole)
      mix_tiles<1>(scratch, v + bytes(2 * t), step, depth, o + t * kTileRows * kRowsOf);
    if (whole * kTileRows == value_width) return;
    // The last columns fill no tile, and o ends with them.
    auto* some = reinterpret_cast<float*>(scratch + bytes(kWaiting * kWeightTiles));
    float* last = o + whole * kTileRows * kRowsOf;
    const std::int64_t left = (value_width - whole * kTileRows) * kRowsOf;
    copy_lanes(last, left, some);
    fill_zero(some + left, kTileRows * kRowsOf - left);
    mix_tiles<1>(scratch, v + bytes(2 * whole), step, depth, some);
    copy_lanes(some, left, last);
  }

 private:
  // Tiles of queries in a block of rows. With 64 queries, 64 keys and D = 64, S, P, O and Q take 48 KB and
  // tiles of K and V stream through L1 once for every four tiles of queries.
  static constexpr std::int64_t kQueryTiles = 4;
  static constexpr std::int64_t kWeightTiles = 2 * kQueryTiles;  // of a block of 64 keys
  static constexpr auto kRowsOf = static_cast<std::int64_t>(kRows);
  static constexpr std::int64_t kLine = 64;           // bytes of a row of a packed tile
  static constexpr std::int64_t kWide = 4 * kRowsOf;  // bytes of a row of s or o

  static constexpr std::int64_t key_block(std::int64_t width) {
    return kPackedKeys / kTileRows * blocks_of(width, kTileDepth);
  }
  static constexpr std::int64_t value_block(std::int64_t value_width) {
    return kPackedKeys / kTileDepth * blocks_of(value_width, kTileRows);
  }
  static constexpr std::size_t bytes(std::int64_t tiles) {
    return static_cast<std::size_t>(tiles * kTileBytes);
  }
  static std::uint32_t* pairs_at(std::byte* x, std::int64_t tile) {
    return reinterpret_cast<std::uint32_t*>(x + bytes(tile));
  }

  // 8 keys x 8 columns of V, from column c on: to[column * 16 + pair of keys].
  static HWY_INLINE void pack_square(const FourRows (&rows)[2],
                                     std::int64_t c,
                                     std::int64_t left,
                                     std::uint32_t* to) {
    const DFour d;
    const hn::Repartition<std::uint16_t, DFour> d16;
    VFour lower[4];
    VFour upper[4];
    for (int i = 0; i < 4; ++i) {
      const bf16* first = rows[i / 2].at[i % 2 * 2];
      const bf16* second = rows[i / 2].at[i % 2 * 2 + 1];
      const bool none = left <= 0;
      const auto a =
          hn::BitCast(d16, none || first == nullptr ? hn::Zero(d) : load_pairs(first + c, left));
      const auto b =
          hn::BitCast(d16, none || second == nullptr ? hn::Zero(d) : load_pairs(second + c, left));
      lower[i] = hn::BitCast(d, hn::InterleaveLower(d16, a, b));
      upper[i] = hn::BitCast(d, hn::InterleaveUpper(d16, a, b));
    }
    turn(lower);
    turn(upper);
    for (int i = 0; i < 4; ++i) {
      hn::StoreU(lower[i], d, to + i * kTileRows);
      hn::StoreU(upper[i], d, to + (4 + i) * kTileRows);
    }
  }

  // P^T as pairs along the keys; rows of p from n on are zero.
  static HWY_INLINE void pack_weights(const float* p,
                                      std::int64_t n,
                                      std::int64_t depth,
                                      std::byte* to) {
    const D d;
    for (std::int64_t m = 0; m < depth * kTileDepth; m += 2) {
      const std::int64_t line = m % kTileDepth / 2 * kTileRows;
      for (std::int64_t i = 0; i < kRowsOf; i += static_cast<std::int64_t>(kLanes)) {
        const float* at = p + m * kRowsOf + i;
        const V first = m < n ? hn::Load(d, at) : hn::Zero(d);
        const V second = m + 1 < n ? hn::Load(d, at + kRows) : hn::Zero(d);
        std::uint32_t* tile = pairs_at(to, m / kTileDepth * kQueryTiles + i / kTileRows);
        hn::Store(Tiles::pair(first, second), DPairs(), tile + line + i % kTileRows);
      }
    }
  }

  static void copy_lanes(const float* from, std::int64_t n, float* to) {
    const D d;
    for (std::int64_t i = 0; i < n; i += static_cast<std::int64_t>(kLanes))
      hn::Store(hn::Load(d, from + i), d, to + i);
  }
  static void fill_zero(float* to, std::int64_t n) {
    const D d;
    for (std::int64_t i = 0; i < n; i += static_cast<std::int64_t>(kLanes))
      hn::Store(hn::Zero(d), d, to + i);
  }

  // Tiles 0..3 hold sums: 0, 1 of the first row of tiles, 2, 3 of the second. 4, 5 hold factors from the
  // left (K or V^T), 6, 7 from the right (Q^T or P^T).
  // sums += a[kHigh tiles, `a_stride` bytes apart][depth] b[depth][2 tiles of queries]
  template <int kHigh>
  HWY_INLINE void add_products(const std::byte* a,
                               std::size_t a_stride,
                               const std::byte* b,
                               std::int64_t depth) {
    for (std::int64_t t = 0; t < depth; ++t) {
      tiles_.template load<4>(a, kLine);
      tiles_.template load<6>(b, kLine);
      tiles_.template dot<0, 4, 6>();
      tiles_.template load<7>(b + kTileBytes, kLine);
      tiles_.template dot<1, 4, 7>();
      if constexpr (kHigh == 2) {
        tiles_.template load<5>(a + a_stride, kLine);
        tiles_.template dot<2, 5, 6>();
        tiles_.template dot<3, 5, 7>();
      }
      a += kTileBytes;
      b += kQueryTiles * kTileBytes;
    }
  }

  template <int kHigh>
  HWY_INLINE void store_sums(float* to) {
    tiles_.template store<0>(to, kWide);
    tiles_.template store<1>(to + kTileRows, kWide);
    if constexpr (kHigh == 2) {
      tiles_.template store<2>(to + kTileRows * kRowsOf, kWide);
      tiles_.template store<3>(to + kTileRows * kRowsOf + kTileRows, kWide);
    }
  }

  // kHigh tiles of keys with all queries.
  template <int kHigh>
  HWY_INLINE void score_tiles(const std::byte* q,
                              const std::byte* k,
                              std::int64_t depth,
                              float* s) {
    for (std::int64_t i = 0; i < kQueryTiles; i += 2) {
      tiles_.template zero<0>();
      tiles_.template zero<1>();
      if constexpr (kHigh == 2) {
        tiles_.template zero<2>();
        tiles_.template zero<3>();
      }
      add_products<kHigh>(k, bytes(depth), q + bytes(i), depth);
      store_sums<kHigh>(s + i * kTileRows);
    }
  }

  // kHigh tiles of columns with all queries, along `depth` tiles of keys; tiles of V^T lie two by two, blocks of
  // 64 keys `step` tiles apart.
  template <int kHigh>
  HWY_INLINE void mix_tiles(
      const std::byte* p, const std::byte* v, std::int64_t step, std::int64_t depth, float* o) {
    for (std::int64_t i = 0; i < kQueryTiles; i += 2) {
      float* to = o + i * kTileRows;
      tiles_.template load<0>(to, kWide);
      tiles_.template load<1>(to + kTileRows, kWide);
      if constexpr (kHigh == 2) {
        tiles_.template load<2>(to + kTileRows * kRowsOf, kWide);
        tiles_.template load<3>(to + kTileRows * kRowsOf + kTileRows, kWide);
      }
      for (std::int64_t t = 0; t < depth; t += 2) {
        const std::int64_t block = t / 2;
        add_products<kHigh>(v + bytes(block * step),
                            bytes(2),
                            p + bytes(block * kWeightTiles + i),
                            depth - t < 2 ? 1 : 2);
      }
      store_sums<kHigh>(to);
    }
  }

  Tiles tiles_;
};

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // HWY_TARGET != HWY_SCALAR

#endif
