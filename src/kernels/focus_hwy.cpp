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
#include "kernels/focus_tile-inl.h"
#include "kernels/pointwise-inl.h"

#ifndef HEADSCOPE_FOCUS_ONCE
#define HEADSCOPE_FOCUS_ONCE
namespace headscope::kernels {
namespace {
// Below every score, yet finite, so that "minus infinity minus the maximum" is no NaN.
constexpr float kLowest = -3.0e38F;
// The running maximum stays until a score exceeds it by this many nats: rescaling becomes rare, and
// sums still fit in f32 (e^8 * 2^40 keys).
constexpr float kSlack = 8.0F;
// Up to this many floats the weights of a block of rows wait in L2 for their lse; past that they
// are computed a second time.
constexpr std::int64_t kStripFloats = 64 * 1024;
}  // namespace
}  // namespace headscope::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

constexpr auto kRowsI = static_cast<std::int64_t>(kRows);

// No std algorithms in here: their templates, compiled for this instruction set, could be the
// copies that the linker keeps for everybody.
template <class T>
constexpr T larger(T a, T b) {
  return a < b ? b : a;
}
template <class T>
constexpr T smaller(T a, T b) {
  return b < a ? b : a;
}
template <class T>
void fill(T* begin, T* end, T value) {
  while (begin != end) *begin++ = value;
}
template <class T>
void copy(const T* begin, const T* end, T* to) {
  while (begin != end) *to++ = *begin++;
}

// What is carried along the keys, one number a row, rows in lanes.
struct alignas(64) Lanes {
  float max[kRows];       // the maximum that the sums are taken at
  float sum[kRows];       // sum of p = e^(s - max)
  float moment[kRows];    // sum of p * (s - max), for the entropy
  float mean[kRows];      // of distances, weighted by p
  float spread[kRows];    // sum of p * (distance - mean)^2
  float best[kRows];      // the true maximum
  float first[kRows];     // score of key 0
  float self[kRows];      // score of the key at the row's position
  float previous[kRows];  // score of the key before it
  float lse[kRows];       // +3e38 for rows without weights, so that e^(s - lse) is 0
  std::int32_t best_key[kRows];
  int top_n[kRows];
};

// The pieces of a task's scratch.
struct Scratch {
  float* qt;         // [width][kRows]
  float* o;          // [value_width][kRows]
  float* weights;    // [strip or kBlock][kRows]
  float* block_max;  // [blocks][kRows], with the strip
  float* top;        // [kRows][top_k] scores
  bool strip;
};

bool wants_maps(const FocusTask& t) {
  return t.record.column_mass != nullptr || t.record.pooled_sum != nullptr;
}

std::int64_t strip_keys(const FocusTask& t) {
  const KeyRange all = key_range(t, t.row_begin, t.row_end - 1);
  return all.end - all.begin;
}

std::size_t scratch_floats(const FocusTask& t) {
  const std::int64_t keys = strip_keys(t);
  const bool strip = wants_maps(t) && keys * kRowsI <= kStripFloats;
  const std::int64_t columns =
      t.width + t.value_width + t.record.top_k + (strip ? keys + keys / kBlock + 2 : kBlock);
  return static_cast<std::size_t>(columns * kRowsI);
}

Scratch cut_scratch(const FocusTask& t) {
  const std::int64_t keys = strip_keys(t);
  Scratch s{};
  s.strip = wants_maps(t) && keys * kRowsI <= kStripFloats;
  s.qt = t.scratch;
  s.o = s.qt + t.width * kRowsI;
  s.top = s.o + t.value_width * kRowsI;
  s.weights = s.top + t.record.top_k * kRowsI;
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

// True when every row of the block sees all keys [j0, j0 + n) as they are.
bool plain(
    const FocusTask& t, std::int64_t row, std::int64_t count, std::int64_t j0, std::int64_t n) {
  if (t.key_mask != nullptr || t.bias != nullptr || t.softcap > 0.0F || t.slope != 0.0F)
    return false;
  const std::int64_t p_first = row + t.offset;
  const std::int64_t p_last = p_first + count - 1;
  const std::int64_t last = j0 + n - 1;
  if (t.causal && last > p_first && last >= t.prefix) return false;
  if (t.window_left >= 0 && j0 < p_last - t.window_left) return false;
  return t.window_right < 0 || last <= p_first + t.window_right;
}

// Soft-cap, ALiBi, bias and visibility, on the scores of n keys.
void bend(const FocusTask& t,
          std::int64_t row,
          std::int64_t count,
          std::int64_t j0,
          std::int64_t n,
          float* s) {
  const D d;
  const auto p_first = static_cast<float>(row + t.offset);
  for (std::int64_t m = 0; m < n; ++m) {
    const std::int64_t j = j0 + m;
    float* line = s + m * kRowsI;
    for (std::size_t lane = 0; lane < kRows; lane += kLanes) {
      V x = hn::Load(d, line + lane);
      if (t.softcap > 0.0F) {
        const V cap = hn::Set(d, t.softcap);
        x = hn::Mul(cap, tanh(hn::Div(x, cap)));
      }
      if (t.slope != 0.0F) {
        const V p = hn::Add(hn::Iota(d, static_cast<float>(lane)),
                            hn::Set(d, p_first - static_cast<float>(j)));
        x = hn::NegMulAdd(hn::Set(d, t.slope), hn::Abs(p), x);
      }
      hn::Store(x, d, line + lane);
    }
    for (std::int64_t i = 0; i < count; ++i) {
      if (t.bias != nullptr) line[i] += t.bias[(row + i) * t.bias_row_stride + j];
      if (!visible(t, row + i, j)) line[i] = -std::numeric_limits<float>::infinity();
    }
  }
}

// Weights at known places, read off the raw scores.
void note_places(const FocusTask& t,
                 std::int64_t row,
                 std::int64_t count,
                 std::int64_t j0,
                 std::int64_t n,
                 const float* s,
                 Lanes& lanes) {
  if (j0 == 0) copy(s, s + count, lanes.first);
  const std::int64_t p_first = row + t.offset;
  if (j0 > p_first + count - 1 || j0 + n < p_first) return;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t m = p_first + i - j0;
    if (m >= 0 && m < n) lanes.self[i] = s[m * kRowsI + i];
    if (m >= 1 && m <= n) lanes.previous[i] = s[(m - 1) * kRowsI + i];
  }
}

// Where the largest score of a row moved into this block: its first key there.
void note_best(std::int64_t count,
               std::int64_t j0,
               std::int64_t n,
               const float* s,
               const float* top,
               Lanes& lanes) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (!(top[i] > lanes.best[i])) continue;
    lanes.best[i] = top[i];
    for (std::int64_t m = 0; m < n; ++m) {
      if (s[m * kRowsI + i] == top[i]) {
        lanes.best_key[i] = static_cast<std::int32_t>(j0 + m);
        break;
      }
    }
  }
}

// Keeps the top_k largest scores of each row in falling order; an earlier key wins a tie.
void note_top(const FocusTask& t,
              std::int64_t row,
              std::int64_t count,
              std::int64_t j0,
              std::int64_t n,
              const float* s,
              const float* top,
              float* scores_of_rows,
              Lanes& lanes) {
  const int k = t.record.top_k;
  for (std::int64_t i = 0; i < count; ++i) {
    float* scores = scores_of_rows + i * k;
    std::int32_t* keys = t.record.top_keys + (row + i) * k;
    int& have = lanes.top_n[i];
    if (have == k && !(top[i] > scores[k - 1])) continue;
    for (std::int64_t m = 0; m < n; ++m) {
      const float x = s[m * kRowsI + i];
      if (!(x > kLowest) || (have == k && !(x > scores[k - 1]))) continue;
      int at = have < k ? have++ : k - 1;
      for (; at > 0 && x > scores[at - 1]; --at) {
        scores[at] = scores[at - 1];
        keys[at] = keys[at - 1];
      }
      scores[at] = x;
      keys[at] = static_cast<std::int32_t>(j0 + m);
    }
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
    const V step = hn::Sub(old, now);
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

// Scores become p = e^(s - max), in place; sums go on. Without kStats only the sum of p is kept.
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
  // Distances in a block are c + sign * (j - j0): left of all rows, right of all rows, or |p - j|
  // itself.
  const float sign = j0 + n - 1 <= p_first ? -1.0F : (j0 >= p_first + count - 1 ? 1.0F : 0.0F);
  for (std::size_t lane = 0; lane < kRows; lane += kLanes) {
    const V max = hn::Load(d, lanes.max + lane);
    const V p_minus_j0 =
        hn::Iota(d, static_cast<float>(p_first - j0 + static_cast<std::int64_t>(lane)));
    V sum = hn::Zero(d);
    V moment = hn::Zero(d);
    V first_moment = hn::Zero(d);
    V second_moment = hn::Zero(d);
    for (std::int64_t m = 0; m < n; ++m) {
      float* at = s + static_cast<std::size_t>(m) * kRows + lane;
      const V x = hn::Sub(hn::Load(d, at), max);
      const V p = exp(x);
      hn::Store(p, d, at);
      sum = hn::Add(sum, p);
      if constexpr (kStats) {
        // p is 0 below -87, but 0 * -inf would be NaN.
        moment = hn::MulAdd(p, at_least(hn::Set(d, -200.0F), x), moment);
        const V step = hn::Set(d, static_cast<float>(m));
        const V distance = sign != 0.0F ? step : hn::Abs(hn::Sub(p_minus_j0, step));
        const V weighted = hn::Mul(p, distance);
        first_moment = hn::Add(first_moment, weighted);
        second_moment = hn::MulAdd(weighted, distance, second_moment);
      }
    }
    const V before = hn::Load(d, lanes.sum + lane);
    const V after = hn::Add(before, sum);
    hn::Store(after, d, lanes.sum + lane);
    if constexpr (kStats) {
      hn::Store(hn::Add(hn::Load(d, lanes.moment + lane), moment), d, lanes.moment + lane);
      // Joins the block's mean and spread with those so far (Chan, Golub & LeVeque 1979).
      const V tiny = hn::Set(d, 1.0e-30F);
      const V here = hn::Div(first_moment, hn::Max(sum, tiny));
      const V origin = sign != 0.0F ? hn::Mul(hn::Set(d, -sign), p_minus_j0) : hn::Zero(d);
      const V mean = hn::Load(d, lanes.mean + lane);
      const V delta =
          hn::Sub(hn::MulAdd(hn::Set(d, sign != 0.0F ? sign : 1.0F), here, origin), mean);
      const V share = hn::Div(sum, hn::Max(after, tiny));
      const V inside = hn::NegMulAdd(first_moment, here, second_moment);
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
    double max = lanes.max[i];
    const double sum = lanes.sum[i];
    const bool blind = sum == 0.0;
    double lse = blind ? -std::numeric_limits<double>::infinity() : max + std::log(sum);
    double extra = 0.0;  // the sink's own term of the entropy
    if (t.sink != nullptr) {
      const double sink = *t.sink;
      lse = blind ? sink : larger(lse, sink) + std::log1p(std::exp(-std::abs(lse - sink)));
      extra = std::exp(sink - lse) * (lse - sink);
    }
    t.lse[at] = static_cast<float>(lse);
    lanes.lse[i] = blind ? -kLowest : static_cast<float>(lse);
    const float inverse = blind ? 0.0F : static_cast<float>(std::exp(max - lse));
    for (std::int64_t c = 0; c < t.value_width; ++c) {
      t.out[at * t.out_stride + c] = scratch.o[c * kRowsI + i] * inverse;
    }
    const auto weight = [&](float score) {
      return blind ? 0.0F : static_cast<float>(std::exp(static_cast<double>(score) - lse));
    };
    if (r.entropy != nullptr) {
      // -sum w ln w = sum w (lse - s) = share * (lse - max) - moment / sum * share.
      const double share = blind ? 0.0 : sum * std::exp(max - lse);
      const double entropy =
          share * (lse - max - (blind ? 0.0 : static_cast<double>(lanes.moment[i]) / sum)) + extra;
      r.entropy[at] = blind ? 0.0F : static_cast<float>(entropy < 0.0 ? 0.0 : entropy);
      r.max_weight[at] = weight(lanes.best[i]);
      r.argmax[at] = lanes.best_key[i];
      r.distance_mean[at] = blind ? 0.0F : lanes.mean[i];
      r.distance_var[at] = blind ? 0.0F : larger(0.0F, lanes.spread[i] / lanes.sum[i]);
      r.first_mass[at] = weight(lanes.first[i]);
      r.self_mass[at] = weight(lanes.self[i]);
      r.previous_mass[at] = weight(lanes.previous[i]);
    }
    for (int k = 0; k < r.top_k; ++k) {
      const bool there = k < lanes.top_n[i];
      if (!there) r.top_keys[at * r.top_k + k] = -1;
      r.top_weights[at * r.top_k + k] = there ? weight(scratch.top[i * r.top_k + k]) : 0.0F;
    }
  }
}

// Adds the lanes of one cell column to the pooled map of the task.
void flush_cell(const FocusTask& t,
                std::int64_t row,
                std::int64_t count,
                std::int64_t column,
                const float* sum,
                const float* max) {
  const RowRecord& r = t.record;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t line = (row + i) / r.rows_per_cell - t.row_begin / r.rows_per_cell;
    const std::int64_t cell = line * r.pooled_columns + column;
    r.pooled_sum[cell] += sum[i];
    r.pooled_max[cell] = larger(r.pooled_max[cell], max[i]);
  }
}

// Second look at the weights, now that lse is known: column mass and pooled map.
void map_weights(const FocusTask& t,
                 std::int64_t row,
                 std::int64_t count,
                 KeyRange range,
                 const Scratch& scratch,
                 const Lanes& lanes) {
  const D d;
  const RowRecord& r = t.record;
  alignas(64) float factor[kRows];
  alignas(64) float cell_sum[kRows] = {};
  alignas(64) float cell_max[kRows] = {};
  for (std::int64_t j0 = range.begin; j0 < range.end; j0 += kBlock) {
    const std::int64_t n = smaller(kBlock, range.end - j0);
    const std::int64_t block = (j0 - range.begin) / kBlock;
    float* p = scratch.weights + (scratch.strip ? (j0 - range.begin) * kRowsI : 0);
    if (!scratch.strip) {
      score_block(scratch.qt, t.k + j0 * t.k_stride, t.k_stride, t.width, n, p);
      if (!plain(t, row, count, j0, n)) bend(t, row, count, j0, n, p);
    }
    for (std::size_t lane = 0; lane < kRows; lane += kLanes) {
      const V lse = hn::Load(d, lanes.lse + lane);
      const V at =
          scratch.strip
              ? hn::Load(d, scratch.block_max + static_cast<std::size_t>(block) * kRows + lane)
              : lse;
      hn::Store(exp(hn::Sub(at, lse)), d, factor + lane);
    }
    for (std::int64_t m = 0; m < n; ++m) {
      V total = hn::Zero(d);
      for (std::size_t lane = 0; lane < kRows; lane += kLanes) {
        V w = hn::Load(d, p + static_cast<std::size_t>(m) * kRows + lane);
        if (!scratch.strip)
          w = exp(hn::Sub(w, hn::Load(d, lanes.lse + lane)));
        else
          w = hn::Mul(w, hn::Load(d, factor + lane));
        total = hn::Add(total, w);
        if (r.pooled_sum != nullptr) {
          hn::Store(hn::Add(hn::Load(d, cell_sum + lane), w), d, cell_sum + lane);
          hn::Store(hn::Max(hn::Load(d, cell_max + lane), w), d, cell_max + lane);
        }
      }
      const std::int64_t j = j0 + m;
      if (r.column_mass != nullptr) r.column_mass[j] += hn::GetLane(hn::SumOfLanes(d, total));
      if (r.pooled_sum == nullptr) continue;
      if ((j + 1) % r.keys_per_cell == 0 || j + 1 == range.end) {
        flush_cell(t, row, count, j / r.keys_per_cell, cell_sum, cell_max);
        fill(cell_sum, cell_sum + kRows, 0.0F);
        fill(cell_max, cell_max + kRows, 0.0F);
      }
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
  fill(lanes.top_n, lanes.top_n + kRows, 0);
}

// One block of rows against all keys that they may see.
void focus_block(const FocusTask& t, std::int64_t row, std::int64_t count, const Scratch& scratch) {
  Lanes lanes;
  start(lanes);
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
    if (t.record.top_k > 0) note_top(t, row, count, j0, n, s, top, scratch.top, lanes);
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
