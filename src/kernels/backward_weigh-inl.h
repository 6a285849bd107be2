// From scores to weights and their gradients, compiled once per instruction set (included by
// backward_hwy.cpp). Lanes are keys.
#if defined(HEADSCOPE_BACKWARD_WEIGH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_BACKWARD_WEIGH_INL_H_
#undef HEADSCOPE_BACKWARD_WEIGH_INL_H_
#else
#define HEADSCOPE_BACKWARD_WEIGH_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/backward_task.h"
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {
namespace backward {

inline constexpr std::int64_t kKeys = 64;  // keys of a block
inline constexpr std::int64_t kRows = 64;  // rows that meet it at a time

/// Some rows and a block of keys.
struct Tile {
  std::int64_t row = 0, rows = 0;
  std::int64_t key = 0, keys = 0;
  float* w = nullptr;   // [rows][kKeys] q.k, then weights
  float* ds = nullptr;  // [rows][kKeys] gradients by weights, then by scale * q.k
  const float* keep =
      nullptr;            // [kKeys] 1 for keys that there are and that the mask leaves, else 0
  float* sums = nullptr;  // [kKeys] for dbias of one row for all
};

/// True when every row of the tile sees all of its keys as they are.
inline bool plain(const BackwardTask& t, const Tile& tile) {
  if (tile.keys < kKeys || t.key_mask != nullptr || t.bias != nullptr || t.softcap > 0.0F ||
      t.slope != 0.0F || t.row_segments != nullptr)
    return false;
  // Both ends of what a row sees only grow from row to row.
  const Span first = keys_of_row(t, tile.row);
  const Span last = keys_of_row(t, tile.row + tile.rows - 1);
  return last.begin <= tile.key && tile.key + tile.keys <= first.end;
}

/// What e^x can be taken of; the bound above only keeps a wrong lse finite.
HWY_INLINE V within(V x) {
  const D d;
  return at_most(hn::Set(d, 88.0F), at_least(hn::Set(d, kLeastExponent), x));
}
/// e^x for any x that an lse of these scores can leave.
HWY_INLINE V weight(V x) { return exp_from_least(within(x)); }

// Vectors of a line that are weighed together.
inline constexpr std::int64_t kAtOnce = 4;
static_assert(kKeys % (kAtOnce * static_cast<std::int64_t>(kLanes)) == 0);

HWY_INLINE void weigh_plain(const BackwardTask& t, const Tile& tile) {
  const D d;
  const V scale = hn::Set(d, t.scale);
  for (std::int64_t r = 0; r < tile.rows; ++r) {
    const V lse = hn::Set(d, t.lse[tile.row + r]);
    const V delta = hn::Set(d, t.delta[tile.row + r]);
    for (std::int64_t n = 0; n < kKeys; n += kAtOnce * static_cast<std::int64_t>(kLanes)) {
      float* w = tile.w + r * kKeys + n;
      float* ds = tile.ds + r * kKeys + n;
      V p[kAtOnce];
      for (std::size_t i = 0; i < kAtOnce; ++i)
        p[i] = within(hn::MulSub(hn::Load(d, w + i * kLanes), scale, lse));
      exp_from_least(p);
      for (std::size_t i = 0; i < kAtOnce; ++i) {
        const V own = hn::Load(d, ds + i * kLanes);
        hn::Store(p[i], d, w + i * kLanes);
        hn::Store(hn::Mul(p[i], hn::Sub(own, delta)), d, ds + i * kLanes);
      }
    }
  }
}

// `count` numbers from `from`, at most a vector of them; 0 in the lanes beyond.
HWY_INLINE V load_some(const float* from, std::int64_t count) {
  const D d;
  if (count >= static_cast<std::int64_t>(kLanes)) return hn::LoadU(d, from);
  HWY_ALIGN float lanes[kLanes] = {};
  for (std::int64_t n = 0; n < count; ++n) lanes[n] = from[n];
  return hn::Load(d, lanes);
}

HWY_INLINE void store_some(V x, float* to, std::int64_t count) {
  const D d;
  if (count >= static_cast<std::int64_t>(kLanes)) return hn::StoreU(x, d, to);
  if (count <= 0) return;
  HWY_ALIGN float lanes[kLanes];
  hn::Store(x, d, lanes);
  for (std::int64_t n = 0; n < count; ++n) to[n] = lanes[n];
}

// The keys [n, n + kLanes) of the tile that row i sees, of those that are kept.
HWY_INLINE M
seen_by(const BackwardTask& t, const Tile& tile, const Span& seen, std::int64_t i, std::int64_t n) {
  const D d;
  const V number = hn::Iota(d, static_cast<float>(n));
  // Clamped to the tile, so that they are small whole numbers, exact in f32.
  const auto begin = static_cast<float>(most(0, least(seen.begin - tile.key, kKeys)));
  const auto end = static_cast<float>(most(0, least(seen.end - tile.key, kKeys)));
  M mask = hn::And(hn::Ge(number, hn::Set(d, begin)), hn::Lt(number, hn::Set(d, end)));
  mask = hn::And(mask, hn::Gt(hn::Load(d, tile.keep + n), hn::Zero(d)));
  if (t.row_segments != nullptr) {
    HWY_ALIGN float same[kLanes];
    for (std::int64_t m = 0; m < static_cast<std::int64_t>(kLanes); ++m) {
      const bool is = n + m < tile.keys && t.key_segments[tile.key + n + m] == t.row_segments[i];
      same[m] = is ? 1.0F : 0.0F;
    }
    mask = hn::And(mask, hn::Gt(hn::Load(d, same), hn::Zero(d)));
  }
  return mask;
}

// Soft-cap, ALiBi, bias and visibility of the vector of keys at n in line r of the tile.
HWY_INLINE void weigh_vector(
    const BackwardTask& t, const Tile& tile, const Span& seen, std::int64_t r, std::int64_t n) {
  const D d;
  const std::int64_t i = tile.row + r;
  const std::int64_t rest = tile.keys - n;
  float* w = tile.w + r * kKeys + n;
  float* at = tile.ds + r * kKeys + n;
  V x = hn::Mul(hn::Load(d, w), hn::Set(d, t.scale));
  V slope_of_cap = hn::Set(d, 1.0F);
  if (t.softcap > 0.0F) {
    const V bent = tanh_near(hn::Div(x, hn::Set(d, t.softcap)));
    x = hn::Mul(hn::Set(d, t.softcap), bent);
    slope_of_cap = hn::NegMulAdd(bent, bent, slope_of_cap);
  }
  if (t.slope != 0.0F) {
    const V key = hn::Iota(d, static_cast<float>(tile.key + n - i - t.offset));
    x = hn::NegMulAdd(hn::Set(d, t.slope), hn::Abs(key), x);
  }
  if (t.bias != nullptr)
    x = hn::Add(x, load_some(t.bias + i * t.bias_row_stride + tile.key + n, rest));
  const M mask = seen_by(t, tile, seen, i, n);
  const V p = hn::IfThenElseZero(mask, weight(hn::Sub(x, hn::Set(d, t.lse[i]))));
  const V ds =
      hn::IfThenElseZero(mask, hn::Mul(p, hn::Sub(hn::Load(d, at), hn::Set(d, t.delta[i]))));
  hn::Store(p, d, w);
  // Hidden keys give exactly 0, whatever their scores bend to.
  hn::Store(hn::IfThenElseZero(mask, hn::Mul(ds, slope_of_cap)), d, at);
  if (t.dbias == nullptr) return;
  if (t.dbias_row_stride == 0) {
    hn::Store(hn::Add(hn::Load(d, tile.sums + n), ds), d, tile.sums + n);
  } else {
    float* to = t.dbias + i * t.dbias_row_stride + tile.key + n;
    store_some(hn::Add(load_some(to, rest), ds), to, rest);
  }
}

HWY_INLINE void weigh_bent(const BackwardTask& t, const Tile& tile) {
  const bool sum = t.dbias != nullptr && t.dbias_row_stride == 0;
  if (sum) {
    for (std::int64_t n = 0; n < kKeys; ++n) tile.sums[n] = 0.0F;
  }
  for (std::int64_t r = 0; r < tile.rows; ++r) {
    const Span seen = keys_of_row(t, tile.row + r);
    for (std::int64_t n = 0; n < kKeys; n += static_cast<std::int64_t>(kLanes)) {
      weigh_vector(t, tile, seen, r, n);
    }
  }
  if (!sum) return;
  for (std::int64_t n = 0; n < tile.keys; ++n) t.dbias[tile.key + n] += tile.sums[n];
}

// The least and the greatest of n > 0 numbers.
struct Extent {
  std::int32_t low = 0;
  std::int32_t high = 0;
};
inline Extent extent(const std::int32_t* x, std::int64_t n) {
  Extent e{x[0], x[0]};
  for (std::int64_t i = 1; i < n; ++i) {
    e.low = x[i] < e.low ? x[i] : e.low;
    e.high = x[i] > e.high ? x[i] : e.high;
  }
  return e;
}

// Whether a row and a key of the tile can be of one segment.
inline bool may_meet(const BackwardTask& t, const Tile& tile) {
  if (t.row_segments == nullptr) return true;
  const Extent rows = extent(t.row_segments + tile.row, tile.rows);
  const Extent keys = extent(t.key_segments + tile.key, tile.keys);
  return rows.low <= keys.high && keys.low <= rows.high;
}

inline void fill(float* to, std::int64_t n, float x) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = x;
}

// to[n][d] (+)= scale * from[d][n].
inline void turn_back(const float* from,
                      float scale,
                      std::int64_t width,
                      std::int64_t n,
                      bool add,
                      float* to,
                      std::int64_t stride) {
  for (std::int64_t m = 0; m < n; ++m) {
    for (std::int64_t d = 0; d < width; ++d) {
      const float x = scale * from[d * kKeys + m];
      to[m * stride + d] = add ? to[m * stride + d] + x : x;
    }
  }
}

// keep[m] = 1 for keys [j0, j0 + n) that the mask leaves, else 0; returns whether there is any.
inline bool keep_keys(const BackwardTask& t, std::int64_t j0, std::int64_t n, float* keep) {
  bool any = false;
  for (std::int64_t m = 0; m < kKeys; ++m) {
    const bool kept = m < n && (t.key_mask == nullptr || t.key_mask[j0 + m] != 0);
    keep[m] = kept ? 1.0F : 0.0F;
    any = any || kept;
  }
  return any;
}

}  // namespace backward
}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
