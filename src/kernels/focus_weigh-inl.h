// How the scores of a block become weights, and what is summed of them. Included by focus_hwy.cpp.
#if defined(HEADSCOPE_FOCUS_WEIGH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FOCUS_WEIGH_INL_H_
#undef HEADSCOPE_FOCUS_WEIGH_INL_H_
#else
#define HEADSCOPE_FOCUS_WEIGH_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "kernels/focus_state-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Sums of one block over its keys, a row a lane: of p, of p * (s - max), and of p times the distance and
// its square, the distance measured from c (see weigh).
struct Sums {
  V weight, moment, distance, square;
};

// How many keys' exponentials a row takes at once: what is summed beside them needs registers too.
template <bool kStats>
inline constexpr std::int64_t kAtOnce = kStats ? 2 : 4;
template <std::int64_t kN>
struct Count {
  static constexpr std::size_t value = kN;
};

// Scores s * factor become p = e^(s * factor - max), in place. `side` is -1 for keys left of all rows, 1 right of them: then
// distances grow by one from key to key, and two running sums give their moments without a product:
// with keys in the order far to near, c += p, f += c, g += f ends with sum p, sum p * (d + 1) and
// sum p * (d + 1) * (d + 2) / 2. Side 0 is the block that the rows themselves stand in.
template <bool kStats, std::size_t kRows>
HWY_INLINE Sums weigh_lanes(std::int64_t n, float* s, float factor, V max, int side, V p_minus_j0) {
  const D d;
  V weight = hn::Zero(d);
  V moment = hn::Zero(d);
  V once = hn::Zero(d);
  V twice = hn::Zero(d);
  const bool backwards = side > 0;  // seen or not, sums are added in one order
  const auto add = [&](std::int64_t m, V x, V p) HWY_ATTR {
    weight = hn::Add(weight, p);
    if constexpr (kStats) {
      moment = hn::MulAdd(p, x, moment);
      if (side != 0) {
        once = hn::Add(once, weight);
        twice = hn::Add(twice, once);
      } else {
        const V distance = hn::Abs(hn::Sub(p_minus_j0, hn::Set(d, static_cast<float>(m))));
        const V weighted = hn::Mul(p, distance);
        once = hn::Add(once, weighted);
        twice = hn::MulAdd(weighted, distance, twice);
      }
    }
  };
  const auto weigh_keys = [&](std::int64_t step, auto count) HWY_ATTR {
    constexpr std::size_t kN = decltype(count)::value;
    V x[kN];
    V p[kN];
    std::int64_t m[kN];
    for (std::size_t i = 0; i < kN; ++i) {
      m[i] = step + static_cast<std::int64_t>(i);
      if (backwards) m[i] = n - 1 - m[i];
      const V score = hn::Load(d, s + static_cast<std::size_t>(m[i]) * kRows);
      // Below -88.2 the weight is exactly 0; clamping here keeps 0 * -inf out of the moment.
      x[i] = at_least(hn::Set(d, kLeastExponent), hn::MulSub(score, hn::Set(d, factor), max));
      p[i] = x[i];
    }
    exp_from_least(p);
    for (std::size_t i = 0; i < kN; ++i) {
      hn::Store(p[i], d, s + static_cast<std::size_t>(m[i]) * kRows);
      add(m[i], x[i], p[i]);
    }
  };
  constexpr std::int64_t kKeys = kAtOnce<kStats>;
  std::int64_t step = 0;
  for (; step + kKeys <= n; step += kKeys) weigh_keys(step, Count<kKeys>());
  for (; step < n; ++step) weigh_keys(step, Count<1>());
  if (side == 0 || !kStats) return {weight, moment, once, twice};
  // sum p * d = f - c;  sum p * d^2 = 2 g - 3 f + c, with d from 0.
  const V distance = hn::Sub(once, weight);
  const V square = hn::Add(hn::NegMulAdd(hn::Set(d, 3.0F), once, hn::Add(twice, twice)), weight);
  return {weight, moment, distance, square};
}

// The scores of n keys become p = e^(s * factor - max), in place; the running sums go on. Without kStats
// only the sum of p is kept.
template <bool kStats, std::size_t kRows>
void weigh(const Rows<kRows>& rows,
           std::int64_t j0,
           std::int64_t n,
           float factor,
           float* s,
           Lanes<kRows>& lanes) {
  const D d;
  const int side = j0 + n - 1 <= rows.first_position ? -1 : (j0 >= rows.last_position ? 1 : 0);
  for (std::size_t lane = 0; lane < rows.used; lane += kLanes) {
    const V p_minus_j0 =
        hn::Sub(hn::Load(d, rows.position + lane), hn::Set(d, static_cast<float>(j0)));
    const Sums sums = weigh_lanes<kStats, kRows>(
        n, s + lane, factor, hn::Load(d, lanes.max + lane), side, p_minus_j0);
    const V before = hn::Load(d, lanes.sum + lane);
    const V after = hn::Add(before, sums.weight);
    hn::Store(after, d, lanes.sum + lane);
    if constexpr (kStats) {
      hn::Store(hn::Add(hn::Load(d, lanes.moment + lane), sums.moment), d, lanes.moment + lane);
      // Joins the block's mean and spread with those so far (Chan, Golub & LeVeque 1979). Distances of a
      // block beside the rows are counted from its nearest key, which is c away.
      const V tiny = hn::Set(d, 1.0e-30F);
      const V here = hn::Div(sums.distance, hn::Max(sums.weight, tiny));
      const V last = hn::Set(d, static_cast<float>(n - 1));
      const V c =
          side == 0 ? hn::Zero(d) : (side < 0 ? hn::Sub(p_minus_j0, last) : hn::Neg(p_minus_j0));
      const V mean = hn::Load(d, lanes.mean + lane);
      const V delta = hn::Sub(hn::Add(here, c), mean);
      const V share = hn::Div(sums.weight, hn::Max(after, tiny));
      const V inside = hn::NegMulAdd(sums.distance, here, sums.square);
      const V between = hn::Mul(hn::Mul(delta, delta), hn::Mul(before, share));
      hn::Store(hn::MulAdd(delta, share, mean), d, lanes.mean + lane);
      hn::Store(hn::Add(hn::Load(d, lanes.spread + lane), hn::Add(inside, between)),
                d,
                lanes.spread + lane);
    }
  }
}

// The largest of n scores of every row.
template <std::size_t kRows>
void block_top(const Rows<kRows>& rows, const float* s, float factor, std::int64_t n, float* top) {
  const D d;
  for (std::size_t lane = 0; lane < rows.used; lane += kLanes) {
    // Two chains: one alone waits for itself.
    V best = hn::Load(d, s + lane);
    V other = best;
    std::int64_t m = 1;
    for (; m + 2 <= n; m += 2) {
      best = at_least(best, hn::Load(d, s + static_cast<std::size_t>(m) * kRows + lane));
      other = at_least(other, hn::Load(d, s + static_cast<std::size_t>(m + 1) * kRows + lane));
    }
    if (m < n) best = at_least(best, hn::Load(d, s + static_cast<std::size_t>(m) * kRows + lane));
    best = at_least(other, best);
    hn::Store(hn::Mul(best, hn::Set(d, factor)), d, top + lane);
  }
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
