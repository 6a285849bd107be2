// Step 3, `focus`, in f32: tiled online softmax with lanes for queries (Milakov & Gimelshein 2018;
// Dao 2023), and what a Sight asks for recorded on the way. One source, compiled for every
// instruction set.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/focus_task.h"
#include "kernels/highway.h"
#include "kernels/scalar.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/focus_hwy.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/focus_record-inl.h"
#include "kernels/focus_state-inl.h"
#include "kernels/focus_tile-inl.h"
#include "kernels/pointwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

std::int64_t strip_keys(const FocusTask& t) {
  const KeyRange all = key_range(t, t.row_begin, t.row_end - 1);
  return all.end - all.begin;
}

std::size_t scratch_floats(const FocusTask& t) {
  const std::int64_t keys = strip_keys(t);
  const bool strip = wants_maps(t) && keys * kRowsI <= kStripFloats;
  const std::int64_t columns = t.width + t.value_width + 2 * top_stride(t.record.top_k) +
                               (strip ? keys + keys / kBlock + 2 : kBlock);
  return static_cast<std::size_t>(columns * kRowsI);
}

Scratch cut_scratch(const FocusTask& t) {
  const std::int64_t keys = strip_keys(t);
  Scratch s{};
  s.strip = wants_maps(t) && keys * kRowsI <= kStripFloats;
  s.qt = t.scratch;
  s.o = s.qt + t.width * kRowsI;
  s.top = s.o + t.value_width * kRowsI;
  s.weights = s.top + 2 * top_stride(t.record.top_k) * kRowsI;
  s.block_max = s.weights + (s.strip ? keys : kBlock) * kRowsI;
  return s;
}

// qt[d][lane] = scale * q[row + lane][d]; lanes past the last row are zero.
void load_queries(const FocusTask& t, std::int64_t row, std::int64_t count, float* qt) {
  const float scale = t.scale;
  for (std::int64_t i = 0; i < kRowsI; ++i) {
    const float* q = t.q + (row + i) * t.q_stride;
    for (std::int64_t d = 0; d < t.width; ++d) qt[d * kRowsI + i] = i < count ? q[d] * scale : 0.0F;
  }
}

// Raises the maximum that the sums are taken at when scores outgrew it; returns whether they did.
bool raise_max(const float* top, std::int64_t value_width, float* o, Lanes& lanes) {
  const D d;
  bool grew = false;
  for (std::size_t lane = 0; lane < kRows; lane += kLanes) {
    const V limit = hn::Add(hn::Load(d, lanes.max + lane), hn::Set(d, kSlack));
    grew = grew || !hn::AllTrue(d, hn::Le(hn::Load(d, top + lane), limit));
  }
  if (!grew) return false;
  for (std::size_t lane = 0; lane < kRows; lane += kLanes) {
    const V old = hn::Load(d, lanes.max + lane);
    const V now = at_least(old, hn::Load(d, top + lane));
    const V step = at_least(hn::Set(d, kLeastExponent), hn::Sub(old, now));
    const V factor = exp(step);
    const V sum = hn::Load(d, lanes.sum + lane);
    hn::Store(now, d, lanes.max + lane);
    hn::Store(hn::Mul(sum, factor), d, lanes.sum + lane);
    hn::Store(hn::Mul(factor, hn::MulAdd(sum, step, hn::Load(d, lanes.moment + lane))),
              d,
              lanes.moment + lane);
    hn::Store(hn::Mul(hn::Load(d, lanes.spread + lane), factor), d, lanes.spread + lane);
    for (std::int64_t c = 0; c < value_width; ++c) {
      float* at = o + static_cast<std::size_t>(c) * kRows + lane;
      hn::Store(hn::Mul(hn::Load(d, at), factor), d, at);
    }
  }
  return true;
}

// Sums of one block over its keys, a row a lane: of p, of p * (s - max), and of p times the distance and
// its square, the distance measured from c (see weigh).
struct Sums {
  V weight, moment, distance, square;
};

// Scores become p = e^(s - max), in place. `side` is -1 for keys left of all rows, 1 right of them: then
// distances grow by one from key to key, and two running sums give their moments without a product:
// with keys in the order far to near, c += p, f += c, g += f ends with sum p, sum p * (d + 1) and
// sum p * (d + 1) * (d + 2) / 2. Side 0 is the block that the rows themselves stand in.
template <bool kStats>
HWY_INLINE Sums weigh_lanes(std::int64_t n, float* s, V max, int side, V p_minus_j0) {
  const D d;
  V weight = hn::Zero(d);
  V moment = hn::Zero(d);
  V once = hn::Zero(d);
  V twice = hn::Zero(d);
  const bool backwards = kStats && side > 0;
  for (std::int64_t step = 0; step < n; ++step) {
    const std::int64_t m = backwards ? n - 1 - step : step;
    float* at = s + static_cast<std::size_t>(m) * kRows;
    // Below -88.2 the weight is exactly 0; clamping here keeps 0 * -inf out of the moment.
    const V x = at_least(hn::Set(d, kLeastExponent), hn::Sub(hn::Load(d, at), max));
    const V p = exp_from_least(x);
    hn::Store(p, d, at);
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
  }
  if (side == 0 || !kStats) return {weight, moment, once, twice};
  // sum p * d = f - c;  sum p * d^2 = 2 g - 3 f + c, with d from 0.
  const V distance = hn::Sub(once, weight);
  const V square = hn::Add(hn::NegMulAdd(hn::Set(d, 3.0F), once, hn::Add(twice, twice)), weight);
  return {weight, moment, distance, square};
}

// The scores of n keys become p = e^(s - max), in place; the running sums go on. Without kStats only the
// sum of p is kept.
template <bool kStats>
void weigh(const FocusTask& t,
           std::int64_t row,
           std::int64_t count,
           std::int64_t j0,
           std::int64_t n,
           float* s,
           Lanes& lanes) {
  const D d;
  const std::int64_t p_first = row + t.offset;
  const int side = j0 + n - 1 <= p_first ? -1 : (j0 >= p_first + count - 1 ? 1 : 0);
  for (std::size_t lane = 0; lane < kRows; lane += kLanes) {
    const V p_minus_j0 =
        hn::Iota(d, static_cast<float>(p_first - j0 + static_cast<std::int64_t>(lane)));
    const Sums sums =
        weigh_lanes<kStats>(n, s + lane, hn::Load(d, lanes.max + lane), side, p_minus_j0);
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

void block_top(const float* s, std::int64_t n, float* top) {
  const D d;
  for (std::size_t lane = 0; lane < kRows; lane += kLanes) {
    V best = hn::Load(d, s + lane);
    for (std::int64_t m = 1; m < n; ++m) {
      best = at_least(best, hn::Load(d, s + static_cast<std::size_t>(m) * kRows + lane));
    }
    hn::Store(best, d, top + lane);
  }
}

// Writes out, lse and the statistics of the block's rows.
void finish(const FocusTask& t,
            std::int64_t row,
            std::int64_t count,
            const Scratch& scratch,
            Lanes& lanes) {
  const RowRecord& r = t.record;
  for (std::int64_t i = 0; i < kRowsI; ++i) {
    if (i >= count) {
      lanes.lse[i] = -kLowest;
      continue;
    }
    const std::int64_t at = row + i;
    // Everything is taken relative to `top`, so that scores of any size keep their differences.
    const double max = lanes.max[i];
    const double sum = lanes.sum[i];
    const bool blind = sum == 0.0;
    double top = max;
    double scale = blind ? 0.0 : 1.0;  // of the sums to `top`
    double sink_part = 0.0;
    if (t.sink != nullptr) {
      top = blind ? *t.sink : larger(max, static_cast<double>(*t.sink));
      scale = blind ? 0.0 : std::exp(max - top);
      sink_part = std::exp(*t.sink - top);
    }
    const double total = sum * scale + sink_part;
    const double above = std::log(total);  // lse - top
    const double lse =
        blind && t.sink == nullptr ? -std::numeric_limits<double>::infinity() : top + above;
    t.lse[at] = static_cast<float>(lse);
    lanes.lse[i] = blind ? -kLowest : static_cast<float>(lse);
    const float inverse = blind ? 0.0F : static_cast<float>(scale / total);
    for (std::int64_t c = 0; c < t.value_width; ++c) {
      t.out[at * t.out_stride + c] = blind ? 0.0F : scratch.o[c * kRowsI + i] * inverse;
    }
    const auto weight = [&](float score) {
      return blind ? 0.0F : static_cast<float>(std::exp(static_cast<double>(score) - top) / total);
    };
    if (r.entropy != nullptr) {
      // -sum w ln w = sum w (lse - s), over the keys and the sink.
      const double keys_part =
          blind ? 0.0 : sum * (above + top - max) - static_cast<double>(lanes.moment[i]);
      const double sink_term = sink_part == 0.0 ? 0.0 : sink_part / total * (above + top - *t.sink);
      const double entropy = blind ? 0.0 : keys_part * scale / total + sink_term;
      r.entropy[at] = static_cast<float>(entropy < 0.0 ? 0.0 : entropy);
      r.max_weight[at] = weight(lanes.best[i]);
      r.argmax[at] = lanes.best_key[i];
      r.distance_mean[at] = blind ? 0.0F : lanes.mean[i];
      r.distance_var[at] = blind ? 0.0F : larger(0.0F, lanes.spread[i] / lanes.sum[i]);
      r.first_mass[at] = weight(lanes.first[i]);
      r.self_mass[at] = weight(lanes.self[i]);
      r.previous_mass[at] = weight(lanes.previous[i]);
    }
    const float* scores = top_scores(t, scratch, i);
    const std::int32_t* keys = top_keys(t, scratch, i);
    for (int k = 0; k < r.top_k; ++k) {
      r.top_keys[at * r.top_k + k] = keys[k];
      r.top_weights[at * r.top_k + k] = keys[k] < 0 ? 0.0F : weight(scores[k]);
    }
  }
}

void start(Lanes& lanes) {
  fill(lanes.max, lanes.max + kRows, kLowest);
  for (float* zero : {lanes.sum, lanes.moment, lanes.mean, lanes.spread})
    fill(zero, zero + kRows, 0.0F);
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  for (float* none : {lanes.best, lanes.first, lanes.self, lanes.previous})
    fill(none, none + kRows, kNone);
  fill(lanes.best_key, lanes.best_key + kRows, -1);
}

// One block of rows against all keys that they may see.
void focus_block(const FocusTask& t, std::int64_t row, std::int64_t count, const Scratch& scratch) {
  Lanes lanes;
  start(lanes);
  if (t.record.top_k > 0) start_top(t, scratch, count, lanes);
  load_queries(t, row, count, scratch.qt);
  fill(scratch.o, scratch.o + t.value_width * kRowsI, 0.0F);
  const KeyRange range = key_range(t, row, row + count - 1);
  alignas(64) float top[kRows];
  for (std::int64_t j0 = range.begin; j0 < range.end; j0 += kBlock) {
    const std::int64_t n = smaller(kBlock, range.end - j0);
    float* s = scratch.weights + (scratch.strip ? (j0 - range.begin) * kRowsI : 0);
    score_block(scratch.qt, t.k + j0 * t.k_stride, t.k_stride, t.width, n, s);
    if (!plain(t, row, count, j0, n)) bend(t, row, count, j0, n, s);
    block_top(s, n, top);
    if (t.record.entropy != nullptr) {
      note_places(t, row, count, j0, n, s, lanes);
      note_best(count, j0, n, s, top, lanes);
    }
    if (t.record.top_k > 0) note_top(t, count, j0, n, s, top, scratch, lanes);
    raise_max(top, t.value_width, scratch.o, lanes);
    if (t.record.entropy != nullptr)
      weigh<true>(t, row, count, j0, n, s, lanes);
    else
      weigh<false>(t, row, count, j0, n, s, lanes);
    if (scratch.strip) {
      copy<float>(
          lanes.max, lanes.max + kRows, scratch.block_max + (j0 - range.begin) / kBlock * kRowsI);
    }
    mix_block(s, n, t.v + j0 * t.v_stride, t.v_stride, t.value_width, scratch.o);
  }
  finish(t, row, count, scratch, lanes);
  if (wants_maps(t)) map_weights(t, row, count, range, scratch, lanes);
}

void focus(const FocusTask& t) noexcept {
  const Scratch scratch = cut_scratch(t);
  for (std::int64_t row = t.row_begin; row < t.row_end; row += kRowsI) {
    focus_block(t, row, smaller(kRowsI, t.row_end - row), scratch);
  }
}

const Table* table_here() {
  static constexpr Table kTable {
#if HWY_TARGET == HWY_AVX3
    "avx512", "AVX-512, 16 lanes of f32",
#elif HWY_TARGET == HWY_AVX2
    "avx2", "AVX2 and FMA, 8 lanes of f32",
#elif HWY_TARGET == HWY_SSE4
    "sse4", "SSE4.2, 4 lanes of f32",
#elif HWY_TARGET == HWY_NEON
    "neon", "NEON, 4 lanes of f32",
#else
    "portable", "portable vectors in plain C++",
#endif
        focus, scratch_floats, kRowsI, activate, layer_norm, fma_peak
  };
  return &kTable;
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headscope::kernels {

HWY_EXPORT(table_here);

std::vector<const Table*> highway_tables() {
  std::vector<const Table*> found;
#ifndef HEADSCOPE_SCALAR
  // Highway chooses by a global mask; walk it once over what this machine supports, best last.
  const std::int64_t all = hwy::SupportedTargets() & HWY_TARGETS;
  for (std::int64_t bit = std::int64_t{1} << 62; bit != 0; bit >>= 1) {
    if ((all & bit) == 0) continue;
    hwy::SetSupportedTargetsForTest(bit);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    found.push_back(HWY_DYNAMIC_DISPATCH(table_here)());
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
#endif
  return found;
}

}  // namespace headscope::kernels
#endif
