// What a Sight asks for, read off the scores and weights on the way. Included by focus_hwy.cpp.
#if defined(HEADSCOPE_FOCUS_RECORD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FOCUS_RECORD_INL_H_
#undef HEADSCOPE_FOCUS_RECORD_INL_H_
#else
#define HEADSCOPE_FOCUS_RECORD_INL_H_
#endif

#include <cstdint>
#include <limits>

#include "hwy/highway.h"
#include "kernels/focus_state-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

inline bool wants_maps(const FocusTask& t) {
  return t.record.column_mass != nullptr || t.record.pooled_sum != nullptr;
}

// Weights at known places, read off the raw scores.
inline void note_places(const FocusTask& t,
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
inline void note_best(std::int64_t count,
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

// Puts a score into a falling list: every entry becomes max(itself, min(score, the one before)). An
// earlier key wins a tie, since only a larger score moves anything.
HWY_INLINE void insert(
    float score, std::int32_t key, int top_k, float* scores, std::int32_t* keys) {
  const D d;
  const hn::RebindToSigned<D> di;
  const V x = hn::Set(d, score);
  const auto number = hn::Set(di, key);
  constexpr auto kStep = static_cast<std::int64_t>(kLanes);
  for (std::int64_t n = (top_k - 1) / kStep * kStep; n >= 0; n -= kStep) {
    const V own = hn::Load(d, scores + n);
    const V before = hn::LoadU(d, scores + n - 1);
    const auto own_key = hn::Load(di, keys + n);
    const auto key_before = hn::LoadU(di, keys + n - 1);
    const auto moves = hn::RebindMask(di, hn::Gt(x, own));
    const auto passes = hn::RebindMask(di, hn::Gt(x, before));
    hn::Store(hn::Max(own, hn::Min(x, before)), d, scores + n);
    hn::Store(
        hn::IfThenElse(moves, hn::IfThenElse(passes, key_before, number), own_key), di, keys + n);
  }
}

// Where the list of a row begins.
inline float* top_scores(const FocusTask& t, const Scratch& scratch, std::int64_t lane) {
  return scratch.top + 2 * lane * top_stride(t.record.top_k) + static_cast<std::int64_t>(kLanes);
}
inline std::int32_t* top_keys(const FocusTask& t, const Scratch& scratch, std::int64_t lane) {
  return reinterpret_cast<std::int32_t*>(top_scores(t, scratch, lane) + top_stride(t.record.top_k));
}

inline void start_top(const FocusTask& t,
                      const Scratch& scratch,
                      std::int64_t count,
                      Lanes& lanes) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  fill(lanes.kth, lanes.kth + kRows, -kNone);  // rows that are not there take no key
  fill(lanes.kth, lanes.kth + count, kNone);
  const std::int64_t list = top_stride(t.record.top_k) - static_cast<std::int64_t>(kLanes);
  for (std::int64_t i = 0; i < count; ++i) {
    float* scores = top_scores(t, scratch, i);
    std::int32_t* keys = top_keys(t, scratch, i);
    scores[-1] = -kNone;
    keys[-1] = -1;
    fill(scores, scores + list, kNone);
    fill(keys, keys + list, -1);
  }
}

// Keeps the top_k largest scores of each row. Past the first keys hardly any score enters a list,
// so the test is what costs: one comparison a vector.
inline void note_top(const FocusTask& t,
                     std::int64_t j0,
                     std::int64_t n,
                     const float* s,
                     const float* top,
                     const Scratch& scratch,
                     Lanes& lanes) {
  const D d;
  const int top_k = t.record.top_k;
  for (std::size_t base = 0; base < kRows; base += kLanes) {
    V kth = hn::Load(d, lanes.kth + base);
    if (hn::AllFalse(d, hn::Gt(hn::Load(d, top + base), kth))) continue;
    for (std::int64_t m = 0; m < n; ++m) {
      const float* line = s + static_cast<std::size_t>(m) * kRows + base;
      const M enters = hn::Gt(hn::Load(d, line), kth);
      if (hn::AllFalse(d, enters)) continue;
      std::uint8_t bytes[8] = {};
      hn::StoreMaskBits(d, enters, bytes);
      for (std::uint32_t bits = bytes[0] | (static_cast<std::uint32_t>(bytes[1]) << 8U); bits != 0;
           bits &= bits - 1) {
        const auto lane = static_cast<std::size_t>(__builtin_ctz(bits));
        float* scores = top_scores(t, scratch, static_cast<std::int64_t>(base + lane));
        insert(line[lane],
               static_cast<std::int32_t>(j0 + m),
               top_k,
               scores,
               top_keys(t, scratch, static_cast<std::int64_t>(base + lane)));
        lanes.kth[base + lane] = scores[top_k - 1];
      }
      kth = hn::Load(d, lanes.kth + base);
    }
  }
}

// Adds the lanes of one cell column to the pooled map of the task.
inline void flush_cell(const FocusTask& t,
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
inline void map_weights(const FocusTask& t,
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

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
